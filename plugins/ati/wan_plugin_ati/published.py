"""ATI's own track files: ``torch.save`` of the bytes of a NumPy archive. Torch is imported to open one only."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wan_core.contract import WeightsError
from wan_core.weights import check_pickle
from wan_plugin_ati.arrays import read_archive, shape_of
from wan_plugin_ati.clip import SAMPLES
from wan_plugin_ati.tracks import Drawing, TracksError, drawing_of_array

MEMBER = "array"
SCALE = 8
"""All numbers in such a file are multiplied by it."""
FORM = "ATI's own track file"
REMEDY = "save the tracks again with the editor that made them, or in another form"


def read_published(path: Path) -> Drawing:
    """The tracks of a ``.pth`` file.

    Raises:
        TracksError: it holds code or anything else than tracks, or is damaged.
    """
    try:
        check_pickle(path)
    except WeightsError as error:
        problem = error.problem.replace(
            "Python objects other than tensors", "Python code or objects"
        )
        problem = problem.replace("a pickled state dict", "a track file")
        raise TracksError(problem, remedy=REMEDY) from error
    return of_archive(_bytes_in(path))


def of_archive(data: bytes) -> Drawing:
    """The tracks of the archive inside such a file.

    Raises:
        TracksError: it has no array of tracks.
    """
    arrays = read_archive(data)
    if MEMBER not in arrays:
        raise TracksError(
            f'the archive has no member "{MEMBER}", so it is none of ATI\'s', remedy=REMEDY
        )
    return drawing_of_array(_in_order(arrays[MEMBER]), FORM, units="pixels")


def _bytes_in(path: Path) -> bytes:
    import torch

    try:
        with warnings.catch_warnings():
            # torch warns of what is refused in a sentence below
            warnings.simplefilter("ignore", UserWarning)
            held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        problem = "the file holds Python code or objects, could run code, and is refused"
        raise TracksError(problem, remedy=REMEDY) from error
    except Exception as error:
        # damaged archives fail in many ways, none of them documented
        raise TracksError(
            f"the file can't be read ({type(error).__name__})", remedy=REMEDY
        ) from error
    if not isinstance(held, bytes):
        what = "a tensor" if isinstance(held, torch.Tensor) else type(held).__name__
        raise TracksError(f"the file holds {what}, not the bytes of tracks", remedy=REMEDY)
    return held


def _in_order(array: NDArray[Any]) -> NDArray[np.float32]:
    """``[tracks, samples, 3]`` in pixels; samples may come first, as upstream's other tools write them."""
    if array.ndim != 4 or array.shape[2:] != (1, 3):
        raise TracksError(
            f"the array has the shape {shape_of(array)}, not (tracks, {SAMPLES}, 1, 3)",
            remedy=REMEDY,
        )
    if array.shape[1] != SAMPLES and array.shape[0] == SAMPLES:
        array = array.swapaxes(0, 1)
    floats: NDArray[np.float32] = array[:, :, 0].astype(np.float32) / np.float32(SCALE)
    if floats.size and floats[..., 2].max() == 1 / SCALE:
        raise TracksError(
            f"visible is 1 where ATI's files have {SCALE}: nothing in it is multiplied by {SCALE}",
            remedy="save the points as .npy, where they are as they are",
        )
    return floats
