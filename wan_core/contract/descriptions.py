"""Descriptions: the cheap, frozen objects by which a plugin (and the core itself) says what it brings.

A description names code by import string (``"package.module:name"``), so that listing families or reading a
workflow imports neither torch nor the plugin's models.

A description with a wrong field is refused where it is built, by
:class:`~wan_core.contract.errors.PluginError`; whether an import string leads somewhere is seen on use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import attrs

from wan_core.contract import validators as valid
from wan_core.contract.attention import AttentionSupport
from wan_core.contract.errors import PluginError
from wan_core.contract.stack import Stack

EMPTY: Mapping[str, Any] = MappingProxyType({})


@attrs.frozen
class Preset:
    """What a family's makers recommend; every value may be overridden in a stage.

    Attributes:
        width, height: picture size in pixels.
        size_multiple: width and height must be multiples of it.
        frames: number of frames; must be ``frame_step * n + 1``.
        fps: frames per second of the result.
        steps, shift, guidance, solver: of the sampler. A guidance pair is (high noise, low noise).
        negative_prompt: what the unconditional branch is told when the user says nothing.
        boundary: noise level at which two experts change over; None for one transformer.
        sizes: sizes that the makers trained on, (width, height).
    """

    width: int = attrs.field(validator=valid.count)
    height: int = attrs.field(validator=valid.count)
    frames: int = attrs.field(validator=valid.count)
    fps: float = attrs.field(validator=valid.positive)
    steps: int = attrs.field(validator=valid.count)
    shift: float = attrs.field(validator=valid.number)
    guidance: float | tuple[float, float] = attrs.field(validator=valid.guidance)
    solver: str = attrs.field(default="unipc", validator=valid.text)
    negative_prompt: str = attrs.field(default="", validator=valid.text)
    size_multiple: int = attrs.field(default=16, validator=valid.count)
    frame_step: int = attrs.field(default=4, validator=valid.count)
    boundary: float | None = attrs.field(default=None, validator=valid.optional_number)
    sizes: tuple[tuple[int, int], ...] = attrs.field(default=(), validator=valid.sizes)

    def __attrs_post_init__(self) -> None:
        if (self.frames - 1) % self.frame_step:
            raise PluginError(
                f"Preset: frames must be {self.frame_step} * n + 1, not {self.frames}"
            )
        if self.width % self.size_multiple or self.height % self.size_multiple:
            raise PluginError(
                f"Preset: width and height must be multiples of {self.size_multiple}, not "
                f"{self.width}x{self.height}"
            )


@attrs.frozen
class PublishedFile:
    """A published file that fills a component's slot, or belongs to the file that does.

    Of a component's published files the first is the one that its slot names; the others are its shards, or
    fill a slot of their own (``slot``).

    Attributes:
        repository: ``"ORG/NAME"`` on the Hugging Face Hub.
        path: inside the repository; its last part may be a pattern (``"model*.safetensors"``).
        revision: the commit that is meant, 40 hexadecimal digits; ``""`` = the newest when it is fetched
            first.
        sha256: of the content, 64 hexadecimal digits; ``""`` = not known: what the Hub says holds.
        bytes: size of the file; 0 = not known.
        slot: key of the ``[model]`` table that names this file where it is not the component's own
            (``"tokenizer"``).
    """

    repository: str = attrs.field(validator=valid.repository)
    path: str = attrs.field(validator=valid.inner_path)
    revision: str = attrs.field(default="", validator=valid.hexadecimal(40))
    sha256: str = attrs.field(default="", validator=valid.hexadecimal(64))
    bytes: int = attrs.field(default=0, validator=valid.size_in_bytes)
    slot: str = attrs.field(default="", validator=valid.text)

    @property
    def name(self) -> str:
        """``"ORG/NAME/path"``."""
        return f"{self.repository}/{self.path}"

    @property
    def is_pattern(self) -> bool:
        """Whether the path stands for several files."""
        return "*" in self.path


@attrs.frozen
class Component:
    """A part of a family that is loaded from files: the transformer, the VAE, the text encoder.

    Attributes:
        kind: what a file must contain to fit the slot (``"wan-transformer"``, ``"wan-vae"``,
            ``"umt5-encoder"`` …), as :func:`wan_core.weights.identify` says it.
        load: import string of ``load(request: LoadRequest) -> object``.
        identify: import string of ``identify(source) -> Identity | None`` for kinds that the core does not
            know (its module must not import torch); see :class:`wan_core.weights.Identity`.
        verify: import string of ``verify(source, config) -> None``, called at planning (its module must not
            import torch): raises :class:`~wan_core.contract.errors.WeightsError` for a file that could not be
            loaded.
        lora_targets: import string of ``lora_targets(source, dialects) -> LoraTargets`` (its module must not
            import torch), for a component whose loader merges the LoRA files of its request; see
            :class:`wan_core.weights.lora.LoraTargets`. None = it takes none.
        stack: its module is a stack of blocks, loaded by :func:`wan_core.models.load_stack`: then
            ``lora_targets``, ``keeps_apart``, ``quantises`` and ``units`` follow from it, where not given.
        keeps_apart: its loader also keeps LoRA files apart from the weights; see
            :attr:`wan_core.contract.LoadRequest.apart`.
        config: the architecture, for the loader and for predictions of size. Numbers that appear here
            must agree with the file's header.
        bundled: a file that comes with an installed package, used when the workflow names none:
            ``"package:path"``, ``"wan_plugin_x:tiny/x.safetensors"``; without a package, one of the core's.
        published: the files of the makers that fill the slot: what ``wan-core models pull`` fetches, and what
            a workflow gets that names none.
        alternatives: other published forms of the same weights, one file each: a workflow that names none
            gets one that is here where the first are not; they are not fetched.
        outline: the names, types and shapes of its first published form, named like ``bundled``: what a plan
            counts with where nobody has fetched the file. See :mod:`wan_core.weights.outlines`.
        needs_file: False when the component makes its own weights.
        optional: the family does without it. It is planned, identified and loaded only where the workflow's
            ``[model]`` table names a file for it; it is never found by itself and not fetched with the others.
        unpacks: ``fnmatch`` patterns of matrices, as files name them behind their prefix, that the loader
            unpacks where they are quantised: those that are looked up, or computed in float32.
        quantises: import string of ``layers(source, config, quantization, dialects) -> {name: shape}``, the
            matrices that the loader quantises when it is asked to (its module must not import torch); None = it
            can't.
        units: import string of ``units(source, config, dialects) -> StoredStack`` (its module must not import
            torch): which tensors of its file are which unit, for plans that swap units; see
            :class:`wan_core.weights.StoredStack`. None = it is resident as a whole.
    """

    kind: str = attrs.field(validator=valid.text)
    load: str = attrs.field(validator=valid.text)
    config: Mapping[str, Any] = attrs.field(default=EMPTY, validator=valid.instance_of(Mapping))
    bundled: str | None = attrs.field(default=None, validator=valid.bundled)
    published: tuple[PublishedFile, ...] = attrs.field(
        default=(),
        validator=valid.tuple_of("PublishedFile", lambda one: isinstance(one, PublishedFile)),
    )
    alternatives: tuple[PublishedFile, ...] = attrs.field(
        default=(),
        kw_only=True,  # since 1.1: what is given by its place stays where it was
        validator=valid.tuple_of("PublishedFile", lambda one: isinstance(one, PublishedFile)),
    )
    outline: str | None = attrs.field(default=None, kw_only=True, validator=valid.bundled)
    needs_file: bool = attrs.field(default=True, validator=valid.flag)
    identify: str | None = attrs.field(default=None, validator=valid.optional_text)
    verify: str | None = attrs.field(default=None, validator=valid.optional_text)
    optional: bool = attrs.field(default=False, validator=valid.flag)
    lora_targets: str | None = attrs.field(default=None, validator=valid.optional_text)
    keeps_apart: bool = attrs.field(default=False, validator=valid.flag)
    unpacks: tuple[str, ...] = attrs.field(default=(), validator=valid.names)
    quantises: str | None = attrs.field(default=None, validator=valid.optional_text)
    units: str | None = attrs.field(default=None, validator=valid.optional_text)
    stack: Stack | None = attrs.field(
        default=None,
        validator=valid.must_be("a Stack or None", lambda v: v is None or isinstance(v, Stack)),
    )

    def __attrs_post_init__(self) -> None:
        if self.optional and (self.bundled or not self.needs_file):
            raise PluginError(
                "Component: an optional one has the file that a workflow names, so it neither comes with the "
                "package nor makes its own weights"
            )


@attrs.frozen
class Pictures:
    """How a family takes pictures to start from.

    Attributes:
        condition: import string of ``condition(request: PictureRequest, conditioning: Conditioning) ->
            Conditioning``: what the denoiser is told of given frames.
        takes: of ``"image"`` (the first frame), ``"last_image"`` and ``"continues"`` (the last frames of
            another video as the first ones of this).
        needs: those of them that it can't do without; ``"continues"`` does for ``"image"``.
        untrained: those of them that it takes, but was not trained with: its makers promise nothing.
        size: the rule for a video's size from the picture's: :func:`wan_core.media.area_size` or
            :func:`wan_core.media.best_size`.
        fit: how a picture is brought to that size: stretched, or scaled to cover it and cut.
        kernel: the resampling, see :mod:`wan_core.media.fitting`.
        shown: which pictures the image encoder sees, where there is one.
        overlap: frames of a continued video that it begins with: so many it was trained with.
    """

    condition: str = attrs.field(validator=valid.text)
    takes: tuple[str, ...] = attrs.field(default=("image",), validator=valid.pictures)
    needs: tuple[str, ...] = attrs.field(default=(), validator=valid.pictures)
    untrained: tuple[str, ...] = attrs.field(default=(), validator=valid.pictures)
    size: Literal["area", "best"] = attrs.field(
        default="area", validator=valid.one_of("area", "best")
    )
    fit: Literal["stretch", "cover"] = attrs.field(
        default="stretch", validator=valid.one_of("stretch", "cover")
    )
    kernel: Literal["bicubic", "pillow-lanczos"] = attrs.field(
        default="bicubic", validator=valid.one_of("bicubic", "pillow-lanczos")
    )
    shown: tuple[str, ...] = attrs.field(default=("image",), validator=valid.pictures)
    overlap: int = attrs.field(default=1, validator=valid.count)


@attrs.frozen
class Family:
    """An architecture with its presets.

    Attributes:
        name: what ``family = "…"`` says in a workflow.
        title: one line for people.
        task: ``"text-to-video"``, ``"image-to-video"``, …
        components: slot name -> component. The slot names are keys of the ``[model]`` table. Two experts are
            two slots, ``"transformer.high"`` and ``"transformer.low"``, for which a workflow says
            ``transformer = { high = "…", low = "…" }``.
        preset: defaults and rules.
        stages: names of the stages that can drive it.
        warn: import string of ``warn(prompt) -> str | None``: a note about a prompt this family can't
            follow (the bundled models know few words); None when there is none.
        pictures: how it takes pictures to start from; None when it takes none.
        features: names of the features that it was made for. They fit it whatever their own description
            says, and a stage that asks for none of them gets a note.
        loras: LoRA files that come with installed packages, named as in :attr:`Component.bundled`. They belong
            to the transformer, whatever file fills its slot, and are merged into it before those of a workflow:
            a family that is another one and a difference. One of them may widen the patch embedding to the
            ``in_dim`` of the transformer's config; a file that has that width already is taken to have them in
            it, where the family's bundled one has not. Others are merged into whatever file there is.
    """

    name: str = attrs.field(validator=valid.name)
    title: str = attrs.field(validator=valid.text)
    task: str = attrs.field(validator=valid.text)
    components: Mapping[str, Component] = attrs.field(
        validator=valid.mapping_of(str, Component, filled=True)
    )
    preset: Preset = attrs.field(validator=valid.instance_of(Preset))
    stages: tuple[str, ...] = attrs.field(default=("generate",), validator=valid.names)
    warn: str | None = attrs.field(default=None, validator=valid.optional_text)
    pictures: Pictures | None = attrs.field(
        default=None,
        validator=valid.must_be(
            "a Pictures or None", lambda value: value is None or isinstance(value, Pictures)
        ),
    )
    features: tuple[str, ...] = attrs.field(default=(), validator=valid.names)
    loras: tuple[str, ...] = attrs.field(default=(), validator=valid.all_bundled)

    def slots(self, part: str) -> tuple[str, ...]:
        """The slots of a part: ``("transformer",)``, or those of its two experts, high noise first."""
        return tuple(slot for slot in self.components if slot.partition(".")[0] == part)


@attrs.frozen
class Stage:
    """A stage that a workflow can use.

    Attributes:
        name: what ``use = "…"`` says.
        summary: one line for people.
        options: import string of the attrs class of its options (its module must not import torch). One that
            ``post = [...]`` of another stage may name has an option ``video`` for what it takes
            (:func:`wan_core.contract.options.source`).
        run: import string of ``run(context: StageContext) -> Mapping[str, ChunkSource]``.
        outputs: names of what it makes (``"video"``, ``"audio"``).
        plan: import string of ``plan(context: PlanContext) -> StageNeeds``, called at planning; raises
            :class:`~wan_core.contract.errors.WanCoreError` for everything that can't work.
    """

    name: str = attrs.field(validator=valid.name)
    summary: str = attrs.field(validator=valid.text)
    options: str = attrs.field(validator=valid.text)
    run: str = attrs.field(validator=valid.text)
    outputs: tuple[str, ...] = attrs.field(default=("video",), validator=valid.names)
    plan: str | None = attrs.field(default=None, validator=valid.optional_text)


@attrs.frozen
class Feature:
    """A feature that a stage can apply, in the order the workflow lists them.

    Attributes:
        name: what ``use = "…"`` says under ``[[stages.apply]]``.
        summary: one line for people.
        options: import string of the attrs class of its options (its module must not import torch).
        families: names of the families it fits; empty = all. A family may say itself that a feature fits it.
        writes: slots of :class:`~wan_core.contract.conditioning.Conditioning` it writes, and
            ``"attention"`` or ``"post"``. Two features that write one slot fail at planning, but for
            ``"post"``: these are chained.
        writes_if: slots that it writes only where an option is set: slot -> name of the option.
        replaces: slots it writes on purpose over what an earlier feature wrote.
        check: import string of ``check(request: FeatureCheck) -> Sequence[str] | None``, called at planning:
            notes for the user; raises :class:`~wan_core.contract.errors.WanCoreError` for everything that can't
            work.
    """

    name: str = attrs.field(validator=valid.name)
    summary: str = attrs.field(validator=valid.text)
    options: str = attrs.field(validator=valid.text)
    families: tuple[str, ...] = attrs.field(default=(), validator=valid.names)
    writes: tuple[str, ...] = attrs.field(default=(), validator=valid.slots)
    writes_if: Mapping[str, str] = attrs.field(
        default=EMPTY, kw_only=True, hash=False, validator=valid.slots_of_options
    )
    replaces: tuple[str, ...] = attrs.field(default=(), validator=valid.slots)
    check: str | None = attrs.field(default=None, validator=valid.optional_text)

    def slots(self, options: Any) -> tuple[str, ...]:
        """What it writes with these options."""
        depending = (slot for slot, name in self.writes_if.items() if getattr(options, name, None))
        return (*self.writes, *depending)


@attrs.frozen
class Solver:
    """A solver with its schedule.

    Attributes:
        name: what ``solver = "…"`` says.
        summary: one line for people.
        build: import string of the builder: ``build(steps: int | None = None, shift: float = 5.0, *,
            sigmas: Sequence[float] | None = None, width: int | None = None) -> SamplerSetup``
            (:mod:`wan_core.sampling.recipes`). ``sigmas`` are the user's own noise levels and replace
            ``steps`` and ``shift``; ``width`` is that of the transformer.
        stochastic: draws fresh noise in the loop.
        fixed_steps: allowed numbers of steps; empty = any.
        most_steps: the largest number of steps; None = no limit.
        width_steps: width of the transformer -> allowed numbers of steps, where they are not
            ``fixed_steps``.
    """

    name: str = attrs.field(validator=valid.name)
    summary: str = attrs.field(validator=valid.text)
    build: str = attrs.field(validator=valid.text)
    stochastic: bool = attrs.field(default=False, validator=valid.flag)
    fixed_steps: tuple[int, ...] = attrs.field(default=(), validator=valid.counts)
    most_steps: int | None = attrs.field(default=None, validator=valid.optional_count)
    width_steps: Mapping[int, tuple[int, ...]] = attrs.field(
        factory=dict, hash=False, validator=valid.step_counts
    )

    def step_counts(self, width: int | None = None) -> Sequence[int] | None:
        """The allowed numbers of steps, rising; None = any.

        Args:
            width: of the transformer; None = not known: as for a width without steps of its own.
        """
        if width is not None and width in self.width_steps:
            return self.width_steps[width]
        if self.fixed_steps:
            return self.fixed_steps
        return None if self.most_steps is None else range(1, self.most_steps + 1)


@attrs.frozen
class AttentionBackend:
    """A way to compute attention: ``attention = "…"`` in the ``[model]`` table.

    Attributes:
        name: what the workflow says.
        attend: import string of the callable (:class:`~wan_core.contract.attention.Attend`).
        support: what it can do; planning refuses what it can't.
    """

    name: str = attrs.field(validator=valid.name)
    summary: str = attrs.field(validator=valid.text)
    attend: str = attrs.field(validator=valid.text)
    support: AttentionSupport = attrs.field(
        factory=AttentionSupport, validator=valid.instance_of(AttentionSupport)
    )


@attrs.frozen
class Dialect:
    """A way of naming tensors in files.

    Attributes:
        name: e.g. ``"diffusers"``.
        component: the component kind whose files may use it.
        rules: import string of the :class:`wan_core.weights.Dialect`.
    """

    name: str = attrs.field(validator=valid.name)
    component: str = attrs.field(validator=valid.text)
    rules: str = attrs.field(validator=valid.text)


@attrs.frozen
class Command:
    """A subcommand of ``wan-core``: ``run(arguments: list[str]) -> int`` by import string."""

    name: str = attrs.field(validator=valid.name)
    summary: str = attrs.field(validator=valid.text)
    run: str = attrs.field(validator=valid.text)


@attrs.frozen
class GoldenKinds:
    """Handlers for kinds of reference cases: import string of ``{kind: handler}``."""

    handlers: str = attrs.field(validator=valid.text)


Description = Family | Stage | Feature | Solver | AttentionBackend | Dialect | Command | GoldenKinds
