"""Every hook of wan-core: when it is called, with what, and what it returns.

A plugin is a module (or object) named by an entry point in the group ``wan_core``. It says which version of
the contract it was made for (one of a smaller minor version is served, too), and marks the hooks it answers::

    from wan_core.hookspecs import hookimpl

    WAN_CORE_CONTRACT = (1, 1)

    @hookimpl
    def wan_register():
        return [...]

A feature is opt-in: its hooks are called only in stages that ask for it, in the order in which the
workflow lists the features. Hooks are called while planning and building, never inside the block loop:
what they return is composed once into plain tensors and callables. CONTRIBUTING.md has the tutorial.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

from wan_core.contract.conditioning import Conditioning
from wan_core.contract.descriptions import Description
from wan_core.contract.events import Event
from wan_core.contract.protocols import ChunkSource
from wan_core.contract.requests import (
    AttentionPatch,
    AttentionRequest,
    ConditioningRequest,
    PostProcessRequest,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    _F = TypeVar("_F", bound=Callable[..., object])

    def hookspec(function: _F) -> _F: ...
    def hookimpl(function: _F) -> _F: ...

else:
    hookspec = pluggy.HookspecMarker("wan_core")
    hookimpl = pluggy.HookimplMarker("wan_core")

ENTRY_POINT_GROUP = "wan_core"


@hookspec
def wan_register() -> Sequence[Description]:
    """Say what the plugin brings.

    Called: once, when plugins are discovered (also by ``wan-core plugins`` and ``--help``): be quick, and
    name code by import string instead of importing it.

    Returns: descriptions (:mod:`wan_core.contract.descriptions`): families, stages, features, solvers,
    attention backends, dialects, commands, kinds of reference cases.

    Several plugins: all are called. Two that bring the same name of the same sort are in conflict; the
    name then can't be used until one of them is switched off.

    Errors: an exception disables this plugin with one line that names it; the others go on.
    """
    raise AssertionError("a specification is not called")


@hookspec
def wan_condition(request: ConditioningRequest, conditioning: Conditioning) -> Conditioning | None:
    """Change what the denoiser is told: **the conditioning hook**.

    Called: once a stage for each feature that the stage asks for, in order, after the family's own
    conditioning (the prompt) is in place and before the first step.

    Arguments: ``request`` has the feature's options, sizes in pixels, also those of the pictures that the
    stage is given before they are fitted, latent shapes ``[channels, frames, height, width]``, and the
    components should something have to be encoded. ``conditioning`` is frozen.

    Returns: the next conditioning, ``attrs.evolve(conditioning, slot=…)``, touching only the slots that
    the feature's description says it writes; or None to leave it as it is.

    Several plugins: each feature sees what the one before it returned. Two writers of one slot are
    refused at planning unless the later says that it replaces.

    Errors: raise a :class:`~wan_core.contract.errors.WanCoreError` for what the user can mend; any other
    exception stops the run and names the plugin.
    """
    raise AssertionError("a specification is not called")


@hookspec
def wan_patch_attention(request: AttentionRequest) -> Sequence[AttentionPatch] | None:
    """Say which callable serves which attention: **the attention patch hook**.

    Called: once a stage for each asked feature, in order, before the first step.

    Returns: patches (callable, ``"self"`` or the name of a source, blocks, range of steps), or None. The
    callable is ``attend(q, k, v, call)`` of :mod:`wan_core.contract.attention`.

    Several plugins: two patches for the same attention of the same block at the same step are refused.

    Errors: as for ``wan_condition``.
    """
    raise AssertionError("a specification is not called")


@hookspec
def wan_post_process(source: ChunkSource, request: PostProcessRequest) -> ChunkSource | None:
    """Change the decoded video on its way out: **the post-process hook**.

    Called: once a stage for each asked feature, in order, when the decoded video is opened for reading.

    Arguments: ``source`` yields chunks ``[frames, 3, height, width]``, float32 in -1…1, in order.

    Returns: a source of the same form, size and number of frames that pulls from ``source`` (a generator,
    so that memory stays constant), or None. A change that needs a model of its own is a stage, not a
    post-process.

    Several plugins: chained in the order of the workflow.

    Errors: as for ``wan_condition``; the slot to declare is ``"post"``. A video that it changes is handed to
    later stages as pixels.
    """
    raise AssertionError("a specification is not called")


@hookspec
def wan_on_event(event: Event) -> None:
    """Watch a run.

    Called: for every event (:mod:`wan_core.contract.events`) of every run, as it happens, on the thread
    that runs the stage: be quick.

    Several plugins: all are called; the order is not promised.

    Errors: an exception is reported once as a note and the observer is not called again in that run.
    """
    raise AssertionError("a specification is not called")
