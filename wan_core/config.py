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
from wan_core.contract.options import show, unprintable

VARIABLE = "WAN_CORE_CONFIG"
MODELS_VARIABLE = "WAN_CORE_MODELS"
SIZE_LIMIT = 2**20
NO_HOME = Path("/nonexistent")  # what Debian writes for users without a home


@attrs.frozen
class Config:
    """The configuration.

    Attributes:
        disable: names of plugins that are not used (``[plugins] disable = ["name"]``).
        models: folders in which weight files are looked for (``[paths] models = ["/data/models"]``).
        huggingface: the cache of the Hugging Face Hub is looked through, too (``[paths] huggingface``).
    """

    disable: tuple[str, ...] = ()
    models: tuple[Path, ...] = ()
    huggingface: bool = True


def config_file() -> Path:
    """``$WAN_CORE_CONFIG``, else ``wan-core/config.toml`` in the platform's folder for such files.

    That folder is ``$XDG_CONFIG_HOME`` or ``~/.config``; on Windows ``%APPDATA%``.
    """
    if own := os.environ.get(VARIABLE):
        return Path(own)
    variable = "APPDATA" if sys.platform == "win32" else "XDG_CONFIG_HOME"
    folder = os.environ.get(variable) or home_folder() / ".config"
    return Path(folder) / "wan-core" / "config.toml"


def cache_folder() -> Path:
    """``$WAN_CORE_CACHE``, else ``$XDG_CACHE_HOME/wan-core``, else ``~/.cache/wan-core``.

    Raises:
        WorkflowError: a variable names no folder that can be.
    """
    if own := os.environ.get("WAN_CORE_CACHE"):
        return _folder(own, Path.cwd(), "WAN_CORE_CACHE")
    return _caches() / "wan-core"


def huggingface_folder() -> Path:
    """Where programs that use the Hugging Face Hub keep what they have fetched, all in one place.

    ``$HF_HUB_CACHE``, else ``hub`` in ``$HF_HOME``, else in ``huggingface`` in the user's cache folder.

    Raises:
        WorkflowError: a variable names no folder that can be.
    """
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if own := os.environ.get(variable):
            return _folder(os.path.expandvars(own), Path.cwd(), variable)
    if home := os.environ.get("HF_HOME"):
        return _folder(os.path.expandvars(home), Path.cwd(), "HF_HOME") / "hub"
    return _caches() / "huggingface" / "hub"


def home_folder() -> Path:
    """``~``; for a user who has none, as in a container under a number of its own, one that is not there."""
    try:
        return Path.home()
    except RuntimeError:
        return NO_HOME


def _caches() -> Path:
    """The user's folder for caches."""
    if own := os.environ.get("XDG_CACHE_HOME"):  # empty counts as unset
        return _folder(own, Path.cwd(), "XDG_CACHE_HOME")
    return home_folder() / ".cache"


def model_folders(config: Config) -> tuple[Path, ...]:
    """Folders with weight files, in the order in which they are searched.

    Those of ``$WAN_CORE_MODELS`` (separated as in ``$PATH``), then those of the configuration; the cache of
    the Hugging Face Hub is none of them.

    Raises:
        WorkflowError: one begins with ``~`` and a user who does not exist.
    """
    named = filter(None, os.environ.get(MODELS_VARIABLE, "").split(os.pathsep))
    own = [_folder(name, Path.cwd(), MODELS_VARIABLE) for name in named]
    return tuple(dict.fromkeys((*own, *config.models)))


def load_config() -> Config:
    """Read the configuration; the defaults when there is no file.

    Raises:
        WorkflowError: the file that ``$WAN_CORE_CONFIG`` names is missing; it is no TOML; a key is
            unknown or has the wrong type.
    """
    path = config_file()
    try:
        with path.open("rb") as file:
            text = file.read(SIZE_LIMIT + 1)
        if len(text) > SIZE_LIMIT:
            raise WorkflowError("this is too large to be a configuration", where=str(path))
        content = tomllib.loads(text.decode("utf-8-sig"))
    except FileNotFoundError:
        if not os.environ.get(VARIABLE):  # empty counts as unset
            return Config()
        raise WorkflowError(
            "there is no such configuration file", where=str(path), remedy=f"unset {VARIABLE}"
        ) from None
    except OSError as error:
        raise WorkflowError(f"can't be read ({error.strerror})", where=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise WorkflowError(f"this is no TOML ({_in_words(error)})", where=str(path)) from error
    _check_keys(content, ("plugins", "paths"), str(path))
    disable = _names(*_table(content, "plugins", ("disable",), path))
    paths, where = _table(content, "paths", ("models", "huggingface"), path)
    return Config(disable, _models(paths, where, path.parent), _huggingface(paths, where))


def _in_words(error: Exception) -> str:
    match error:
        case tomllib.TOMLDecodeError():
            return str(error)
        case UnicodeDecodeError():
            return "no UTF-8 text"
        case RecursionError():
            return "nested too deeply"
    return "a number has too many digits"  # which Python does not read


def _table(
    content: Mapping[str, Any], name: str, keys: Iterable[str], path: Path
) -> tuple[Mapping[str, Any], str]:
    """A table of the file and its place in words."""
    table = content.get(name, {})
    where = f"{path}, {name}"
    if not isinstance(table, dict):
        raise WorkflowError("this is no table", where=where, remedy=f"write it as [{name}]")
    _check_keys(table, keys, where)
    return table, where


def _names(plugins: Mapping[str, Any], where: str) -> tuple[str, ...]:
    disable = plugins.get("disable", [])
    if not isinstance(disable, list) or not all(isinstance(name, str) for name in disable):
        raise WorkflowError(
            "this is no list of names", where=f"{where}.disable", remedy='write disable = ["name"]'
        )
    return tuple(disable)


def _models(paths: Mapping[str, Any], where: str, folder: Path) -> tuple[Path, ...]:
    models = paths.get("models", [])
    where = f"{where}.models"
    folders = [models] if isinstance(models, str) else models
    if not isinstance(folders, list) or not all(isinstance(one, str) and one for one in folders):
        raise WorkflowError(
            "this is no list of folders", where=where, remedy='write models = ["/data/models"]'
        )
    return tuple(_folder(one, folder, where) for one in folders)


def _folder(name: str, start: Path, where: str) -> Path:
    """A folder that is named absolutely, from the home folder (``~``), or from ``start``."""
    if problem := unprintable(name):
        raise WorkflowError(f"the name of a folder {problem}", where=where)
    try:
        folder = (start / Path(name).expanduser()).absolute()
        folder.exists()  # raises when no folder can be called so
    except RuntimeError:
        problem = f"{show(name)} names a home folder that does not exist"
        raise WorkflowError(problem, where=where) from None
    except OSError as error:
        problem = f"{show(name)} can't be a folder ({error.strerror})"
        raise WorkflowError(problem, where=where) from error
    return folder


def _huggingface(paths: Mapping[str, Any], where: str) -> bool:
    asked = paths.get("huggingface", True)
    if not isinstance(asked, bool):
        raise WorkflowError(
            f"this must be true or false, not {show(asked)}", where=f"{where}.huggingface"
        )
    return asked


def _check_keys(table: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for key in table:
        if key not in known:
            raise WorkflowError(f'unknown key "{key}"', where=where, remedy=nearest(key, known))
