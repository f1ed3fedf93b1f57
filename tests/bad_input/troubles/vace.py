"""The feature ``vace``: videos, masks and reference pictures that it can't take."""

from __future__ import annotations

from makers import Maker, folder, picture, picture_of, picture_that_claims, video, workflow
from table import Case, Group, Trouble

GIVEN = ["a small VACE family"]
LONG = 'video = "v.mkv"'


def asks(options: str, stage: str = "", **files: Maker) -> dict[str, Maker]:
    """A workflow whose feature has these options, from line 9 on (10 with a line for the stage)."""
    lines = f"{stage}\n" if stage else ""
    text = workflow(f'{lines}[[stages.apply]]\nuse = "vace"\n{options}', family="small-vace")
    return {"w.toml": text, "v.mkv": video(), "p.png": picture, **files}


GROUP = Group(
    "VACE refuses what it is given",
    (
        Trouble(
            "A video, mask or reference can't be read",
            "The feature takes videos for `video`, pictures or videos for `mask`, and pictures for "
            "`references`. They are looked at before a model is loaded.",
            "`wan-core inspect FILE` says what the file is; [the guide](vace.md) shows what goes where.",
            (
                Case("vace-video-missing",
                     "w.toml, line 9, stages.0.apply.0.video, {folder}/no.mp4: there is no such "
                     "file; check the path.",
                     asks('video = "no.mp4"'), given=GIVEN, code=7),
                Case("vace-video-damaged",
                     "w.toml, line 9, stages.0.apply.0.video, {folder}/d.mp4: this is no video "
                     "that can be read ({any}).",
                     asks('video = "d.mp4"', **{"d.mp4": "no video"}), given=GIVEN, code=7),
                Case("vace-video-empty",
                     "w.toml, line 9, stages.0.apply.0.video, {folder}/e.mp4: this file is empty.",
                     asks('video = "e.mp4"', **{"e.mp4": b""}), given=GIVEN, code=7),
                Case("vace-video-folder",
                     "w.toml, line 9, stages.0.apply.0.video, {folder}/f: this folder is no "
                     "sequence of numbered PNG pictures; name the pictures, as in "
                     '"clip/%05d.png".',
                     asks('video = "f"', f=folder), given=GIVEN, code=7),
                Case("vace-mask-is-text",
                     "w.toml, line 11, stages.0.apply.0.mask, {folder}/m.png: this is no video "
                     "that can be read ({any}).",
                     asks(f'{LONG}\nmask = "m.png"', "frames = 1", **{"m.png": "no picture"}),
                     given=GIVEN, code=7),
                Case("vace-reference-is-a-video",
                     "w.toml, line 9, stages.0.apply.0.references.0, {folder}/v.mkv: this is a "
                     "video, not a picture; save it as PNG or JPEG.",
                     asks('references = ["v.mkv"]'), given=GIVEN, code=7),
                Case("vace-reference-missing",
                     "w.toml, line 9, stages.0.apply.0.references.1, {folder}/q.png: there is no "
                     "such file; check the path.",
                     asks('references = ["p.png", "q.png"]'), given=GIVEN, code=7),
                Case("vace-reference-too-large",
                     "w.toml, line 9, stages.0.apply.0.references.1, {folder}/huge.png: pictures "
                     "of 60000x60000 are too large to be read (at most 67108864 pixels).",
                     asks(
                         'references = ["p.png", "huge.png"]',
                         **{"huge.png": picture_that_claims(60000, 60000)},
                     ), given=GIVEN, code=7),
            ),
        ),
        Trouble(
            "A video or mask does not go with what is made",
            "The stage makes a certain number of frames at the family's rate, and a mask is of the video "
            "that it masks.",
            "Take the number of frames that the message names, a longer video, or a mask made from the video.",
            (
                Case("vace-video-too-short",
                     "w.toml, line 9, stages.0.apply.0.video: video has 2 frames at 8 per second, "
                     "the stage makes 5; set frames = 1, or use a longer video.",
                     asks(LONG), given=GIVEN, code=7),
                Case("vace-starts-after-the-end",
                     "w.toml, line 9, stages.0.apply.0.video, {folder}/v.mkv: nothing is left of "
                     "this video of 0.25 seconds from 9 seconds on; begin earlier.",
                     asks(f"{LONG}\nvideo_start = 9"), given=GIVEN, code=7),
                Case("vace-mask-too-short",
                     "w.toml, line 10, stages.0.apply.0.mask, {folder}/v.mkv: the mask has 2 "
                     "frames, the video 5; use a longer mask, or a single picture for all frames.",
                     asks('video = "l.mkv"\nmask = "v.mkv"', **{"l.mkv": video(frames=5)}),
                     given=GIVEN, code=7),
                Case("vace-mask-of-other-proportions",
                     "w.toml, line 11, stages.0.apply.0.mask, {folder}/m.png: the mask is 64x32, "
                     "the video 32x32: their proportions differ; make a mask as large as the video.",
                     asks(f'{LONG}\nmask = "m.png"', "frames = 1", **{"m.png": picture_of(64, 32)}),
                     given=GIVEN, code=7),
                Case("vace-video-of-no-stage",
                     'w.toml, line 9, stages.0.apply.0.video: video refers to "first", but no '
                     "earlier stage has that name; no stage comes before this one.",
                     asks('video = "first.video"'), given=GIVEN),
            ),
        ),
        Trouble(
            "Its options don't go together",
            "A mask says which part of a video is made anew; strengths are numbers from 0 to 10, one for "
            "all steps or one a step; `start` and `end` are shares of the run.",
            "The message says what is allowed; [the reference](../reference/workflow.md) lists every key.",
            (
                Case("vace-mask-alone",
                     "w.toml, line 9, stages.0.apply.0.mask: mask is said of video, and there is "
                     'none; add video = "FILE", or leave mask out.',
                     asks('mask = "p.png"'), given=GIVEN),
                Case("vace-start-alone",
                     "w.toml, line 9, stages.0.apply.0.video_start: video_start is said of video, "
                     'and there is none; add video = "FILE", or leave video_start out.',
                     asks("video_start = 2"), given=GIVEN),
                Case("vace-many-references",
                     "w.toml, line 9, stages.0.apply.0.references: references must be a list of "
                     "at most 8 paths, not a list of 9.",
                     asks("references = [" + ", ".join(9 * ['"p.png"']) + "]"), given=GIVEN),
                Case("vace-reference-no-list",
                     "w.toml, line 9, stages.0.apply.0.references: references must be a list of "
                     'paths, not "p.png".',
                     asks('references = "p.png"'), given=GIVEN),
                Case("vace-reference-empty",
                     "w.toml, line 9, stages.0.apply.0.references.0: references.0 must be a path "
                     'in quotes, not "".',
                     asks('references = [""]'), given=GIVEN),
                Case("vace-strength-11",
                     "w.toml, line 9, stages.0.apply.0.strength: strength must be from 0 to 10, "
                     "not 11.",
                     asks("strength = 11"), given=GIVEN),
                Case("vace-strength-nan",
                     "w.toml, line 9, stages.0.apply.0.strength: strength must be from 0 to 10, "
                     "not nan.",
                     asks("strength = [1, nan]"), given=GIVEN),
                Case("vace-strength-for-every-step",
                     "w.toml, line 9, stages.0.apply.0.strength: strength has 3 numbers for 2 "
                     "steps; give one for each step at most.",
                     asks("strength = [1, 1, 1]"), given=GIVEN),
                Case("vace-ends-before-it-starts",
                     "w.toml, line 9, stages.0.apply.0.start: start 0.6 and end 0.4 leave no part "
                     "of the run; use a start below the end.",
                     asks("start = 0.6\nend = 0.4"), given=GIVEN),
                Case("vace-no-step",
                     "w.toml, line 9, stages.0.apply.0.start: none of the 2 steps begins between "
                     "start 0.6 and end 1 of the run; use a longer part.",
                     asks("start = 0.6"), given=GIVEN),
                Case("vace-option-near",
                     'w.toml, line 9, stages.0.apply.0.reference: the feature "vace" has no '
                     'option "reference"; did you mean "references".',
                     asks('reference = ["p.png"]'), given=GIVEN),
                Case("vace-with-another-family",
                     "w.toml, line 7, stages.0.apply.0: feature vace does not fit family "
                     "tiny-random; it fits wan2.1-vace-1.3b, wan2.1-vace-14b.",
                     {"w.toml": workflow('[[stages.apply]]\nuse = "vace"')}),
            ),
        ),
    ),
)  # fmt: skip
