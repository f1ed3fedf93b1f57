"""What predictions know of a stage: the sizes of its model's parts, and what it encodes before it samples.

One place for both, memory and time. Everything is read from headers and from the stage's options, nothing is
taken from the name of a family. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from wan_core.contract.descriptions import Pictures
from wan_core.contract.requests import VideoSize
from wan_core.models.encoders.clip_files import ClipConfig, vision_tower
from wan_core.models.vae import TaehvConfig, VaeDescriptor, taehv_config, vae_descriptor
from wan_core.models.vae.descriptor import PREVIEW_SLOT
from wan_core.models.wan import WanConfig
from wan_core.models.wan.dialects import COMPONENT, DIALECTS
from wan_core.models.wan.files import transformer_config
from wan_core.planning.plan import PlannedModel, PlannedStage
from wan_core.weights import in_official_names, open_weights

NEEDED = {"text_encoder", "transformer", "vae"}
PARTS = NEEDED | {"image_encoder", PREVIEW_SLOT}
ENCODING = "encoding "
PICTURES, VIDEO, CONTEXTS = "encoding pictures", "encoding video", "encoding for vace"
"""Tasks of a run in which the VAE encodes."""


@attrs.frozen
class Known:
    """A stage whose memory and time can be predicted.

    Attributes:
        model: its model.
        size: what it makes.
        transformer: sizes of its transformer, or of one of two experts, which are equal.
        vae: its VAE.
        tiny: sizes of the tiny VAE that previews are decoded with; None when there is none.
        clip: sizes of its image encoder; None when there is none.
        encoded: task -> frames that the VAE encodes in it, in the order of a run.
        pictures: pictures that become image tokens.
        contexts: of VACE.
    """

    model: PlannedModel
    size: VideoSize
    transformer: WanConfig
    vae: VaeDescriptor
    tiny: TaehvConfig | None
    clip: ClipConfig | None
    encoded: Mapping[str, int]
    pictures: int
    contexts: int

    def under(self, models: Mapping[str, PlannedModel]) -> Known:
        """The same of a model with placements."""
        return attrs.evolve(self, model=models[self.model.name])

    @property
    def experts(self) -> tuple[str, ...]:
        """Slots of the transformer, or of its two experts."""
        return self.model.family.slots("transformer")

    @property
    def tokens(self) -> int:
        """Tokens of the transformer's sequence: latent frames x height x width in patches of 2 x 2."""
        return tokens(self.size, self.vae.stride)

    @property
    def image_rows(self) -> int:
        """Image tokens that the transformer attends to beside the text."""
        return self.pictures * self.clip.tokens if self.clip else 0


def tokens(size: VideoSize, stride: tuple[int, int, int] = (4, 8, 8)) -> int:
    """Tokens of the transformer's sequence: latent frames x height/16 x width/16 for patch (1, 2, 2).

    Latents of odd size are padded to whole patches.
    """
    frames = (size.frames - 1) // stride[0] + 1
    return frames * -(-size.height // (stride[1] * 2)) * -(-size.width // (stride[2] * 2))


def what_is_known(stage: PlannedStage, models: Mapping[str, PlannedModel]) -> Known | None:
    """The sizes behind a stage; None for one without a size or a model, or whose model has other parts."""
    model, size = models.get(stage.spec.model or ""), stage.needs.size
    if model is None or size is None or not NEEDED <= model.parts <= PARTS:
        return None
    slot = model.family.slots("transformer")[0]
    if model.files[slot].identity.component != COMPONENT:
        return None
    source = open_weights(model.files[slot].path)
    official = in_official_names(source, (*DIALECTS, *model.dialects.get(slot, ())))
    transformer = transformer_config(official, model.family.components[slot].config)
    wider: dict[str, Any] = {one.key: one.inputs for one in model.files[slot].widened}
    transformer = attrs.evolve(transformer, **wider)
    vae = vae_descriptor(open_weights(model.files["vae"].path))
    clip = _clip(model)
    given = _given(stage.needs.options)
    changes = getattr(stage.needs.options, "video", None) is not None
    contexts = stage.contexts(model)
    video = size.frames if changes and not stage.takes_latents("video") else 0
    encoded = _encoded(given, video, transformer, size)
    if stage.needs.encodes is not None:
        encoded = {
            task: frames
            for task, frames in stage.needs.encodes.items()
            if not stage.takes_latents(task.removeprefix(ENCODING))
        }
    if contexts:  # of each what stays, and what is made anew
        encoded = {**encoded, CONTEXTS: 2 * contexts * size.frames}
    return Known(
        model,
        size,
        transformer,
        vae,
        _tiny(model),
        clip,
        encoded,
        _shown(given, model.family.pictures) if clip else 0,
        contexts,
    )


def _tiny(model: PlannedModel) -> TaehvConfig | None:
    file = model.files.get(PREVIEW_SLOT)
    return taehv_config(open_weights(file.path)) if file else None


def _clip(model: PlannedModel) -> ClipConfig | None:
    slot = "image_encoder"
    if slot not in model.files:
        return None
    known = model.family.components[slot].config
    dialects = model.dialects.get(slot, ())
    return vision_tower(open_weights(model.files[slot].path), known, dialects)[0]


def _given(options: Any) -> dict[str, int]:
    """How many frames each option gives that the video begins or ends with."""
    counts = {"image": 1, "last_image": 1, "continues": getattr(options, "overlap", None) or 1}
    return {name: count for name, count in counts.items() if getattr(options, name, None)}


def _encoded(
    given: Mapping[str, int], video: int, transformer: WanConfig, size: VideoSize
) -> dict[str, int]:
    """Frames of given pictures, and those of a video that is changed, where it does not come as latents.

    A transformer that takes channels beside the latents is told of every frame of the video, grey where nothing
    is given; another one gets the given frames themselves.
    """
    encoded = {}
    if given:
        beside = transformer.in_dim > transformer.out_dim
        encoded[PICTURES] = size.frames if beside else sum(given.values())
    if video:
        encoded[VIDEO] = video
    return encoded


def _shown(given: Mapping[str, int], pictures: Pictures | None) -> int:
    """Given pictures that the image encoder sees; a continued video stands for a first picture."""
    names = {"image" if name == "continues" else name for name in given}
    return len(names & set(pictures.shown)) if pictures else 0
