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
            "Paths on the command line count from the folder that you are in. If a workflow of a similar "
            "name lies there, the message names it.",
            (
                Case("missing", "?", run="run hello.toml", code=2),
                Case("missing-near", "?", {"hello.toml": GOOD}, "run helo.toml"),
                Case("missing-folder", "?", run="plan nowhere/hello.toml"),
                Case("folder", "?", {"w": folder}, "run w"),
                Case("folder-with-workflow", "?", {"w/workflow.toml": GOOD}, "run w"),
                Case("dead-link", "?", {"w.toml": link("gone.toml")}),
                Case("link-to-itself", "?", {"w.toml": link("w.toml")}, code=5),
                Case("no-name", "?", run=("run", "")),
                Case("nul-in-name", "?", run=("run", "a\0b"), code=5),
                Case("escape-in-name", "?", run=("run", "a\x1b[31mb.toml")),
                Case("line-end-in-name", "?", run=("run", "a\nb.toml")),
                Case("no-text-in-name", "?", run=("run", "a\udcffb.toml")),
                Case("long-name", "?", run=("run", "a" * 5000), code=5),
            ),
        ),
        Trouble(
            "It is another kind of file",
            "`run` and `plan` take a workflow: a short text in TOML.",
            "Name weights, pictures and videos *inside* a workflow. `wan-core inspect FILE` says what a file "
            "is; [examples/hello.toml](../../examples/hello.toml) is a workflow to start from.",
            (
                Case("weights-as-workflow", "?", {"m.safetensors": bundled("text_encoder.safetensors")},
                     "run m.safetensors"),
                Case("small-weights-as-workflow", "?",
                     {"m.safetensors": bundled("text_encoder.safetensors", keep=5000)}, "run m.safetensors"),
                Case("picture-as-workflow", "?", {"p.png": picture}, "run p.png"),
                Case("video-as-workflow", "?", {"v.mp4": video()}, "plan v.mp4"),
                Case("comfyui-as-workflow", "?",
                     {"w.json": '{"last_node_id": 3, "nodes": [], "links": []}'}, "run w.json"),
                Case("yaml-as-workflow", "?", {"w.yaml": "---\nmodel: tiny-t2v\n"}, "run w.yaml"),
                Case("huge-workflow", "?", {"w.toml": sparse(5_000_000, GOOD.encode())}),
                Case("endless-workflow", "?", run="run /dev/zero"),
                Case("provenance-of-nothing", "?", run="run /dev/null"),
            ),
        ),
        Trouble(
            "The text is damaged or in another encoding",
            "A workflow is text in UTF-8. Windows editors sometimes save UTF-16 or an old code page.",
            "Save it again with the encoding UTF-8.",
            (
                Case("empty", "?", {"w.toml": ""}),
                Case("only-spaces", "?", {"w.toml": " \n\t\n"}),
                Case("latin-1", "?", {"w.toml": GOOD.replace("circle", "caf\u00e9").encode("latin-1")}),
                Case("utf-16", "?", {"w.toml": GOOD.encode("utf-16")}),
                Case("nul-bytes", "?", {"w.toml": GOOD.replace("circle", "cir\0cle")}),
                Case("escape-in-text", "?", {"w.toml": GOOD.replace("circle", "\x1b[31mred")}),
            ),
        ),
        Trouble(
            "It is no TOML",
            "The text breaks a rule of the [TOML](https://toml.io) format. The message has the line, and where it "
            "can the column.",
            "Texts stand in straight double quotes; `true` and `false` are small letters; Windows paths take `/` "
            "or single quotes.",
            (
                Case("no-quotes", "?", {"w.toml": GOOD.replace('"a circle"', "a circle")}),
                Case("curly-quotes", "?", {"w.toml": GOOD.replace('"a circle"', "“a circle”")}),
                Case("open-quotes", "?", {"w.toml": GOOD.replace('circle"', "circle")}),
                Case("windows-path", "?",
                     {"w.toml": workflow(family="tiny-t2v", model='vae = "C:\\models\\vae.safetensors"')}),
                Case("key-twice", "?", {"w.toml": workflow("seed = 1\nseed = 2")}),
                Case("table-twice", "?", {"w.toml": GOOD + "[output]\n"}),
                Case("no-value", "?", {"w.toml": workflow("seed =")}),
                Case("colon", "?", {"w.toml": workflow("seed: 1")}),
                Case("capital-true", "?", {"w.toml": workflow(output="overwrite = True")}),
                Case("deep", "?", {"w.toml": workflow("guidance = " + "[" * 500 + "]" * 500)}),
                Case("many-digits", "?", {"w.toml": workflow("seed = " + "9" * 5000)}),
            ),
        ),
        Trouble(
            "The format is missing or another one",
            "Every workflow begins with `format = 1`, so that later versions know what they read.",
            'Write `format = 1` as first line, without quotes. A higher number was written by a newer wan-core: '
            "update.",
            (
                Case("no-format", "?", {"w.toml": workflow(head="")}),
                Case("format-2", "?", {"w.toml": workflow(head="format = 2")}),
                Case("format-text", "?", {"w.toml": workflow(head='format = "1"')}),
                Case("format-true", "?", {"w.toml": workflow(head="format = true")}),
                Case("format-float", "?", {"w.toml": workflow(head="format = 1.0")}),
                Case("format-inside", "?",
                     {"w.toml": workflow(head="").replace('path =', 'format = 1\npath =')}),
            ),
        ),
        Trouble(
            "A table is missing, doubled or misspelt",
            "A workflow has `[model]` (or `[models.NAME]` for several), one `[[stages]]` for each stage, and "
            "perhaps `[memory]` and `[output]`.",
            "Compare with [the reference](../reference/workflow.md). The message names what is close to what you "
            "wrote.",
            (
                Case("model-and-models", "?", {"w.toml": GOOD + '[models.b]\nfamily = "tiny-t2v"\n'}),
                Case("no-stages", "?", {"w.toml": 'format = 1\n[model]\nfamily = "tiny-t2v"\n'}),
                Case("empty-stages", "?", {"w.toml": 'format = 1\nstages = []\n[model]\nfamily = "tiny-t2v"\n'}),
                Case("stages-in-single-brackets", "?", {"w.toml": GOOD.replace("[[stages]]", "[stages]")}),
                Case("output-in-double-brackets", "?", {"w.toml": GOOD.replace("[output]", "[[output]]")}),
                Case("no-model", "?", {"w.toml": 'format = 1\n[[stages]]\nuse = "generate"\nprompt = "x"\n'}),
                Case("model-is-text", "?",
                     {"w.toml": 'format = 1\nmodel = "tiny-t2v"\n[[stages]]\nuse = "generate"\n'}),
                Case("no-family", "?", {"w.toml": GOOD.replace("family", "#family")}),
                Case("no-use", "?", {"w.toml": GOOD.replace("use =", "#use =")}),
                Case("no-prompt", "?", {"w.toml": GOOD.replace("prompt =", "#prompt =")}),
                Case("memory-is-number", "?", {"w.toml": workflow(head="format = 1\nmemory = 5")}),
                Case("models-of-text", "?",
                     {"w.toml": 'format = 1\n[models]\nfamily = "tiny-t2v"\n[[stages]]\nuse = "generate"\n'}),
            ),
        ),
        Trouble(
            "An unknown key",
            "A key is misspelt or stands in the wrong table. Unknown keys are refused everywhere, so that a "
            "misspelt `steps` does not quietly become the default.",
            "Take the suggested key. `wan-core plan WORKFLOW` of a workflow that works prints every key there is.",
            (
                Case("unknown-table", "?", {"w.toml": GOOD + "[outptu]\n"}),
                Case("unknown-in-model", "?", {"w.toml": workflow(model='transfomer = "x"')}),
                Case("unknown-in-stage", "?", {"w.toml": workflow("stesp = 3")}),
                Case("unknown-in-output", "?", {"w.toml": workflow(output="pth = 3")}),
                Case("unknown-in-memory", "?", {"w.toml": GOOD + '[memory]\nvrma = "2GB"\n'}),
                Case("unknown-in-guidance", "?", {"w.toml": workflow("guidance = { scael = 3 }")}),
                Case("control-character-in-key", "?", {"w.toml": workflow('"a\\u0007b" = 1')}),
                Case("long-key", "?", {"w.toml": workflow("x" * 3000 + " = 1")}),
            ),
        ),
    ),
)  # fmt: skip
