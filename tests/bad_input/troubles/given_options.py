"""What is given, beside other options and what other stages make."""

from __future__ import annotations

from makers import link
from media_makers import I2V, T2V, WAN21, clip, given, next_stage, picture, published
from table import Case, Trouble

TROUBLES = (
    Trouble(
        "What is given does not go together",
        "Families take different things, and some options only say more of another one.",
        "`wan-core models NAME` says what a family takes; [Pictures and videos](pictures-and-videos.md) "
        "says what the options are for.",
        (
            Case("needs-a-picture",
                 'w.toml, line 5, stages.0.use: family tiny-i2v needs image; add image = "FILE".',
                 given(I2V)),
            Case("last-picture-alone",
                 'w.toml, line 5, stages.0.use: family tiny-i2v needs image; add image = "FILE".',
                 given(I2V, 'last_image = "p.png"', p__png=picture())),
            Case("video-without-picture",
                 'w.toml, line 5, stages.0.use: family tiny-i2v needs image; add image = "FILE".',
                 given(I2V, 'video = "v.mkv"', v__mkv=clip(33))),
            Case("picture-for-t2v",
                 "w.toml, line 7, stages.0.image: family tiny-t2v takes no image; choose an "
                 "image-to-video family (wan-core models lists them).",
                 given(T2V, 'image = "p.png"', p__png=picture())),
            Case("going-on-for-t2v",
                 "w.toml, line 7, stages.0.continues: family tiny-t2v takes no continues; choose an "
                 "image-to-video family (wan-core models lists them).",
                 given(T2V, 'continues = "v.mkv"', v__mkv=clip(33))),
            Case("going-on-for-flf2v",
                 "w.toml, line 12, stages.0.continues: family wan2.1-flf2v-14b takes no continues; of "
                 "these it takes image, last_image.",
                 published("wan2.1-flf2v-14b", WAN21 | {"transformer": "wan2.1-flf2v-14b"},
                  'continues = "p.png"')),
            Case("flf2v-without-last",
                 "w.toml, line 10, stages.0.use: family wan2.1-flf2v-14b needs last_image; add "
                 'last_image = "FILE".',
                 published("wan2.1-flf2v-14b", WAN21 | {"transformer": "wan2.1-flf2v-14b"})),
            Case("two-beginnings",
                 "w.toml, line 8, stages.0.continues: image and continues both say how the video begins; "
                 "leave one of them out.",
                 given(I2V, 'image = "p.png"', 'continues = "v.mkv"', p__png=picture(), v__mkv=clip(33))),
            Case("mask-of-nothing",
                 "w.toml, line 7, stages.0.mask: mask is said of video, and there is none; add video = "
                 '"FILE", or leave mask out.',
                 given(T2V, 'mask = "m.png"', m__png=picture())),
            Case("strength-of-nothing",
                 "w.toml, line 7, stages.0.strength: strength is said of video, and there is none; add "
                 'video = "FILE", or leave strength out.',
                 given(T2V, "strength = 0.5")),
            Case("overlap-of-nothing",
                 "w.toml, line 8, stages.0.overlap: overlap is said of continues, and there is none; add "
                 'continues = "FILE", or leave overlap out.',
                 given(I2V, 'image = "p.png"', "overlap = 5", p__png=picture())),
            Case("start-of-nothing",
                 "w.toml, line 7, stages.0.video_start: video_start is said of video, and there is none; "
                 'add video = "FILE", or leave video_start out.',
                 given(T2V, "video_start = 2")),
            Case("strength-and-start-step",
                 "w.toml, line 9, stages.0.start_step: start_step and strength both say where sampling "
                 "begins; leave one of them out.",
                 given(T2V, 'video = "v.mkv"', "strength = 0.5", "start_step = 2", v__mkv=clip(33))),
            Case("strength-and-end-step",
                 "w.toml, line 9, stages.0.end_step: end_step 2 leaves nothing to do after the first 11 "
                 "steps, which strength leaves out; use 12 to 24.",
                 given(T2V, 'video = "v.mkv"', "strength = 0.5", "end_step = 2", v__mkv=clip(33))),
        ),
    ),
    Trouble(
        "Frames, overlap and strength",
        "What is given has to have the frames that are asked for, at the family's frames per second.",
        "Use the number that the message names.",
        (
            Case("more-frames-than-the-video",
                 "w.toml, line 8, stages.0.frames: video has 33 frames at 12 per second, not 81; use 33, "
                 "or a longer video.",
                 given(T2V, 'video = "v.mkv"', "frames = 81", v__mkv=clip(33))),
            Case("more-frames-than-a-picture",
                 "w.toml, line 8, stages.0.frames: video is one frame, not 9; use 1, or a longer video.",
                 given(T2V, 'video = "p.png"', "frames = 9", p__png=picture())),
            Case("start-after-the-end",
                 "w.toml, line 7, stages.0.video, {folder}/v.mkv: nothing is left of this video of 2.75 "
                 "seconds from 100 seconds on; begin earlier.",
                 given(T2V, 'video = "v.mkv"', "video_start = 100", v__mkv=clip(33)), code=7),
            Case("start-after-the-last-picture",
                 "w.toml, line 7, stages.0.video, {folder}/f: nothing is left of this video of 2 frames "
                 "from frame 1200 on; begin earlier.",
                 given(T2V, 'video = "f"', "video_start = 100") | {"f/1.png": picture(),
                  "f/2.png": picture()}, code=7),
            Case("start-negative",
                 "w.toml, line 8, stages.0.video_start: video_start must be from 0 to 1e+06, not -1.",
                 given(T2V, 'video = "v.mkv"', "video_start = -1", v__mkv=clip(3))),
            Case("start-nan",
                 "w.toml, line 8, stages.0.video_start: video_start must be a finite number, not nan.",
                 given(T2V, 'video = "v.mkv"', "video_start = nan", v__mkv=clip(3))),
            Case("start-endless",
                 "w.toml, line 8, stages.0.video_start: video_start must be a finite number, not inf.",
                 given(T2V, 'video = "v.mkv"', "video_start = inf", v__mkv=clip(3))),
            Case("strength-0",
                 "w.toml, line 8, stages.0.strength: strength must be from 0.01 to 1, not 0.",
                 given(T2V, 'video = "v.mkv"', "strength = 0", v__mkv=clip(3))),
            Case("strength-2",
                 "w.toml, line 8, stages.0.strength: strength must be from 0.01 to 1, not 2.",
                 given(T2V, 'video = "v.mkv"', "strength = 2", v__mkv=clip(3))),
            Case("strength-nan",
                 "w.toml, line 8, stages.0.strength: strength must be a finite number, not nan.",
                 given(T2V, 'video = "v.mkv"', "strength = nan", v__mkv=clip(3))),
            Case("first-frame-is-last",
                 "w.toml, line 9, stages.0.frames: a video of one frame can't begin with image and end "
                 "with last_image; use more frames, or leave last_image out.",
                 given(I2V, 'image = "p.png"', 'last_image = "p.png"', "frames = 1", p__png=picture())),
            Case("overlap-6",
                 "w.toml, line 8, stages.0.overlap: an overlap of 6 frames can't be made: it must be 4 * "
                 "n + 1; use 5 or 9.",
                 given(I2V, 'continues = "v.mkv"', "overlap = 6", v__mkv=clip(33))),
            Case("overlap-0",
                 "w.toml, line 8, stages.0.overlap: overlap must be from 1 to 1000, not 0.",
                 given(I2V, 'continues = "v.mkv"', "overlap = 0", v__mkv=clip(33))),
            Case("overlap-nan",
                 "w.toml, line 8, stages.0.overlap: overlap must be a whole number, not nan.",
                 given(I2V, 'continues = "v.mkv"', "overlap = nan", v__mkv=clip(33))),
            Case("overlap-half",
                 "w.toml, line 8, stages.0.overlap: overlap must be a whole number, not 4.5.",
                 given(I2V, 'continues = "v.mkv"', "overlap = 4.5", v__mkv=clip(33))),
            Case("overlap-huge",
                 "w.toml, line 8, stages.0.overlap: overlap must be from 1 to 1000, not 1001.",
                 given(I2V, 'continues = "v.mkv"', "overlap = 1001", v__mkv=clip(33))),
            Case("overlap-longer-than-the-old",
                 "w.toml, line 8, stages.0.overlap: the overlap is 9 frames, the continued video has 5; "
                 "use a smaller overlap.",
                 given(I2V, 'continues = "v.mkv"', "overlap = 9", v__mkv=clip(5))),
            Case("overlap-longer-than-the-new",
                 "w.toml, line 8, stages.0.overlap: the overlap is 33 frames, this video has 33; use a "
                 "smaller overlap, or more frames.",
                 given(I2V, 'continues = "v.mkv"', "overlap = 33", v__mkv=clip(33))),
            Case("too-few-new-frames",
                 "w.toml, line 8, stages.0.frames: the overlap is 9 frames, this video has 9; use a "
                 "smaller overlap, or more frames.",
                 given(I2V, 'continues = "v.mkv"', "frames = 9", v__mkv=clip(33))),
        ),
    ),
    Trouble(
        "Sizes that a picture leaves",
        "Without `width` and `height` the video gets the proportions of what is given.",
        "Cut the picture, or say both `width` and `height`; then it is cut for you.",
        (
            Case("picture-too-narrow",
                 "w.toml, line 7, stages.0.image: a picture of 1x4000 is too narrow for a video of its "
                 "proportions; cut it, or state width and height.",
                 given(I2V, 'image = "p.png"', p__png=picture(1, 4000)), code=7),
            Case("picture-too-wide",
                 "w.toml, line 7, stages.0.image: a picture of 5000x3 is too narrow for a video of its "
                 "proportions; cut it, or state width and height.",
                 given(I2V, 'image = "p.png"', p__png=picture(5000, 3)), code=7),
            Case("picture-too-high-for-its-width",
                 "w.toml, line 8, stages.0.width: height would be 384000, because image is 1x4000; the "
                 "most is 16384; say height, too.",
                 given(I2V, 'image = "p.png"', "width = 96", p__png=picture(1, 4000))),
            Case("picture-too-wide-for-its-height",
                 "w.toml, line 8, stages.0.height: width would be 160000, because image is 5000x3; the "
                 "most is 16384; say width, too.",
                 given(I2V, 'image = "p.png"', "height = 96", p__png=picture(5000, 3))),
            Case("video-too-narrow",
                 "w.toml, line 7, stages.0.video: a picture of 16x4000 is too narrow for a video of its "
                 "proportions; cut it, or state width and height.",
                 given(T2V, 'video = "v.mkv"', v__mkv=clip(3, 12, 16, 4000)), code=7),
            Case("picture-and-odd-width",
                 "w.toml, line 8, stages.0.width: width 100 is no multiple of 16; use 96 or 112.",
                 given(I2V, 'image = "p.png"', "width = 100", p__png=picture())),
        ),
    ),
    Trouble(
        "What another stage makes",
        '`"NAME.video"` is the video of the stage NAME above this one. As `image` or `last_image` its first '
        "frame counts. `mask` is a file.",
        "Give the stage above a `name`, and write that name with `.video`. To go on from a stage, use "
        "`continues`.",
        (
            Case("stage-itself",
                 'w.toml, line 7, stages.0.video: video refers to the stage "generate", which does not '
                 "come before this one; a stage can only use what the stages above it make; change their "
                 "order.",
                 given(T2V, 'video = "generate.video"')),
            Case("stage-below",
                 'w.toml, line 7, stages.0.video: video refers to the stage "b", which does not come '
                 "before this one; a stage can only use what the stages above it make; change their "
                 "order.",
                 given(T2V, 'video = "b.video"',
                  more='[[stages]]\nuse = "generate"\nname = "b"\nprompt = "a circle"')),
            Case("stage-unknown",
                 'w.toml, line 12, stages.1.continues: continues refers to "b", but no earlier stage has '
                 "that name; known are: a.",
                 given(I2V, 'name = "a"', 'image = "p.png"', more=next_stage('continues = "b.video"'),
                  p__png=picture())),
            Case("stage-without-output",
                 "w.toml, line 12, stages.1.continues: continues names no file, and nothing that the "
                 'stage "a" makes; write "a.video".',
                 given(I2V, 'name = "a"', 'image = "p.png"', more=next_stage('continues = "a"'),
                  p__png=picture())),
            Case("stage-misspelt-output",
                 "w.toml, line 12, stages.1.continues: continues names no file, and nothing that the "
                 'stage "a" makes; write "a.video".',
                 given(I2V, 'name = "a"', 'image = "p.png"', more=next_stage('continues = "a.vidoe"'),
                  p__png=picture())),
            Case("stage-makes-no-sound",
                 'w.toml, line 12, stages.1.video: video names no file, and nothing that the stage "a" '
                 'makes; write "a.video".',
                 given(I2V, 'name = "a"', 'image = "p.png"', more=next_stage('video = "a.audio"',
                  'image = "p.png"'), p__png=picture())),
            Case("stage-as-picture",
                 'w.toml, line 12, stages.1.image: image names no file, and nothing that the stage "a" '
                 'makes; write "a.video".',
                 given(I2V, 'name = "a"', 'image = "p.png"', more=next_stage('image = "a.png"'),
                  p__png=picture())),
            Case("stage-hands-over-something-else",
                 'w.toml, line 13, stages.1.handover: handover must be one of "latents", "pixels", not '
                 '"sound".',
                 given(I2V, 'name = "a"', 'image = "p.png"', more=next_stage('image = "a.video"',
                  'handover = "sound"'), p__png=picture())),
            Case("stage-as-mask",
                 "w.toml, line 14, stages.1.mask: mask has to be a file, not what a stage makes; name a "
                 "file.",
                 given(I2V, 'name = "a"', 'image = "p.png"', more=next_stage('image = "p.png"',
                  'video = "a.video"', 'mask = "a.video"'), p__png=picture())),
            Case("stage-from-a-second-on",
                 "w.toml, line 14, stages.1.video_start: video_start is for files, and a.video is made "
                 "by a stage; leave it out.",
                 given(I2V, 'name = "a"', 'image = "p.png"', more=next_stage('image = "p.png"',
                  'video = "a.video"', "video_start = 1"), p__png=picture())),
            Case("stage-too-short-to-go-on-from",
                 "w.toml, line 14, stages.1.overlap: the overlap is 9 frames, the continued video has 5; "
                 "use a smaller overlap.",
                 given(I2V, 'name = "a"', 'image = "p.png"', "frames = 5",
                  more=next_stage('continues = "a.video"', "overlap = 9"), p__png=picture())),
        ),
    ),
    Trouble(
        "The video would take the place of its source",
        "Even with `overwrite` the file that a video is made from stays: nothing could make the video "
        "again from it.",
        "Write to another file.",
        (
            Case("video-over-its-source",
                 'w.toml, line 9, output.path: the video would take the place of "{folder}/clip.mp4", '
                 "which stages.0.video names; write it somewhere else.",
                 given(T2V, 'video = "clip.mp4"', clip__mp4=clip(5))),
            Case("video-over-its-source-by-force",
                 'w.toml, line 9, output.path: the video would take the place of "{folder}/clip.mp4", '
                 "which stages.0.video names; write it somewhere else.",
                 given(T2V, 'video = "clip.mp4"', clip__mp4=clip(5)), "run w.toml --overwrite"),
            Case("video-over-its-source-by-link",
                 'w.toml, line 9, output.path: the video would take the place of "{folder}/l.mp4", which '
                 "stages.0.video names; write it somewhere else.",
                 given(T2V, 'video = "l.mp4"', clip__mp4=clip(5), l__mp4=link("clip.mp4")),
                 "run w.toml --overwrite"),
            Case("pictures-over-their-source",
                 '-o: the video would take the place of "{folder}/f", which stages.0.video names; write '
                 "it somewhere else.",
                 given(T2V, 'video = "f"') | {"f/1.png": picture(), "f/2.png": picture()},
                 "run w.toml --overwrite -o f/%05d.png"),
            Case("pictures-over-a-mask",
                 '-o: the video would take the place of "{folder}/f/1.png", which stages.0.mask names; '
                 "write it somewhere else.",
                 given(T2V, 'video = "v.mkv"', 'mask = "f/1.png"',
                  v__mkv=clip(5)) | {"f/1.png": picture()}, "run w.toml --overwrite -o f/%05d.png"),
        ),
    ),
)  # fmt: skip
