"""Whatever stands in a workflow, a weight file or a video: never a traceback, never more than one sentence.

Everything goes through the command line, with the real families. ``WAN_CORE_FUZZ=10000`` asks for that many
examples (``make fuzz``); without it they are few, and the same ones each time.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import grammar
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from makers import (
    BYTES,
    MANIFESTS,
    Maker,
    bundled,
    folder,
    gguf,
    header_only,
    index,
    link,
    make,
    manifest,
    pickle_with_code,
    pickled,
    record,
    safetensors,
    video,
    workflow,
)
from media_makers import claimed_png, clip, cut, moving_picture, only_sound, picture, turned
from sentences import check_sentence

import wan_core.engine
import wan_core.media
from wan_core import plugins
from wan_core.cli import main
from wan_core.contract import Quantization
from wan_core.contract.errors import Cancelled
from wan_core.contract.options import unprintable
from wan_core.media import VideoInfo
from wan_core.models.wan.quantising import QuantisedFile, prepare
from wan_core.planning import bundled as shipped
from wan_core.weights import open_weights

TOTAL = int(os.environ.get("WAN_CORE_FUZZ") or 500)
PLANNED = 130
CODES = {2, 3, 4, 5, 7}


def share(percent: int) -> settings:
    """So many of all the examples."""
    return settings(
        max_examples=max(1, TOTAL * percent // 100),
        deadline=None,
        derandomize="WAN_CORE_FUZZ" not in os.environ,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


GIVEN: Mapping[str, Maker] = {
    "p.png": picture(),
    "wide.png": picture(160, 90),
    "one.png": picture(1, 1),
    "narrow.png": picture(1, 3000),
    "huge.png": claimed_png(),
    "cut.png": cut(picture(), 0.5),
    "16-bit.png": picture(mode="I;16"),
    "palette.gif": picture(mode="P", kind="GIF", transparency=0),
    "cmyk.jpg": picture(mode="CMYK", kind="JPEG"),
    "turned.jpg": picture(40, 90, kind="JPEG", exif=turned(6)),
    "m.png": picture(mode="L"),
    "link.png": link("p.png"),
    "v.mkv": clip(9),
    "moving.webp": moving_picture(5, "WEBP"),
    "sound.mkv": only_sound,
    "pictures/1.png": picture(),
    "pictures/2.png": picture(),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with some files to name, as the current one; planned reruns are not run."""
    path = tmp_path_factory.mktemp("fuzz")
    make(
        path,
        {
            "own.safetensors": bundled("vae.safetensors"),
            "cut.safetensors": bundled("vae.safetensors", keep=5000),
            "clip.safetensors": manifest("clip-vit-h-14-visual"),
            "lora.safetensors": safetensors({"a.lora_A.weight": [4, 8], "a.lora_B.weight": [8, 4]}),
            "q.safetensors": safetensors(
                {
                    "blocks.0.self_attn.q.lora_A.weight": [4, 192],
                    "blocks.0.self_attn.q.lora_B.weight": [192, 4],
                }
            ),
            "code.pth": pickle_with_code,
            "vae.gguf": gguf({"decoder.conv1.weight": [8, 8]}),
            "m.safetensors.index.json": index({"a": "../own.safetensors"}),
            "wan-transformer.safetensors": manifest("wan2.1-t2v-1.3b"),
            "wan-text_encoder.safetensors": manifest("umt5-xxl-encoder"),
            "wan-vae.safetensors": manifest("wan2.1-vae"),
            "t.json": bundled("tokenizer.json"),
            "text.txt": "hello",
            "there.mp4": b"mine",
            "folder": folder,
            **GIVEN,
        },
    )
    found = list(plugins.installed_entry_points())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        # what is installed does not change between examples, and looking takes longer than all the rest
        patch.setattr(plugins, "installed_entry_points", lambda: iter(found))
        patch.setattr(wan_core.engine, "Session", planned)
        yield path


def planned(**_: object) -> object:
    """In the place of a session."""
    raise Cancelled("planned")


