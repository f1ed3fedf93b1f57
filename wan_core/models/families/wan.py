"""The published families with the presets of their makers.

Sources: Wan-Video/Wan2.1 and Wan-Video/Wan2.2, ``wan/configs/*.py`` and ``generate.py``.
"""

from __future__ import annotations

from wan_core.contract.descriptions import Component, Family, Pictures, Preset
from wan_core.models.families import published
from wan_core.models.families.parts import (
    MIDDLE,
    SMALL,
    WIDE,
    image_encoder,
    outline_of,
    text_encoder,
    transformer,
    vaes,
    vaes_2_2,
)

# Wan-Video/Wan2.1 wan/configs/shared_config.py: what the unconditional branch is told by default
WAN_NEGATIVE_PROMPT = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，"
    "JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的"
    "肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)
# the makers' image-to-video and first-last-frame models are told some more
SHAKING = "镜头晃动，" + WAN_NEGATIVE_PROMPT
CUTTING = "镜头切换，" + SHAKING

_480P = (832, 480)
_720P = (1280, 720)
SIZES_1_3B = (_480P, (480, 832))
SIZES_14B = (_720P, (720, 1280), _480P, (480, 832))
SIZES_5B = ((1280, 704), (704, 1280))

AS_CHANNELS = "wan_core.models.wan.pictures:as_channels"
AS_CLEAN_FRAMES = "wan_core.models.wan.pictures:as_clean_frames"
FIRST_FRAME = Pictures(
    AS_CHANNELS,
    takes=("image", "last_image", "continues"),
    needs=("image",),
    untrained=("last_image",),
)


def _preset(
    size: tuple[int, int],
    sizes: tuple[tuple[int, int], ...],
    steps: int,
    shift: float,
    guidance: float | tuple[float, float] = 5.0,
    negative_prompt: str = WAN_NEGATIVE_PROMPT,
    boundary: float | None = None,
) -> Preset:
    return Preset(
        width=size[0],
        height=size[1],
        frames=81,
        fps=16,
        steps=steps,
        shift=shift,
        guidance=guidance,
        negative_prompt=negative_prompt,
        boundary=boundary,
        sizes=sizes,
    )


def _parts(of_transformer: Component) -> dict[str, Component]:
    return {"transformer": of_transformer, "text_encoder": text_encoder(), **vaes()}


def _experts(repository: str, variant: str, in_dim: int = 16) -> dict[str, Component]:
    return {
        **{
            f"transformer.{expert}": transformer(
                WIDE,
                published.experts(repository, expert),
                in_dim=in_dim,
                outline=outline_of(f"wan2.2-{variant}-a14b"),
                variant=variant,
                sees_images=False,
            )
            for expert in ("high", "low")
        },
        "text_encoder": text_encoder(),
        **vaes(),
    }


WAN21_T2V_1_3B = Family(
    name="wan2.1-t2v-1.3b",
    title="Wan 2.1 text to video, 1.3 B parameters",
    task="text-to-video",
    components=_parts(
        transformer(SMALL, published.T2V_1_3B, outline=outline_of("wan2.1-t2v-1.3b"), variant="t2v")
    ),
    preset=_preset(_480P, SIZES_1_3B, 50, 5.0),
)

WAN21_T2V_14B = Family(
    name="wan2.1-t2v-14b",
    title="Wan 2.1 text to video, 14 B parameters",
    task="text-to-video",
    components=_parts(
        transformer(WIDE, published.T2V_14B, outline=outline_of("wan2.1-t2v-14b"), variant="t2v")
    ),
    preset=_preset(_720P, SIZES_14B, 50, 5.0),
)


