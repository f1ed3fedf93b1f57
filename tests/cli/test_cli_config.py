"""The user's configuration file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_plugins import found

from wan_core.cli import main
from wan_core.config import Config, config_file, load_config
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
