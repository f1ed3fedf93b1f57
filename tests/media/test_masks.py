"""Masks from pictures and videos: brought to a video's size, or refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from clips import film, noise
from PIL import Image

from wan_core.contract.errors import MediaError
from wan_core.media import write_video
from wan_core.media.clips import Part
from wan_core.media.masks import Masking, check_mask, read_masks


def picture_mask(path: Path, size: tuple[int, int], half: int = 255) -> Path:
    mask = Image.new("L", size, 0)
    mask.paste(half, (size[0] // 2, 0, *size))
    mask.save(path)
    return path


def test_a_picture_masks_every_frame(tmp_path: Path) -> None:
    path = picture_mask(tmp_path / "a.png", (48, 32))
    check_mask(path, (24, 16), 5)
    masks = list(read_masks(path, (24, 16), 5))
    assert len(masks) == 5
    assert masks[0].shape == (1, 16, 24)
    assert masks[0].dtype == np.float32
    assert (masks[0][0, :, :12] == 0).all()
    assert (masks[0][0, :, 12:] == 1).all()
    (inverted,) = read_masks(path, (24, 16), 1, Masking(invert=True))
    assert np.array_equal(inverted, 1 - masks[0])


@pytest.mark.parametrize(
    ("masking", "right"),
    [
        (Masking(), 0.4),
        (Masking(threshold=0.5), 0),
        (Masking(threshold=0.4), 0),
        (Masking(threshold=0.39), 1),
        (Masking(invert=True), 0.6),
        (Masking(invert=True, threshold=0.5), 1),
    ],
)
def test_thresholds(tmp_path: Path, masking: Masking, right: float) -> None:
    path = picture_mask(tmp_path / "a.png", (24, 16), half=102)
    (mask,) = read_masks(path, (24, 16), 1, masking)
    assert mask[0, 0, -1] == pytest.approx(right)


def test_a_video_masks_frame_by_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    levels = np.array([0, 51, 255, 102], np.uint8)[:, None, None, None]
    write_video(path, [np.broadcast_to(levels, (4, 16, 24, 3))], 16)
    check_mask(path, (48, 32), 3)
    masks = list(read_masks(path, (48, 32), 3))
    assert [mask.shape for mask in masks] == [(1, 32, 48)] * 3
    assert [float(mask[0, 5, 5]) for mask in masks] == pytest.approx([0, 0.2, 1])
    (later,) = read_masks(path, (48, 32), 1, Masking(part=Part(first=3)))
    assert float(later[0, 0, 0]) == pytest.approx(0.4)
    for say in (check_mask, lambda *given: list(read_masks(*given))):
        with pytest.raises(MediaError, match="mask has 4 frames, the video 9; use a longer mask"):
            say(path, (48, 32), 9)


def test_an_animation_is_a_video_and_its_pictures_are_masks(tmp_path: Path) -> None:
    levels = np.array([0, 255, 0], np.uint8)[:, None, None, None]
    frames = np.broadcast_to(levels, (3, 16, 24, 3))
    for name in ("a.gif", "a.webp", "b/%03d.png"):
        write_video(tmp_path / name, [frames], 16)
        path = tmp_path / name
        masks = list(read_masks(path, (24, 16), 3, Masking(threshold=0.5)))
        assert [float(mask.mean()) for mask in masks] == [0, 1, 0]
    assert len(list(read_masks(tmp_path / "b", (24, 16), 3))) == 3


def test_masks_of_other_proportions(tmp_path: Path) -> None:
    path = picture_mask(tmp_path / "a.png", (32, 32))
    for say in (check_mask, lambda *given: list(read_masks(*given))):
        with pytest.raises(
            MediaError, match="the mask is 32x32, the video 24x16: their proportions"
        ):
            say(path, (24, 16), 1)
    for fitted in ("stretch", "cover"):
        (mask,) = read_masks(path, (24, 16), 1, Masking(fitted=fitted))  # type: ignore[arg-type]
        assert (mask[0, 8] == np.repeat([0, 1], 12)).all()
    film(tmp_path / "b.mp4", 3)
    with pytest.raises(MediaError, match="the mask is 24x16, the video 16x24"):
        list(read_masks(tmp_path / "b.mp4", (16, 24), 3))


def test_masks_that_are_none(tmp_path: Path) -> None:
    path = picture_mask(tmp_path / "a.png", (24, 16))
    for threshold in (-0.1, 1.0, float("nan")):
        with pytest.raises(
            MediaError, match=r"the threshold of the mask is .*; use a number from 0"
        ):
            check_mask(path, (24, 16), 1, Masking(threshold=threshold))
    path.write_bytes(path.read_bytes()[:45])
    with pytest.raises(MediaError, match="this picture is damaged"):
        list(read_masks(path, (24, 16), 1))
    (tmp_path / "a.txt").write_text("hello")
    write_video(tmp_path / "c.mp4", [noise(1)], 16)
    for name in ("a.txt", "none.png"):
        with pytest.raises(MediaError, match=r"no video|no such file"):
            check_mask(tmp_path / name, (24, 16), 1)
