"""Videos as stages hand them on: as latents where that is planned, else as frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import attrs
import torch
from torch import Tensor

from wan_core.contract.errors import MediaError, WanCoreError, WeightsError
from wan_core.contract.events import Event, Note
from wan_core.contract.loading import Components
from wan_core.contract.requests import StageContext
from wan_core.kernels import as_shortage
from wan_core.models.vae import WanVAE, encode_pieces
from wan_core.stages.frames import given_video
from wan_core.weights.spoilt import spoilt_weight, weights_of

FLAT = 2e-3
"""Standard deviation (of pixels in -1…1) below which a decoded chunk is one colour."""


@attrs.frozen(eq=False)
class DecodedVideo:
    """Decodes latents as it is read: chunks ``[frames, 3, height, width]``, float32 in -1…1, on the CPU.

    Its VAE is in use until the run is over, also while later stages sample: stages hand out a
    :class:`LatentVideo`, which holds it only while somebody reads.
    """

    vae: WanVAE
    latents: Tensor
    emit: Callable[[Event], None]
    replayable: bool = True

    def __iter__(self) -> Iterator[Tensor]:
        flat = True
        for decoded in self.vae.decode_stream(self.latents):
            frames = decoded[0].transpose(0, 1).float().clamp(-1, 1).cpu()
            if not bool(frames.isfinite().all()):
                raise self._why_not_finite()
            flat = flat and float(frames.std(dim=(0, 2, 3)).max()) < FLAT
            yield frames
        if flat:
            self.emit(
                Note("the whole video is one colour: is this the VAE of this model?", "warning")
            )

    def _why_not_finite(self) -> WanCoreError:
        """Find the cause: a broken weight, or a precision that is too small."""
        if spoilt := spoilt_weight(weights_of(self.vae)):
            return WeightsError(
                f"{spoilt}, which spoils the decoded video",
                remedy="the VAE's file is damaged: download or convert it again",
            )
        return MediaError(
            "the decoded video has values that are not numbers",
            remedy="try a larger precision for the VAE",
        )


@attrs.define(eq=False)
class LatentVideo:
    """A video that is decoded as it is read, by a VAE that is in use only while somebody reads.

    So it takes no room from the stages that come after the one that made it. It is a
    :class:`~wan_core.contract.protocols.LatentSource`.

    Args:
        components: those of the stage.
        latents: ``[1, channels, latent frames, height, width]``.
        emit: sends an event.
        slot: the VAE's.
    """

    components: Components
    latents: Tensor
    emit: Callable[[Event], None]
    slot: str = "vae"
    replayable: bool = True
    _readers: int = attrs.field(default=0, init=False)

    def __iter__(self) -> Iterator[Tensor]:
        vae = self.components.get(self.slot)
        self._readers += 1
        stays = False
        try:
            with as_shortage():
                yield from DecodedVideo(vae, self.latents, self.emit)
        except torch.OutOfMemoryError:
            stays = True  # in use, so that it can be made to take less before the next try
            raise
        finally:
            self._readers -= 1
            if not (stays or self._readers):
                self.components.release(self.slot)


def encode_video(
    context: StageContext,
    option: str = "video",
    frames: Iterable[Tensor] | None = None,
    *,
    slot: str = "vae",
) -> Tensor:
    """Latents of the video that an option of the stage names, in the size of what the stage makes.

    They are those of the earlier stage where the plan says that it hands them over
    (:attr:`~wan_core.contract.requests.StageNeeds.takes_latents`); else the frames are encoded, and the VAE is
    released.

    Args:
        frames: those of the video, ``[1, 3, n, height, width]`` in -1…1 each, where the stage has a way of
            its own to read and fit them; they are not begun where there are latents.
        slot: the VAE's.

    Returns:
        ``[1, channels, latent frames, height, width]`` float32, on the stage's device.
    """
    if (handed := context.latents.get(option)) is not None:
        return handed.to(context.device)
    components, size = context.components, context.size
    assert components is not None and size is not None, "the stage has a model and a size"
    vae = components.get(slot)
    with context.task(f"encoding {option}", total=size.frames, unit="frame") as progress:
        given = given_video(context, size, option) if frames is None else frames
        latents = encode_pieces(vae, given, progress)
    components.release(slot)
    return latents.to(context.device)
