"""The workflow as a file and as TOML."""

from __future__ import annotations

from makers import bundled, folder, link, picture, sparse, video, workflow
from table import Case, Group, Trouble

GOOD = workflow()

GROUP = Group(
    "The workflow can't be read",
    (
        Trouble(
            "There is no such file",
            "The path is misspelt, or counts from another folder than you think.",
            "Paths on the command line count from the folder that you are in. If a workflow of a "
            "similar name lies there, the message names it.",
            (
                Case("missing",
                     'there is no file "hello.toml"; check the path.',
                     run="run hello.toml", code=2),
                Case("missing-near",
                     'there is no file "helo.toml"; did you mean "hello.toml".',
                     {"hello.toml": GOOD}, "run helo.toml"),
                Case("missing-folder",
                     'there is no file "nowhere/hello.toml"; check the path.',
                     run="plan nowhere/hello.toml"),
                Case("folder",
                     '"w" is a folder; name a file.',
                     {"w": folder}, "run w"),
                Case("folder-with-workflow",
                     '"w" is a folder; did you mean "workflow.toml".',
                     {"w/workflow.toml": GOOD}, "run w"),
                Case("dead-link",
                     '"w.toml" is a link that leads nowhere; make it again.',
                     {"w.toml": link("gone.toml")}),
                Case("link-to-itself",
                     "\"w.toml\" can't be opened (Too many levels of symbolic links).",
                     {"w.toml": link("w.toml")}, code=5),
                Case("no-name",
                     "no workflow is named, only empty text; name a workflow.toml.",
                     run=("run", "")),
                Case("nul-in-name",
                     "\"a\\x00b\" can't be opened (embedded null byte).",
                     run=("run", "a\0b"), code=5),
                Case("escape-in-name",
                     'there is no file "a\\x1b[31mb.toml"; check the path.',
                     run=("run", "a\x1b[31mb.toml")),
                Case("line-end-in-name",
                     'there is no file "a\\nb.toml"; check the path.',
                     run=("run", "a\nb.toml")),
                Case("no-text-in-name",
                     'there is no file "a\\udcffb.toml"; check the path.',
                     run=("run", "a\udcffb.toml")),
                Case("long-name",
                     "{any} can't be opened (File name too long).",
                     run=("run", "a" * 5000), code=5),
            ),
        ),
        Trouble(
            "It is another kind of file",
            "`run` and `plan` take a workflow: a short text in TOML.",
            "Name weights, pictures and videos *inside* a workflow. `wan-core inspect FILE` says "
            "what a file is; [examples/hello.toml](../../examples/hello.toml) is a workflow to start "
            "from.",
            (
                Case("weights-as-workflow",
                     '"m.safetensors" is a weight file, and no workflow of wan-core; name a workflow.toml.',
                     {"m.safetensors": bundled("text_encoder.safetensors")},
                     "run m.safetensors"),
                Case("small-weights-as-workflow",
                     '"m.safetensors" is a weight file, and no workflow of wan-core; name a workflow.toml.',
                     {"m.safetensors": bundled("text_encoder.safetensors", keep=5000)}, "run m.safetensors"),
                Case("picture-as-workflow",
                     '"p.png" is a picture, and no workflow of wan-core; name a workflow.toml.',
                     {"p.png": picture}, "run p.png"),
                Case("video-as-workflow",
                     '"v.mp4" is a video, and no workflow of wan-core; name a workflow.toml.',
                     {"v.mp4": video()}, "plan v.mp4"),
                Case("comfyui-as-workflow",
                     '"w.json" is a JSON file, perhaps a workflow of ComfyUI, and no workflow of wan-core; '
                     "name a workflow.toml.",
                     {"w.json": '{"last_node_id": 3, "nodes": [], "links": []}'}, "run w.json"),
                Case("yaml-as-workflow",
                     "w.yaml, line 1, column 4, ---: this key has no value; write key = value, as in steps = "
                     "20.",
                     {"w.yaml": "---\nmodel: tiny-t2v\n"}, "run w.yaml"),
                Case("huge-workflow",
                     '"w.toml" is larger than 1024 KiB, so it is no workflow; name a workflow.toml.',
                     {"w.toml": sparse(5_000_000, GOOD.encode())}),
                Case("endless-workflow",
                     '"/dev/zero" is larger than 1024 KiB, so it is no workflow; name a workflow.toml.',
                     run="run /dev/zero"),
                Case("empty-device",
                     'null: the file is empty; a workflow begins with "format = 1".',
                     run="run /dev/null"),
            ),
        ),
        Trouble(
            "The text is damaged or in another encoding",
            "A workflow is text in UTF-8. Windows editors sometimes save UTF-16 or an old code page.",
            "Save it again with the encoding UTF-8.",
            (
                Case("empty",
                     'w.toml: the file is empty; a workflow begins with "format = 1".',
                     {"w.toml": ""}),
                Case("only-spaces",
                     'w.toml: the file is empty; a workflow begins with "format = 1".',
                     {"w.toml": " \n\t\n"}),
                Case("latin-1",
                     "w.toml, line 6: the file is not UTF-8 text; save it with the encoding UTF-8.",
                     {"w.toml": GOOD.replace("circle", "caf\u00e9").encode("latin-1")}),
                Case("utf-16",
                     "w.toml, line 1: the file is not UTF-8 text; save it with the encoding UTF-8.",
                     {"w.toml": GOOD.encode("utf-16")}),
                Case("nul-bytes",
                     "w.toml, line 6, column 16, prompt: there is a control character in this text; remove it.",
                     {"w.toml": GOOD.replace("circle", "cir\0cle")}),
                Case("escape-in-text",
                     "w.toml, line 6, column 13, prompt: there is a control character in this text; remove it.",
                     {"w.toml": GOOD.replace("circle", "\x1b[31mred")}),
            ),
        ),
        Trouble(
            "It is no TOML",
            "The text breaks a rule of the [TOML](https://toml.io) format. The message has the line, "
            "and where it can the column.",
            "Texts stand in straight double quotes; `true` and `false` are small letters; Windows "
            "paths take `/` or single quotes.",
            (
                Case("no-quotes",
                     "w.toml, line 6, column 10, prompt: no value can be read here; put text in double "
                     'quotes, as in prompt = "a red circle".',
                     {"w.toml": GOOD.replace('"a circle"', "a circle")}),
                Case("curly-quotes",
                     "w.toml, line 6, column 10, prompt: no value can be read here; use plain double quotes.",
                     {"w.toml": GOOD.replace('"a circle"', "“a circle”")}),
                Case("open-quotes",
                     'w.toml, line 6, column 19, prompt: this text does not end on its line; end it with ", '
                     'or use """.',
                     {"w.toml": GOOD.replace('circle"', "circle")}),
                Case("windows-path",
                     "w.toml, line 4, column 12, vae: a backslash in double quotes has a meaning; write / or "
                     "use single quotes.",
                     {"w.toml": workflow(family="tiny-t2v", model='vae = "C:\\models\\vae.safetensors"')}),
                Case("key-twice",
                     "w.toml, line 8, column 9, seed: this key is given twice; keep one of them.",
                     {"w.toml": workflow("seed = 1\nseed = 2")}),
                Case("table-twice",
                     "w.toml, line 11, column 8, output: this table is given twice; keep one of them, or "
                     "write [[stages]] in double brackets if it is a stage.",
                     {"w.toml": GOOD + "[output]\n"}),
                Case("no-value",
                     "w.toml, line 7, column 7, seed: this key has no value; write one, or remove the key.",
                     {"w.toml": workflow("seed =")}),
                Case("colon",
                     "w.toml, line 7, column 5, seed: this key has no value; write key = value, as in steps = "
                     "20.",
                     {"w.toml": workflow("seed: 1")}),
                Case("capital-true",
                     "w.toml, line 10, column 13, overwrite: no value can be read here; write true, in small "
                     "letters.",
                     {"w.toml": workflow(output="overwrite = True")}),
                Case("deep",
                     "w.toml: lists or tables are nested too deeply; flatten them.",
                     {"w.toml": workflow("guidance = " + "[" * 500 + "]" * 500)}),
                Case("many-digits",
                     "w.toml, line 7: a number has too many digits.",
                     {"w.toml": workflow("seed = " + "9" * 5000)}),
            ),
        ),
        Trouble(
            "The format is missing or another one",
            "Every workflow begins with `format = 1`, so that later versions know what they read.",
            "Write `format = 1` as first line, without quotes. A higher number was written by a "
            "newer wan-core: update.",
            (
                Case("no-format",
                     'w.toml: format is missing; add "format = 1" as first line.',
                     {"w.toml": workflow(head="")}),
                Case("format-2",
                     "w.toml, line 1, format: format 2 is not known, this wan-core knows format 1; write "
                     '"format = 1", or update wan-core if a newer one wrote format 2.',
                     {"w.toml": workflow(head="format = 2")}),
                Case("format-text",
                     'w.toml, line 1, format: format must be a whole number, not "1"; write "format = 1".',
                     {"w.toml": workflow(head='format = "1"')}),
                Case("format-true",
                     'w.toml, line 1, format: format must be a whole number, not true; write "format = 1".',
                     {"w.toml": workflow(head="format = true")}),
                Case("format-float",
                     'w.toml, line 1, format: format must be a whole number, not 1.0; write "format = 1".',
                     {"w.toml": workflow(head="format = 1.0")}),
                Case("format-inside",
                     'w.toml: format is missing; add "format = 1" as first line.',
                     {"w.toml": workflow(head="").replace('path =', 'format = 1\npath =')}),
            ),
        ),
        Trouble(
            "A table is missing, doubled or misspelt",
            "A workflow has `[model]` (or `[models.NAME]` for several), one `[[stages]]` for each "
            "stage, and perhaps `[memory]` and `[output]`.",
            "Compare with [the reference](../reference/workflow.md). The message names what is close "
            "to what you wrote.",
            (
                Case("model-and-models",
                     "w.toml, line 2, model: there are both [model] and [models]; [model] is short for "
                     "[models.main]: write that.",
                     {"w.toml": GOOD + '[models.b]\nfamily = "tiny-t2v"\n'}),
                Case("no-stages",
                     'w.toml, stages: there are no stages; begin one with [[stages]] and use = "generate".',
                     {"w.toml": 'format = 1\n[model]\nfamily = "tiny-t2v"\n'}),
                Case("empty-stages",
                     "w.toml, line 2, stages: there are no stages; begin one with [[stages]] and use = "
                     '"generate".',
                     {"w.toml": 'format = 1\nstages = []\n[model]\nfamily = "tiny-t2v"\n'}),
                Case("stages-in-single-brackets",
                     "w.toml, line 4, stages: stages must be a list of tables, not a table; begin each with "
                     "[[stages]], in double brackets.",
                     {"w.toml": GOOD.replace("[[stages]]", "[stages]")}),
                Case("output-in-double-brackets",
                     "w.toml, line 8, output: [output] must be a table, not a list of 1; write [output] in "
                     "single brackets.",
                     {"w.toml": GOOD.replace("[output]", "[[output]]")}),
                Case("no-model",
                     'w.toml, line 2, stages.0: the stage "generate" needs a model; add [model] with family = '
                     '"…" (it drives: {any}).',
                     {"w.toml": 'format = 1\n[[stages]]\nuse = "generate"\nprompt = "x"\n'}),
                Case("model-is-text",
                     'w.toml, line 2, model: [model] must be a table, not "tiny-t2v"; write [model] and its '
                     "keys below it.",
                     {"w.toml": 'format = 1\nmodel = "tiny-t2v"\n[[stages]]\nuse = "generate"\n'}),
                Case("no-family",
                     'w.toml, line 2, model: [model] needs family; add family = "…" (installed are: {any}).',
                     {"w.toml": GOOD.replace("family", "#family")}),
                Case("no-use",
                     'w.toml, line 4, stages.0: this stage does not say what to use; add use = "…" (installed '
                     "are: generate).",
                     {"w.toml": GOOD.replace("use =", "#use =")}),
                Case("no-prompt",
                     'w.toml, line 4, stages.0: the stage "generate" needs prompt; add prompt = VALUE (what '
                     "the video shows).",
                     {"w.toml": GOOD.replace("prompt =", "#prompt =")}),
                Case("memory-is-number",
                     "w.toml, line 2, memory: [memory] must be a table, not 5; write [memory] and its keys "
                     "below it.",
                     {"w.toml": workflow(head="format = 1\nmemory = 5")}),
                Case("models-of-text",
                     'w.toml, line 3, models.family: [models] holds models by name, and "family" is no table; '
                     "write [model] for one, [models.NAME] for several.",
                     {"w.toml": 'format = 1\n[models]\nfamily = "tiny-t2v"\n[[stages]]\nuse = "generate"\n'}),
            ),
        ),
        Trouble(
            "An unknown key",
            "A key is misspelt or stands in the wrong table. Unknown keys are refused everywhere, so "
            "that a misspelt `steps` does not quietly become the default.",
            "Take the suggested key. `wan-core plan WORKFLOW` of a workflow that works prints every "
            "key there is.",
            (
                Case("unknown-table",
                     'w.toml, line 11, outptu: a workflow has no "outptu"; did you mean "output".',
                     {"w.toml": GOOD + "[outptu]\n"}),
                Case("unknown-in-model",
                     'w.toml, line 4, model.transfomer: [model] has no option "transfomer"; did you mean '
                     '"transformer".',
                     {"w.toml": workflow(model='transfomer = "x"')}),
                Case("unknown-in-stage",
                     'w.toml, line 7, stages.0.stesp: the stage "generate" has no option "stesp"; did you '
                     'mean "steps".',
                     {"w.toml": workflow("stesp = 3")}),
                Case("unknown-in-output",
                     'w.toml, line 10, output.pth: [output] has no option "pth"; did you mean "path".',
                     {"w.toml": workflow(output="pth = 3")}),
                Case("unknown-in-memory",
                     'w.toml, line 12, memory.vrma: [memory] has no option "vrma"; did you mean "vram".',
                     {"w.toml": GOOD + '[memory]\nvrma = "2GB"\n'}),
                Case("unknown-in-guidance",
                     'w.toml, line 7, stages.0.guidance: guidance has no option "scael"; did you mean "scale".',
                     {"w.toml": workflow("guidance = { scael = 3 }")}),
                Case("control-character-in-key",
                     'w.toml, line 7, stages.0."a\\x07b": the stage "generate" has no option "a\\x07b"; known '
                     "are: {any}.",
                     {"w.toml": workflow('"a\\u0007b" = 1')}),
                Case("long-key",
                     'w.toml, line 7, {any} the stage "generate" has no option {any} known are: {any}.',
                     {"w.toml": workflow("x" * 3000 + " = 1")}),
            ),
        ),
    ),
)  # fmt: skip
