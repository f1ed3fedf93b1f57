"""The word that torch's allocator is given: once, and never over the user's."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest
import torch

from wan_core.memory import allocator, bound, let_segments_grow


@pytest.mark.parametrize(
    ("version", "given", "want"),
    [
        ("2.11.0+cu130", {}, {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}),
        ("2.8.0", {}, {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}),
        ("2.11.0", {"PYTORCH_CUDA_ALLOC_CONF": "x:1"}, {"PYTORCH_CUDA_ALLOC_CONF": "x:1"}),
        ("2.11.0", {"PYTORCH_ALLOC_CONF": ""}, {"PYTORCH_ALLOC_CONF": ""}),
    ],
)
def test_the_users_word_stands(
    monkeypatch: pytest.MonkeyPatch, version: str, given: dict[str, str], want: dict[str, str]
) -> None:
    names = (allocator.VARIABLE, allocator.FORMER)
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(allocator.metadata, "version", lambda package: version)
    monkeypatch.setattr(allocator.sys, "platform", "linux")
    let_segments_grow()
    assert {name: os.environ[name] for name in names if name in os.environ} == want


@pytest.mark.parametrize(("most", "share"), [(None, 1.0), (6 * 2**30, 0.25), (2**40, 1.0)])
def test_a_bound_is_a_share_of_the_card(
    monkeypatch: pytest.MonkeyPatch, most: int | None, share: float
) -> None:
    said: list[tuple[float, str]] = []
    card = SimpleNamespace(total_memory=24 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda *given: said.append(given)
    )
    bound("cuda:0", most)
    assert said == [(share, "cuda:0")]
