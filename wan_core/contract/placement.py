"""Where the weights of a component are while it works, and how much of its work is done at a time."""

from __future__ import annotations

import attrs


@attrs.frozen
class Placement:
    """What the plan decides for a component; the default is that all of it is resident.

    Attributes:
        device: where it computes; None = on its model's device.
        swapped: names of the units, and of parts beside them such as ``"text_embedding"``, that lie in host
            memory and come to the device for their call.
        prefetch: units that are on their way while one computes.
        rows: tokens that a feed-forward handles at a time; None = all. (Norms and rotation handle few at a time
            in any case.)
        at_once: frames that the blocks of a VAE hold at a time; None = those of one latent.
        tiles: a VAE decodes part by part of the picture, which is inexact.
    """

    device: str | None = None
    swapped: tuple[str, ...] = ()
    prefetch: int = 1
    rows: int | None = None
    at_once: int | None = None
    tiles: bool = False


RESIDENT = Placement()
