"""Masks of known frames and VACE's context, beside the reference case of their kind."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wan_core.models.wan.assembly import known_frames_mask, vace_context, vace_mask


def test_the_first_frame_alone_fills_the_first_latent_frame() -> None:
    mask = known_frames_mask(9, [0], 2, 3)
    assert mask.shape == (4, 3, 2, 3)
    assert (mask[:, 0] == 1).all()
    assert (mask[:, 1:] == 0).all()


def test_other_frames_have_a_place_in_their_group() -> None:
    # pixel frames 1…4 are the second latent frame, 5…8 the third
    mask = known_frames_mask(9, [0, 1, 6, -1], 1, 1)[:, :, 0, 0]
    assert mask.T.tolist() == [[1, 1, 1, 1], [1, 0, 0, 0], [0, 1, 0, 1]]


@pytest.mark.parametrize(("frames", "known"), [(8, [0]), (0, []), (9, [9]), (9, [-10])])
def test_frames_that_are_not_there_are_refused(frames: int, known: list[int]) -> None:
    with pytest.raises(ValueError, match=str(known[0] if frames == 9 else frames)):
        known_frames_mask(frames, known, 1, 1)


def test_each_pixel_of_a_cell_is_a_mask_channel() -> None:
    mask = torch.arange(5 * 16 * 24).view(1, 5, 16, 24).float()
    found = vace_mask(mask)
    assert found.shape == (64, 2, 2, 3)
    assert torch.equal(
        found[:, 0, 1, 2], mask[0, 1, 8:, 16:].flatten()
    )  # nearest-exact: frames 1 and 3
    assert torch.equal(found[:, 1, 1, 2], mask[0, 3, 8:, 16:].flatten())


def encode(video: Tensor) -> Tensor:
    latent = torch.nn.functional.avg_pool3d(video[:, ::4], (1, 8, 8))
    return latent.mean(dim=0, keepdim=True).expand(16, -1, -1, -1)


def test_what_stays_and_what_is_made_anew_are_encoded_apart() -> None:
    video, mask = torch.ones(3, 5, 16, 16), torch.zeros(1, 5, 16, 16)
    mask[..., 8:] = 0.6
    reference = torch.full((3, 1, 16, 16), 0.25)
    context = vace_context(encode, video, mask, [reference])
    assert context.shape == (96, 3, 2, 2)
    stays, anew, masked = context[:16], context[16:32], context[32:]
    assert (stays[:, 0] == 0.25).all() and (anew[:, 0] == 0).all() and (masked[:, 0] == 0).all()
    assert (stays[:, 1:, :, 0] == 1).all() and (stays[:, 1:, :, 1] == 0).all()
    assert (anew[:, 1:, :, 0] == 0).all() and (anew[:, 1:, :, 1] == 1).all()
    assert (masked[:, 1:, :, 1] == 0.6).all()  # the channels keep the raw values
