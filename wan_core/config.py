"""The user's configuration file: what holds for every workflow on this machine."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from wan_core.contract.errors import WorkflowError, nearest

VARIABLE = "WAN_CORE_CONFIG"


@attrs.frozen
class Config:
    """The configuration.

    Attributes:
        disable: names of plugins that are not used (``[plugins] disable = ["name"]``).
    """

    disable: tuple[str, ...] = ()


def config_file() -> Path:
    """``$WAN_CORE_CONFIG``, else ``wan-core/config.toml`` in the platform's folder for such files.

    That folder is ``$XDG_CONFIG_HOME`` or ``~/.config``; on Windows ``%APPDATA%``.
    """
    if own := os.environ.get(VARIABLE):
        return Path(own)
    variable = "APPDATA" if sys.platform == "win32" else "XDG_CONFIG_HOME"
    folder = os.environ.get(variable) or Path.home() / ".config"
    return Path(folder) / "wan-core" / "config.toml"


def cache_folder() -> Path:
    """``$WAN_CORE_CACHE``, else ``$XDG_CACHE_HOME/wan-core``, else ``~/.cache/wan-core``."""
    if own := os.environ.get("WAN_CORE_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "wan-core"


def load_config() -> Config:
    """Read the configuration; the defaults when there is no file.

    Raises:
        WorkflowError: the file that ``$WAN_CORE_CONFIG`` names is missing; it is no TOML; a key is
            unknown or has the wrong type.
    """
    path = config_file()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if not os.environ.get(VARIABLE):  # empty counts as unset
            return Config()
        raise WorkflowError(
            "there is no such configuration file", where=str(path), remedy=f"unset {VARIABLE}"
        ) from None
    except OSError as error:
        raise WorkflowError(f"can't be read ({error.strerror})", where=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WorkflowError(f"this is no TOML ({error})", where=str(path)) from error
    _check_keys(content, ("plugins",), str(path))
    plugins = content.get("plugins", {})
    where = f"{path}, plugins"
    if not isinstance(plugins, dict):
        raise WorkflowError("this is no table", where=where, remedy="write it as [plugins]")
    _check_keys(plugins, ("disable",), where)
    disable = plugins.get("disable", [])
    if not isinstance(disable, list) or not all(isinstance(name, str) for name in disable):
        raise WorkflowError(
            "this is no list of names", where=f"{where}.disable", remedy='write disable = ["name"]'
        )
    return Config(tuple(disable))


def _check_keys(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise WorkflowError(f'unknown key "{key}"', where=where, remedy=nearest(key, known))
