"""The user's own: configuration, plugins, cache folders, calibration."""

from __future__ import annotations

from collections.abc import Iterator

from wan_core.cli.caches import SORTS, inventory
from wan_core.cli.checks.finding import Finding, note, ok, problem
from wan_core.cli.plugins import hidden_commands
from wan_core.config import cache_folder, config_file, load_config
from wan_core.contract.errors import WanCoreError
from wan_core.memory import gigabytes
from wan_core.planning.calibration import find_calibration
from wan_core.planning.machine import look
from wan_core.plugins import CORE, DISABLE_VARIABLE, Plugins

CALIBRATE = "wan-core doctor --calibrate measures the machine"


def configuration() -> Iterator[Finding]:
    """The configuration file can be read and says what can be meant."""
    try:
        load_config()
    except WanCoreError as error:
        yield problem(f"{error.where}: {error.problem}", error.remedy or "correct the file")
        return
    there = config_file().exists()
    yield ok(
        f"{config_file()} is valid" if there else f"there is no {config_file()}, none is needed"
    )


def plugins() -> Iterator[Finding]:
    """No plugin is broken, claims what another has, or is switched off unnoticed."""
    try:
        disabled = load_config().disable
    except WanCoreError:
        disabled = ()
    found = Plugins.discover(disabled)
    for line in found.problems:
        yield problem(line, "update it, or switch it off (wan-core plugins says how)")
    for line in hidden_commands(found):
        yield note(line, "ask its author for another name")
    off = [one.name for one in found.installed if not one.enabled and not one.problem]
    if off:
        places = f"{config_file()} or {DISABLE_VARIABLE}"
        yield note(f"switched off: {', '.join(off)}", f"leave it as it is, or change {places}")
    known = {one.name for one in found.installed}
    for name in sorted(set(disabled) - known):
        yield note(f"there is no plugin {name!r} to switch off", f"correct {config_file()}")
    used = [f"{p.name} {p.version}" for p in found.installed if p.enabled and p.name != CORE]
    yield ok(f"in use: {', '.join(used)}" if used else "no plugins are installed")


def caches() -> Iterator[Finding]:
    """What the cache folder holds."""
    yield ok(f"the cache folder is {cache_folder()}")
    for sort in SORTS:
        count, size = inventory(sort)
        if not count:
            continue
        text = f"{sort.title}: {count}, {gigabytes(size)}"
        yield note(text, f"{sort.option} deletes them") if sort.is_leftover else ok(text)


def calibration() -> Iterator[Finding]:
    """This machine is calibrated, so that plans can predict their time."""
    machine = look("auto")
    found, wrong = find_calibration(machine)
    if wrong:
        yield note(f"{wrong} and not used", CALIBRATE)
    elif found is None:
        yield note(f"{machine.title} is not calibrated: plans predict no time", CALIBRATE)
    else:
        yield ok(f"{machine.title} was calibrated on {found.measured}")
