"""What the transformers of Wan are given beside noise: masks of known frames, and the context of VACE.

Sources: Wan-Video/Wan2.1 ``wan/image2video.py``, ``wan/first_last_frame2video.py``, ``wan/vace.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

MASK_CHANNELS = 4
CELL = 8  # pixels per side of a latent, each of which is a mask channel of VACE

Encode = Callable[[Tensor], Tensor]
"""Frames ``[3, frames, height, width]`` in -1…1 to latents ``[16, latent frames, height / 8, width / 8]``."""


def known_frames_mask(
    frames: int,
    known: Collection[int],
    height: int,
    width: int,
    *,
    device: torch.device | None = None,
) -> Tensor:
    """The mask channels of image-to-video: which pixel frames are given.

    The first frame counts four times, so that the frames fall into groups of four, one group a latent frame;
    a channel is a place in the group.

    Args:
        frames: pixel frames, ``4n + 1``.
        known: indices of the given ones; negative ones count from the end.
        height, width: of the latents.

    Returns:
        ``[4, latent frames, height, width]`` float32, 1 where a frame is given.

    Raises:
        ValueError: ``frames`` is not ``4n + 1``, or a known frame is not among them.
    """
    if frames < 1 or (frames - 1) % MASK_CHANNELS:
        raise ValueError(f"{frames} frames are not 4 * n + 1")
    given = torch.zeros(frames, device=device)
    for index in known:
        if not -frames <= index < frames:
            raise ValueError(f"there is no frame {index} among {frames}")
        given[index] = 1.0
    groups = torch.cat([given[:1].repeat(MASK_CHANNELS - 1), given]).view(-1, MASK_CHANNELS)
    return groups.T[:, :, None, None].expand(-1, -1, height, width).contiguous()


def vace_mask_frames(frames: int, latent_frames: int | None = None) -> list[int]:
    """Which frames of a mask VACE sees, one for each latent frame (of a clip of that length when None)."""
    count = (frames + 3) // 4 if latent_frames is None else latent_frames
    # nearest-exact: the middle of each new frame says which old one it is
    return [(2 * index + 1) * frames // (2 * count) for index in range(count)]


def vace_mask(mask: Tensor, latent_frames: int | None = None) -> Tensor:
    """The 64 mask channels of VACE: each pixel of a cell of 8 x 8 is a channel; values stay as they are.

    Args:
        mask: ``[1, frames, height, width]`` in 0…1.
        latent_frames: frames of the result; those of a clip of that length when None.

    Returns:
        ``[64, latent frames, height / 8, width / 8]``.
    """
    return vace_cells(mask[:, vace_mask_frames(mask.shape[1], latent_frames)])


def vace_cells(mask: Tensor) -> Tensor:
    """Likewise, of the frames that VACE sees: ``[1, n, height, width]`` to ``[64, n, …]``."""
    _, frames, height, width = mask.shape
    cells = mask.reshape(frames, height // CELL, CELL, width // CELL, CELL)
    return cells.permute(2, 4, 0, 1, 3).reshape(CELL * CELL, frames, height // CELL, width // CELL)


def vace_context(
    encode: Encode, frames: Tensor, mask: Tensor, references: Sequence[Tensor] = ()
) -> Tensor:
    """The context of VACE: what stays, what is made anew, where, and reference pictures in front.

    Args:
        encode: the VAE, normalised latents.
        frames: the video ``[3, frames, height, width]`` in -1…1 (zeros where there is none).
        mask: ``[1, frames, height, width]`` in 0…1; above 0.5 is made anew.
        references: pictures ``[3, 1, height, width]`` in -1…1, placed on their canvas.

    Returns:
        ``[96, references + latent frames, height / 8, width / 8]``: 16 channels of what stays, 16 of what
        is made anew, 64 of the mask. The frames of references are dropped from the result of sampling.
    """
    anew = (mask > 0.5).to(frames)
    parts = torch.cat([encode(frames * (1 - anew)), encode(frames * anew)])
    context = torch.cat([parts, vace_mask(mask, parts.shape[1]).to(parts)])
    pictures = [vace_reference(encode(picture)) for picture in references]
    return torch.cat([*pictures, context], dim=1)


def vace_reference(latent: Tensor) -> Tensor:
    """A reference picture as a frame of the context: nothing is made anew, nothing is masked.

    ``[16, 1, height / 8, width / 8]`` to ``[96, …]``.
    """
    rest = latent.new_zeros(latent.shape[0] + CELL * CELL, *latent.shape[1:])
    return torch.cat([latent, rest])
