"""Descriptions: the cheap, frozen objects by which a plugin (and the core itself) says what it brings.

A description names code by import string (``"package.module:name"``), so that listing families or reading a
workflow imports neither torch nor the plugin's models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import attrs

from wan_core.contract.attention import AttentionSupport

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

    width: int
    height: int
    frames: int
    fps: float
    steps: int
    shift: float
    guidance: float | tuple[float, float]
    solver: str = "unipc"
    negative_prompt: str = ""
    size_multiple: int = 16
    frame_step: int = 4
    boundary: float | None = None
    sizes: tuple[tuple[int, int], ...] = ()


@attrs.frozen
class PublishedFile:
    """A published file that fills a component's slot."""

    repository: str
    path: str


@attrs.frozen
class Component:
    """A part of a family that is loaded from files: the transformer, the VAE, the text encoder.

    Attributes:
        kind: what a file must contain to fit the slot (``"wan-transformer"``, ``"wan-vae"``,
            ``"umt5-encoder"`` …), as :func:`wan_core.weights.identify` says it.
        load: import string of ``load(request: LoadRequest) -> object``.
        identify: import string of ``identify(source) -> Identity | None`` for kinds that the core does not
            know (its module must not import torch); see :class:`wan_core.weights.Identity`.
        config: the architecture, for the loader and for predictions of size. Numbers that appear here
            must agree with the file's header.
        bundled: file inside the installed package, used when the workflow names none.
        published: files that fit the slot, for ``wan-core models``.
        needs_file: False when the component makes its own weights.
    """

    kind: str
    load: str
    config: Mapping[str, Any] = EMPTY
    bundled: str | None = None
    published: tuple[PublishedFile, ...] = ()
    needs_file: bool = True
    identify: str | None = None


@attrs.frozen
class Family:
    """An architecture with its presets.

    Attributes:
        name: what ``family = "…"`` says in a workflow.
        title: one line for people.
        task: ``"text-to-video"``, ``"image-to-video"``, …
        components: slot name -> component. The slot names are keys of the ``[model]`` table.
        preset: defaults and rules.
        stages: names of the stages that can drive it.
        warn: import string of ``warn(prompt) -> str | None``: a note about a prompt this family can't
            follow (the bundled models know few words); None when there is none.
    """

    name: str
    title: str
    task: str
    components: Mapping[str, Component]
    preset: Preset
    stages: tuple[str, ...] = ("generate",)
    warn: str | None = None


@attrs.frozen
class Stage:
    """A stage that a workflow can use.

    Attributes:
        name: what ``use = "…"`` says.
        summary: one line for people.
        options: import string of the attrs class of its options (its module must not import torch).
        run: import string of ``run(context: StageContext) -> Mapping[str, ChunkSource]``.
        outputs: names of what it makes (``"video"``, ``"audio"``).
        plan: import string of ``plan(context: PlanContext) -> StageNeeds``, called at planning; raises
            :class:`~wan_core.contract.errors.WanCoreError` for everything that can't work.
    """

    name: str
    summary: str
    options: str
    run: str
    outputs: tuple[str, ...] = ("video",)
    plan: str | None = None


@attrs.frozen
class Feature:
    """A feature that a stage can apply, in the order the workflow lists them.

    Attributes:
        name: what ``use = "…"`` says under ``[[stages.apply]]``.
        summary: one line for people.
        options: import string of the attrs class of its options (its module must not import torch).
        families: names of the families it fits; empty = all.
        writes: slots of :class:`~wan_core.contract.conditioning.Conditioning` it writes, and
            ``"attention"`` or ``"post"``. Two features that write one slot fail at planning.
        replaces: slots it writes on purpose over what an earlier feature wrote.
        check: import string of ``check(request: FeatureCheck) -> None``, called at planning.
    """

    name: str
    summary: str
    options: str
    families: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    check: str | None = None


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

    name: str
    summary: str
    build: str
    stochastic: bool = False
    fixed_steps: tuple[int, ...] = ()
    most_steps: int | None = None
    width_steps: Mapping[int, tuple[int, ...]] = attrs.field(factory=dict, hash=False)

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

    name: str
    summary: str
    attend: str
    support: AttentionSupport = attrs.field(factory=AttentionSupport)


@attrs.frozen
class Dialect:
    """A way of naming tensors in files.

    Attributes:
        name: e.g. ``"diffusers"``.
        component: the component kind whose files may use it.
        rules: import string of the :class:`wan_core.weights.Dialect`.
    """

    name: str
    component: str
    rules: str


@attrs.frozen
class Command:
    """A subcommand of ``wan-core``: ``run(arguments: list[str]) -> int`` by import string."""

    name: str
    summary: str
    run: str


@attrs.frozen
class GoldenKinds:
    """Handlers for kinds of reference cases: import string of ``{kind: handler}``."""

    handlers: str


Description = Family | Stage | Feature | Solver | AttentionBackend | Dialect | Command | GoldenKinds
