"""The same weights and inputs through diffusers' transformer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from wan_samples import latents, random_transformer, scale_of_error

from wan_core.models.wan import WanTransformer
from wan_core.models.wan.dialects import DIFFUSERS

diffusers = pytest.importorskip("diffusers")


def theirs(transformer: WanTransformer) -> Any:
    config = transformer.config
    image = config.image_dim is not None
    hinted = {"vace_layers": list(config.vace_layers), "vace_in_channels": config.vace_in_dim}
    kind = (
        diffusers.WanVACETransformer3DModel
        if config.vace_layers
        else diffusers.WanTransformer3DModel
    )
    model = kind(
        num_attention_heads=config.num_heads,
        attention_head_dim=config.head_width,
        in_channels=config.in_dim,
        out_channels=config.out_dim,
        text_dim=config.text_dim,
        freq_dim=config.freq_dim,
        ffn_dim=config.ffn_dim,
        num_layers=config.num_layers,
        image_dim=config.image_dim,
        added_kv_proj_dim=config.dim if image else None,
        **hinted if config.vace_layers else {},
    )
    weights = transformer.state_dict()
    model.load_state_dict({str(DIFFUSERS.from_official(name)): weights[name] for name in weights})
    return model.eval()


@pytest.mark.parametrize("image_dim", [None, 24], ids=["text to video", "image to video"])
@pytest.mark.parametrize("seed", [0, 1, 2])
@torch.no_grad()
def test_same_prediction(image_dim: int | None, seed: int) -> None:
    channels = 16 if image_dim is None else 36
    transformer = random_transformer(
        seed, dim=96, num_heads=2, in_dim=channels, image_dim=image_dim, text_len=512
    )
    video, text = latents(2, channels, 3, 6, 4), latents(2, 512, 16, seed=2)
    timesteps = torch.tensor([999.0, 41.5])
    image = None if image_dim is None else latents(2, 257, image_dim, seed=3)
    want = theirs(transformer)(
        hidden_states=video,
        timestep=timesteps,
        encoder_hidden_states=text,
        encoder_hidden_states_image=image,
        return_dict=False,
    )[0]
    got = transformer(video, timesteps, text, image_tokens=image)
    assert scale_of_error(got, want) < 1e-5


@pytest.mark.parametrize("seed", [0, 1, 2])
@torch.no_grad()
def test_same_prediction_with_hints(seed: int) -> None:
    transformer = random_transformer(
        seed, dim=96, num_heads=2, vace_layers=(0, 2), vace_in_dim=96, text_len=512
    )
    video, text = latents(2, 16, 3, 6, 4), latents(2, 512, 16, seed=2)
    context, timesteps = latents(2, 96, 3, 6, 4, seed=3), torch.tensor([999.0, 41.5])
    want = theirs(transformer)(
        hidden_states=video,
        timestep=timesteps,
        encoder_hidden_states=text,
        control_hidden_states=context,
        control_hidden_states_scale=torch.full((2,), 0.7),
        return_dict=False,
    )[0]
    given = {"vace": {"context": context, "scale": torch.tensor(0.7)}}
    got = transformer(video, timesteps, text, add_ons=given)
    assert scale_of_error(got, want) < 1e-5
    plain = transformer(video, timesteps, text)
    assert scale_of_error(plain, want) > 0.01


@torch.no_grad()
def test_closer_to_the_truth_in_bfloat16() -> None:
    transformer = random_transformer(dim=96, num_heads=2, num_layers=8, text_len=512)
    video, text = latents(1, 16, 3, 6, 4), latents(1, 512, 16, seed=2)
    timesteps = torch.tensor([999.0])
    truth = transformer(video, timesteps, text)
    peer = theirs(transformer).to(torch.bfloat16)
    half = transformer.to(torch.bfloat16)
    other = peer(video.bfloat16(), timesteps, text.bfloat16(), return_dict=False)[0]
    assert (half(video, timesteps, text) - truth).norm() < (other.float() - truth).norm()
