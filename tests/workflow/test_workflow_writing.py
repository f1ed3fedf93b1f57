from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from workflow_fakes import PLUGINS, AtiOptions, GenerateOptions, NoOptions, Point, UpscaleOptions

from wan_core.contract.loras import LoraUse
from wan_core.workflow import (
    FeatureSpec,
    MemorySpec,
    ModelSpec,
    OutputSpec,
    Source,
    StageSpec,
    Workflow,
    fingerprint,
    parse_workflow,
    to_toml,
)

FOLDER = Path("/videos/today")
MINIMAL = """\
format = 1
[model]
family = "tiny-t2v"
[[stages]]
use = "generate"
prompt = "a red circle"
[[stages.apply]]
use = "ati"
tracks = "tracks.json"
"""


def parse(text: str, folder: Path = FOLDER) -> Workflow:
    return parse_workflow(text, folder=folder, plugins=PLUGINS)


def test_every_default_is_visible() -> None:
    assert (
        to_toml(parse(MINIMAL))
        == """\
format = 1

[models.main]
family = "tiny-t2v"
precision = "auto"
device = "auto"
attention = "sdpa"
loras = []
# quantization = (as the file stores it)
compile = false

[[stages]]
use = "generate"
name = "generate"
model = "main"
prompt = "a red circle"
# negative_prompt = (the family's preset)
# width = (the family's preset)
# height = (the family's preset)
# frames = (the family's preset)
# steps = (the family's preset)
seed = 0
# guidance = (not given)
# sigmas = (not given)
# shift = (not given)
# solver = (not given)
# image = (not given)

[[stages.apply]]
use = "ati"
tracks = "tracks.json"
strength = 1.0
points = []
names = {}
mode = "soft"
# corner = (not given)
# centre = (not given)

[memory]
vram = "auto"
ram = "auto"
# blocks_to_swap = (the plan decides)
# prefetch_blocks = (the plan decides)
# offload_txt_emb = (the plan decides)
# offload_img_emb = (the plan decides)
block_swap_debug = false
allow_inexact = false

[output]
path = "out.mp4"
# fps = (as the stage makes them)
# stage = (the last stage that makes a video)
overwrite = false
provenance = "full"
"""
    )


# -- what is written is read back -------------------------------------------------------------------

characters = st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from(
    '"\\\n\t#\u2028\ufeff'
)
texts = st.text(characters, max_size=20)
names = st.from_regex(r"[a-zA-Z][A-Za-z0-9_-]{0,10}", fullmatch=True)
floats = st.floats(-100, 100)
paths = st.builds(
    lambda parts, absolute: Path("/" if absolute else FOLDER, *parts),
    st.lists(
        st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/"), min_size=1)
        | st.sampled_from(["..", "~", "~root", "generate.video", "a b"]),
        min_size=1,
        max_size=3,
    ).filter(lambda parts: len("".join(parts)) < 60),
    st.booleans(),
)
files = paths | st.fixed_dictionaries({"high": paths, "low": paths})
loras = st.builds(
    LoraUse,
    paths,
    st.floats(-100, 100) | st.lists(st.floats(-100, 100), min_size=1, max_size=3),
    st.sampled_from([None, "0-9, 12", {"0-9": 1.0, "12": -0.5}, {}]),
    st.sampled_from([(), ("ffn", 'a "b"')]),
    st.sampled_from(["both", "high"]),
    st.sampled_from(["file", "rank-stabilised"]),
    st.sampled_from(["refuse", "skip"]),
    st.sampled_from([None, True, False]),
)
models = st.builds(
    ModelSpec,
    st.just("tiny-t2v"),
    st.dictionaries(st.sampled_from(["transformer", "vae", "text_encoder", "tokenizer"]), files),
    st.sampled_from(["auto", "float32", "bfloat16"]),
    st.sampled_from(["auto", "cpu", "cuda:3"]),
    st.sampled_from(["sdpa", "sage"]),
    st.lists(loras, max_size=2).map(tuple),
)


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


generate = st.builds(
    GenerateOptions,
    prompt=texts.filter(len),
    negative_prompt=optional(texts),
    width=optional(st.integers(16, 16384)),
    seed=st.integers(0, 2**63 - 1),
    guidance=optional(floats | st.tuples(floats, floats)),
    sigmas=optional(st.lists(st.floats(0, 1), min_size=1, max_size=3)),
    shift=optional(st.floats(0.01, 1000)),
    image=optional(paths),
)
ati = st.builds(
    AtiOptions,
    tracks=paths,
    strength=st.floats(0, 10),
    points=st.lists(st.builds(Point, floats, floats, texts), max_size=2).map(tuple),
    names=st.dictionaries(texts, st.integers(-5, 5), max_size=2),
    mode=st.sampled_from(["soft", "hard"]),
    corner=optional(st.tuples(st.integers(), st.integers())),
)
features = st.tuples(st.just("ati"), ati) | st.just(("plain", NoOptions()))


