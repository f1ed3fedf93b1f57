"""What else may be so when something goes wrong: machines and plugins that this one need not be or have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace

import attrs
import pytest

from wan_core.contract import CONTRACT_VERSION
from wan_core.contract.descriptions import Description, Stage
from wan_core.contract.options import source
from wan_core.hookspecs import hookimpl
from wan_core.models.families import TINY_RANDOM
from wan_core.plugins import Found


@attrs.frozen
class JoinOptions:
    """Options of a stage that takes a video of an earlier one."""

    video: str = source(help="what is joined")


def a_joining_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    options = f"{__name__}:JoinOptions"
    stage = Stage("join", "join videos", options, run=f"{__name__}:no_such_function")
    _install(monkeypatch, "joiner", stage)


def a_vace_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without files to be found: it is looked at no further than planning goes."""
    _install(monkeypatch, "small", attrs.evolve(TINY_RANDOM, name="small-vace", features=("vace",)))


def _install(monkeypatch: pytest.MonkeyPatch, name: str, brought: Description) -> None:
    from wan_core import plugins

    @hookimpl
    def wan_register() -> list[Description]:
        return [brought]

    plugin = SimpleNamespace(WAN_CORE_CONTRACT=CONTRACT_VERSION, wan_register=wan_register)
    own = list(plugins.installed_entry_points())

    def found() -> Iterator[Found]:
        yield from own
        yield Found(name, f"wan-plugin-{name}", "1.0", lambda: plugin)

    monkeypatch.setattr(plugins, "installed_entry_points", found)


def gpus(count: int) -> Callable[[pytest.MonkeyPatch], None]:
    def pretend(monkeypatch: pytest.MonkeyPatch) -> None:
        import torch

        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return pretend


def disk(free: int) -> Callable[[pytest.MonkeyPatch], None]:
    def pretend(monkeypatch: pytest.MonkeyPatch) -> None:
        from wan_core.media import space

        usage = SimpleNamespace(total=10**12, used=10**12 - free, free=free)
        monkeypatch.setattr(space, "shutil", SimpleNamespace(disk_usage=lambda _: usage))

    return pretend


def no_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for whoever is not root: root may write everywhere."""
    from wan_core.media import targets

    system = SimpleNamespace(**vars(targets.os))
    system.access = lambda path, mode: False
    monkeypatch.setattr(targets, "os", system)


CONDITIONS: Mapping[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a plugin with the stage join": a_joining_stage,
    "a small VACE family": a_vace_family,
    "no GPU": gpus(0),
    "one GPU": gpus(1),
    "1 kB left on the disk": disk(1000),
    "10 GB left on the disk": disk(10**10),
    "no permission to write": no_permission,
}
