"""Files that are given as pictures, videos and masks."""

from __future__ import annotations

from makers import folder, link, pipe
from media_makers import (
    I2V,
    T2V,
    claimed_png,
    clip,
    cut,
    given,
    no_frames,
    only_sound,
    picture,
    text_bomb,
)
from table import Case, Trouble

TROUBLES = (
    Trouble(
        "A given picture can't be read",
        "`image`, `last_image` and a `mask` that is a picture are read whole before anything is loaded. "
        "What a file is, its first bytes say, not its name.",
        "Save it again as PNG or JPEG with an image editor, at most 16384 pixels a side and 67 million "
        "in all.",
        (
            Case("picture-missing",
                 "w.toml, line 7, stages.0.image, {folder}/p.png: there is no such file; check the path.",
                 given(I2V, 'image = "p.png"'), code=7),
            Case("picture-empty",
                 "w.toml, line 7, stages.0.image, {folder}/p.png: this file is empty.",
                 given(I2V, 'image = "p.png"', p__png=b""), code=7),
            Case("picture-cut-short",
                 "w.toml, line 7, stages.0.image, {folder}/p.png: this picture is damaged or cut short; "
                 "save it again.",
                 given(I2V, 'image = "p.png"', p__png=cut(picture(), 0.5)), code=7),
            Case("picture-with-too-few-pixels",
                 "w.toml, line 7, stages.0.image, {folder}/p.png: this picture is damaged or cut short; "
                 "save it again.",
                 given(I2V, 'image = "p.png"', p__png=claimed_png(96, 96)), code=7),
            Case("jpeg-cut-short",
                 "w.toml, line 7, stages.0.image, {folder}/p.jpg: this picture is damaged or cut short; "
                 "save it again.",
                 given(I2V, 'image = "p.jpg"', p__jpg=cut(picture(200, 200, kind="JPEG"), 0.7)), code=7),
            Case("picture-is-text",
                 "w.toml, line 7, stages.0.image, {folder}/p.png: this is no picture that can be read; "
                 "use PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000, PPM.",
                 given(I2V, 'image = "p.png"', p__png="hello"), code=7),
            Case("picture-is-a-video",
                 "w.toml, line 7, stages.0.image, {folder}/v.mp4: this is a video, not a picture; save "
                 "it as PNG or JPEG.",
                 given(I2V, 'image = "v.mp4"', v__mp4=clip(3)), code=7),
            Case("picture-is-svg",
                 "w.toml, line 7, stages.0.image, {folder}/p.svg: this is an SVG drawing, not a picture; "
                 "save it as PNG or JPEG.",
                 given(I2V, 'image = "p.svg"', p__svg="<svg xmlns='http://www.w3.org/2000/svg'/>"),
                 code=7),
            Case("picture-is-a-page",
                 "w.toml, line 7, stages.0.image, {folder}/p.png: this is no picture that can be read; "
                 "use PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000, PPM.",
                 given(I2V, 'image = "p.png"', p__png="<!DOCTYPE html><html></html>"), code=7),
            Case("picture-is-a-folder",
                 "w.toml, line 7, stages.0.image, {folder}/p: this is a folder, not a picture; name a "
                 "file in it.",
                 given(I2V, 'image = "p"', p=folder), code=7),
            Case("picture-is-a-pipe",
                 "w.toml, line 7, stages.0.image, {folder}/p: this is a device or a pipe, not a picture.",
                 given(I2V, 'image = "p"', p=pipe), code=7),
            Case("picture-is-a-device",
                 "w.toml, line 7, stages.0.image, /dev/zero: this is a device or a pipe, not a picture.",
                 given(I2V, 'image = "/dev/zero"'), code=7),
            Case("picture-is-an-address",
                 'w.toml, line 7, stages.0.image: image is an address, "https://example.org/cat.png", '
                 "not a path; name a file on this machine.",
                 given(I2V, 'image = "https://example.org/cat.png"')),
            Case("picture-is-a-loop",
                 "w.toml, line 7, stages.0.image, {folder}/p: there is no such file; check the path.",
                 given(I2V, 'image = "p"', p=link("p")), code=7),
            Case("pictures-are-a-list",
                 "w.toml, line 7, stages.0.image: image must be text or a path in quotes, not a list of 2.",
                 given(I2V, 'image = ["a.png", "b.png"]')),
            Case("picture-is-a-number",
                 "w.toml, line 7, stages.0.image: image must be text or a path in quotes, not 3.",
                 given(I2V, "image = 3")),
            Case("picture-is-nothing",
                 'w.toml, line 7, stages.0.image: image must be a path in quotes, not "".',
                 given(I2V, 'image = ""')),
            Case("picture-has-a-nul",
                 "w.toml, line 7, column 11, image: there is a control character in this text; remove it.",
                 given(I2V, 'image = "a\u0000b"')),
            Case("picture-of-60000",
                 "w.toml, line 7, stages.0.image, {folder}/p.png: pictures of 60000x60000 are too large "
                 "to be read (at most 67108864 pixels).",
                 given(I2V, 'image = "p.png"', p__png=claimed_png()), code=7),
            Case("picture-of-2-gigabytes",
                 "w.toml, line 7, stages.0.image, {folder}/p.png: pictures of 16384x16000 are too large "
                 "to be read (at most 67108864 pixels).",
                 given(I2V, 'image = "p.png"', p__png=claimed_png(16384, 16000, 10**6)), code=7),
            Case("picture-of-many-texts",
                 "w.toml, line 7, stages.0.image, {folder}/p.png: this picture is damaged or cut short; "
                 "save it again.",
                 given(I2V, 'image = "p.png"', p__png=text_bomb), code=7),
            Case("picture-of-numbers",
                 "w.toml, line 7, stages.0.image, {folder}/p.tif: this picture holds numbers without "
                 "bounds, which are not read; save it as RGB with 8 or 16 bits.",
                 given(I2V, 'image = "p.tif"', p__tif=picture(mode="F", kind="TIFF")), code=7),
            Case("last-picture-cut-short",
                 "w.toml, line 8, stages.0.last_image, {folder}/q.png: this picture is damaged or cut "
                 "short; save it again.",
                 given(I2V, 'image = "p.png"', 'last_image = "q.png"', p__png=picture(),
                  q__png=cut(picture(), 0.5)), code=7),
        ),
    ),
    Trouble(
        "A given video can't be read",
        "`video` and `continues` are files that FFmpeg reads, folders or patterns of numbered PNG "
        "pictures, or what an earlier stage makes. Their frames are counted before anything is loaded.",
        "Play it with `ffplay FILE`; what FFmpeg can't read, wan-core can't. For pictures write "
        '`"frames/%05d.png"`.',
        (
            Case("video-missing",
                 "w.toml, line 7, stages.0.video, {folder}/v.mp4: there is no such file; check the path.",
                 given(T2V, 'video = "v.mp4"'), code=7),
            Case("video-empty",
                 "w.toml, line 7, stages.0.video, {folder}/v.mkv: this file is empty.",
                 given(T2V, 'video = "v.mkv"', v__mkv=b""), code=7),
            Case("video-is-text",
                 "w.toml, line 7, stages.0.video, {folder}/v.mkv: this is no video that can be read "
                 "(Invalid data found when processing input).",
                 given(T2V, 'video = "v.mkv"', v__mkv="hello"), code=7),
            Case("video-of-sound",
                 "w.toml, line 7, stages.0.video, {folder}/v.mkv: this file has no video in it.",
                 given(T2V, 'video = "v.mkv"', v__mkv=only_sound), code=7),
            Case("video-of-no-frames",
                 "w.toml, line 7, stages.0.video, {folder}/v.mkv: this is no video that can be read (End "
                 "of file).",
                 given(T2V, 'video = "v.mkv"', v__mkv=no_frames), code=7),
            Case("video-is-a-pipe",
                 "w.toml, line 7, stages.0.video, {folder}/v.mkv: this is a device or a pipe, not a "
                 "video.",
                 given(T2V, 'video = "v.mkv"', v__mkv=pipe), code=7),
            Case("video-is-a-device",
                 "w.toml, line 7, stages.0.video, /dev/zero: this is a device or a pipe, not a video.",
                 given(T2V, 'video = "/dev/zero"'), code=7),
            Case("video-is-a-folder",
                 "w.toml, line 7, stages.0.video, {folder}/f: this folder is no sequence of numbered PNG "
                 'pictures; name the pictures, as in "clip/%05d.png".',
                 given(T2V, 'video = "f"', f=folder), code=7),
            Case("video-is-no-such-pictures",
                 "w.toml, line 7, stages.0.video, {folder}/f/%05d.png: there are no such pictures; check "
                 "the path.",
                 given(T2V, 'video = "f/%05d.png"', f=folder), code=7),
            Case("video-has-a-gap",
                 'w.toml, line 7, stages.0.video, {folder}/f/%05d.png: the picture "00002.png" is '
                 "missing between others.",
                 given(T2V, 'video = "f/%05d.png"') | {"f/00001.png": picture(),
                  "f/00003.png": picture()}, code=7),
            Case("pictures-of-two-sizes",
                 "w.toml, line 7, stages.0.video, {folder}/f/2.png: this frame is 50x50, the first one "
                 "is 96x96.",
                 given(T2V, 'video = "f"') | {"f/1.png": picture(), "f/2.png": picture(50, 50)}, code=7),
            Case("pictures-with-a-text",
                 "w.toml, line 7, stages.0.video, {folder}/f/2.png: this is no PNG picture.",
                 given(T2V, 'video = "f"') | {"f/1.png": picture(), "f/2.png": "hello"}, code=7),
            Case("pictures-with-a-pipe",
                 "w.toml, line 7, stages.0.video, {folder}/f/2.png: this is no file; put a picture there.",
                 given(T2V, 'video = "f"') | {"f/1.png": picture(), "f/2.png": pipe}, code=7),
            Case("pictures-with-a-folder",
                 "w.toml, line 7, stages.0.video, {folder}/f/2.png: this is no file; put a picture there.",
                 given(T2V, 'video = "f"') | {"f/1.png": picture(), "f/2.png": folder}, code=7),
            Case("pictures-with-a-dead-link",
                 "w.toml, line 7, stages.0.video, {folder}/f/2.png: this is no file; put a picture there.",
                 given(T2V, 'video = "f"') | {"f/1.png": picture(), "f/2.png": link("nowhere")}, code=7),
            Case("pictures-of-jpeg",
                 "w.toml, line 7, stages.0.video, {folder}/f/%d.jpg: there is no such file; numbered "
                 "pictures have to be PNG.",
                 given(T2V, 'video = "f/%d.jpg"') | {"f/1.jpg": picture(kind="JPEG")}, code=7),
            Case("video-is-a-broken-picture",
                 "w.toml, line 7, stages.0.video, {folder}/p.png: this picture is damaged or cut short; "
                 "save it again.",
                 given(T2V, 'video = "p.png"', p__png=cut(picture(), 0.5)), code=7),
            Case("video-is-a-number",
                 "w.toml, line 7, stages.0.video: video must be text or a path in quotes, not 3.",
                 given(T2V, "video = 3")),
            Case("video-is-a-list",
                 "w.toml, line 7, stages.0.video: video must be text or a path in quotes, not a list of "
                 "2.",
                 given(T2V, 'video = ["a.mp4", "b.mp4"]')),
            Case("video-is-a-playlist",
                 "w.toml, line 7, stages.0.video, {folder}/v.m3u8: this is no video that can be read "
                 "(Invalid data found when processing input).",
                 given(T2V, 'video = "v.m3u8"',
                  v__m3u8="#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"), code=7),
            Case("continued-of-sound",
                 "w.toml, line 7, stages.0.continues, {folder}/v.mkv: this file has no video in it.",
                 given(I2V, 'continues = "v.mkv"', v__mkv=only_sound), code=7),
            Case("continued-is-empty",
                 "w.toml, line 7, stages.0.continues, {folder}/v.mkv: this file is empty.",
                 given(I2V, 'continues = "v.mkv"', v__mkv=b""), code=7),
        ),
    ),
    Trouble(
        "A mask does not fit",
        "A mask has the proportions of the video that it belongs to, and as many frames or only one. A "
        "mask that is a video is read as its video is: from `video_start` on, at the family's frames per "
        "second.",
        "Make the mask from the video's own frames.",
        (
            Case("mask-of-other-proportions",
                 "w.toml, line 8, stages.0.mask, {folder}/m.png: the mask is 96x40, the video 96x96: "
                 "their proportions differ; make a mask as large as the video.",
                 given(T2V, 'video = "v.mkv"', 'mask = "m.png"', v__mkv=clip(9), m__png=picture(96, 40)),
                 code=7),
            Case("mask-too-short",
                 "w.toml, line 8, stages.0.mask, {folder}/m.mkv: the mask has 5 frames, the video 33; "
                 "use a longer mask, or a single picture for all frames.",
                 given(T2V, 'video = "v.mkv"', 'mask = "m.mkv"', v__mkv=clip(33), m__mkv=clip(5)),
                 code=7),
            Case("mask-slower",
                 "w.toml, line 8, stages.0.mask, {folder}/m.mkv: the mask has 17 frames, the video 33; "
                 "use a longer mask, or a single picture for all frames.",
                 given(T2V, 'video = "v.mkv"', 'mask = "m.mkv"', v__mkv=clip(33), m__mkv=clip(33, 24)),
                 code=7),
            Case("mask-is-text",
                 "w.toml, line 8, stages.0.mask, {folder}/w.toml: this is no video that can be read "
                 "(Invalid data found when processing input).",
                 given(T2V, 'video = "v.mkv"', 'mask = "w.toml"', v__mkv=clip(9)), code=7),
            Case("mask-cut-short",
                 "w.toml, line 8, stages.0.mask, {folder}/m.png: this picture is damaged or cut short; "
                 "save it again.",
                 given(T2V, 'video = "v.mkv"', 'mask = "m.png"', v__mkv=clip(9), m__png=cut(picture(),
                  0.5)), code=7),
            Case("mask-missing",
                 "w.toml, line 8, stages.0.mask, {folder}/m.png: there is no such file; check the path.",
                 given(T2V, 'video = "v.mkv"', 'mask = "m.png"', v__mkv=clip(9)), code=7),
            Case("mask-is-a-folder",
                 "w.toml, line 8, stages.0.mask, {folder}/m: this folder is no sequence of numbered PNG "
                 'pictures; name the pictures, as in "clip/%05d.png".',
                 given(T2V, 'video = "v.mkv"', 'mask = "m"', v__mkv=clip(9), m=folder), code=7),
            Case("mask-of-60000",
                 "w.toml, line 8, stages.0.mask, {folder}/m.png: pictures of 60000x60000 are too large "
                 "to be read (at most 67108864 pixels).",
                 given(T2V, 'video = "v.mkv"', 'mask = "m.png"', v__mkv=clip(9), m__png=claimed_png()),
                 code=7),
            Case("mask-of-sound",
                 "w.toml, line 8, stages.0.mask, {folder}/m.mkv: this file has no video in it.",
                 given(T2V, 'video = "v.mkv"', 'mask = "m.mkv"', v__mkv=clip(9), m__mkv=only_sound),
                 code=7),
        ),
    ),
)  # fmt: skip
