"""The transformer as a denoiser of named latents."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from wan_samples import latents, random_transformer, scale_of_error

from wan_core.contract.conditioning import Axis, Inputs, Positions
from wan_core.contract.errors import PluginError
from wan_core.contract.protocols import Denoiser
from wan_core.models.wan import WanDenoiser

VIDEO = latents(1, 16, 3, 4, 6)
TEXT = latents(1, 7, 16, seed=2)
TIMESTEPS = {"video": torch.tensor([500.0])}


def test_it_is_the_transformer_by_name() -> None:
    transformer = random_transformer()
    denoiser: Denoiser = WanDenoiser(transformer)
    assert denoiser.sign == 1
    assert denoiser.prefill(None) == {}  # type: ignore[arg-type]
    got = denoiser({"video": VIDEO}, TIMESTEPS, Inputs(text={"video": TEXT}))
    assert set(got) == {"video"}
    assert not got["video"].requires_grad
    assert torch.equal(got["video"], transformer(VIDEO, TIMESTEPS["video"], TEXT))


def test_all_inputs_reach_the_transformer() -> None:
    transformer = random_transformer(
        in_dim=22, image_dim=10, vace_layers=(1,), vace_in_dim=8, num_layers=3
    )
    parts = (latents(1, 4, 3, 4, 6, seed=3), latents(1, 2, 3, 4, 6, seed=4))
    image, context = latents(1, 5, 10, seed=5), latents(1, 8, 3, 4, 6, seed=6)
    vace = {"vace": {"context": context, "scale": torch.tensor(0.5)}}
    positions = Positions(frames=Axis(scale=0.5))
    frames = torch.tensor([[0.0, 500.0, 500.0]])
    inputs = Inputs(
        text={"video": TEXT},
        image_tokens={"video": image},
        concat={"video": parts},
        add_ons=vace,
        positions={"video": positions},
        skip_blocks=frozenset({2}),
    )
    got = WanDenoiser(transformer)({"video": VIDEO}, {"video": frames}, inputs)["video"]
    with torch.no_grad():
        want = transformer(
            torch.cat((VIDEO, *parts), dim=1),
            frames,
            TEXT,
            image_tokens=image,
            add_ons=vace,
            positions=positions,
            skip_blocks=frozenset({2}),
        )
    assert torch.equal(got, want)


def test_odd_sizes_repeat_the_border() -> None:
    transformer = random_transformer(vace_layers=(1,), vace_in_dim=8)
    context = latents(1, 8, 3, 4, 6, seed=6)
    whole, whole_context = VIDEO.clone(), context.clone()
    for video in (whole, whole_context):
        video[..., -1, :] = video[..., -2, :]
        video[..., -1] = video[..., -2]
    denoiser = WanDenoiser(transformer)

    def run(video: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        inputs = Inputs(text={"video": TEXT}, add_ons={"vace": {"context": context}})
        return denoiser({"video": video}, TIMESTEPS, inputs)["video"]

    odd = run(VIDEO[..., :3, :5], context[..., :3, :5])
    assert odd.shape == (1, 16, 3, 3, 5)
    assert scale_of_error(odd, run(whole, whole_context)[..., :3, :5]) < 1e-6


def test_a_border_of_zeros() -> None:
    transformer = random_transformer(in_dim=20)
    inputs = Inputs(text={"video": TEXT}, concat={"video": (latents(1, 4, 3, 3, 5, seed=3),)})
    odd = VIDEO[..., :3, :5]
    got = WanDenoiser(transformer, border="zero")({"video": odd}, TIMESTEPS, inputs)["video"]
    joined = F.pad(torch.cat((odd, *inputs.concat["video"]), dim=1), (0, 1, 0, 1))
    with torch.no_grad():
        want = transformer(joined, TIMESTEPS["video"], TEXT)[..., :3, :5]
    assert torch.equal(got, want)
    repeated = WanDenoiser(transformer)({"video": odd}, TIMESTEPS, inputs)["video"]
    assert scale_of_error(repeated, got) > 1e-2


def test_text_is_needed() -> None:
    with pytest.raises(ValueError, match="no text rows for the latents 'video'"):
        WanDenoiser(random_transformer())({"video": VIDEO}, TIMESTEPS, Inputs())


ONE = torch.zeros(1)


@pytest.mark.parametrize(
    ("sizes", "inputs", "sentence"),
    [
        ({}, {"add_ons": {"nobody": {"x": ONE}}}, 'no block of the transformer has .* "nobody"'),
        ({}, {"add_ons": {"vace": {"context": VIDEO}}}, 'has an add-on "vace"'),
        (
            {"vace_layers": (1,), "vace_in_dim": 8},
            {"add_ons": {"vace": {"context": VIDEO}}},
            "VACE contexts of 8 channels, not 16",
        ),
        ({}, {"image_tokens": {"video": latents(1, 5, 10)}}, "no cross-attention to image tokens"),
        (
            {"image_dim": 8},
            {"image_tokens": {"video": latents(1, 5, 10)}},
            "any number of image tokens of width 8, not 5 of width 10",
        ),
        (
            {"image_dim": 10, "image_positions": 4},
            {"image_tokens": {"video": latents(1, 5, 10)}},
            "takes 4 image tokens of width 10, not 5 of width 10",
        ),
        ({}, {"text": {"video": latents(1, 7, 12)}}, "text rows of width 16, not 12"),
        ({"in_dim": 36}, {}, "takes 36 channels, .* have 16"),
        (
            {"in_dim": 36},
            {"concat": {"video": (latents(1, 4, 3, 4, 6), latents(1, 12, 3, 4, 6))}},
            r"takes 36 channels, .* have 16 \+ 4 \+ 12",
        ),
        (
            {"in_dim": 20},
            {"concat": {"video": (latents(1, 4, 3, 4, 4),)}},
            "1 x 4 x 3 x 4 x 4 to be joined to latents 1 x 16 x 3 x 4 x 6",
        ),
    ],
)
def test_inputs_that_do_not_fit_are_refused_in_a_sentence(
    sizes: dict[str, Any], inputs: dict[str, Any], sentence: str
) -> None:
    denoiser = WanDenoiser(random_transformer(**sizes))
    with pytest.raises(PluginError, match=sentence):
        denoiser({"video": VIDEO}, TIMESTEPS, Inputs(**({"text": {"video": TEXT}} | inputs)))


def test_an_add_on_of_one_block_is_known() -> None:
    class Shift(torch.nn.Module):
        def forward(self, x: torch.Tensor, inputs: Any, call: object) -> torch.Tensor:
            shifted: torch.Tensor = x + inputs["by"]
            return shifted

    transformer = random_transformer()
    transformer.blocks[1].attach("shift", Shift(), "after_block")
    denoiser = WanDenoiser(transformer)
    add_ons = {"shift": {"by": torch.ones(48)}}
    text = {"video": TEXT}
    got = denoiser({"video": VIDEO}, TIMESTEPS, Inputs(text=text, add_ons=add_ons))["video"]
    assert not torch.equal(got, denoiser({"video": VIDEO}, TIMESTEPS, Inputs(text=text))["video"])
