"""A dead transformer: its last bias alone looks like structure inside a patch, and is not taken for it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wan_core.contract.conditioning import Conditioning, Timed
from wan_core.contract.errors import DeadLatentsError
from wan_core.models.wan import WanConfig, WanDenoiser, WanTransformer
from wan_core.sampling import SamplerState, build_guidance, noise_sources, sample, start_latents
from wan_core.sampling.recipes import unipc

CONFIG = WanConfig(
    dim=32, ffn_dim=64, num_heads=2, num_layers=2, freq_dim=16, text_dim=16, text_len=8
)


def random_transformer() -> WanTransformer:
    torch.manual_seed(0)
    transformer = WanTransformer(CONFIG).requires_grad_(False)
    for parameter in transformer.parameters():
        parameter.copy_(torch.randn_like(parameter) * max(1, parameter[0].numel()) ** -0.5)
    return transformer


def run(transformer: WanTransformer, guidance: float) -> Tensor:
    setup = unipc(4, 3.0)
    noise = noise_sources(1, ["video"])
    latents = start_latents(setup.schedule, {"video": (1, 16, 2, 8, 8)}, noise)
    rows = torch.randn(1, 4, 16)
    conditioning = Conditioning(text={"video": Timed(rows)}).with_branch(
        "uncond", text={"video": Timed(rows[:, :1])}
    )
    return sample(
        WanDenoiser(transformer),
        setup.schedule,
        SamplerState.start(setup, latents, noise),
        conditioning=conditioning,
        guidance=build_guidance(guidance),
    )["video"]


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_a_zeroed_head_with_a_bias_stops_the_run(guidance: float) -> None:
    transformer = random_transformer()
    transformer.head.head.weight.zero_()
    with pytest.raises(DeadLatentsError, match="the same value at every place"):
        run(transformer, guidance)


def test_a_transformer_that_does_not_see_the_latents_stops_the_run() -> None:
    transformer = random_transformer()
    transformer.patch_embedding.weight.zero_()
    with pytest.raises(DeadLatentsError, match="the same value at every place"):
        run(transformer, 1.0)


def test_random_weights_are_alive() -> None:
    assert torch.isfinite(run(random_transformer(), 4.0)).all()
