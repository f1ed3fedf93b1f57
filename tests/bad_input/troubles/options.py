"""Keys of stages, models and what plugins bring, with values that can't be meant."""

from __future__ import annotations

from makers import workflow
from table import Case, Group, Trouble

JOINED = workflow() + '[[stages]]\nuse = "join"\n'


def stage(line: str) -> dict[str, str]:
    """A workflow with this line in its stage, which is line 7."""
    return {"w.toml": workflow(line)}


GROUP = Group(
    "A value is refused",
    (
        Trouble(
            "The size does not fit the model",
            "Models make pictures in cells of 8 or 16 pixels, and frames in groups: one, and then "
            "four at a time (1, 5, 9 … 81).",
            "Take one of the two numbers that the message names. `wan-core models NAME` shows the "
            "sizes that a family was made for.",
            (
                Case("frames-80",
                     "w.toml, line 7, stages.0.frames: 80 frames can't be made: the number must be 4 * n + 1; "
                     "use 77 or 81.",
                     stage("frames = 80")),
                Case("frames-0",
                     "w.toml, line 7, stages.0.frames: frames must be from 1 to 100000, not 0.",
                     stage("frames = 0")),
                Case("frames-4e9",
                     "w.toml, line 7, stages.0.frames: frames must be from 1 to 100000, not 4000000000.",
                     stage("frames = 4_000_000_000")),
                Case("frames-huge",
                     "w.toml, line 7, stages.0.frames: frames must be from 1 to 100000, not a huge number.",
                     stage("frames = 1" + "0" * 60)),
                Case("width-100",
                     "w.toml, line 7, stages.0.width: width 100 is no multiple of 16; use 96 or 112.",
                     stage("width = 100")),
                Case("width-8",
                     "w.toml, line 7, stages.0.width: width must be from 16 to 16384, not 8.",
                     stage("width = 8")),
                Case("height-negative",
                     "w.toml, line 7, stages.0.height: height must be from 16 to 16384, not -480.",
                     stage("height = -480")),
                Case("width-text",
                     'w.toml, line 7, stages.0.width: width must be a whole number, not "832".',
                     stage('width = "832"')),
                Case("frames-float",
                     "w.toml, line 7, stages.0.frames: frames must be a whole number, not 81.0.",
                     stage("frames = 81.0")),
                Case("area-too-large",
                     "w.toml, line 10, output.path: 16384x16384 is too large for a video; use 67108864 pixels "
                     "at most.",
                     stage("width = 16384\nheight = 16384"), code=7),
            ),
        ),
        Trouble(
            "Seed, steps, shift, guidance",
            "Every number has bounds, and each its kind: a whole number is written without a point.",
            "The message says what is allowed; [the reference](../reference/workflow.md) lists every key.",
            (
                Case("seed-text",
                     'w.toml, line 7, stages.0.seed: seed must be a whole number, not "x".',
                     stage('seed = "x"')),
                Case("seed-negative",
                     "w.toml, line 7, stages.0.seed: seed must be from 0 to 9223372036854775807, not -1.",
                     stage("seed = -1")),
                Case("seed-2-64",
                     "w.toml, line 7, stages.0.seed: seed must be from 0 to 9223372036854775807, not "
                     "18446744073709551616.",
                     stage("seed = 18446744073709551616")),
                Case("seed-true",
                     "w.toml, line 7, stages.0.seed: seed must be a whole number, not true.",
                     stage("seed = true")),
                Case("seed-float",
                     "w.toml, line 7, stages.0.seed: seed must be a whole number, not 1000.0.",
                     stage("seed = 1e3")),
                Case("steps-0",
                     "w.toml, line 7, stages.0.steps: steps must be from 1 to 1000, not 0.",
                     stage("steps = 0")),
                Case("steps-many",
                     "w.toml, line 7, stages.0.steps: steps must be from 1 to 1000, not 1001.",
                     stage("steps = 1001")),
                Case("shift-0",
                     "w.toml, line 7, stages.0.shift: shift must be from 0.01 to 100, not 0.",
                     stage("shift = 0")),
                Case("shift-nan",
                     "w.toml, line 7, stages.0.shift: shift must be a finite number, not nan.",
                     stage("shift = nan")),
                Case("guidance-text",
                     "w.toml, line 7, stages.0.guidance: guidance must be a number from -100 to 100, a list "
                     "of such numbers (one per step), or a table {scale = 5.0, zero_star = true, …}, not "
                     '"high".',
                     stage('guidance = "high"')),
                Case("guidance-inf",
                     "w.toml, line 7, stages.0.guidance: guidance must be from -100 to 100, not inf.",
                     stage("guidance = inf")),
                Case("guidance-for-every-step",
                     "w.toml, line 7, stages.0.guidance: guidance has 3 numbers for 2 steps; give one for "
                     "each step at most.",
                     stage("guidance = [3, 4, 5]")),
                Case("guidance-empty",
                     "w.toml, line 7, stages.0.guidance: guidance must have 1 to 1000 numbers, not 0.",
                     stage("guidance = []")),
                Case("guidance-empty-table",
                     "w.toml, line 7, stages.0.guidance: guidance has no scale; add scale = 5.0.",
                     stage("guidance = {}")),
                Case("start-after-end",
                     "w.toml, line 7, stages.0.start_step: start_step 2 leaves none of the 2 steps to do; use "
                     "at most 1 (the first step is 0).",
                     stage("start_step = 2\nsteps = 2")),
                Case("end-before-start",
                     "w.toml, line 9, stages.0.end_step: end_step 2 leaves nothing to do after start_step 2; "
                     "use 3 to 4.",
                     stage("steps = 4\nstart_step = 2\nend_step = 2")),
            ),
        ),
        Trouble(
            "Noise levels of your own",
            "`sigmas` go from near 1 down to 0, one more of them than there are steps.",
            "Sort them downwards and let the last one be 0, or leave them out.",
            (
                Case("sigmas-rise",
                     "w.toml, line 7, stages.0.sigmas: the noise levels [0.2, 0.5, 0.0] do not fall from at "
                     "most 1 to 0; give at least two falling numbers, the last one normally 0.",
                     stage("sigmas = [0.2, 0.5, 0]")),
                Case("sigmas-nan",
                     "w.toml, line 7, stages.0.sigmas: sigmas must be from 0 to 1, not nan.",
                     stage("sigmas = [1, nan, 0]")),
                Case("sigmas-inf",
                     "w.toml, line 7, stages.0.sigmas: sigmas must be from 0 to 1, not inf.",
                     stage("sigmas = [inf, 0.5, 0]")),
                Case("sigmas-empty",
                     "w.toml, line 7, stages.0.sigmas: sigmas must be a number or a list of 1 to 1000 "
                     "numbers, not an empty list.",
                     stage("sigmas = []")),
                Case("sigmas-one",
                     "w.toml, line 7, stages.0.sigmas: the noise levels [1.0] do not fall from at most 1 to "
                     "0; give at least two falling numbers, the last one normally 0.",
                     stage("sigmas = [1]")),
                Case("sigmas-above-1",
                     "w.toml, line 7, stages.0.sigmas: sigmas must be from 0 to 1, not 2.",
                     stage("sigmas = [2, 1, 0]")),
                Case("sigmas-text",
                     "w.toml, line 7, stages.0.sigmas: sigmas must be a number or a list of 1 to 1000 "
                     'numbers, not "a".',
                     stage('sigmas = ["a", "b"]')),
                Case("sigmas-many",
                     "w.toml, line 7, stages.0.sigmas: sigmas must be a number or a list of 1 to 1000 "
                     "numbers, not a list of 1002.",
                     stage("sigmas = [" + "1, " * 1001 + "0]")),
                Case("sigmas-twice",
                     "w.toml, line 7, stages.0.sigmas: the noise levels [1.0, 0.5, 0.5, 0.0] do not fall from "
                     "at most 1 to 0; give at least two falling numbers, the last one normally 0.",
                     stage("sigmas = [1, 0.5, 0.5, 0]")),
                Case("sigmas-and-steps",
                     "w.toml, line 7, stages.0.steps: steps is 9, but the 3 sigmas make 2 steps; leave steps "
                     "out.",
                     stage("steps = 9\nsigmas = [1, 0.5, 0]")),
            ),
        ),
        Trouble(
            "The prompt",
            "A prompt is a text of at most 10,000 characters without control characters. (The models "
            "themselves read the first few hundred words only.)",
            "Shorten it; characters that can't be seen often come along when a text is copied from a "
            "web page or a terminal: type that part again.",
            (
                Case("prompt-10000-words",
                     "w.toml, line 6, stages.0.prompt: prompt has 70002 characters, the most it may have is "
                     "10000.",
                     {"w.toml": workflow().replace("circle", "circle " * 10_000)}),
                Case("prompt-bell",
                     "w.toml, line 6, stages.0.prompt: prompt has a control character (U+0007) in it.",
                     {"w.toml": workflow().replace("circle", "cir\\u0007cle")}),
                Case("prompt-escape",
                     "w.toml, line 6, stages.0.prompt: prompt has a control character (U+001B) in it.",
                     {"w.toml": workflow().replace("circle", "\\u001b[2Jx")}),
                Case("prompt-number",
                     "w.toml, line 6, stages.0.prompt: prompt must be text, not 5.",
                     {"w.toml": workflow().replace('"a circle"', "5")}),
                Case("prompt-list-of-numbers",
                     "w.toml, line 6, stages.0.prompt: prompt must be text, not 5.",
                     {"w.toml": workflow().replace('"a circle"', '["a", 5]')}),
            ),
        ),
        Trouble(
            "Nothing installed is called so",
            "Families, stages, features, solvers and kinds of attention are known by name; plugins "
            "bring more of them.",
            "Take the suggested name, or install the plugin that the message names. `wan-core "
            "models` and `wan-core plugins` list what is there.",
            (
                Case("family-near",
                     'w.toml, line 3, model.family: no plugin in use brings the family "tiny-t2w"; did you '
                     'mean "tiny-t2v".',
                     {"w.toml": workflow(family="tiny-t2w")}, code=4),
                Case("family-unknown",
                     'w.toml, line 3, model.family: no plugin in use brings the family "sora"; known are: '
                     "{any}.",
                     {"w.toml": workflow(family="sora")}, code=4),
                Case("family-empty",
                     'w.toml, line 3, model.family: no plugin in use brings the family ""; known are: {any}.',
                     {"w.toml": workflow(family="")}, code=4),
                Case("family-control",
                     "w.toml, line 3, model.family: family has a control character (U+0007) in it.",
                     {"w.toml": workflow(family="a\\u0007b")}),
                Case("stage-near",
                     'w.toml, line 5, stages.0.use: no plugin in use brings the stage "genrate"; did you mean '
                     '"generate".',
                     {"w.toml": workflow().replace('"generate"', '"genrate"')}, code=4),
                Case("stage-of-a-plugin",
                     'w.toml, line 12, stages.1.use: no plugin in use brings the stage "flashvsr-upscale"; is '
                     "its package installed? Try pip install wan-plugin-flashvsr.",
                     {"w.toml": workflow() + '[[stages]]\nuse = "flashvsr-upscale"\n'}, code=4),
                Case("feature-of-a-plugin",
                     'w.toml, line 8, stages.0.apply.0.use: no plugin in use brings the feature "ati"; is its '
                     "package installed? Try pip install wan-plugin-ati.",
                     {"w.toml": workflow('[[stages.apply]]\nuse = "ati"\ntracks = "t.json"')}, code=4),
                Case("feature-without-name",
                     'w.toml, line 7, stages.0.apply.0: this feature does not say what to use; add use = "…" '
                     "(installed are: vace).",
                     {"w.toml": workflow("[[stages.apply]]")}),
                Case("post-unknown",
                     'w.toml, line 7, stages.0.post.0: no plugin in use brings the stage "upscale"; is its '
                     "package installed? Try pip install wan-plugin-upscale.",
                     stage('post = ["upscale"]'), code=4),
                Case("solver-near",
                     'w.toml, line 7, stages.0.solver: no plugin in use brings the solver "unipcc"; did you '
                     'mean "unipc".',
                     stage('solver = "unipcc"'), code=4),
                Case("solver-unknown",
                     'w.toml, line 7, stages.0.solver: no plugin in use brings the solver "zzz"; known are: '
                     "{any}.",
                     stage('solver = "zzz"'), code=4),
                Case("solver-long",
                     "w.toml, line 7, stages.0.solver: no plugin in use brings the solver {any} known are: "
                     "{any}.",
                     stage('solver = "' + "z" * 9000 + '"'), code=4),
                Case("attention-near",
                     'w.toml, line 4, model.attention: no plugin in use brings the attention backend "sdpaa"; '
                     'did you mean "sdpa".',
                     {"w.toml": workflow(model='attention = "sdpaa"')}, code=4),
                Case("attention-unknown",
                     'w.toml, line 4, model.attention: no plugin in use brings the attention backend "sage"; '
                     "known are: sdpa.",
                     {"w.toml": workflow(model='attention = "sage"')}, code=4),
                Case("family-not-named",
                     'no plugin in use brings the family "wan2.1"; did you mean "wan2.1-t2v-14b".',
                     run="models wan2.1", code=4),
            ),
        ),
        Trouble(
            "A stage refers to what is not there",
            "A stage can use what stages *above* it make, as `\"NAME.video\"`: not itself, not a later stage.",
            "Change the order of the stages, or correct the name.",
            (
                Case("refers-to-itself",
                     'w.toml, line 13, stages.1.video: video refers to the stage "join", which does not come '
                     "before this one; a stage can only use what the stages above it make; change their order.",
                     {"w.toml": JOINED + 'video = "join.video"\n'},
                     given=["a plugin with the stage join"]),
                Case("refers-to-a-later-stage",
                     'w.toml, line 13, stages.1.video: video refers to the stage "last", which does not come '
                     "before this one; a stage can only use what the stages above it make; change their order.",
                     {"w.toml": JOINED + 'video = "last.video"\n[[stages]]\nuse = "join"\nname = "last"\n'
                                         'video = "generate.video"\n'},
                     given=["a plugin with the stage join"]),
                Case("refers-in-a-circle",
                     'w.toml, line 14, stages.1.video: video refers to the stage "b", which does not come '
                     "before this one; a stage can only use what the stages above it make; change their order.",
                     {"w.toml": JOINED + 'name = "a"\nvideo = "b.video"\n[[stages]]\nuse = "join"\n'
                                         'name = "b"\nvideo = "a.video"\n'},
                     given=["a plugin with the stage join"]),
                Case("refers-to-nothing",
                     'w.toml, line 13, stages.1.video: video refers to "genrate", but no earlier stage has '
                     'that name; did you mean "generate".',
                     {"w.toml": JOINED + 'video = "genrate.video"\n'},
                     given=["a plugin with the stage join"]),
                Case("refers-to-no-output",
                     'w.toml, line 13, stages.1.video: video refers to "sound", which the stage "generate" '
                     "does not make; known are: video.",
                     {"w.toml": JOINED + 'video = "generate.sound"\n'},
                     given=["a plugin with the stage join"]),
                Case("refers-without-output",
                     "w.toml, line 13, stages.1.video: video must name a stage and its output, not "
                     '"generate"; write it like "generate.video".',
                     {"w.toml": JOINED + 'video = "generate"\n'},
                     given=["a plugin with the stage join"]),
                Case("stage-name-twice",
                     'w.toml, line 13, stages.1.name: the name "a" is taken by another stage (w.toml, line 7, '
                     "stages.0.name); give one of them another name.",
                     {"w.toml": workflow('name = "a"') + '[[stages]]\nuse = "generate"\nname = "a"\n'
                                                         'prompt = "x"\n'}),
                Case("stage-name-odd",
                     "w.toml, line 7, stages.0.name: name must be made of at most 64 letters, digits, - and "
                     '_, not "../a"; begin it with a letter or a digit.',
                     stage('name = "../a"')),
                Case("stage-name-control",
                     "w.toml, line 7, stages.0.name: name must be made of at most 64 letters, digits, - and "
                     '_, not "a\\x1bb"; begin it with a letter or a digit.',
                     stage('name = "a\\u001bb"')),
                Case("stage-drives-no-model",
                     'w.toml, line 7, stages.0.model: there is no model "mian"; did you mean "main".',
                     stage('model = "mian"')),
                Case("output-of-no-stage",
                     'w.toml, line 10, output.stage: there is no stage "genrate"; did you mean "generate".',
                     {"w.toml": workflow(output='stage = "genrate"')}),
            ),
        ),
        Trouble(
            "Lists that make a sweep",
            "A list in the place of a seed or a prompt makes one run for each of its items; other "
            "keys take no lists.",
            "Give each value once, and at most 1,000 runs together.",
            (
                Case("sweep-empty",
                     "w.toml, line 7, stages.0.seed: seed is an empty list; give at least one value.",
                     stage("seed = []")),
                Case("sweep-twice",
                     "w.toml, line 7, stages.0.seed.2: stages.0.seed.2 is there twice; keep one of them.",
                     stage("seed = [1, 2, 1]")),
                Case("sweep-too-many",
                     "w.toml, line 7, stages.0.seed: these lists make a sweep of 1001 runs; the most is 1000: "
                     "shorten a list.",
                     {"w.toml": workflow("seed = [" + ", ".join(map(str, range(1001))) + "]")}),
                Case("sweep-of-a-bad-seed",
                     "w.toml, line 7, stages.0.seed: seed must be from 0 to 9223372036854775807, not -1.",
                     stage("seed = [1, -1]")),
                Case("sweep-of-lists",
                     "w.toml, line 7, stages.0.seed: seed must be a whole number, not a list of 2.",
                     stage("seed = [[1, 2]]")),
                Case("sweep-of-steps",
                     "w.toml, line 7, stages.0.steps: steps must be a whole number, not a list of 2.",
                     stage("steps = [1, 2]")),
                Case("sweep-of-a-text",
                     'w.toml, line 7, stages.0.seed: seed must be a whole number, not "a".',
                     stage("seed = [1, 'a']")),
            ),
        ),
        Trouble(
            "Frames per second and other keys of [output]",
            "The rate is from 1 to 240 frames per second.",
            "Correct the value, or leave the key out.",
            (
                Case("fps-0",
                     "w.toml, line 10, output.fps: fps must be from 1 to 240, not 0.",
                     {"w.toml": workflow(output="fps = 0")}),
                Case("fps-1e9",
                     "w.toml, line 10, output.fps: fps must be from 1 to 240, not 1000000000.",
                     {"w.toml": workflow(output="fps = 1e9")}),
                Case("fps-nan",
                     "w.toml, line 10, output.fps: fps must be a finite number, not nan.",
                     {"w.toml": workflow(output="fps = nan")}),
                Case("fps-text",
                     'w.toml, line 10, output.fps: fps must be a number, not "24".',
                     {"w.toml": workflow(output='fps = "24"')}),
                Case("overwrite-text",
                     'w.toml, line 10, output.overwrite: overwrite must be true or false, not "yes".',
                     {"w.toml": workflow(output='overwrite = "yes"')}),
                Case("provenance-unknown",
                     'w.toml, line 10, output.provenance: provenance must be "full", "hashes" or "none", not '
                     '"hash"; did you mean "hashes".',
                     {"w.toml": workflow(output='provenance = "hash"')}),
                Case("precision-unknown",
                     'w.toml, line 4, model.precision: precision must be "auto", "float32", "bfloat16" or '
                     '"float16", not "fp16".',
                     {"w.toml": workflow(model='precision = "fp16"')}),
                Case("precision-near",
                     'w.toml, line 4, model.precision: precision must be "auto", "float32", "bfloat16" or '
                     '"float16", not "bf16"; did you mean "bfloat16".',
                     {"w.toml": workflow(model='precision = "bf16"')}),
            ),
        ),
    ),
)  # fmt: skip
