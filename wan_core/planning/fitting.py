"""Whether a file is what a slot of a family needs, by its header."""

from __future__ import annotations

from collections.abc import Collection
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from wan_core.contract.descriptions import Component
from wan_core.contract.errors import PluginError, WeightsError
from wan_core.contract.lazy import resolve
from wan_core.contract.options import show
from wan_core.plugins import Plugins
from wan_core.weights import Identity, TensorSource, identify, in_official_names
from wan_core.weights.dialects import detect

OWN_PACKAGE = "wan_core.models"
"""The package of bundled files that name none."""


def bundled(name: str) -> Path:
    """A file that comes with an installed package: ``"package:path"``, or ``"path"`` of the core's.

    Raises:
        PluginError: there is no such package, or it has no such file.
    """
    package, colon, inner = name.rpartition(":")
    try:
        with as_file(files(package if colon else OWN_PACKAGE).joinpath(inner)) as path:
            if path.exists():
                return path
    except (ImportError, TypeError, ValueError, OSError):  # no package, or a module that is none
        pass
    raise PluginError(
        f"the file {show(inner)} that should come with the package {package or OWN_PACKAGE} is not there",
        remedy="install the package again",
    )


def misfit(
    component: Component, identity: Identity, widened: Collection[str] = ()
) -> tuple[str, Any, Any] | None:
    """What a file differs in from what the component has, the first of it: key, the file's, the component's.

    Args:
        widened: keys by which the component may have more than the file, as LoRA files add the rest.
    """
    known: dict[str, Any] = {**identity.details, "variant": identity.variant}
    for key, wanted in component.config.items():
        found = known.get(key)
        if found and found != wanted and not (key in widened and found < wanted):
            return key, found, wanted
    return None


def identify_for(component: Component, source: TensorSource, plugins: Plugins) -> Identity:
    """What a file is in the eyes of a component, which may know kinds and dialects of its own."""
    if component.identify:
        own: Identity | None = resolve(component.identify)(source)
        return own or identify(source, component.kind)
    found = identify(source, component.kind)
    dialects = plugins.dialects_of(component.kind)
    if found.component == component.kind or not detect(frozenset(source.names()), dialects):
        return found
    return identify(in_official_names(source, dialects), component.kind)


def check_vocabulary(ids: int, encoder: Identity) -> None:
    """Refuse a tokenizer with more ids than the text encoder knows.

    Raises:
        WeightsError: it has.
    """
    known = encoder.details.get("vocabulary", ids)
    if ids > known:
        raise WeightsError(
            f"the tokenizer has {ids} ids, the text encoder knows {known}: they do not belong together",
            remedy="name the tokenizer of this text encoder",
        )
