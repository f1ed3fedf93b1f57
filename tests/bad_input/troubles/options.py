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
            "Models make pictures in cells of 8 or 16 pixels, and frames in groups: one, and then four at a time "
            "(1, 5, 9 … 81).",
            "Take one of the two numbers that the message names. `wan-core models NAME` shows the sizes that a "
            "family was made for.",
            (
                Case("frames-80", "?", stage("frames = 80")),
                Case("frames-0", "?", stage("frames = 0")),
                Case("frames-4e9", "?", stage("frames = 4_000_000_000")),
                Case("frames-huge", "?", stage("frames = 1" + "0" * 60)),
                Case("width-100", "?", stage("width = 100")),
                Case("width-8", "?", stage("width = 8")),
                Case("height-negative", "?", stage("height = -480")),
                Case("width-text", "?", stage('width = "832"')),
                Case("frames-float", "?", stage("frames = 81.0")),
                Case("area-too-large", "?", stage("width = 16384\nheight = 16384"), code=7),
            ),
        ),
        Trouble(
            "Seed, steps, shift, guidance",
            "Every number has bounds, and each its kind: a whole number is written without a point.",
            "The message says what is allowed; [the reference](../reference/workflow.md) lists every key.",
            (
                Case("seed-text", "?", stage('seed = "x"')),
                Case("seed-negative", "?", stage("seed = -1")),
                Case("seed-2-64", "?", stage("seed = 18446744073709551616")),
                Case("seed-true", "?", stage("seed = true")),
                Case("seed-float", "?", stage("seed = 1e3")),
                Case("steps-0", "?", stage("steps = 0")),
                Case("steps-many", "?", stage("steps = 1001")),
                Case("shift-0", "?", stage("shift = 0")),
                Case("shift-nan", "?", stage("shift = nan")),
                Case("guidance-text", "?", stage('guidance = "high"')),
                Case("guidance-inf", "?", stage("guidance = inf")),
                Case("guidance-for-every-step", "?", stage("guidance = [3, 4, 5]")),
                Case("guidance-empty", "?", stage("guidance = []")),
                Case("guidance-empty-table", "?", stage("guidance = {}")),
                Case("start-after-end", "?", stage("start_step = 2\nsteps = 2")),
                Case("end-before-start", "?", stage("steps = 4\nstart_step = 2\nend_step = 2")),
            ),
        ),
        Trouble(
            "Noise levels of your own",
            "`sigmas` go from near 1 down to 0, one more of them than there are steps.",
            "Sort them downwards and let the last one be 0, or leave them out.",
            (
                Case("sigmas-rise", "?", stage("sigmas = [0.2, 0.5, 0]")),
                Case("sigmas-nan", "?", stage("sigmas = [1, nan, 0]")),
                Case("sigmas-inf", "?", stage("sigmas = [inf, 0.5, 0]")),
                Case("sigmas-empty", "?", stage("sigmas = []")),
                Case("sigmas-one", "?", stage("sigmas = [1]")),
                Case("sigmas-above-1", "?", stage("sigmas = [2, 1, 0]")),
                Case("sigmas-text", "?", stage('sigmas = ["a", "b"]')),
                Case("sigmas-many", "?", stage("sigmas = [" + "1, " * 1001 + "0]")),
                Case("sigmas-twice", "?", stage("sigmas = [1, 0.5, 0.5, 0]")),
                Case("sigmas-and-steps", "?", stage("steps = 9\nsigmas = [1, 0.5, 0]")),
            ),
        ),
        Trouble(
            "The prompt",
            "A prompt is a text of at most 10,000 characters without control characters. (The models themselves "
            "read the first few hundred words only.)",
            "Shorten it; characters that can't be seen often come along when a text is copied from a web page or a "
            "terminal: type that part again.",
            (
                Case("prompt-10000-words", "?", {"w.toml": workflow().replace("circle", "circle " * 10_000)}),
                Case("prompt-bell", "?", {"w.toml": workflow().replace("circle", "cir\\u0007cle")}),
                Case("prompt-escape", "?", {"w.toml": workflow().replace("circle", "\\u001b[2Jx")}),
                Case("prompt-number", "?", {"w.toml": workflow().replace('"a circle"', "5")}),
                Case("prompt-list-of-numbers", "?", {"w.toml": workflow().replace('"a circle"', '["a", 5]')}),
            ),
        ),
        Trouble(
            "Nothing installed is called so",
            "Families, stages, features, solvers and kinds of attention are known by name; plugins bring more "
            "of them.",
            "Take the suggested name, or install the plugin that the message names. `wan-core models` and "
            "`wan-core plugins` list what is there.",
            (
                Case("family-near", "?", {"w.toml": workflow(family="tiny-t2w")}, code=4),
                Case("family-unknown", "?", {"w.toml": workflow(family="sora")}, code=4),
                Case("family-empty", "?", {"w.toml": workflow(family="")}, code=4),
                Case("family-control", "?", {"w.toml": workflow(family="a\\u0007b")}),
                Case("stage-near", "?",
                     {"w.toml": workflow().replace('"generate"', '"genrate"')}, code=4),
                Case("stage-of-a-plugin", "?",
                     {"w.toml": workflow() + '[[stages]]\nuse = "flashvsr-upscale"\n'}, code=4),
                Case("feature-of-a-plugin", "?",
                     {"w.toml": workflow('[[stages.apply]]\nuse = "ati"\ntracks = "t.json"')}, code=4),
                Case("feature-without-name", "?", {"w.toml": workflow("[[stages.apply]]")}),
                Case("post-unknown", "?", stage('post = ["upscale"]'), code=4),
                Case("solver-near", "?", stage('solver = "unipcc"'), code=4),
                Case("solver-unknown", "?", stage('solver = "zzz"'), code=4),
                Case("solver-long", "?", stage('solver = "' + "z" * 9000 + '"'), code=4),
                Case("attention-near", "?", {"w.toml": workflow(model='attention = "sdpaa"')}, code=4),
                Case("attention-unknown", "?", {"w.toml": workflow(model='attention = "sage"')}, code=4),
                Case("family-not-named", "?", run="models wan2.1", code=4),
            ),
        ),
        Trouble(
            "A stage refers to what is not there",
            "A stage can use what stages *above* it make, as `\"NAME.video\"`: not itself, not a later stage.",
            "Change the order of the stages, or correct the name.",
            (
                Case("refers-to-itself", "?", {"w.toml": JOINED + 'video = "join.video"\n'},
                     given=["a plugin with the stage join"]),
                Case("refers-to-a-later-stage", "?",
                     {"w.toml": JOINED + 'video = "last.video"\n[[stages]]\nuse = "join"\nname = "last"\n'
                                         'video = "generate.video"\n'},
                     given=["a plugin with the stage join"]),
                Case("refers-in-a-circle", "?",
                     {"w.toml": JOINED + 'name = "a"\nvideo = "b.video"\n[[stages]]\nuse = "join"\n'
                                         'name = "b"\nvideo = "a.video"\n'},
                     given=["a plugin with the stage join"]),
                Case("refers-to-nothing", "?", {"w.toml": JOINED + 'video = "genrate.video"\n'},
                     given=["a plugin with the stage join"]),
                Case("refers-to-no-output", "?", {"w.toml": JOINED + 'video = "generate.sound"\n'},
                     given=["a plugin with the stage join"]),
                Case("refers-without-output", "?", {"w.toml": JOINED + 'video = "generate"\n'},
                     given=["a plugin with the stage join"]),
                Case("stage-name-twice", "?",
                     {"w.toml": workflow('name = "a"') + '[[stages]]\nuse = "generate"\nname = "a"\n'
                                                         'prompt = "x"\n'}),
                Case("stage-name-odd", "?", stage('name = "../a"')),
                Case("stage-name-control", "?", stage('name = "a\\u001bb"')),
                Case("stage-drives-no-model", "?", stage('model = "mian"')),
                Case("output-of-no-stage", "?", {"w.toml": workflow(output='stage = "genrate"')}),
            ),
        ),
        Trouble(
            "Lists that make a sweep",
            "A list in the place of a seed or a prompt makes one run for each of its items; other keys take no "
            "lists.",
            "Give each value once, and at most 1,000 runs together.",
            (
                Case("sweep-empty", "?", stage("seed = []")),
                Case("sweep-twice", "?", stage("seed = [1, 2, 1]")),
                Case("sweep-too-many", "?",
                     {"w.toml": workflow("seed = [" + ", ".join(map(str, range(1001))) + "]")}),
                Case("sweep-of-a-bad-seed", "?", stage("seed = [1, -1]")),
                Case("sweep-of-lists", "?", stage("seed = [[1, 2]]")),
                Case("sweep-of-steps", "?", stage("steps = [1, 2]")),
                Case("sweep-in-a-rerun", "?", stage("seed = [1, 'a']")),
            ),
        ),
        Trouble(
            "Frames per second and other keys of [output]",
            "The rate is from 1 to 240 frames per second.",
            "Correct the value, or leave the key out.",
            (
                Case("fps-0", "?", {"w.toml": workflow(output="fps = 0")}),
                Case("fps-1e9", "?", {"w.toml": workflow(output="fps = 1e9")}),
                Case("fps-nan", "?", {"w.toml": workflow(output="fps = nan")}),
                Case("fps-text", "?", {"w.toml": workflow(output='fps = "24"')}),
                Case("overwrite-text", "?", {"w.toml": workflow(output='overwrite = "yes"')}),
                Case("provenance-unknown", "?", {"w.toml": workflow(output='provenance = "hash"')}),
                Case("precision-unknown", "?", {"w.toml": workflow(model='precision = "fp16"')}),
                Case("precision-near", "?", {"w.toml": workflow(model='precision = "bf16"')}),
            ),
        ),
    ),
)  # fmt: skip
