"""Where the video goes."""

from __future__ import annotations

from makers import folder, link, pipe, workflow
from table import Case, Group, Trouble


def to(path: str) -> dict[str, str]:
    """A workflow that writes there (line 9)."""
    return {"w.toml": workflow().replace('path = "clip.mp4"', f'path = "{path}"')}


GROUP = Group(
    "The video can't be written",
    (
        Trouble(
            "Something is there already",
            "A video is never put in the place of another unasked, and never in the place of a folder, a device or a "
            "pipe.",
            "Say `--overwrite` or `[output] overwrite = true` if the old video may go, or use a name that is always "
            "new, such as `{name}-{n}.mp4`.",
            (
                Case("output-exists", "?", {"w.toml": workflow(), "clip.mp4": b"mine"}, code=7),
                Case("output-is-a-folder", "?", {"w.toml": workflow(output="overwrite = true"), "clip.mp4": folder},
                     code=7),
                Case("output-is-a-pipe", "?", {"w.toml": workflow(output="overwrite = true"), "clip.mp4": pipe},
                     code=7),
                Case("output-is-a-device", "?", to("/dev/null"), code=7),
                Case("output-is-a-device-with-suffix", "?",
                     {"w.toml": workflow(output="overwrite = true"), "clip.mp4": link("/dev/null")}, code=7),
                Case("output-is-the-workflow", "?", to("w.toml"), code=7),
                Case("output-folder-holds-other-things", "?",
                     {**to("frames/%05d.png"), "frames/notes.txt": "mine"}, code=7),
                Case("output-folder-exists", "?",
                     {**to("frames/%05d.png"), "frames/00000.png": b"mine"}, code=7),
                Case("output-link-to-itself", "?", {"w.toml": workflow(), "clip.mp4": link("clip.mp4")}, code=7),
            ),
        ),
        Trouble(
            "The place can't be written to",
            "A folder is missing permissions, a file stands where a folder should be, or a name is too long for the "
            "disk. Missing folders are made.",
            "Choose another place with `-o`.",
            (
                Case("output-not-writable", "?", {"w.toml": workflow()}, given=["no permission to write"], code=5),
                Case("output-below-a-file", "?", {**to("notes.txt/clip.mp4"), "notes.txt": "x"}, code=7),
                Case("output-in-proc", "?", to("/proc/clip.mp4"), code=5),
                Case("output-name-too-long", "?", to("a" * 300 + ".mp4"), code=7),
            ),
        ),
        Trouble(
            "The kind of file",
            "The suffix says which kind of video is written: `.mp4`, `.mkv`, `.webm`, `.gif`, `.webp`, or single "
            "pictures `.png`.",
            "See [what can be written](outputs.md). Pictures need a field for their number: `clip/%05d.png`.",
            (
                Case("suffix-unknown", "?", to("clip.mpg"), code=7),
                Case("suffix-missing", "?", to("clip"), code=7),
                Case("suffix-of-control-characters", "?", to("clip.m\\u001bp4")),
                Case("png-without-a-number", "?", to("clip.png"), code=7),
                Case("png-with-two-numbers", "?", to("clip/%05d-%d.png"), code=7),
                Case("png-in-this-folder", "?", to("%05d.png"), code=7),
                Case("gif-too-fast", "?", {"w.toml": workflow(output="fps = 200").replace(".mp4", ".gif")}, code=7),
                Case("webp-too-large", "?",
                     {"w.toml": workflow("width = 16384\\nheight = 64".replace("\\n", "\n")).replace(
                         ".mp4", ".webp")}, code=7),
            ),
        ),
        Trouble(
            "Fields in the name",
            "Braces stand for something: `{seed}`, `{name}`, `{n}` and [others](command-line.md#names).",
            "Correct the field, or double the braces that are meant: `{{`.",
            (
                Case("field-unknown", "?", to("{sead}.mp4")),
                Case("field-empty", "?", to("{}.mp4")),
                Case("field-of-python", "?", to("{name.__class__}.mp4")),
                Case("brace-alone", "?", to("clip}.mp4")),
                Case("brace-open", "?", to("{seed.mp4")),
            ),
        ),
        Trouble(
            "The path after -o",
            "It counts from the folder that you are in, and is one line of text.",
            "Correct it.",
            (
                Case("o-empty", "?", {"w.toml": workflow()}, ("run", "w.toml", "-o", "")),
                Case("o-line-end", "?", {"w.toml": workflow()}, ("run", "w.toml", "-o", "a\nb.mp4")),
                Case("o-nul", "?", {"w.toml": workflow()}, ("run", "w.toml", "-o", "a\0b.mp4")),
                Case("o-escape", "?", {"w.toml": workflow()}, ("run", "w.toml", "-o", "a\x1b[31m.mp4")),
                Case("o-unknown-home", "?", {"w.toml": workflow()}, "run w.toml -o '~nobody-at-all/x.mp4'"),
                Case("o-unknown-field", "?", {"w.toml": workflow()}, "run w.toml -o '{x}.mp4'"),
                Case("o-unknown-suffix", "?", {"w.toml": workflow()}, "run w.toml -o clip.txt", code=7),
                Case("o-folder", "?", {"w.toml": workflow(), "videos": folder}, "run w.toml -o videos", code=7),
                Case("o-long", "?", {"w.toml": workflow()}, ("run", "w.toml", "-o", "x" * 100_000 + ".mp4"), code=7),
                Case("path-empty", "?", to("")),
                Case("path-number", "?", {"w.toml": workflow().replace('"clip.mp4"', "5")}),
            ),
        ),
    ),
)  # fmt: skip
