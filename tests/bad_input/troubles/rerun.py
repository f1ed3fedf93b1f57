"""``wan-core rerun``: videos that say too little, or nonsense, of themselves."""

from __future__ import annotations

from makers import bundled, picture, record, video, workflow
from media_makers import clip
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
                Case("rerun-missing",
                     "v.mp4: there is no such file; check the path.",
                     run=RUN, code=7),
                Case("rerun-text",
                     "v.mp4: this is no video that can be read (Invalid data found when processing input).",
                     {"v.mp4": "hello " * 99}, RUN, code=7),
                Case("rerun-empty",
                     "v.mp4: this file is empty.",
                     {"v.mp4": b""}, RUN, code=7),
                Case("rerun-workflow",
                     '"w.toml" is a workflow, not a video; say wan-core run "w.toml".',
                     {"w.toml": workflow()}, "rerun w.toml", code=7),
                Case("rerun-weights",
                     "m.safetensors: this is no video that can be read (Invalid data found when processing "
                     "input).",
                     {"m.safetensors": bundled("vae.safetensors")},
                     "rerun m.safetensors", code=7),
                Case("rerun-picture",
                     "p.png: this file does not say how it was made; only videos of wan-core do, unless they "
                     'were made with provenance = "none".',
                     {"p.png": picture}, "rerun p.png", code=7),
                Case("rerun-folder",
                     "frames: this folder is no sequence of numbered PNG pictures; name the pictures, as in "
                     '"clip/%05d.png".',
                     {"frames/notes.txt": "x"}, "rerun frames", code=7),
                Case("rerun-device",
                     "/dev/zero: this is a device or a pipe, not a video.",
                     run="rerun /dev/zero", code=7),
                Case("rerun-nothing",
                     "no video is named, only empty text; name a video.",
                     run=("rerun", ""), code=7),
                Case("rerun-nul",
                     "a\\x00b: there is no such file; check the path.",
                     run=("rerun", "a\0b"), code=7),
                Case("rerun-escape",
                     "a\\x1b[31m.mp4: there is no such file; check the path.",
                     run=("rerun", "a\x1b[31m.mp4"), code=7),
                Case("rerun-long",
                     "{any} can't be read (File name too long).",
                     run=("rerun", "a" * 100_000), code=7),
                Case("rerun-playlist",
                     "v.mp4: this is no video that can be read (Invalid data found when processing input).",
                     {"v.mp4": "#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"}, RUN, code=7),
            ),
        ),
        Trouble(
            "The video does not say how it was made",
            'Videos of wan-core carry their workflow, unless `provenance` said `"hashes"` or '
            '`"none"`; most websites remove it from what is uploaded.',
            "Use the original file, or run the workflow that it was made with.",
            (
                Case("rerun-somebody-elses",
                     "v.mp4: this file does not say how it was made; only videos of wan-core do, unless they "
                     'were made with provenance = "none".',
                     {"v.mp4": video("Made with ffmpeg")}, RUN, code=7),
                Case("rerun-no-comment",
                     "v.mp4: this file does not say how it was made; only videos of wan-core do, unless they "
                     'were made with provenance = "none".',
                     {"v.mp4": video()}, RUN, code=7),
                Case("rerun-hashes",
                     "v.mp4: the video keeps only hashes of its workflow, so it can't be made again from "
                     "itself; run the workflow that it was made with.",
                     {"v.mp4": video(record(workflow=None))}, RUN, code=7),
            ),
        ),
        Trouble(
            "What it says is damaged, or of a newer version",
            "The record inside the video was changed, cut, or written by a later wan-core.",
            "Update wan-core, or run the workflow that it was made with.",
            (
                Case("record-cut",
                     "v.mp4: its record of how it was made is damaged; run the workflow that it was made with.",
                     {"v.mp4": video(record()[:200])}, RUN, code=7),
                Case("record-newer",
                     "v.mp4: its record of how it was made is of format 2, this wan-core knows format 1; "
                     "update wan-core.",
                     {"v.mp4": video(record(format=2))}, RUN, code=7),
                Case("record-format-text",
                     "v.mp4: its record of how it was made is damaged; run the workflow that it was made with.",
                     {"v.mp4": video(record(format="\x1b[31m1"))}, RUN, code=7),
                Case("record-without-name",
                     "v.mp4: its record of how it was made is damaged; run the workflow that it was made with.",
                     {"v.mp4": video(record(name=None))}, RUN, code=7),
                Case("record-of-lists",
                     "v.mp4: its record of how it was made is damaged; run the workflow that it was made with.",
                     {"v.mp4": video(record(weights=[]))}, RUN, code=7),
                Case("record-of-huge-seed",
                     "v.mp4: its record of how it was made is damaged; run the workflow that it was made with.",
                     {"v.mp4": video(record().replace('"generate": 0', '"generate": ' + "9" * 5000))},
                     RUN, code=7),
                Case("record-deep",
                     "v.mp4: its record of how it was made is damaged; run the workflow that it was made with.",
                     {"v.mp4": video('{"made_by": "wan-core 0.1.0", "x": ' + "[" * 50000)}, RUN, code=7),
            ),
        ),
        Trouble(
            "The workflow inside can't be run",
            "It is read like any other workflow, and what is wrong with it is said in the same words.",
            "See above. Its relative paths count from the video's folder; `--folder FOLDER` names another one.",
            (
                Case("record-no-toml",
                     "w.toml, line 1, column 7, hello: this key has no value; write key = value, as in steps "
                     "= 20.",
                     {"v.mp4": video(record("hello world"))}, RUN),
                Case("record-empty-workflow",
                     'w.toml: the file is empty; a workflow begins with "format = 1".',
                     {"v.mp4": video(record(""))}, RUN),
                Case("record-odd-name",
                     "\\x1b[31mred\\nline, line 1, x: this key has no value; write key = value, as in steps = "
                     "20.",
                     {"v.mp4": video(record("x", name="\x1b[31mred\nline"))}, RUN),
                Case("record-weights-not-here",
                     "w.toml, line 4, model.vae: {folder}/own.safetensors does not exist, and there are no "
                     "model folders to look in; correct the path.",
                     {"v.mp4": video(record(workflow(family="tiny-t2v", model='vae = "own.safetensors"')))},
                     RUN, code=3),
                Case("record-plugin-not-here",
                     'w.toml, line 5, stages.0.use: no plugin in use brings the stage "upscale"; is its '
                     "package installed? Try pip install wan-plugin-upscale.",
                     {"v.mp4": video(record(workflow().replace('"generate"', '"upscale"')))}, RUN, code=4),
                Case("record-other-source",
                     'v.mp4: stages.0.video is not the file that "v.mp4" was made with; name the right files, '
                     "or go on with --other-files.",
                     {"v.mp4": video(record(workflow('video = "s.mkv"'), inputs={"stages.0.video": "0" * 64})),
                      "s.mkv": clip(5, 8)}, "rerun v.mp4 -o new.mp4", code=3),
                Case("record-other-weights",
                     "v.mp4: main.transformer, main.text_encoder, main.vae and main.tokenizer are not the "
                     'files that "v.mp4" was made with; name the right files, or go on with --other-files.',
                     {"v.mp4": video(record(workflow(family="tiny-t2v"), weights={
                         "main.vae": "0" * 64, "main.transformer": "0" * 64, "main.text_encoder": "0" * 64}))},
                     RUN, code=3),
                Case("record-of-a-sweep",
                     "w.toml: this is a sweep of 2 runs where one is wanted; give one value instead of each "
                     "list.",
                     {"v.mp4": video(record(workflow("seed = [1, 2]")))}, RUN),
                Case("rerun-folder-missing",
                     '--folder: there is no folder "nowhere"; check the path.',
                     {"v.mp4": video(record())}, "rerun v.mp4 --folder nowhere"),
                Case("rerun-folder-empty",
                     '--folder: there is no folder ""; check the path.',
                     {"v.mp4": video(record())}, ("rerun", "v.mp4", "--folder", "")),
                Case("rerun-folder-nul",
                     '--folder: there is no folder "a\\x00b"; check the path.',
                     {"v.mp4": video(record())}, ("rerun", "v.mp4", "--folder", "a\0b")),
                Case("rerun-folder-long",
                     "--folder: there is no folder {any} check the path.",
                     {"v.mp4": video(record())}, "rerun v.mp4 --folder " + "x" * 9000),
                Case("rerun-onto-itself",
                     "-o: this is the video itself, which is needed to compare the new one with; name another "
                     "file.",
                     {"v.mp4": video(record())}, "rerun v.mp4 -o v.mp4 --overwrite"),
                Case("rerun-exists",
                     "rerun of v.mp4: {folder}/v-rerun.mp4 exists already; say overwrite = true under "
                     "[output], or --overwrite, or use a name like {name}-{n}.",
                     {"v.mp4": video(record()), "v-rerun.mp4": b"mine"}, RUN, code=7),
            ),
        ),
    ),
)  # fmt: skip
