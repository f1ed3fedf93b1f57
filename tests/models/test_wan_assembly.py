"""Masks of known frames, VACE's context, and sizes, beside the reference case of their kind."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wan_core.models.wan.assembly import known_frames_mask, vace_context, vace_mask
from wan_core.models.wan.sizes import image_to_video_size, picture_size_5b, vace_pick


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


@pytest.mark.parametrize("size", [(1280, 720), (333, 777), (512, 512), (4000, 300), (17, 4000)])
@pytest.mark.parametrize("max_area", [480 * 832, 720 * 1280])
def test_sizes_keep_the_proportions_and_the_area(size: tuple[int, int], max_area: int) -> None:
    for rule, step, area in (
        (image_to_video_size, 16, max_area),
        (picture_size_5b, 32, max_area),
    ):
        width, height = rule(*size, area)
        assert width % step == height % step == 0
        assert 0 < width * height <= area
        strays = width / height / (size[0] / size[1])
        # sides are rounded down to a multiple, by less than a step each
        assert max(strays, 1 / strays) - 1 <= step / width + step / height


def test_vace_takes_frames_in_order_within_its_bounds() -> None:
    pick = vace_pick(1920, 1080, 300, 30.0, tokens=10_000, max_area=480 * 832)
    assert list(pick.frames) == sorted(pick.frames)
    assert (pick.frames[0], pick.frames[-1] <= 299) == (0, True)
    latent_frames = (len(pick.frames) - 1) // 4 + 1
    assert latent_frames * (pick.width // 16) * (pick.height // 16) <= 10_000
    assert pick.fps == pytest.approx(len(pick.frames) / 10, rel=0.01)
    with pytest.raises(ValueError, match="8x8"):
        vace_pick(8, 8, 10, 16, tokens=100, max_area=100)