def _i2v(size: str, pixels: tuple[int, int], shift: float) -> Family:
    return Family(
        name=f"wan2.1-i2v-14b-{size.lower()}",
        title=f"Wan 2.1 image to video, 14 B parameters, {size}",
        task="image-to-video",
        components={
            **_parts(
                transformer(
                    WIDE,
                    published.I2V_14B[size],
                    in_dim=36,
                    outline=outline_of("wan2.1-i2v-14b"),
                    variant="i2v",
                    sees_images=True,
                )
            ),
            "image_encoder": image_encoder(),
        },
        preset=_preset(pixels, SIZES_14B, 40, shift, negative_prompt=SHAKING),
        pictures=FIRST_FRAME,
    )


WAN21_I2V_14B_480P = _i2v("480P", _480P, 3.0)
WAN21_I2V_14B_720P = _i2v("720P", _720P, 5.0)

WAN21_FLF2V_14B = Family(
    name="wan2.1-flf2v-14b",
    title="Wan 2.1 first and last frame to video, 14 B parameters",
    task="image-to-video",
    components={
        **_parts(
            transformer(
                WIDE,
                published.FLF2V_14B,
                in_dim=36,
                outline=outline_of("wan2.1-flf2v-14b"),
                variant="flf2v",
                sees_images=True,
            )
        ),
        "image_encoder": image_encoder(),
    },
    preset=_preset(_720P, SIZES_14B, 50, 16.0, negative_prompt=CUTTING),
    pictures=Pictures(
        AS_CHANNELS,
        takes=("image", "last_image"),
        needs=("image", "last_image"),
        shown=("image", "last_image"),
    ),
)


def _vace(size: str, widths: dict[str, int], pixels: tuple[int, int]) -> Family:
    return Family(
        name=f"wan2.1-vace-{size.lower()}",
        title=f"Wan 2.1 VACE: videos from videos, masks and reference pictures, {size[:-1]} B parameters",
        task="video-to-video",
        components=_parts(
            transformer(
                widths,
                published.VACE_1_3B if size == "1.3B" else published.VACE_14B,
                outline=outline_of(f"wan2.1-vace-{size.lower()}"),
                variant="vace",
            )
        ),
        preset=_preset(pixels, SIZES_1_3B if size == "1.3B" else SIZES_14B, 50, 16.0),
        features=("vace",),
    )


WAN21_VACE_1_3B = _vace("1.3B", SMALL, _480P)
WAN21_VACE_14B = _vace("14B", WIDE, _720P)

# a pair of scales is (high noise, low noise)
WAN22_T2V_A14B = Family(
    name="wan2.2-t2v-a14b",
    title="Wan 2.2 text to video, two experts of 14 B parameters",
    task="text-to-video",
    components=_experts("Wan-AI/Wan2.2-T2V-A14B", "t2v"),
    preset=_preset(_720P, SIZES_14B, 40, 12.0, (4.0, 3.0), boundary=0.875),
)

WAN22_I2V_A14B = Family(
    name="wan2.2-i2v-a14b",
    title="Wan 2.2 image to video, two experts of 14 B parameters",
    task="image-to-video",
    components=_experts("Wan-AI/Wan2.2-I2V-A14B", "i2v", in_dim=36),
    preset=_preset(_720P, SIZES_14B, 40, 5.0, (3.5, 3.5), boundary=0.9),
    pictures=FIRST_FRAME,
)

WAN22_TI2V_5B = Family(
    name="wan2.2-ti2v-5b",
    title="Wan 2.2 text and image to video, 5 B parameters",
    task="text-to-video",
    components={
        "transformer": transformer(
            MIDDLE,
            published.TI2V_5B,
            in_dim=48,
            out_dim=48,
            outline=outline_of("wan2.2-ti2v-5b"),
            variant="ti2v",
        ),
        "text_encoder": text_encoder(),
        **vaes_2_2(),
    },
    preset=Preset(
        width=1280,
        height=704,
        frames=121,
        fps=24,
        steps=50,
        shift=5.0,
        guidance=5.0,
        negative_prompt=WAN_NEGATIVE_PROMPT,
        size_multiple=32,
        sizes=SIZES_5B,
    ),
    pictures=Pictures(AS_CLEAN_FRAMES, size="best", fit="cover", kernel="pillow-lanczos"),
)
