"""What hooks and stages are handed. Frozen facts plus the few services they may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from wan_core.contract.attention import Attend
from wan_core.contract.conditioning import ALWAYS, NOTHING, StepRange
from wan_core.contract.descriptions import Description, Family, Solver
from wan_core.contract.events import Event
from wan_core.contract.loading import Components as Components
from wan_core.contract.loading import LoadRequest as LoadRequest  # where contract 1.0 has them
from wan_core.contract.state import StateSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@attrs.frozen
class VideoSize:
    """The size of what a stage makes: pixels, frames, frames per second."""

    width: int
    height: int
    frames: int
    fps: float


@attrs.frozen
class FeatureCheck:
    """A feature at planning: everything known before a weight is read.

    Attributes:
        feature: its name.
        options: its options, an instance of its options class.
        stage: name of the stage.
        where: turns the name of one of its options, or ``"use"``, into file, line and key, for error messages.
        folder: the folder that relative paths start from.
        family: the stage's family.
        size: what the stage makes.
        steps: number of sampling steps that are run; None where the stage does not say.
        inputs: what earlier stages make: ``"NAME.video"`` -> size; None where it is not known.
        pictures: what the stage is given to start from, by the name of its option (``"image"``,
            ``"last_image"``, ``"continues"``, ``"video"``) -> its own width and height in pixels, before it is
            brought to the size of the stage's video.
    """

    feature: str
    options: Any
    stage: str
    where: Callable[[str], str]
    folder: Path
    family: Family
    size: VideoSize
    steps: int | None = None
    inputs: Mapping[str, VideoSize | None] = NOTHING
    pictures: Mapping[str, tuple[int, int]] = NOTHING


@attrs.frozen(eq=False)
class GivenFrames:
    """Frames of a video that are given, not generated.

    Attributes:
        name: what gave them: ``"image"``, ``"last_image"`` or ``"continues"``.
        start: number of the first of them.
        frames: ``[3, frames, height, width]`` float32 in -1…1 on the CPU, in the size of the video.
        picture: ``[height, width, 3]`` uint8: the latest of them as it was before it was brought to that
            size, for image encoders.
    """

    name: str
    start: int
    frames: Tensor
    picture: Any


@attrs.frozen(eq=False)
class PictureRequest:
    """What :attr:`Pictures.condition <wan_core.contract.descriptions.Pictures>` of a family is asked.

    Attributes:
        latents: name of the latents.
        given: the given frames, none of them twice.
        family: the stage's family.
        size: what the stage makes.
        components: the model's components; those that are done with should be released.
        device, dtype: what the transformer runs in.
        task: times and reports a long step, as in :class:`StageContext`.
    """

    latents: str
    given: Sequence[GivenFrames]
    family: Family
    size: VideoSize
    components: Components
    device: torch.device
    dtype: torch.dtype
    task: Callable[..., AbstractContextManager[Callable[[int], None]]]


@contextmanager
def unreported(name: str, **more: Any) -> Iterator[Callable[[int], None]]:
    """A ``task`` that nobody follows."""
    yield lambda done: None


def nothing_kept(shapes: Mapping[str, Sequence[int]]) -> Mapping[str, Tensor] | None:
    """A ``kept`` of a run that begins."""
    return None


@attrs.frozen
class ConditioningRequest:
    """What ``wan_condition`` is asked (see :mod:`wan_core.hookspecs`).

    Attributes:
        feature: the feature asked for.
        options: its options.
        stage: name of the stage.
        folder: the folder that relative paths start from.
        family: the stage's family.
        size: what the stage makes.
        latent_shapes: latent name -> shape without the batch axis.
        steps: number of sampling steps.
        seed: the stage's seed.
        components: the model's components, should the feature need to encode something; what it is done
            with it should release.
        device, dtype: what the transformer runs in.
        inputs: sources of earlier stages by ``"NAME.video"``.
        task: times and reports a long step, as in :class:`StageContext`.
        pictures: sizes of what the stage is given, as in :class:`FeatureCheck`.
    """

    feature: str
    options: Any
    stage: str
    folder: Path
    family: Family
    size: VideoSize
    latent_shapes: Mapping[str, Sequence[int]]
    steps: int
    seed: int
    components: Components
    device: torch.device
    dtype: torch.dtype
    inputs: Mapping[str, Any] = NOTHING
    task: Callable[..., AbstractContextManager[Callable[[int], None]]] = unreported
    pictures: Mapping[str, tuple[int, int]] = NOTHING


@attrs.frozen
class AttentionRequest:
    """What ``wan_patch_attention`` is asked: the same circumstances, and how many blocks there are."""

    feature: str
    options: Any
    stage: str
    family: Family
    blocks: int
    steps: int
    token_grid: tuple[int, int, int]
    device: torch.device
    dtype: torch.dtype


@attrs.frozen(eq=False)
class AttentionPatch:
    """Which callable serves which attention of which blocks, in which part of the run.

    Attributes:
        attend: the callable.
        source: ``"self"``, or the name of a cross-attention source.
        blocks: indices of blocks; None = all.
        steps: the part of the run; outside it the default serves.
    """

    attend: Attend
    source: str = "self"
    blocks: frozenset[int] | None = None
    steps: StepRange = ALWAYS


@attrs.frozen
class PostProcessRequest:
    """What ``wan_post_process`` is asked: circumstances of a decoded video.

    Attributes:
        feature: the feature asked for.
        options: its options.
        stage: name of the stage.
        folder: the folder that relative paths start from.
        size: of the video.
        pictures: sizes of what the stage was given, as in :class:`FeatureCheck`.
    """

    feature: str
    options: Any
    stage: str
    folder: Path
    size: VideoSize
    pictures: Mapping[str, tuple[int, int]] = NOTHING


@attrs.frozen
class PlanContext:
    """What a stage's ``plan`` gets: everything known before a weight is read.

    Attributes:
        stage: name of the stage.
        options: its options as the workflow gives them (None = not given).
        where: turns the name of an option into file, line and key, for error messages.
        folder: the folder that relative paths start from.
        family: the family of the stage's model, None for a stage without one.
        solver: looks a solver up by name, or raises with the nearest name.
        inputs: what earlier stages make: ``"NAME.video"`` -> size; None where it is not known.
        dtype: name of the precision that the model will run in.
    """

    stage: str
    options: Any
    where: Callable[[str], str]
    folder: Path
    family: Family | None
    solver: Callable[[str], Solver]
    inputs: Mapping[str, VideoSize | None] = NOTHING
    dtype: str = "float32"


@attrs.frozen
class StageNeeds:
    """What a stage says it will do.

    Attributes:
        options: its options with every default filled in.
        size: the video it makes, None when it makes none.
        prompts: texts to be encoded by its model's text encoder.
        branches: number of model calls per step, for predictions of time.
        notes: things the user should know.
        state: what the denoiser will keep across calls; counted as memory of sampling.
        steps: number of sampling steps that are run; None when there are none.
        encodes: task (``"encoding OPTION"``) -> frames that its VAE encodes in it, in the order of a run, for
            predictions; what is handed over as latents does not count. None = as the options
            ``image``, ``last_image``, ``continues`` and ``video`` of ``generate`` say.
        planned: whatever else planning found out that the stage's ``run`` needs; it is not looked into.
        pictures: option of the stage -> width and height in pixels of the picture or video that it names, as
            far as they are known; features are told.
        gives_latents: outputs that are a :class:`~wan_core.contract.protocols.LatentSource` -> slot of the VAE
            whose latents they are.
        takes_latents: options that name a video of an earlier stage, of whose frames it would do nothing but
            encode them -> slot of the VAE it would do that with. Where the VAE, the size and the number of
            frames are the same and nothing has changed the pixels, it finds the latents in
            :attr:`StageContext.latents`; see :func:`wan_core.stages.encode_video`.
    """

    options: Any
    size: VideoSize | None = None
    prompts: tuple[str, ...] = ()
    branches: int = 1
    notes: tuple[str, ...] = ()
    state: tuple[StateSpec, ...] = ()
    steps: int | None = None
    encodes: Mapping[str, int] | None = None
    planned: Any = None
    pictures: Mapping[str, tuple[int, int]] = NOTHING
    gives_latents: Mapping[str, str] = NOTHING
    takes_latents: Mapping[str, str] = NOTHING


@attrs.frozen(eq=False)
class StageContext:
    """What a stage's ``run`` gets.

    Attributes:
        stage: name of the stage.
        options: its options with every default filled in.
        family: the family of its model, or None for a stage without one.
        size: what it makes.
        components: the model's components; None for a stage without a model.
        text: encoded prompts, by prompt: ``[rows, text width]``.
        inputs: sources of earlier stages by ``"stage.output"``.
        condition: ``condition(conditioning, **circumstances)`` lets the asked features change a
            conditioning, in order; circumstances are the remaining fields of
            :class:`ConditioningRequest`.
        attention: what computes attention where no feature patches it.
        attention_patches: asks the features for attention patches, likewise.
        solver: looks a solver up by name.
        attributed: ``with attributed(description)`` runs code of whoever brought the description; what goes
            wrong in it is told as that plugin's.
        post_process: lets the asked features change a decoded source.
        keep: stores tensors of this stage until the run has succeeded, so that a crash loses nothing.
        kept: ``kept({"video": shape})`` gives the float32 tensors of exactly these names and shapes that this
            stage of a run that goes on has kept, on the CPU; None when there are none.
        task: ``with task("sampling", total=30, unit="step") as progress`` times and reports a long step.
        emit: sends an event.
        folder: the folder that relative paths start from.
        device, dtype: what the model runs in.
        previews: somebody wants to see the video grow (:func:`wan_core.stages.previewer` sends it).
        planned: what the stage's ``plan`` gave as :attr:`StageNeeds.planned`.
        latents: option -> latents of the video that it names, where they are taken in place of frames.
    """

    stage: str
    options: Any
    family: Family | None
    size: VideoSize | None
    components: Components | None
    text: Mapping[str, Tensor]
    inputs: Mapping[str, Any]
    condition: Callable[..., Any]
    attention: Attend
    solver: Callable[[str], Solver]
    attributed: Callable[[Description], AbstractContextManager[None]]
    attention_patches: Callable[..., Sequence[AttentionPatch]]
    post_process: Callable[[Any], Any]
    keep: Callable[[Mapping[str, Tensor]], Path | None]
    task: Callable[..., AbstractContextManager[Callable[[int], None]]]
    emit: Callable[[Event], None]
    folder: Path
    device: torch.device
    dtype: torch.dtype
    previews: bool = False
    kept: Callable[[Mapping[str, Sequence[int]]], Mapping[str, Tensor] | None] = nothing_kept
    planned: Any = None
    latents: Mapping[str, Tensor] = NOTHING
