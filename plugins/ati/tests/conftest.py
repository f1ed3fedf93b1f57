"""One thread, and a cache of their own, so that tests neither see nor leave anything."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / "config.toml").touch()
    monkeypatch.setenv("WAN_CORE_CACHE", str(home / "cache"))
    monkeypatch.setenv("WAN_CORE_CONFIG", str(home / "config.toml"))
    monkeypatch.setenv("HF_HUB_CACHE", str(home / "hub"))
    for variable in ("WAN_CORE_DISABLE", "WAN_CORE_MODELS", "HF_HOME", "HF_ENDPOINT"):
        monkeypatch.delenv(variable, raising=False)