@st.composite
def posts(draw: st.DrawFn, stage: str, index: int) -> list[StageSpec]:
    found: list[StageSpec] = []
    for number in range(draw(st.integers(0, 2))):
        made = f"{found[-1].name if found else stage}.video"
        options = draw(st.builds(UpscaleOptions, st.just(made), st.sampled_from([2, 4])))
        key = f"stages.{index}.post.{number}"
        apply = draw(st.lists(features, max_size=1))
        asked = tuple(FeatureSpec(f, o, f"{key}.apply.{n}") for n, (f, o) in enumerate(apply))
        name = f"after-{index}-{number}"
        found.append(StageSpec("upscale", name, "up", options, asked, key=key))
    return found


@st.composite
def workflows(draw: st.DrawFn) -> Workflow:
    count = draw(st.integers(1, 3))
    called = draw(st.lists(names, min_size=count, max_size=count, unique=True))
    stages = []
    for index, name in enumerate(called):
        use, model, options = "generate", "main", draw(generate)
        if index and draw(st.booleans()):
            use, model = "upscale", "up"
            options = draw(st.builds(UpscaleOptions, paths | st.just(f"{called[0]}.video")))
        stages.append(
            StageSpec(
                use=use,
                name=name,
                model=model,
                options=options,
                apply=tuple(
                    FeatureSpec(feature, asked, f"stages.{index}.apply.{place}")
                    for place, (feature, asked) in enumerate(draw(st.lists(features, max_size=2)))
                ),
                post=tuple(draw(posts(name, index))),
                loras=tuple(draw(st.lists(loras, max_size=1))),
                key=f"stages.{index}",
            )
        )
    size = optional(st.integers(2**20, 2**50))
    blocks, chosen = optional(st.integers(0, 1000)), optional(st.booleans())
    bound = size | st.floats(0, 1, exclude_min=True)
    memory = draw(
        st.builds(MemorySpec, bound, bound, blocks, blocks, chosen, chosen, st.booleans())
    )
    output = draw(
        st.builds(OutputSpec, paths, optional(st.floats(1, 240)), optional(st.sampled_from(called)))
    )
    named = {"main": draw(models), "up": ModelSpec("flashvsr")}
    return Workflow(1, named, tuple(stages), memory, output, Source(folder=FOLDER))


@settings(max_examples=120, deadline=None)
@given(workflows())
def test_what_is_written_is_read_back(workflow: Workflow) -> None:
    read = parse(to_toml(workflow))
    assert read == workflow
    assert to_toml(parse(to_toml(read))) == to_toml(read)
    assert fingerprint(read) == fingerprint(workflow)


def test_paths_in_the_folder_are_written_from_there() -> None:
    text = MINIMAL.replace("tracks.json", "/videos/today/in/tracks.json")
    text += '[output]\npath = "/videos/out.mp4"\n'
    written = to_toml(parse(text))
    assert 'tracks = "in/tracks.json"' in written
    assert 'path = "/videos/out.mp4"' in written
    # so that the text means the same files beside the workflow of another machine
    moved = parse(written, Path("/elsewhere"))
    assert moved.stages[0].apply[0].options.tracks == Path("/elsewhere/in/tracks.json")


def test_long_prompts_stay_readable() -> None:
    workflow = parse(MINIMAL.replace('"a red circle"', '"""\na "red"\n  circle"""'))
    assert 'prompt = """\na \\"red\\"\n  circle"""\n' in to_toml(workflow)


# -- fingerprints -----------------------------------------------------------------------------------


def test_fingerprint_is_of_the_content_only() -> None:
    one = parse(MINIMAL)
    other = parse(
        "# the same, written otherwise\n"
        + MINIMAL.replace('"a red', "'a red").replace('circle"', "circle'")
    )
    assert fingerprint(one) == fingerprint(other)
    assert len(fingerprint(one)) == 64
    assert int(fingerprint(one), 16)


def test_fingerprint_changes_with_every_value() -> None:
    base = parse(MINIMAL)
    changed = [
        parse(MINIMAL.replace("red", "blue")),
        parse(MINIMAL + "strength = 1.5\n"),
        parse(MINIMAL + "[memory]\nram = 2000000\n"),
        parse(MINIMAL + "[output]\nfps = 24\n"),
        parse(MINIMAL, Path("/elsewhere")),
        parse(MINIMAL.replace("[model]", "[model]\ndevice = 'cpu'")),
    ]
    assert len({fingerprint(workflow) for workflow in (base, *changed)}) == 7


def test_fingerprint_of_parts() -> None:
    one, other = parse(MINIMAL), parse(MINIMAL + "[output]\nfps = 24\n")
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one.stages[0]) == fingerprint(other.stages[0])
    assert fingerprint(one.models["main"]) == fingerprint(other.models["main"])


def test_equal_numbers_have_equal_fingerprints() -> None:
    (stage,) = parse(MINIMAL).stages
    options = [attrs.evolve(stage.options, guidance=value) for value in (3, 3.0)]
    assert options[0] == options[1]
    assert len({fingerprint(attrs.evolve(stage, options=one)) for one in options}) == 1
    zero = [attrs.evolve(stage.options, guidance=value) for value in (0.0, -0.0)]
    assert len({fingerprint(attrs.evolve(stage, options=one)) for one in zero}) == 1


def test_workflows_travel() -> None:
    workflow = parse(MINIMAL)
    assert pickle.loads(pickle.dumps(workflow)) == workflow
    assert copy.deepcopy(workflow) == workflow