def call(*arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command, which must have been tidy."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    said = err.getvalue()
    assert not unprintable(out.getvalue()), repr(out.getvalue())
    assert not unprintable(said), repr(said)
    if code == 0:
        assert all(line.startswith("warning: ") for line in said.splitlines()), said
        assert out.getvalue()
    elif code != PLANNED:
        assert code in CODES, (code, said)
        check_sentence(said)
    return code, out.getvalue(), said


# -- workflows ----------------------------------------------------------------------------------


@share(25)
@given(grammar.documents(), grammar.arguments)
def test_workflows(place: Path, text: str, arguments: list[str]) -> None:
    (place / "w.toml").write_text(text, encoding="utf-8")
    code, out, _ = call("plan", "w.toml", *arguments)
    if code == 0 and not arguments:
        # what a plan prints is a workflow, and resolves to itself; of a sweep it is the first run
        (place / "again.toml").write_text(out, encoding="utf-8")
        again, printed, said = call("plan", "again.toml")
        assert again == 0, said
        if "# Sweep" not in out and "{" not in text:
            assert printed.partition("\n# ")[0] == out.partition("\n# ")[0]


@share(10)
@given(st.data())
def test_damaged_texts(place: Path, data: st.DataObject) -> None:
    text = data.draw(grammar.documents())
    (place / "w.toml").write_bytes(data.draw(grammar.damaged(text.encode())))
    call("plan", "w.toml")


@share(5)
@given(grammar.documents(), grammar.budgets, grammar.arguments)
def test_budgets(place: Path, text: str, budgets: str, arguments: list[str]) -> None:
    (place / "w.toml").write_text(text, encoding="utf-8")
    code, out, _ = call("plan", "w.toml", f"--vram={budgets}", *arguments)
    if code == 0 and "--json" not in arguments:
        assert len(out.splitlines()) > len(budgets.split(","))


# -- what videos say of themselves ----------------------------------------------------------------

junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


@st.composite
def comments(draw: st.DrawFn) -> str:
    """A record with some of it replaced, or its text damaged."""
    fields: dict[str, Any] = json.loads(record(draw(grammar.documents())))
    for key in draw(st.lists(st.sampled_from(sorted(fields)), max_size=2, unique=True)):
        inner = fields[key]
        if isinstance(inner, dict) and draw(st.booleans()):
            inner[draw(st.sampled_from(("main.vae", "generate", "\x1b")))] = draw(junk)
        elif draw(st.booleans()):
            fields[key] = draw(junk)
        else:
            fields.pop(key)
    text = json.dumps(fields)
    if draw(st.booleans()):
        return draw(grammar.damaged(text.encode())).decode("utf-8", "replace")
    return text


@share(10)
@given(comments(), grammar.arguments)
def test_records(place: Path, comment: str, arguments: list[str]) -> None:
    (place / "v.mp4").touch()
    info = VideoInfo(32, 32, 2, wan_core.media.exact_rate(8), 0.25, comment)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wan_core.media, "probe", lambda _: info)
        call("rerun", "v.mp4", *[one for one in arguments if one != "--json"])


KINDS_OF_VIDEO = ("v.mp4", "v.mkv", "v.webm", "v.gif", "v.webp", "v/%d.png")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """A video of each kind (of pictures the first), as bytes."""
    path = tmp_path_factory.mktemp("videos")
    make(path, {name: video(record()) for name in KINDS_OF_VIDEO})
    return {name: (path / name.replace("%d", "0")).read_bytes() for name in KINDS_OF_VIDEO}


@share(10)
@given(st.data(), st.sampled_from(KINDS_OF_VIDEO))
def test_damaged_videos(
    place: Path, videos: Mapping[str, bytes], data: st.DataObject, kind: str
) -> None:
    make(place, {"d.mp4": data.draw(grammar.damaged(videos[kind]))})
    call("inspect", "d.mp4")
    call("rerun", "d.mp4", "-o", "again.mp4")


# -- runs that did not finish ---------------------------------------------------------------------


@st.composite
def cards(draw: st.DrawFn, workflow: str) -> bytes:
    """What a run says of itself with some of it replaced, or its text damaged."""
    arguments = draw(st.sampled_from(grammar.COMMAND_LINES))
    fields: dict[str, Any] = {
        "format": 1,
        "workflow": "w.toml",
        "folder": str(Path(workflow).parent),
        "label": draw(st.sampled_from(("", "", "seed 7", "\x1b[31m"))),
        "arguments": [one.replace("{w}", workflow) for one in arguments],
        "plan": "0" * 64,
        "facts": {"stages.0.seed": "1", "version of torch": "2.1"},
        "outputs": draw(st.sampled_from(([], [], ["/a.mp4"]))),
    }
    for key in draw(st.lists(st.sampled_from(sorted(fields)), max_size=2, unique=True)):
        if draw(st.booleans()):
            fields[key] = draw(junk)
    text = json.dumps(fields).encode()
    return draw(grammar.damaged(text)) if draw(st.booleans()) else text


