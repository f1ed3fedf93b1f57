"""``wan-core rerun``: videos that say too little, or nonsense, of themselves."""

from __future__ import annotations

from makers import bundled, picture, record, video, workflow
from table import Case, Group, Trouble

RUN = "rerun v.mp4"

GROUP = Group(
    "A video can't be made again",
    (
        Trouble(
            "It is no video",
            "`rerun` takes a video that wan-core has made.",
            "To run a workflow say `wan-core run`.",
            (
                Case("rerun-missing", "?", run=RUN, code=7),
                Case("rerun-text", "?", {"v.mp4": "hello " * 99}, RUN, code=7),
                Case("rerun-empty", "?", {"v.mp4": b""}, RUN, code=7),
                Case("rerun-workflow", "?", {"w.toml": workflow()}, "rerun w.toml", code=7),
                Case("rerun-weights", "?", {"m.safetensors": bundled("vae.safetensors")},
                     "rerun m.safetensors", code=7),
                Case("rerun-picture", "?", {"p.png": picture}, "rerun p.png", code=7),
                Case("rerun-folder", "?", {"frames/notes.txt": "x"}, "rerun frames", code=7),
                Case("rerun-device", "?", run="rerun /dev/zero", code=7),
                Case("rerun-nothing", "?", run=("rerun", ""), code=7),
                Case("rerun-nul", "?", run=("rerun", "a\0b"), code=7),
                Case("rerun-escape", "?", run=("rerun", "a\x1b[31m.mp4"), code=7),
                Case("rerun-long", "?", run=("rerun", "a" * 100_000), code=7),
                Case("rerun-playlist", "?",
                     {"v.mp4": "#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"}, RUN, code=7),
            ),
        ),
        Trouble(
            "The video does not say how it was made",
            "Videos of wan-core carry their workflow, unless `provenance` said `\"hashes\"` or `\"none\"`; most "
            "websites remove it from what is uploaded.",
            "Use the original file, or run the workflow that it was made with.",
            (
                Case("rerun-somebody-elses", "?", {"v.mp4": video("Made with ffmpeg")}, RUN, code=7),
                Case("rerun-no-comment", "?", {"v.mp4": video()}, RUN, code=7),
                Case("rerun-hashes", "?", {"v.mp4": video(record(workflow=None))}, RUN, code=7),
            ),
        ),
        Trouble(
            "What it says is damaged, or of a newer version",
            "The record inside the video was changed, cut, or written by a later wan-core.",
            "Update wan-core, or run the workflow that it was made with.",
            (
                Case("record-cut", "?", {"v.mp4": video(record()[:200])}, RUN, code=7),
                Case("record-newer", "?", {"v.mp4": video(record(format=2))}, RUN, code=7),
                Case("record-format-text", "?", {"v.mp4": video(record(format="\x1b[31m1"))}, RUN, code=7),
                Case("record-without-name", "?", {"v.mp4": video(record(name=None))}, RUN, code=7),
                Case("record-of-lists", "?", {"v.mp4": video(record(weights=[]))}, RUN, code=7),
                Case("record-of-huge-seed", "?",
                     {"v.mp4": video(record().replace('"generate": 0', '"generate": ' + "9" * 5000))}, RUN, code=7),
                Case("record-deep", "?",
                     {"v.mp4": video('{"made_by": "wan-core 0.1.0", "x": ' + "[" * 50000)}, RUN, code=7),
            ),
        ),
        Trouble(
            "The workflow inside can't be run",
            "It is read like any other workflow, and what is wrong with it is said in the same words.",
            "See above. Its relative paths count from the video's folder; `--folder FOLDER` names another one.",
            (
                Case("record-no-toml", "?", {"v.mp4": video(record("hello world"))}, RUN),
                Case("record-empty-workflow", "?", {"v.mp4": video(record(""))}, RUN),
                Case("record-odd-name", "?",
                     {"v.mp4": video(record("x", name="\x1b[31mred\nline"))}, RUN),
                Case("record-weights-not-here", "?",
                     {"v.mp4": video(record(workflow(family="tiny-t2v", model='vae = "own.safetensors"')))},
                     RUN, code=3),
                Case("record-plugin-not-here", "?",
                     {"v.mp4": video(record(workflow().replace('"generate"', '"upscale"')))}, RUN, code=4),
                Case("record-other-weights", "?",
                     {"v.mp4": video(record(workflow(family="tiny-t2v"), weights={
                         "main.vae": "0" * 64, "main.transformer": "0" * 64, "main.text_encoder": "0" * 64}))},
                     RUN, code=3),
                Case("record-of-a-sweep", "?", {"v.mp4": video(record(workflow("seed = [1, 2]")))}, RUN),
                Case("rerun-exists", "?", {"v.mp4": video(record()), "v-rerun.mp4": b"mine"}, RUN, code=7),
            ),
        ),
    ),
)  # fmt: skip
