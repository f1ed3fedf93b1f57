"""``--untrusted``: where a stranger's workflow must not reach."""

from __future__ import annotations

from makers import bundled, folder, link, picture, record, video, workflow
from media_makers import clip, given
from table import Case, Group, Trouble

MODELS = {"WAN_CORE_MODELS": "{folder}/models"}


def to(path: str) -> dict[str, str]:
    return {"w.toml": workflow().replace('path = "clip.mp4"', f'path = "{path}"')}


def vae(path: str) -> str:
    return workflow(family="tiny-t2v", model=f'vae = "{path}"')


GROUP = Group(
    "A stranger's file reaches too far",
    (
        Trouble(
            "It writes outside ./outputs",
            "With `--untrusted` a workflow writes one new file, into `./outputs`.",
            "Say yourself where the video shall go, with `-o`.",
            (
                Case("untrusted-above",
                     'w.toml, line 9, output.path: "{folder}/../clip.mp4" lies outside "{folder}/outputs", '
                     "and --untrusted writes nowhere else; say where the video shall go with -o.",
                     to("../clip.mp4"), "run w.toml --untrusted"),
                Case("untrusted-absolute",
                     'w.toml, line 9, output.path: "/var/clip.mp4" lies outside "{folder}/outputs", and '
                     "--untrusted writes nowhere else; say where the video shall go with -o.",
                     to("/var/clip.mp4"), "run w.toml --untrusted"),
                Case("untrusted-home",
                     'w.toml, line 9, output.path: "{any}/clip.mp4" lies outside "{folder}/outputs", and '
                     "--untrusted writes nowhere else; say where the video shall go with -o.",
                     to("~/clip.mp4"), "plan w.toml --untrusted"),
                Case("untrusted-out-and-in",
                     'w.toml, line 9, output.path: "{folder}/a/../../clip.mp4" lies outside '
                     '"{folder}/outputs", and --untrusted writes nowhere else; say where the video shall go '
                     "with -o.",
                     to("a/../../clip.mp4"), "run w.toml --untrusted"),
                Case("untrusted-link",
                     'w.toml, line 9, output.path: "{folder}/outputs/link/clip.mp4" lies outside '
                     '"{folder}/outputs", and --untrusted writes nowhere else; say where the video shall go '
                     "with -o.",
                     {**to("link/clip.mp4"), "elsewhere": folder, "outputs/link": link("../elsewhere")},
                     "run w.toml --untrusted"),
                Case("untrusted-exists",
                     "w.toml, line 9, output.path: {folder}/outputs/clip.mp4 exists already; say overwrite = "
                     "true under [output], or --overwrite, or use a name like {name}-{n}.",
                     {"w.toml": workflow(output="overwrite = true"), "outputs/clip.mp4": b"mine"},
                     "run w.toml --untrusted", code=7),
                Case("untrusted-link-loop",
                     "w.toml, line 9, output.path: can't be written (Too many levels of symbolic links).",
                     {**to("l/clip.mp4"), "outputs/l": link("l")},
                     "run w.toml --untrusted", code=7),
            ),
        ),
        Trouble(
            "It reads outside the model folders",
            "With `--untrusted` weights and other files must lie in your "
            "[model folders](models.md), links followed.",
            "Move the file there if you trust it, or run without `--untrusted`.",
            (
                Case("untrusted-weights",
                     'w.toml, line 4, model.vae: "{folder}/secret.safetensors" lies outside the model '
                     "folders, which --untrusted allows alone; name its folder in [paths] models of the "
                     "configuration if it is yours.",
                     {"w.toml": vae("secret.safetensors"), "secret.safetensors": bundled("vae.safetensors"),
                      "models": folder}, "run w.toml --untrusted", code=3, environment=MODELS),
                Case("untrusted-weights-by-link",
                     'w.toml, line 4, model.vae: "{folder}/models/l.safetensors" lies outside the model '
                     "folders, which --untrusted allows alone; name its folder in [paths] models of the "
                     "configuration if it is yours.",
                     {"w.toml": vae("models/l.safetensors"), "secret.safetensors": bundled("vae.safetensors"),
                      "models/l.safetensors": link("../secret.safetensors")},
                     "run w.toml --untrusted", code=3, environment=MODELS),
                Case("untrusted-weights-above",
                     'w.toml, line 4, model.vae: "{folder}/w/../models/../secret.safetensors" lies outside '
                     "the model folders, which --untrusted allows alone; name its folder in [paths] models of "
                     "the configuration if it is yours.",
                     {"w/w.toml": vae("../models/../secret.safetensors"), "models": folder,
                      "secret.safetensors": bundled("vae.safetensors")},
                     "run w/w.toml --untrusted", code=3, environment=MODELS),
                Case("untrusted-picture",
                     'w.toml, line 7, stages.0.image: "{folder}/p.png" lies outside the model folders, and '
                     "--untrusted allows no other; move it there if you trust it, or run without --untrusted.",
                     given("tiny-i2v", 'image = "p.png"', p__png=picture), "run w.toml --untrusted"),
                Case("untrusted-video",
                     'w.toml, line 7, stages.0.video: "{folder}/../v.mkv" lies outside the model folders, and '
                     "--untrusted allows no other; move it there if you trust it, or run without --untrusted.",
                     given("tiny-t2v", 'video = "../v.mkv"'), "plan w.toml --untrusted"),
                Case("untrusted-mask",
                     'w.toml, line 8, stages.0.mask: "/etc/passwd" lies outside the model folders, and '
                     "--untrusted allows no other; move it there if you trust it, or run without --untrusted.",
                     given("tiny-t2v", 'video = "models/v.mkv"', 'mask = "/etc/passwd"')
                     | {"models/v.mkv": clip(5)}, "run w.toml --untrusted", environment=MODELS),
                Case("untrusted-video-by-link",
                     'w.toml, line 7, stages.0.continues: "{folder}/models/l.mkv" lies outside the model '
                     "folders, and --untrusted allows no other; move it there if you trust it, or run without "
                     "--untrusted.",
                     given("tiny-i2v", 'continues = "models/l.mkv"', v__mkv=clip(12))
                     | {"models/l.mkv": link("../v.mkv")}, "run w.toml --untrusted", environment=MODELS),
                Case("untrusted-tokenizer",
                     'w.toml, line 4, model.tokenizer: "/etc/passwd" lies outside the model folders, which '
                     "--untrusted allows alone; name its folder in [paths] models of the configuration if it "
                     "is yours.",
                     {"w.toml": workflow(family="tiny-t2v", model='tokenizer = "/etc/passwd"')},
                     "run w.toml --untrusted", code=3),
                Case("untrusted-shadow",
                     'w.toml, line 4, model.vae: "/etc/shadow" lies outside the model folders, which '
                     "--untrusted allows alone; name its folder in [paths] models of the configuration if it "
                     "is yours.",
                     {"w.toml": vae("/etc/shadow")}, "plan w.toml --untrusted", code=3),
                Case("untrusted-rerun",
                     'w.toml, line 4, model.vae: "/etc/shadow" lies outside the model folders, which '
                     "--untrusted allows alone; name its folder in [paths] models of the configuration if it "
                     "is yours.",
                     {"v.mp4": video(record(vae("/etc/shadow")))}, "rerun v.mp4 --untrusted", code=3),
            ),
        ),
    ),
)  # fmt: skip