@share(5)
@given(st.data(), st.sampled_from(grammar.RUN_NAMES), st.booleans())
def test_unfinished_runs(place: Path, data: st.DataObject, name: str, whole: bool) -> None:
    with (
        tempfile.TemporaryDirectory(dir=place) as cache,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("WAN_CORE_CACHE", cache)
        (place / "w.toml").write_text(workflow(family="tiny-t2v"))
        run = Path(cache, "runs", name)
        run.mkdir(parents=True)
        (run / "run.json").write_bytes(data.draw(cards(str(place / "w.toml"))))
        make(run, {"state": safetensors({"latents.video": [1, 2]}, "F32")})
        state = (run / "state").read_bytes()
        for file in ("generate.0-0.safetensors", "generate.safetensors"):
            if data.draw(st.booleans()):
                (run / file).write_bytes(state if whole else data.draw(grammar.damaged(state)))
        call("runs")
        call("runs", "--json")
        call("runs", "decode", name, "-o", "x.mp4")
        call("run", "--resume", "-o", "x.mp4")
        call("run", "w.toml", "--resume", "-o", "x.mp4")


# -- pictures and videos to start from --------------------------------------------------------------

KINDS_OF_PICTURE = ("a.png", "a.gif", "a.webp", "a.bmp", "a.tif", "a.ppm", "a.jpg", "turned.jpg")
USES = {
    "image": ("tiny-i2v", ""),
    "continues": ("tiny-i2v", ""),
    "video": ("tiny-t2v", ""),
    "mask": ("tiny-t2v", 'video = "v.mkv"'),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """A picture of each kind, as bytes."""
    path = tmp_path_factory.mktemp("pictures")
    kinds = {"jpg": "JPEG", "tif": "TIFF"}
    for name in KINDS_OF_PICTURE:
        ending = name[-3:]
        kind = kinds.get(ending) or name[2:].upper()
        how = {"exif": turned(6)} if name == "turned.jpg" else {}
        make(path, {name: picture(24, 16, kind=kind, **how)})
    return {name: (path / name).read_bytes() for name in KINDS_OF_PICTURE}


@share(10)
@given(st.data(), st.sampled_from(sorted(USES)))
def test_damaged_sources(
    place: Path,
    pictures: Mapping[str, bytes],
    videos: Mapping[str, bytes],
    data: st.DataObject,
    use: str,
) -> None:
    whole = {**pictures, **videos}
    make(
        place,
        {"d.bin": data.draw(grammar.damaged(whole[data.draw(st.sampled_from(sorted(whole)))]))},
    )
    family, more = USES[use]
    (place / "w.toml").write_text(workflow(f'{use} = "d.bin"\n{more}', family=family))
    call("plan", "w.toml")


# -- weight files ---------------------------------------------------------------------------------

SLOTS = {
    "transformer": "wan2.1-t2v-1.3b",
    "text_encoder": "tiny-t2v",
    "vae": "tiny-t2v",
    "tokenizer": "tiny-t2v",
}
KINDS = (
    *("wan2.1-t2v-1.3b", "wan2.1-vae", "wan2.1-vae.diffusers", "wan2.2-vae", "umt5-xxl-encoder"),
    *("umt5-xxl-encoder.hf", "clip-vit-h-14-visual", "wan2.1-vace-1.3b", "humo-17b", "unilumos-1.3b"),
)  # fmt: skip


def known_shapes(kind: str) -> Mapping[str, list[int]]:
    found: Mapping[str, list[int]] = json.loads(
        gzip.decompress((MANIFESTS / f"{kind}.json.gz").read_bytes())
    )
    return found


SHAPES = {kind: known_shapes(kind) for kind in KINDS}
PREFIXES = ("", "model.diffusion_model.", "diffusion_model.", "module.", "vae.", "\x1b[31m")
SUFFIXES = ("", "", ".lora_A.weight", ".lora_down.weight", ".alpha", ".scale_weight", "\n", ".0")
LARGEST = 2**34  # values; no disk has to hold them, but the number has to be one of a file
sizes = st.sampled_from((0, 1, 2, 3, 4, 12, 16, 48, 128, 1536, 4096))


@st.composite
def shapes(draw: st.DrawFn) -> dict[str, list[int]]:
    """Some of a real checkpoint's tensors, with names and sizes changed here and there."""
    real = SHAPES[draw(st.sampled_from(KINDS))]
    names = list(real)
    if draw(st.integers(0, 3)):
        kept = draw(st.sets(st.integers(0, len(names) - 1), max_size=30))
        names = [names[place] for place in sorted(kept)]
    found = {name: list(real[name]) for name in names}
    prefix = draw(st.sampled_from(PREFIXES))
    for _ in range(draw(st.integers(0, 4)) if found else 0):
        name = draw(st.sampled_from(names))
        if name in found:
            shape = draw(st.lists(sizes, max_size=6)) if draw(st.booleans()) else found[name]
            if prod(shape) < LARGEST:
                found.pop(name)
                found[name + draw(st.sampled_from(SUFFIXES))] = shape
    return {prefix + name: shape for name, shape in found.items()}


def look(name: str, slot: str) -> None:
    """Inspect a file, and plan with it in a slot."""
    call("inspect", name)
    Path("w.toml").write_text(workflow(family=SLOTS[slot], model=f'{slot} = "{name}"'))
    call("plan", "w.toml")


@share(10)
@given(shapes(), st.sampled_from(sorted(SLOTS)), st.sampled_from(("BF16", "F32", "U8", "gguf")))
def test_odd_weights(place: Path, held: dict[str, list[int]], slot: str, kind: str) -> None:
    maker = gguf(held) if kind == "gguf" else safetensors(held, kind)
    make(place, {"odd": maker})
    look("odd", slot)


@share(10)
@given(st.data(), st.sampled_from(sorted(SLOTS)))
def test_damaged_weights(place: Path, data: st.DataObject, slot: str) -> None:
    kind = data.draw(st.sampled_from(("safetensors", "header", "gguf", "pickle", "tokenizer")))
    small = {"decoder.conv1.weight": [2, 2], "blocks.0.self_attn.q.weight": [2, 2]}
    makers = {
        "safetensors": safetensors(small, note="hello"),
        "gguf": gguf(small),
        "pickle": pickled(lambda: {"a": __import__("torch").zeros(2)}),
        "tokenizer": bundled("tokenizer.json", keep=2000),
        "header": "",
    }
    make(place, {"whole": makers[kind]})
    whole = (place / "whole").read_bytes()
    if kind == "header":
        entry = {
            "dtype": data.draw(junk),
            "shape": data.draw(junk),
            "data_offsets": data.draw(junk),
        }
        entries = {"a": data.draw(junk | st.just(entry)), "__metadata__": data.draw(junk)}
        make(place, {"damaged": header_only(json.dumps(entries), data.draw(st.integers(0, 40)))})
    else:
        make(place, {"damaged": data.draw(grammar.damaged(whole))})
    look("damaged", slot)


ENTRY = {"version": 1, "writer": "x", "dtype": "int4", "scale": "group", "group": 64,
         "nibbles": "low_first", "keep": [], "loras": []}  # fmt: skip


@share(10)
@given(st.data(), st.booleans())
def test_our_own_quantised_files(place: Path, data: st.DataObject, beside: bool) -> None:
    """The bundled transformer in int4, with some of its header forged; with and without a LoRA."""
    file = in_int4()
    metadata = dict(file.metadata)
    infos: dict[str, Any] = {n: (one.dtype, one.shape) for n, one in file.infos.items()}
    for name in data.draw(st.lists(st.sampled_from(sorted(infos)), max_size=3, unique=True)):
        dtype, shape = infos.pop(name)
        if data.draw(st.integers(0, 3)):
            name += data.draw(st.sampled_from(("", "", "_scale", "_scale_2", "\x1b[2J")))
            dtype = data.draw(st.just(dtype) | st.sampled_from(sorted(BYTES)))
            infos[name] = [dtype, data.draw(st.just(shape) | st.lists(sizes, max_size=3))]
    entry: dict[str, Any] = dict(ENTRY)
    for key in data.draw(st.lists(st.sampled_from(sorted(ENTRY)), max_size=2, unique=True)):
        entry[key] = data.draw(junk | st.sampled_from(("int8", "fp8_e4m3fn", 2, 32, True)))
    text = data.draw(st.just(json.dumps(entry)) | junk.map(json.dumps) | st.text(max_size=9))
    header: dict[str, Any] = {"__metadata__": {**metadata, "wan_core.quantised": text}}
    end = 0
    for name, (dtype, shape) in infos.items():
        begin, end = end, end + BYTES[dtype] * prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    if end > LARGEST:
        return
    make(place, {"forged.safetensors": header_only(json.dumps(header), end)})
    call("inspect", "forged.safetensors")
    more = '\nloras = [{ file = "q.safetensors" }]' * beside
    model = f'transformer = "forged.safetensors"{more}'
    (place / "w.toml").write_text(workflow(family="tiny-t2v", model=model))
    call("plan", "w.toml")
    call("quantize", "forged.safetensors", "forged.gguf", "--dtype=int8")


@cache
def in_int4() -> QuantisedFile:
    """What ``wan-core quantize --dtype int4`` would make of the bundled transformer."""
    return prepare(open_weights(shipped("tiny/t2v.safetensors")), Quantization("int4"), writer="x")


@share(5)
@given(
    st.dictionaries(st.text(max_size=5), st.sampled_from(("own.safetensors", "cut.safetensors")) | junk)
    | junk,
    junk,
)  # fmt: skip
def test_indexes(place: Path, weight_map: Any, metadata: Any) -> None:
    text = json.dumps({"weight_map": weight_map, "metadata": metadata})
    make(place, {"x.safetensors.index.json": text})
    look("x.safetensors.index.json", "vae")
