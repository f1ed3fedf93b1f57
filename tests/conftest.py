"""Shared by all tests: one thread per worker (two workers on two cores), and a cache of their own."""

from __future__ import annotations

import signal

import pytest

# a background job ignores Ctrl-C, nohup ignores SIGHUP, and both would hand that on to the programs that tests
# interrupt
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("WAN_CORE_CACHE", str(home / "cache"))
    (home / "config.toml").touch()
    monkeypatch.setenv("WAN_CORE_CONFIG", str(home / "config.toml"))
    monkeypatch.setenv("HF_HUB_CACHE", str(home / "hub"))
    for variable in ("WAN_CORE_DISABLE", "WAN_CORE_MODELS", "HF_HOME", "HF_ENDPOINT"):
        monkeypatch.delenv(variable, raising=False)
