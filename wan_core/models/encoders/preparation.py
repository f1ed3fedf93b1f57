"""Pictures as CLIP wants them: four published ways, which do not agree on pictures that are not square."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["PREPARATIONS", "Preparation", "prepare"]

Preparation = Literal["official", "comfy-center", "comfy-stretch", "transformers"]
PREPARATIONS: tuple[Preparation, ...] = get_args(Preparation)

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def prepare(pictures: Tensor, size: int, preparation: Preparation = "official") -> Tensor:
    """Resize pictures to ``size`` and normalise them.

    ``official``
        what Wan 2.1 does: bicubic straight to the square, whatever the proportions, without antialiasing;
        values that overshoot stay.
    ``comfy-center``, ``comfy-stretch``
        ComfyUI with and without its centre crop: bicubic with antialiasing, rounded to 8 bits.
    ``transformers``
        ``CLIPImageProcessor``, as diffusers uses it: Pillow's bicubic to the shorter side, centre crop.

    Args:
        pictures: ``[batch, 3, height, width]``, uint8 or floats in -1…1, at their own size.

    Returns:
        float32 ``[batch, 3, size, size]`` on the CPU.
    """
    pictures = pictures.detach().cpu()
    squares = _WAYS[preparation](pictures, size)
    mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (MEAN, STD))
    return (squares - mean) / std


def _official(pictures: Tensor, size: int) -> Tensor:
    signed = pictures.float()
    if pictures.dtype is torch.uint8:
        # in place: at their own size pictures may be large
        signed.div_(255).sub_(0.5).div_(0.5)
    resized = F.interpolate(signed, (size, size), mode="bicubic", align_corners=False)
    return resized * 0.5 + 0.5


def _comfy_center(pictures: Tensor, size: int) -> Tensor:
    height, width = pictures.shape[2:]
    scale = size / min(height, width)
    return _comfy(pictures, size, (round(scale * height), round(scale * width)))


def _comfy_stretch(pictures: Tensor, size: int) -> Tensor:
    return _comfy(pictures, size, (size, size))


def _comfy(pictures: Tensor, size: int, scaled: tuple[int, int]) -> Tensor:
    resized = _unit(pictures)
    if resized.shape[2:] != (size, size):
        resized = F.interpolate(resized, scaled, mode="bicubic", antialias=True)
    top, left = ((side - size) // 2 for side in resized.shape[2:])
    square = resized[:, :, top : top + size, left : left + size]
    return (255.0 * square).clip(0, 255).round() / 255.0


def _transformers(pictures: Tensor, size: int) -> Tensor:
    from PIL import Image

    levels = pictures
    if pictures.dtype is not torch.uint8:
        levels = (_unit(pictures) * 255).clip(0, 255).round().byte()
    height, width = pictures.shape[2:]
    short = min(height, width)
    scaled = (int(size * width / short), int(size * height / short))
    left, top = ((side - size) // 2 for side in scaled)
    squares = []
    for picture in levels.permute(0, 2, 3, 1).numpy():
        resized = Image.fromarray(picture).resize(scaled, Image.Resampling.BICUBIC)
        squares.append(np.asarray(resized.crop((left, top, left + size, top + size))))
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 255


def _unit(pictures: Tensor) -> Tensor:
    """Pictures in 0…1."""
    if pictures.dtype is torch.uint8:
        return pictures.float().div_(255)
    return pictures.float() * 0.5 + 0.5


_WAYS: Mapping[Preparation, Callable[[Tensor, int], Tensor]] = {
    "official": _official,
    "comfy-center": _comfy_center,
    "comfy-stretch": _comfy_stretch,
    "transformers": _transformers,
}
