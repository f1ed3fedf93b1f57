"""The user's configuration file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_plugins import found

from wan_core.cli import main
from wan_core.cli.checks.environment import variables
from wan_core.config import (
    Config,
    cache_folder,
    config_file,
    huggingface_folder,
    load_config,
    model_folders,
)
from wan_core.contract.errors import WorkflowError


def test_no_file_is_fine(own_configuration: Path) -> None:
    assert config_file() == own_configuration
    assert load_config() == Config()


def test_plugins_are_disabled(own_configuration: Path) -> None:
    own_configuration.parent.mkdir(parents=True)
    own_configuration.write_text('[plugins]\ndisable = ["ati", "humo"]\n')
    assert load_config() == Config(disable=("ati", "humo"))


def test_the_environment_names_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.toml"
    monkeypatch.setenv("WAN_CORE_CONFIG", str(other))
    with pytest.raises(WorkflowError, match="no such configuration file; unset WAN_CORE_CONFIG"):
        load_config()
    other.write_text('plugins.disable = ["x"]')
    assert load_config().disable == ("x",)


def test_an_empty_variable_counts_as_unset(
    own_configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAN_CORE_CONFIG", "")
    assert config_file() == own_configuration
    assert load_config() == Config()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[plugin]\n", ': unknown key "plugin"; did you mean "plugins".'),
        (
            "[plugins]\ndisabled = []\n",
            ', plugins: unknown key "disabled"; did you mean "disable".',
        ),
        ('plugins = "ati"\n', ", plugins: this is no table; write it as [plugins]."),
        ("paths = 3\n", ", paths: this is no table; write it as [paths]."),
        ("[paths]\nmodel = 'x'\n", ', paths: unknown key "model"; did you mean "models".'),
        (
            "[paths]\nmodels = [1]\n",
            ', paths.models: this is no list of folders; write models = ["/data/models"].',
        ),
        ("[paths]\nmodels = ''\n", ", paths.models: this is no list of folders;"),
        (
            "[paths]\nmodels = '~nobody-at-all/x'\n",
            ', paths.models: "~nobody-at-all/x" names a home folder that does not exist.',
        ),
        (
            '[paths]\nmodels = "a\\u0007b"\n',
            ", paths.models: the name of a folder has a control character (U+0007) in it.",
        ),
        (
            "[paths]\nhuggingface = 'no'\n",
            ', paths.huggingface: this must be true or false, not "no".',
        ),
        (
            '[plugins]\ndisable = "ati"\n',
            ', plugins.disable: this is no list of names; write disable = ["name"].',
        ),
        ("[plugins\n", ": this is no TOML ("),
    ],
)
def test_mistakes_are_named(own_configuration: Path, content: str, sentence: str) -> None:
    own_configuration.parent.mkdir(parents=True)
    own_configuration.write_text(content)
    with pytest.raises(WorkflowError) as caught:
        load_config()
    assert str(caught.value).startswith(f"{own_configuration}{sentence}")
    assert caught.value.exit_code == 2


def test_folders_are_named_in_three_ways(
    own_configuration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_configuration.parent.mkdir(parents=True)
    own_configuration.write_text(
        '[paths]\nmodels = ["/data/models", "~/ComfyUI/models", "mine"]\nhuggingface = false\n'
    )
    monkeypatch.setenv("HOME", "/home/somebody")
    config = load_config()
    mine = own_configuration.parent / "mine"
    configured = (Path("/data/models"), Path("/home/somebody/ComfyUI/models"), mine)
    assert (config.models, config.huggingface) == (configured, False)
    assert model_folders(config) == configured
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WAN_CORE_MODELS", f"here:{mine}::~/x")
    in_front = (tmp_path / "here", mine, Path("/home/somebody/x"))
    assert model_folders(config) == (*in_front, *configured[:2])


def test_one_folder_needs_no_list(own_configuration: Path) -> None:
    own_configuration.parent.mkdir(parents=True)
    own_configuration.write_text('paths.models = "/data/models"')
    assert load_config() == Config(models=(Path("/data/models"),))


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b", "XDG_CACHE_HOME": "/c"}, "/a"),
        ({"HF_HOME": "~/b", "XDG_CACHE_HOME": "/c"}, "/home/somebody/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({}, "/home/somebody/.cache/huggingface/hub"),
    ],
)
def test_the_hubs_cache_is_where_the_hub_has_it(
    variables: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert huggingface_folder() == Path(folder)


def test_empty_variables_name_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WAN_CORE_CACHE", "HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_folder() == Path("/home/somebody/.cache/wan-core")
    assert huggingface_folder() == Path("/home/somebody/.cache/huggingface/hub")


def test_a_user_without_a_home_has_no_configuration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    for name in ("WAN_CORE_CACHE", "WAN_CORE_CONFIG", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert load_config() == Config()
    assert cache_folder() == Path("/nonexistent/.cache/wan-core")
    for command in ("--help", "models", "plugins"):
        assert main([command]) == 0
    assert capsys.readouterr().err == ""
    notes = [one.text for one in variables({}) if one.verdict == "note"]
    assert notes == ["this user has no home folder, and so neither configuration nor cache"]


def test_unknown_names_that_are_switched_off_are_warned_of_once(
    own_configuration: Path,
    install_plugins: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install_plugins(found("fade"))
    own_configuration.parent.mkdir(parents=True)
    own_configuration.write_text('plugins.disable = ["fade", "fate"]')
    monkeypatch.setenv("WAN_CORE_DISABLE", "fade, zzz")
    assert main(["plugins", "--json"]) == 0
    assert capsys.readouterr().err.splitlines() == [
        f'warning: {own_configuration}, plugins.disable: there is no plugin "fate" to leave out; '
        'did you mean "fade"',
        'warning: WAN_CORE_DISABLE: there is no plugin "zzz" to leave out',
    ]
