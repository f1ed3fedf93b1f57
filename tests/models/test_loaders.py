"""What a user's file says of itself may be wrong: an error of the file, not a crash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from wan_samples import SMALL, random_transformer

from wan_core.contract import Quantization
from wan_core.contract.descriptions import Component
from wan_core.contract.errors import WeightsError
from wan_core.contract.loras import LoraUse
from wan_core.contract.placement import Placement
from wan_core.contract.requests import LoadRequest
from wan_core.models.loaders import load_transformer, load_vae
from wan_core.models.vae import WAN22, VaeConfig, WanVAE, vae_descriptor
from wan_core.models.vae.dialects import DIFFUSERS22
from wan_core.models.vae.files import verify_vae
from wan_core.weights import QuantLinear, StateDict, open_weights

CPU = torch.device("cpu")


def request(slot: str, file: Path) -> LoadRequest:
    return LoadRequest(
        slot=slot,
        component=Component(kind=f"wan-{slot}", load=""),
        file=file,
        device=CPU,
        dtype=torch.float32,
    )


@pytest.fixture(scope="module")
def transformer() -> dict[str, Tensor]:
    return random_transformer(num_layers=1).state_dict()


@pytest.fixture
def vae() -> dict[str, Tensor]:
    return WanVAE(VaeConfig(dim=2, z_dim=2, num_res_blocks=1)).state_dict()


def saved(file: Path, tensors: dict[str, Tensor], **header: Any) -> Path:
    save_file(tensors, file, metadata={key: json.dumps(value) for key, value in header.items()})
    return file


def test_heads_and_text_length_come_from_the_header(
    transformer: dict[str, Tensor], tmp_path: Path
) -> None:
    config = {"num_heads": SMALL["num_heads"], "text_len": None, "_class_name": "anything"}
    file = saved(tmp_path / "a.safetensors", transformer, config=config)
    loaded = load_transformer(request("transformer", file)).transformer.config
    assert (loaded.num_heads, loaded.text_len) == (4, 512)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ([1, 2], "config is no JSON object"),
        ("text", "config is no JSON object"),
        ({"num_heads": "4"}, "num_heads = '4', which is no whole number above 0"),
        ({"num_heads": 4.5}, "num_heads = 4.5"),
        ({"num_heads": 0}, "num_heads = 0"),
        ({"num_heads": 4, "text_len": True}, "text_len = True"),
        ({"num_heads": 5}, "5 heads of even width do not make a width of 48"),
        ({}, "number of heads does not follow"),
    ],
)
def test_a_header_that_does_not_fit(
    transformer: dict[str, Tensor], tmp_path: Path, config: Any, sentence: str
) -> None:
    file = saved(tmp_path / "a.safetensors", transformer, config=config)
    with pytest.raises(WeightsError) as caught:
        load_transformer(request("transformer", file))
    assert str(caught.value).startswith("a.safetensors: ")
    assert sentence in str(caught.value)


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_half_a_vae_is_refused(vae: dict[str, Tensor], tmp_path: Path, half: str) -> None:
    tensors = {name: tensor for name, tensor in vae.items() if not name.startswith(half)}
    constants = {"latents_mean": [0.0, 0.0], "latents_std": [1.0, 1.0]}
    assert load_vae(request("vae", saved(tmp_path / "whole.safetensors", vae, **constants)))
    file = saved(tmp_path / "half.safetensors", tensors, **constants)
    sentence = r"^half\.safetensors: .* do not make a whole Wan VAE"
    with pytest.raises(WeightsError, match=sentence):
        vae_descriptor(open_weights(file))  # at planning
    with pytest.raises(WeightsError, match=sentence):
        load_vae(request("vae", file))


def test_a_vae_of_impossible_shapes_is_refused(vae: dict[str, Tensor]) -> None:
    damages: list[dict[str, Tensor]] = [
        {"encoder.conv1.weight": torch.zeros(0, 3, 3, 3, 3)},
        {"encoder.conv1.weight": torch.zeros(())},
        {"conv2.weight": torch.zeros(())},
    ]
    damages.append({"encoder.conv1.weight": torch.zeros(2, 1, 3, 3, 3)})
    bare = {n: t for n, t in vae.items() if not n.startswith("encoder.downsamples")}
    newer = WanVAE(NEWER).state_dict()
    uneven = newer | {"encoder.downsamples.3.downsamples.0.residual.2.weight": torch.zeros(14, 1)}
    flat = newer | {"decoder.conv1.weight": torch.zeros(())}
    for tensors in (*(vae | damage for damage in damages), bare, uneven, flat):
        with pytest.raises(WeightsError, match=r"^mine: .*; name a file with both\.$"):
            vae_descriptor(StateDict(tensors, label="mine"))


NEWER = VaeConfig(dim=2, z_dim=48, num_res_blocks=1, patch=2, shortcuts=True, decoder_dim=4)


def test_a_vae_of_wan_2_2_loads_with_its_own_constants(tmp_path: Path) -> None:
    config = attrs.evolve(NEWER, num_res_blocks=2)  # as many as diffusers' names are made for
    made = WanVAE(config)
    file = saved(tmp_path / "v.safetensors", made.state_dict())
    descriptor = vae_descriptor(open_weights(file))
    assert (descriptor.name, descriptor.config) == ("wan2.2", config)
    assert (descriptor.mean, descriptor.std) == (WAN22.mean, WAN22.std)
    names = {DIFFUSERS22.from_official(n): t for n, t in made.state_dict().items()}
    again = load_vae(request("vae", saved(tmp_path / "d.safetensors", names)))  # type: ignore[arg-type]
    assert again.config == config and again.mean == WAN22.mean
    assert all(torch.equal(t, made.state_dict()[n]) for n, t in again.state_dict().items())


@pytest.mark.parametrize("z_dim", [None, 16, 48])
def test_each_family_takes_the_vae_of_its_own(z_dim: int | None) -> None:
    known = {} if z_dim is None else {"z_dim": z_dim}
    newer = StateDict(WanVAE(NEWER).state_dict(), label="mine")
    older = StateDict(WanVAE(VaeConfig(dim=2)).state_dict(), label="mine")
    fits, other = (newer, older) if z_dim == 48 else (older, newer)
    here, there = ("2.1", "2.2 5B") if z_dim == 48 else ("2.2 5B", "2.1")
    verify_vae(fits, known)
    with pytest.raises(WeightsError) as caught:
        verify_vae(other, known)
    assert str(caught.value) == (
        f"mine: this is the VAE of Wan {here}, and the model takes that of Wan {there}; "
        f"name Wan{there[:3]}_VAE or a conversion of it."
    )


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_half_a_vae_of_wan_2_2_is_refused(half: str) -> None:
    tensors = {n: t for n, t in WanVAE(NEWER).state_dict().items() if not n.startswith(half)}
    with pytest.raises(WeightsError, match=r"^mine: .* do not make a whole Wan VAE"):
        verify_vae(StateDict(tensors, label="mine"), {"z_dim": 48})


@pytest.mark.parametrize(
    ("mean", "std", "sentence"),
    [
        ([0.0], [1.0], "need 2 numbers each"),
        ([0.0, 0.0], [1.0, 0.0], "above 0"),
        ("12", [1.0, 1.0], "latents_mean is no list of numbers"),
        ([0.0, float("nan")], [1.0, 1.0], "latents_mean is no list of numbers"),
        ([0.0, 0.0], 3, "latents_std is no list of numbers"),
        ([0.0, 10**400], [1.0, 1.0], "latents_mean is no list of numbers"),
    ],
)
def test_constants_that_do_not_fit(
    vae: dict[str, Tensor], tmp_path: Path, mean: Any, std: Any, sentence: str
) -> None:
    file = saved(tmp_path / "v.safetensors", vae, latents_mean=mean, latents_std=std)
    with pytest.raises(WeightsError) as caught:
        vae_descriptor(open_weights(file))
    assert str(caught.value).startswith("v.safetensors: ")
    assert sentence in str(caught.value)


def test_loras_are_merged_before_weights_are_quantised(
    tmp_path: Path, transformer: dict[str, Tensor]
) -> None:
    name, dim = "blocks.0.self_attn.q", SMALL["dim"]
    save_file(transformer, tmp_path / "t.safetensors")
    down, up = torch.randn(2, dim), torch.randn(dim, 2)
    save_file(
        {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}, tmp_path / "l.safetensors"
    )
    component = Component(
        kind="wan-transformer", load="", config={"num_heads": 4, "text_len": SMALL["text_len"]}
    )
    asked = attrs.evolve(
        request("transformer", tmp_path / "t.safetensors"),
        component=component,
        loras=(LoraUse(file=tmp_path / "l.safetensors"),),
        quantization=Quantization(dtype="int8"),
    )
    layer = load_transformer(asked).transformer.get_submodule(name)
    assert isinstance(layer, QuantLinear)
    wanted = transformer[f"{name}.weight"] + up @ down
    # half a step of 127 for each row
    step = wanted.abs().amax(dim=1, keepdim=True) / 127
    assert ((layer.dequantised(torch.float32) - wanted).abs() <= 0.51 * step).all()


@pytest.mark.parametrize("rows", [None, 96])
def test_a_placement_says_how_many_tokens_a_feed_forward_handles(
    transformer: dict[str, Tensor], tmp_path: Path, rows: int | None
) -> None:
    file = saved(tmp_path / "t.safetensors", transformer, config={"num_heads": 4, "text_len": 20})
    asked = attrs.evolve(request("transformer", file), placement=Placement(rows=rows))
    assert load_transformer(asked).transformer.rows == rows
