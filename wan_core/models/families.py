"""The built-in families with their presets (facts of the makers' own configurations).

Sources: Wan-Video/Wan2.1 ``wan/configs/*.py`` and ``generate.py``; the sizes of the bundled tiny family are
ours (``zoo/README.md``).
"""

from __future__ import annotations

from wan_core.contract.descriptions import Component, Family, Preset, PublishedFile

# Wan-Video/Wan2.1 wan/configs/shared_config.py: what the unconditional branch is told by default
WAN_NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，"
    "JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的"
    "肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)
TEXT_LENGTH = 512

_LOADERS = "wan_core.models.loaders"
VERIFY_TRANSFORMER = "wan_core.models.wan.files:verify_transformer"
VERIFY_TEXT_ENCODER = "wan_core.models.encoders.files:verify_text_encoder"
VERIFY_VAE = "wan_core.models.vae.files:verify_vae"


def _t2v_1_3b(path: str, sha256: str, size: int, slot: str = "") -> PublishedFile:
    return PublishedFile(
        "Wan-AI/Wan2.1-T2V-1.3B",
        path,
        revision="37ec512624d61f7aa208f7ea8140a131f93afc9a",
        sha256=sha256,
        bytes=size,
        slot=slot,
    )


# each number stands in several public lists of the files, made independently
TRANSFORMER_1_3B = (
    _t2v_1_3b(
        "diffusion_pytorch_model.safetensors",
        "96b6b242ca1c2f24e9d02cd6596066fab6d310e2d7538f33ae267cb18d957e8f",
        5_676_070_424,
    ),
)
UMT5_XXL = (
    _t2v_1_3b(
        "models_t5_umt5-xxl-enc-bf16.pth",
        "7cace0da2b446bbbbc57d031ab6cf163a3d59b366da94e5afe36745b746fd81d",
        11_361_920_418,
    ),
    _t2v_1_3b(
        "google/umt5-xxl/tokenizer.json",
        "6e197b4d3dbd71da14b4eb255f4fa91c9c1f2068b20a2de2472967ca3d22602b",
        16_837_417,
        slot="tokenizer",
    ),
)
VAE = (
    _t2v_1_3b(
        "Wan2.1_VAE.pth",
        "38071ab59bd94681c686fa51d75a1968f64e470262043be31f7a094e442fd981",
        507_609_880,
    ),
)
# the commit is known from several lists, the sums of the shards from none: they are taken from the Hub
TRANSFORMER_14B = tuple(
    PublishedFile(
        "Wan-AI/Wan2.1-T2V-14B",
        f"diffusion_pytorch_model{part}",
        revision="a064a6c71f5be440641209c07bf2a5ce7a2ff5e4",
    )
    for part in (
        ".safetensors.index.json",
        *(f"-{number:05}-of-00006.safetensors" for number in range(1, 7)),
    )
)


def _text_encoder() -> Component:
    return Component(
        kind="umt5-encoder",
        load=f"{_LOADERS}:load_text_encoder",
        verify=VERIFY_TEXT_ENCODER,
        config={"dim": 4096, "layers": 24, "text_len": TEXT_LENGTH},
        published=UMT5_XXL,
    )


def _vae() -> Component:
    return Component(
        kind="wan-vae",
        load=f"{_LOADERS}:load_vae",
        verify=VERIFY_VAE,
        config={"z_dim": 16},
        published=VAE,
    )


def _transformer(
    dim: int, ffn_dim: int, heads: int, layers: int, published: tuple[PublishedFile, ...]
) -> Component:
    return Component(
        kind="wan-transformer",
        load=f"{_LOADERS}:load_transformer",
        verify=VERIFY_TRANSFORMER,
        config={
            "dim": dim,
            "ffn_dim": ffn_dim,
            "num_layers": layers,
            "in_dim": 16,
            "out_dim": 16,
            "num_heads": heads,
            "text_len": TEXT_LENGTH,
        },
        published=published,
    )


