"""Prefixes that wrappers, trainers and packers put in front of every name of a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wan_core.contract.errors import WeightsError
from wan_core.weights.safetensors_header import shown
from wan_core.weights.sources import RenamedSource, TensorSource

__all__ = ["is_marker", "strip_prefixes"]

PREFIXES = (
    "model.diffusion_model.",
    "diffusion_model.",
    "pipe.dit.",
    "dit.",
    "first_stage_model.",
    "vae.",
    "module.",
    "model.",
    "net.",
)
"""Stripped when every tensor of the file has it."""

COMPARTMENTS: Mapping[str, tuple[str, ...]] = {
    "wan-transformer": ("model.diffusion_model.",),
    "wan-vae": ("first_stage_model.", "vae."),
}
"""Where a file that holds several components keeps this one: the rest of the file is left out."""

# torch.compile writes this in front of whatever it wrapped, be it the model or one block
COMPILED = "_orig_mod."


def is_marker(name: str) -> bool:
    """Is this a tensor that only says something about the file and belongs to no module?"""
    return name == "scaled_fp8" or name.startswith("model_type.")


def strip_prefixes(source: TensorSource, component: str | None = None) -> RenamedSource:
    """The same tensors under the names that the model itself gives them; markers are left out.

    Args:
        component: the kind of component looked for, e.g. ``"wan-vae"``: of a file that holds
            several, only this one's tensors are kept.

    Raises:
        WeightsError: two tensors have the same name once the prefixes are gone.
    """
    stored: dict[str, str] = {}
    for old in source.names():
        name = old.replace(COMPILED, "")
        if is_marker(name):
            continue
        if name in stored:
            raise WeightsError(
                f"{shown(old)} and {shown(stored[name])} are one tensor once prefixes are stripped",
                where=source.label,
            )
        stored[name] = old
    while prefix := _common_prefix(stored, component):
        stored = {n.removeprefix(prefix): o for n, o in stored.items() if n.startswith(prefix)}
        stored = {name: old for name, old in stored.items() if not is_marker(name)}
    return RenamedSource(source, stored)


def _common_prefix(names: Iterable[str], component: str | None) -> str | None:
    names = list(names)
    compartments = COMPARTMENTS.get(component, ()) if component else ()
    for prefix in compartments:
        if any(name.startswith(prefix) for name in names):
            return prefix
    for prefix in PREFIXES:
        if names and all(name.startswith(prefix) for name in names):
            return prefix
    return None
