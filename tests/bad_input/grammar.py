"""Workflows as hypothesis makes them: every real key, with values that are good, bad and hostile."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

JUNK = (
    *("1", "-1", "0", "0.5", "nan", "inf", "-inf", "1e999", "true", "false", '""', "[]", "{}", "[[]]"),
    *('"x"', '"~"', '"~nobody-at-all/x"', '"a\\u0000b"', '"a\\u001b[31m"', '"a\\nb"', '"\\u202e"', '"\\ud7ff"'),
    *("9" * 40, "9" * 5000, "[1, 'a', {}]", "{x = 1}", "1979-05-27", "'''\n'''", "hello", "[nan, 1]"),
    *('"' + "x" * 11_000 + '"', '"../../x"', '"/dev/zero"', '"/proc/self/mem"', '"."', '"/"', '"a.video"'),
)  # fmt: skip
FILES = (
    *('"own.safetensors"', '"clip.safetensors"', '"cut.safetensors"', '"lora.safetensors"', '"code.pth"'),
    *('"vae.gguf"', '"m.safetensors.index.json"', '"folder"', '"text.txt"', '"missing.safetensors"'),
    *('"../own.safetensors"', '{ high = "own.safetensors", low = "own.safetensors" }', '{ high = "x" }'),
)  # fmt: skip
GIVEN = (
    *('"p.png"', '"v.mkv"', '"m.png"', '"wide.png"', '"cut.png"', '"16-bit.png"', '"palette.gif"'),
    *('"cmyk.jpg"', '"turned.jpg"', '"moving.webp"', '"sound.mkv"', '"pictures"', '"pictures/%d.png"'),
    *('"one.png"', '"narrow.png"', '"huge.png"', '"text.txt"', '"missing.png"', '"folder"', '"there.mp4"'),
    *('"own.safetensors"', '"link.png"', '"generate.video"', '"a.video"', '"a.audio"', '"pictures/1.png"'),
    *('"https://example.org/a.png"', '"../p.png"', '["p.png", "v.mkv"]', '"%s.png"', '"%d%d.png"'),
)  # fmt: skip
STARTS = (
    'image = "p.png"',
    'image = "wide.png"',
    'continues = "v.mkv"',
    'continues = "generate.video"',
)
VIDEOS = ('"v.mkv"', '"generate.video"', '"pictures"', '"moving.webp"', *GIVEN)
SLOTS = ("transformer", "vae", "text_encoder", "tokenizer")
MODEL = {
    "family": ('"tiny-random"', '"tiny-t2v"', '"tiny-i2v"', '"wan2.1-t2v-1.3b"', '"tiny-t2w"'),
    "transformer": FILES,
    "vae": FILES,
    "text_encoder": FILES,
    "image_encoder": FILES,
    "tokenizer": ('"t.json"', '"text.txt"', '"folder"', '"missing.json"'),
    "precision": ('"auto"', '"float32"', '"bfloat16"', '"float16"', '"fp8"'),
    "device": ('"auto"', '"cpu"', '"cuda"', '"cuda:99"', '"gpu"'),
    "attention": ('"sdpa"', '"sage"'),
    "compile": ("true", "false", '"auto"'),
    "quantization": (
        *(
            "{}",
            '{ dtype = "int8" }',
            '{ dtype = "int4", keep = ["blocks.0.*"] }',
            '{ products = "fp8" }',
        ),
        *(
            '{ dtype = "fp8_e5m2", scale = "tensor" }',
            '{ dtype = "int2" }',
            "{ keep = [] }",
            "{ x = 1 }",
        ),
    ),
    "loras": (
        *(
            '[{ file = "lora.safetensors" }]',
            '[{ file = "own.safetensors", strength = 0 }]',
            '[{ file = "own.safetensors", merge = false, strength = [1, 0] }]',
            "[{}]",
            "[1]",
        ),
        *('[{ file = "cut.safetensors", blocks = "0-" }]', '[{ file = "code.pth", skip = ["a"] }]'),
        '[{ file = "lora.safetensors", unmatched = "skip", blocks = { "0-9" = 1e300 } }]',
    ),
}
STAGE = {
    "loras": (
        *('[{ file = "lora.safetensors", strength = [1, 0.5] }]', '[{ file = "own.safetensors" }]', "3"),
        '[{ file = "lora.safetensors", merge = true }]',
    ),
    "name": ('"a"', '"b"', '"generate"', '"../a"'),
    "model": ('"main"', '"other"'),
    "prompt": ('"a red circle"', '["a", "b"]', '"{seed}"', '"{{"'),
    "negative_prompt": ('"bad"', '""'),
    "image": GIVEN,
    "last_image": GIVEN,
    "continues": VIDEOS,
    "overlap": ("1", "5", "9", "4", "1000", "1001"),
    "video": VIDEOS,
    "video_start": ("0", "0.1", "0.5", "3", "1e6", "1e-300"),
    "strength": ("0.5", "1", "0.01", "0.001"),
    "mask": ('"m.png"', '"v.mkv"', *GIVEN),
    "width": ("32", "64", "100", "16384", "16"),
    "height": ("32", "64", "90", "16384", "16"),
    "frames": ("5", "9", "80", "1", "99997"),
    "steps": ("1", "2", "1000"),
    "seed": ("0", "7", "[1, 2]", "9223372036854775807", "9223372036854775808"),
    "guidance": (
        *("1", "4.5", "[3, 4]", "{ scale = 5 }", "{ high = 3, low = 4 }", "{ scale = [1, 2] }"),
        *("{ scale = 5, zero_steps = 2 }", "{ scale = 3, zero_star = true, fresca = { high = 1.2 } }"),
    ),
    "shift": ("3", "0.01", "100"),
    "solver": ('"unipc"', '"euler"', '"dpm++_sde"', '"lcm"', '"flowmatch_distill"', '"unipcc"', '"rcm"'),
    "sigmas": ("[1, 0.5, 0]", "[1, 0]", "[0.5, 1, 0]", "[1, 1]"),
    "start_step": ("0", "1", "999"),
    "end_step": ("1", "2", "1000"),
    "post": ('["upscale"]',),
    "apply": ('[{ use = "ati", tracks = "t" }]', "[{}]"),
}  # fmt: skip
BOUNDS = (
    '"12GiB"',
    '"auto"',
    '"1MiB"',
    '"1PiB"',
    '"80%"',
    "0.5",
    "1e-300",
    '"0%"',
    '"1B"',
    "1.0",
    "1",
)
BLOCKS = ("1", "0", "2", "7", "8", "30", "31", "1000", "1001", '"auto"', '"all"')
MEMORY = {
    "vram": BOUNDS,
    "ram": BOUNDS,
    "blocks_to_swap": BLOCKS,
    "prefetch_blocks": BLOCKS,
    "offload_txt_emb": ("false", "true", '"auto"'),
    "offload_img_emb": ("false", "true", "0"),
    "block_swap_debug": ("false", "true", '"yes"'),
}
OUTPUT = {
    "path": (
        *('"new.mp4"', '"there.mp4"', '"{name}-{seed}.mp4"', '"{n}.webm"', '"{prompt}.gif"', '"f/%05d.png"'),
        *('"{x}.mp4"', '"{.mp4"', '"%d%d.png"', '"folder"', '"clip"', '"a/b/c.mkv"', '"../up.webp"'),
        *('"%s.png"', '"{guidance}.mp4"', '"{sigmas}.mp4"', '"{date}{time}{n}.mp4"', '"~/x.mp4"'),
        *('"text.txt/x.mp4"', '"a\\nb.mp4"', '"a\\u202eb.mp4"'),
    ),
    "fps": ("24", "23.976", "240", "0", "1e9"),
    "stage": ('"generate"', '"a"'),
    "overwrite": ("true", "false"),
    "provenance": ('"full"', '"hashes"', '"none"', '"some"'),
}  # fmt: skip
TABLES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "[model]": MODEL,
    "[models.main]": MODEL,
    "[models.other]": MODEL,
    "[[stages]]": STAGE,
    "[memory]": MEMORY,
    "[output]": OUTPUT,
    "[stages]": STAGE,
    "[unknown]": {"x": ("1",)},
}
ODD_KEYS = ("sed", '"a\\u0007"', "x" * 200, "''", "a.b.c", "family", "use", "0")


def once_in(count: int) -> st.SearchStrategy[bool]:
    """True about once in so many draws (hypothesis likes the ends of ranges too much for that)."""
    return st.sampled_from((*(False,) * (count - 1), True))


@st.composite
def table(draw: st.DrawFn, head: str, first: Sequence[str] = ()) -> str:
    """A table with ``first`` and up to four keys more, few of them wrong."""
    keys = TABLES[head]
    lines = [head, *first]
    taken = {line.partition(" ")[0] for line in first}
    for key in draw(st.lists(st.sampled_from(sorted(keys)), max_size=4, unique=True)):
        # a file in a slot mostly ends the matter; those that are not named are good
        if key in taken or (key in SLOTS and draw(st.booleans())):
            continue
        values = JUNK if draw(once_in(12)) else keys[key]
        # the good ones come first
        values = values if draw(once_in(3)) else values[:2]
        lines.append(f"{key} = {draw(st.sampled_from(values))}")
    if draw(once_in(30)):
        lines.append(f"{draw(st.sampled_from(ODD_KEYS))} = {draw(st.sampled_from(JUNK))}")
    return "\n".join(lines)


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A workflow, mostly with all that one needs."""
    family = draw(
        st.sampled_from(('"tiny-i2v"', '"tiny-random"', '"tiny-t2v"', '"wan2.1-t2v-1.3b"'))
    )
    parts = ["format = 1"]
    if draw(once_in(20)):
        parts = [
            draw(st.sampled_from(("format = 2", "", "format = true", "format = 1\nformat = 1")))
        ]
    lines = [f"family = {family}"]
    if "wan2.1" in family and not draw(once_in(4)):
        lines += [f'{slot} = "wan-{slot}.safetensors"' for slot in SLOTS[:3]] + [
            'tokenizer = "t.json"'
        ]
    parts.append(draw(table("[model]", lines)))
    stage = ['use = "generate"', 'prompt = "a red circle"']
    for _ in range(draw(st.sampled_from((1, 1, 1, 1, 2, 2, 0)))):
        # what this family needs, and now and then what the others don't take
        shown = draw(once_in(8)) != ("i2v" in family)
        start = [draw(st.sampled_from(STARTS))] if shown else []
        parts.append(draw(table("[[stages]]", [*stage, *start])))
    if draw(st.booleans()):
        parts.append(draw(table("[output]")))
    if draw(st.booleans()):
        parts.append(draw(table("[memory]")))
    if draw(once_in(10)):
        parts.append(draw(table(draw(st.sampled_from(sorted(TABLES))))))
    return "\n".join(parts) + "\n"