WAN21_T2V_1_3B = Family(
    name="wan2.1-t2v-1.3b",
    title="Wan 2.1 text to video, 1.3 B parameters",
    task="text-to-video",
    components={
        "transformer": _transformer(1536, 8960, 12, 30, TRANSFORMER_1_3B),
        "text_encoder": _text_encoder(),
        "vae": _vae(),
    },
    preset=Preset(
        width=832,
        height=480,
        frames=81,
        fps=16,
        steps=50,
        shift=5.0,
        guidance=5.0,
        negative_prompt=WAN_NEGATIVE_PROMPT,
        sizes=((832, 480), (480, 832)),
    ),
)

SIZES_14B = ((1280, 720), (720, 1280), (832, 480), (480, 832))

WAN21_T2V_14B = Family(
    name="wan2.1-t2v-14b",
    title="Wan 2.1 text to video, 14 B parameters",
    task="text-to-video",
    components={
        "transformer": _transformer(5120, 13824, 40, 40, TRANSFORMER_14B),
        "text_encoder": _text_encoder(),
        "vae": _vae(),
    },
    preset=Preset(
        width=1280,
        height=720,
        frames=81,
        fps=16,
        steps=50,
        shift=5.0,
        guidance=5.0,
        negative_prompt=WAN_NEGATIVE_PROMPT,
        sizes=SIZES_14B,
    ),
)

# Wan-Video/Wan2.2 wan/configs/wan_t2v_A14B.py; a pair of scales is (high noise, low noise)
WAN22_T2V_A14B = Family(
    name="wan2.2-t2v-a14b",
    title="Wan 2.2 text to video, two experts of 14 B parameters",
    task="text-to-video",
    components={
        **{
            f"transformer.{expert}": _transformer(
                5120,
                13824,
                40,
                40,
                (
                    PublishedFile(
                        "Wan-AI/Wan2.2-T2V-A14B",
                        f"{expert}_noise_model/diffusion_pytorch_model*.safetensors*",
                    ),
                ),
            )
            for expert in ("high", "low")
        },
        "text_encoder": _text_encoder(),
        "vae": _vae(),
    },
    preset=Preset(
        width=1280,
        height=720,
        frames=81,
        fps=16,
        steps=40,
        shift=12.0,
        guidance=(4.0, 3.0),
        boundary=0.875,
        negative_prompt=WAN_NEGATIVE_PROMPT,
        sizes=SIZES_14B,
    ),
)

TINY_TEXT_LENGTH = 64

TINY_T2V = Family(
    name="tiny-t2v",
    title="bundled toy model: one coloured shape that moves, for demos and tests",
    task="text-to-video",
    components={
        "transformer": Component(
            kind="wan-transformer",
            load=f"{_LOADERS}:load_transformer",
            verify=VERIFY_TRANSFORMER,
            config={"num_heads": 4, "text_len": TINY_TEXT_LENGTH},
            bundled="tiny/t2v.safetensors",
        ),
        "text_encoder": Component(
            kind="umt5-encoder",
            load=f"{_LOADERS}:load_text_encoder",
            verify=VERIFY_TEXT_ENCODER,
            config={"text_len": TINY_TEXT_LENGTH},
            bundled="tiny/text_encoder.safetensors",
        ),
        "vae": Component(
            kind="wan-vae",
            load=f"{_LOADERS}:load_vae",
            verify=VERIFY_VAE,
            bundled="tiny/vae.safetensors",
        ),
    },
    preset=Preset(
        width=96, height=96, frames=33, fps=12, steps=24, shift=3.0, guidance=4.0, sizes=((96, 96),)
    ),
    warn="wan_core.models.tiny.vocabulary:warn",
)

TINY_RANDOM = Family(
    name="tiny-random",
    title="random weights in the smallest shapes: no pictures, only plumbing",
    task="text-to-video",
    components={
        slot: Component(kind=kind, load=f"{_LOADERS}:random_{slot}", needs_file=False)
        for slot, kind in (
            ("transformer", "wan-transformer"),
            ("text_encoder", "umt5-encoder"),
            ("vae", "wan-vae"),
        )
    },
    preset=Preset(width=32, height=32, frames=5, fps=8, steps=2, shift=3.0, guidance=2.0),
)

FAMILIES = (WAN21_T2V_1_3B, WAN21_T2V_14B, WAN22_T2V_A14B, TINY_T2V, TINY_RANDOM)
