"""Attention patches: who serves which attention at which step, and patches that nothing would use."""

from __future__ import annotations

import re
from typing import Any

import pytest
from torch import Tensor
from wan_samples import random_transformer

from wan_core.contract.attention import AttentionCall
from wan_core.contract.conditioning import StepRange
from wan_core.contract.errors import PluginError
from wan_core.contract.requests import AttentionPatch
from wan_core.models.wan import AttentionPatches, attend


def own(q: Tensor, k: Tensor, v: Tensor, call: AttentionCall) -> Tensor:
    return attend(q, k, v, call)


def test_a_patch_serves_its_blocks_and_steps_and_leaves() -> None:
    transformer = random_transformer(image_dim=10)
    first, second = transformer.blocks[0], transformer.blocks[1]
    patch = AttentionPatch(own, "image", frozenset({1}), StepRange(0.5, 1.0))
    patches = AttentionPatches(transformer, attend, [patch])
    with patches.active():
        patches.use(0, 2)
        assert second.cross_attn.attend["image"] is attend
        patches.use(1, 2)
        assert second.cross_attn.attend["image"] is own
        assert second.cross_attn.attend["text"] is attend
        assert first.cross_attn.attend["image"] is attend
    assert second.cross_attn.attend["image"] is attend


def test_blocks_of_another_transformer_are_numbered_as_they_come() -> None:
    transformer = random_transformer()
    chosen = [transformer.blocks[2], transformer.blocks[0]]
    patches = AttentionPatches(chosen, attend, [AttentionPatch(own, blocks=frozenset({0}))])
    with patches.active():
        patches.use(0, 1)
        served = [block.self_attn.attend for block in transformer.blocks]
        assert served == [attend, attend, own]
    with pytest.raises(PluginError, match=r"blocks \[2\].*its blocks are 0 … 1"):
        AttentionPatches(chosen, attend, [AttentionPatch(own, blocks=frozenset({2}))])


@pytest.mark.parametrize(
    ("patch", "sentence"),
    [
        ({"source": "imgae"}, 'for the attention "imgae", .*; did you mean "image".'),
        ({"source": "sound"}, "known are: image, self, text"),
        ({"blocks": frozenset({1, 3, 7})}, r"for blocks \[7\], .*; its blocks are 0 … 3"),
        ({"blocks": frozenset({-1})}, r"for blocks \[-1\]"),
    ],
)
def test_a_patch_that_nothing_would_use_is_refused(patch: dict[str, Any], sentence: str) -> None:
    transformer = random_transformer(image_dim=10, vace_layers=(0,), vace_in_dim=8)
    with pytest.raises(PluginError) as caught:
        AttentionPatches(transformer, attend, [AttentionPatch(own, **patch)])
    assert re.search(sentence, str(caught.value))


def test_two_patches_of_one_attention_are_refused() -> None:
    early, late = StepRange(0.0, 0.5), StepRange(0.5, 1.0)
    transformer = random_transformer()
    AttentionPatches(
        transformer, attend, [AttentionPatch(own, steps=early), AttentionPatch(own, steps=late)]
    )
    with pytest.raises(PluginError, match="two attention patches"):
        AttentionPatches(transformer, attend, [AttentionPatch(own), AttentionPatch(own)])
