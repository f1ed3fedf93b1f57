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
            "A video is never put in the place of another unasked, and never in the place of a "
            "folder, a device or a pipe.",
            "Say `--overwrite` or `[output] overwrite = true` if the old video may go, or use a name "
            "that is always new, such as `{name}-{n}.mp4`.",
            (
                Case("output-exists",
                     "w.toml, line 9, output.path: {folder}/clip.mp4 exists already; say overwrite = true "
                     "under [output], or --overwrite, or use a name like {name}-{n}.",
                     {"w.toml": workflow(), "clip.mp4": b"mine"}, code=7),
                Case("output-is-a-folder",
                     "w.toml, line 9, output.path: {folder}/clip.mp4 is a folder; name a file.",
                     {"w.toml": workflow(output="overwrite = true"), "clip.mp4": folder},
                     code=7),
                Case("output-is-a-pipe",
                     "w.toml, line 9, output.path: {folder}/clip.mp4 is no ordinary file; choose another name.",
                     {"w.toml": workflow(output="overwrite = true"), "clip.mp4": pipe},
                     code=7),
                Case("output-is-a-device",
                     "w.toml, line 9, output.path: /dev/null is no ordinary file; choose another name.",
                     to("/dev/null"), code=7),
                Case("output-is-a-device-with-suffix",
                     "w.toml, line 9, output.path: {folder}/clip.mp4 is no ordinary file; choose another name.",
                     {"w.toml": workflow(output="overwrite = true"), "clip.mp4": link("/dev/null")}, code=7),
                Case("output-is-the-workflow",
                     "w.toml, line 9, output.path: a video can't be written as \"w.toml\"; supported are the "
                     "suffixes {any}.",
                     to("w.toml"), code=7),
                Case("output-folder-holds-other-things",
                     "w.toml, line 9, output.path: folder {folder}/frames holds other things than such "
                     'frames: "notes.txt"; give the frames a folder of their own, such as "clip/%05d.png".',
                     {**to("frames/%05d.png"), "frames/notes.txt": "mine"}, code=7),
                Case("output-folder-exists",
                     "w.toml, line 9, output.path: folder {folder}/frames exists already; say overwrite = "
                     "true under [output], or --overwrite, or use a name like {name}-{n}.",
                     {**to("frames/%05d.png"), "frames/00000.png": b"mine"}, code=7),
                Case("output-link-to-itself",
                     "w.toml, line 9, output.path: can't be written (Too many levels of symbolic links).",
                     {"w.toml": workflow(), "clip.mp4": link("clip.mp4")}, code=7),
            ),
        ),
        Trouble(
            "The place can't be written to",
            "A folder is missing permissions, a file stands where a folder should be, or a name is "
            "too long for the disk. Missing folders are made.",
            "Choose another place with `-o`.",
            (
                Case("output-not-writable",
                     "w.toml, line 9, output.path: folder {folder} may not be written to; change its "
                     "permissions or write somewhere else.",
                     {"w.toml": workflow()}, given=["no permission to write"], code=5),
                Case("output-below-a-file",
                     "w.toml, line 9, output.path: {folder}/notes.txt is a file, not a folder.",
                     {**to("notes.txt/clip.mp4"), "notes.txt": "x"}, code=7),
                Case("output-in-proc",
                     "w.toml, line 9, output.path: the disk has 0 kB left, this video is predicted to need "
                     "about 69 kB; free some space or write somewhere else.",
                     to("/proc/clip.mp4"), code=5),
                Case("output-name-too-long",
                     "w.toml, line 9, output.path: can't be written (File name too long).",
                     to("a" * 300 + ".mp4"), code=7),
            ),
        ),
        Trouble(
            "The kind of file",
            "The suffix says which kind of video is written: `.mp4`, `.mkv`, `.webm`, `.gif`, "
            "`.webp`, or single pictures `.png`.",
            "See [what can be written](outputs.md). Pictures need a field for their number: `clip/%05d.png`.",
            (
                Case("suffix-unknown",
                     "w.toml, line 9, output.path: a video can't be written as \"clip.avi\"; supported are the "
                     "suffixes {any}.",
                     to("clip.avi"), code=7),
                Case("suffix-missing",
                     "w.toml, line 9, output.path: a video can't be written as \"clip\"; supported are the "
                     "suffixes {any}.",
                     to("clip"), code=7),
                Case("suffix-of-control-characters",
                     "w.toml, line 9, output.path: path has a control character (U+001B) in it.",
                     to("clip.m\\u001bp4")),
                Case("png-without-a-number",
                     'w.toml, line 9, output.path: .png is written frame by frame, and the name "clip.png" '
                     'has no field for the number of the frame; write it like "clip/%05d.png".',
                     to("clip.png"), code=7),
                Case("png-with-two-numbers",
                     'w.toml, line 9, output.path: .png is written frame by frame, and the name "%05d-%d.png" '
                     "must have one such field, with no digits next to it or after it; write it like "
                     '"clip/%05d.png".',
                     to("clip/%05d-%d.png"), code=7),
                Case("png-in-this-folder",
                     "w.toml, line 9, output.path: {folder} can't become a folder of frames as a whole; give "
                     'the frames a folder of their own, such as "clip/%05d.png".',
                     to("%05d.png"), code=7),
                Case("gif-too-fast",
                     "w.toml, line 9, output.path: 200 frames per second can't be kept in .gif; use 50 at "
                     "most, or another format.",
                     {"w.toml": workflow(output="fps = 200").replace(".mp4", ".gif")}, code=7),
                Case("webp-too-large",
                     "w.toml, line 10, output.path: width 16384 can't be written as .webp; use 16383 at most.",
                     {"w.toml": workflow("width = 16384\\nheight = 64".replace("\\n", "\n")).replace(
                         ".mp4", ".webp")}, code=7),
            ),
        ),
        Trouble(
            "Fields in the name",
            "Braces stand for something: `{seed}`, `{name}`, `{n}` and [others](command-line.md#names).",
            "Correct the field, or double the braces that are meant: `{{`.",
            (
                Case("field-unknown",
                     'w.toml, line 9, output.path: the path has an unknown field "{sead}"; did you mean '
                     '"seed".',
                     to("{sead}.mp4")),
                Case("field-empty",
                     'w.toml, line 9, output.path: the path has an unknown field "{}"; known are: {any}.',
                     to("{}.mp4")),
                Case("field-of-python",
                     'w.toml, line 9, output.path: the path has an unknown field "{name.__class__}"; known '
                     "are: {any}.",
                     to("{name.__class__}.mp4")),
                Case("brace-alone",
                     "w.toml, line 9, output.path: a lone } stands in \"clip}.mp4\"; double it if the file's "
                     "name shall have one.",
                     to("clip}.mp4")),
                Case("brace-open",
                     "w.toml, line 9, output.path: a lone { stands in \"{seed.mp4\"; double it if the file's "
                     "name shall have one.",
                     to("{seed.mp4")),
            ),
        ),
        Trouble(
            "The path after -o",
            "It counts from the folder that you are in, and is one line of text.",
            "Correct it.",
            (
                Case("o-empty",
                     "-o: the path of the video must not be empty.",
                     {"w.toml": workflow()}, ("run", "w.toml", "-o", "")),
                Case("o-line-end",
                     "-o: the path of the video has a line end or a tab in it.",
                     {"w.toml": workflow()}, ("run", "w.toml", "-o", "a\nb.mp4")),
                Case("o-nul",
                     "-o: the path of the video has a control character (U+0000) in it.",
                     {"w.toml": workflow()}, ("run", "w.toml", "-o", "a\0b.mp4")),
                Case("o-escape",
                     "-o: the path of the video has a control character (U+001B) in it.",
                     {"w.toml": workflow()}, ("run", "w.toml", "-o", "a\x1b[31m.mp4")),
                Case("o-unknown-home",
                     '-o: "~nobody-at-all/x.mp4" names a home folder that does not exist.',
                     {"w.toml": workflow()}, "run w.toml -o '~nobody-at-all/x.mp4'"),
                Case("o-unknown-field",
                     '-o: the path has an unknown field "{x}"; known are: {any}.',
                     {"w.toml": workflow()}, "run w.toml -o '{x}.mp4'"),
                Case("o-unknown-suffix",
                     "-o: a video can't be written as \"clip.txt\"; supported are the suffixes {any}.",
                     {"w.toml": workflow()}, "run w.toml -o clip.txt", code=7),
                Case("o-folder",
                     "-o: {folder}/videos is a folder; name a file.",
                     {"w.toml": workflow(), "videos": folder}, "run w.toml -o videos", code=7),
                Case("o-long",
                     "-o: can't be written (File name too long).",
                     {"w.toml": workflow()}, ("run", "w.toml", "-o", "x" * 100_000 + ".mp4"), code=7),
                Case("path-empty",
                     'w.toml, line 9, output.path: path must be a path in quotes, not "".',
                     to("")),
                Case("path-of-two-lines",
                     "w.toml, line 9, output.path: the path of the video has a line end or a tab in it.",
                     to("a\\nb.mp4")),
                Case("path-with-a-tab",
                     "w.toml, line 9, output.path: the path of the video has a line end or a tab in it.",
                     to("a\\tb.mp4")),
                Case("path-number",
                     "w.toml, line 9, output.path: path must be a path in quotes, not 5.",
                     {"w.toml": workflow().replace('"clip.mp4"', "5")}),
            ),
        ),
    ),
)  # fmt: skip