amounts = st.sampled_from((
    *("8GiB", "12GiB", "24 GiB", "0.6GiB", "1MiB", "1PiB", "2PiB", "1B", "8", "", "auto", "80%", "0.5"),
    *("-8GiB", "nan", "8GiB\n", "\x1b[31m", "9" * 5000 + "GiB", "8gib", "8GiB;", "\uff18GiB", "800000001B"),
))  # fmt: skip
budgets = st.lists(amounts, min_size=1, max_size=4).map(",".join) | st.just(",".join(["8GiB"] * 40))

COMMAND_LINES = (
    *(["w.toml"], ["{w}"], ["{w}"], ["{w}", "-s", "stages.0.seed=7"], ["{w}", "-o", "x.mp4"], ["/dev/zero"]),
    *([], ["--help"], ["--resume"], ["--debug", "x"], ["-s"], ["{w}", "--without", "ati"]),
    *(["{w}", "--untrusted"], ["{w}", "--device", "gpu"], ["--\u202e"], ["{w}", "-o", "x" * 9000]),
    *(["x", "y", "z"], ["."]),
)  # fmt: skip
RUN_NAMES = (
    *("20260131-235959-abc", "20260131-235958-x_1", "abc", "20260131-235959-", "20260131-235959-\x1b[31m"),
    *("20260131-235959-a\nb", "20260131-235959-\u00e9", "\u202e"),
)  # fmt: skip

