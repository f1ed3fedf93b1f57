"""The tracks drawn over the video on its way out."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wan_core.contract import ChunkSource, PostProcessRequest
from wan_plugin_ati.clip import lay_out
from wan_plugin_ati.drawing import layer_of, on_picture
from wan_plugin_ati.options import drawing_from
from wan_plugin_ati.placing import layout_of
from wan_plugin_ati.tracks import Floats


def overlaid(source: ChunkSource, request: PostProcessRequest) -> Overlay:
    """A source with the tracks over each frame.

    Raises:
        TracksError: the tracks can't be read.
    """
    drawing = drawing_from(request.options)
    layout = layout_of(request.options, drawing, request.size, request.pictures)
    laid = lay_out(drawing, layout)
    points = on_picture(laid, layout.window, request.size.width, request.size.height)
    return Overlay(source, points, laid.seen, source.replayable)


@attrs.define(eq=False)
class Overlay:
    """Frames of ``source`` with points over them; what they do not cover stays as it is.

    Attributes:
        points: ``[frames, tracks, 2]``, pixels of the video.
        seen: ``[frames, tracks]``.
        replayable: as the source.
    """

    source: ChunkSource
    points: Floats
    seen: NDArray[np.bool_]
    replayable: bool = False

    def __iter__(self) -> Iterator[Tensor]:
        frame = 0
        for chunk in self.source:
            drawn = [self._over(one, frame + index) for index, one in enumerate(chunk)]
            yield torch.stack(drawn)
            frame += len(drawn)

    def _over(self, picture: Tensor, frame: int) -> Tensor:
        height, width = picture.shape[-2:]
        layer = torch.from_numpy(layer_of(self.points, self.seen, frame, width, height))
        layer = layer.permute(2, 0, 1).to(picture) / 255
        colours, opacity = layer[:3] * 2 - 1, layer[3:]
        return torch.where(opacity > 0, torch.lerp(picture, colours, opacity), picture)