PATHS = (
    *("stages.0.seed", "stages.generate.steps", "stages.a.seed", "model.vae", "models.main.family"),
    *("stages.9.seed", "seed", "stages", "model", "memory.ram", "stages.0.apply.0.use", "format"),
    *("a b", "", "x.y.z", "output.path"),
)  # fmt: skip
arguments = st.lists(
    st.one_of(
        st.builds(lambda k, v: ["-s", f"{k}={v}"], st.sampled_from(PATHS), st.sampled_from(JUNK)),
        st.sampled_from(["1,2", "7", "x", "1,1", "[]", '"a"']).map(lambda v: ["-s", f"stages.0.seed={v}"]),
        st.text(max_size=9).map(lambda text: ["-s", text]),
        st.sampled_from(OUTPUT["path"]).map(lambda v: ["-o", json.loads(v)]),
        st.sampled_from(["", "a\nb", "a\0b", "x" * 9000, "~nobody-at-all/x"]).map(lambda v: ["-o", v]),
        st.sampled_from(["cpu", "auto", "gpu", "cuda:7", "\x1b"]).map(lambda v: ["--device", v]),
        st.sampled_from([["--untrusted"], ["--overwrite"], ["--json"], ["--without", "ati"], ["--nonsense"]]),
    ),
    max_size=2,
).map(lambda lists: [one for part in lists for one in part])  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """The same with bytes flipped, lines dropped, doubled or exchanged, its end cut off, or more put in."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        lines = data.split(b"\n")
        line = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(("flip", "insert", "cut", "drop", "double", "exchange"))):
            case "flip":
                data = data[:at] + bytes([draw(st.integers(0, 255))]) + data[at + 1 :]
            case "insert":
                data = data[:at] + draw(st.binary(min_size=1, max_size=4)) + data[at:]
            case "cut":
                data = data[:at]
            case "drop":
                data = b"\n".join(lines[:line] + lines[line + 1 :])
            case "double":
                data = b"\n".join([*lines[:line], lines[line], *lines[line:]])
            case _:
                data = b"\n".join(lines[line:] + lines[:line])
    return data
