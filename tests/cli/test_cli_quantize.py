"""``wan-core quantize``: its files are what quantising while loading gives, and are used like any other."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import torch
from live_bytes import LiveBytes
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from wan_core.cli import main
from wan_core.contract import Quantization
from wan_core.contract.loras import LoraUse
from wan_core.contract.requests import LoadRequest
from wan_core.models.families.tiny import TINY_T2V
from wan_core.models.loaders import load_transformer
from wan_core.models.wan.dialects import DIFFUSERS
from wan_core.models.wan.quantising import prepare
from wan_core.planning import bundled, make_plan
from wan_core.plugins import Plugins
from wan_core.weights import identify, open_weights
from wan_core.weights.quantised import packed
from wan_core.workflow import parse_workflow

TINY = bundled("tiny/t2v.safetensors")
REQUEST = LoadRequest(
    "transformer", TINY_T2V.components["transformer"], TINY, torch.device("cpu"), torch.float32
)


def tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def assert_equal(one: nn.Module, other: nn.Module) -> None:
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype, name
        assert torch.equal(tensor, second[name]), name


@pytest.mark.parametrize(
    ("asked", "title"),
    [
        (Quantization("int4"), "int4, groups of 64"),
        (Quantization("int4", keep=("blocks.0.*", "*.q")), "int4, groups of 64"),
        (Quantization("int8"), "int8, one scale for each output channel"),
        (Quantization("fp8_e4m3fn"), "fp8 e4m3fn, one scale for each output channel"),
        (Quantization("fp8_e5m2", "tensor"), "fp8 e5m2, one scale for each tensor"),
    ],
)
def test_the_bits_are_those_of_quantising_while_loading(
    tmp_path: Path, asked: Quantization, title: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "q.safetensors"
    options = [f"--dtype={asked.dtype}", f"--scale={asked.scale}"]
    options += [f"--keep={one}" for one in asked.keep]
    assert main(["quantize", str(TINY), str(out), *options]) == 0
    assert "matrices to " + asked.dtype in capsys.readouterr().out
    at_load = load_transformer(attrs.evolve(REQUEST, quantization=asked)).transformer
    from_file = load_transformer(attrs.evolve(REQUEST, file=out)).transformer
    assert_equal(at_load, from_file)

    assert identify(open_weights(out)).precision.title.startswith(title)
    text = (
        f'format = 1\n[model]\nfamily = "tiny-t2v"\nprecision = "float32"\ntransformer = "{out}"\n'
        '[[stages]]\nuse = "generate"\nprompt = "x"\n'
    )
    found = parse_workflow(text, name="w.toml", folder=tmp_path, plugins=Plugins.discover())
    model = make_plan(found, Plugins.discover(), device="cpu").models["main"]
    assert model.resident_bytes("transformer") == sum(t.nbytes for t in tensors(from_file).values())


def test_any_names_and_a_prefix(tmp_path: Path) -> None:
    """Official names come out; entries of the header that are still true stay."""
    plain = {str(DIFFUSERS.from_official(k)): v for k, v in load_file(TINY).items()}
    with safe_open(str(TINY), framework="pt") as file:
        config = file.metadata()["config"]
    said = {"config": config, "total_size": "7", "_quantization_metadata": '{"layers": {}}'}
    save_file({f"model.{k}": v for k, v in plain.items()}, tmp_path / "d.safetensors", said)
    out = tmp_path / "q.safetensors"
    assert main(["quantize", str(tmp_path / "d.safetensors"), str(out), "--dtype", "int8"]) == 0
    source = open_weights(out)
    assert source.metadata.keys() == {"config", "format", "wan_core.quantised"}
    asked = Quantization("int8")
    assert_equal(
        load_transformer(attrs.evolve(REQUEST, quantization=asked)).transformer,
        load_transformer(attrs.evolve(REQUEST, file=out)).transformer,
    )


def test_lora_files_are_merged_first(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    lora = tmp_path / "l=1.safetensors"
    held = {
        "blocks.0.self_attn.q.lora_A.weight": torch.randn(2, 192, generator=draw),
        "blocks.0.self_attn.q.lora_B.weight": torch.randn(192, 2, generator=draw),
        "blocks.1.self_attn.q.diff_b": torch.randn(192, generator=draw) / 3,
    }
    save_file(held, lora)
    out = tmp_path / "q.safetensors"
    arguments = ["quantize", str(TINY), str(out), "--dtype=int8", f"--lora={lora}=0.3"]
    assert main(arguments) == 0
    uses = (LoraUse(lora, 0.3),)
    asked = Quantization("int8")
    request = attrs.evolve(REQUEST, quantization=asked, loras=uses)
    from_file = load_transformer(attrs.evolve(REQUEST, file=out)).transformer
    assert_equal(load_transformer(request).transformer, from_file)
    without = load_transformer(attrs.evolve(REQUEST, quantization=asked)).transformer
    changed = from_file.get_submodule("blocks.0.self_attn.q").dequantised()
    assert not torch.equal(changed, without.get_submodule("blocks.0.self_attn.q").dequantised())
    assert '"l=1.safetensors=0.3"' in open_weights(out).metadata["wan_core.quantised"]
    # without a strength, a name with an equals sign is a name
    assert main([*arguments[:-1], "--lora", str(lora), "--overwrite"]) == 0


def test_what_goes_wrong_in_the_middle_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []
    pack = packed.pack

    def stopped(weight: torch.Tensor, scheme: str, *, by_channel: bool) -> packed.Packed:
        if len(done) == 9:
            raise KeyboardInterrupt
        done.append(scheme)
        return pack(weight, scheme, by_channel=by_channel)

    monkeypatch.setattr(packed, "pack", stopped)
    out = tmp_path / "q.safetensors"
    assert main(["quantize", str(TINY), str(out), "--dtype=int8"]) == 130
    assert not list(tmp_path.iterdir())
    assert "Traceback" not in capsys.readouterr().err


def test_numbers_that_are_none_become_no_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = load_file(TINY)
    held["blocks.3.ffn.0.weight"][5, 7] = float("inf")
    save_file(held, tmp_path / "broken.safetensors", open_weights(TINY).metadata)
    lora = {"blocks.0.self_attn.q.diff": torch.full((192, 192), float("nan"))}
    save_file(lora, tmp_path / "x.safetensors")
    out = tmp_path / "q.safetensors"
    for original, more, says in (
        (tmp_path / "broken.safetensors", [], "'blocks.3.ffn.0.weight' holds NaN or infinity"),
        (TINY, [f"--lora={tmp_path / 'x.safetensors'}"], "'blocks.0.self_attn.q.diff' holds NaN"),
    ):
        assert main(["quantize", str(original), str(out), "--dtype=int4", *more]) == 3
        assert says in capsys.readouterr().err
        assert {one.name for one in tmp_path.iterdir()} == {"broken.safetensors", "x.safetensors"}


def test_a_lora_that_widens_makes_a_wider_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which is the one that a family gets that takes as many channels and merges it while loading."""
    name, lora, out = (
        "patch_embedding.weight",
        tmp_path / "l.safetensors",
        tmp_path / "q.safetensors",
    )
    own = load_file(TINY)[name].float()
    draw = torch.Generator().manual_seed(4)
    diff = 0.1 * torch.randn(len(own), 48, 1, 2, 2, generator=draw)
    save_file({"diffusion_model.patch_embedding.diff": diff}, lora)
    arguments = ["quantize", str(TINY), str(out), "--dtype=int8", f"--lora={lora}=0.5"]
    assert main(arguments) == 0
    assert identify(open_weights(out)).details["in_dim"] == 48
    wanted = 0.5 * diff
    wanted[:, : own.shape[1]] += own
    torch.testing.assert_close(load_file(out)[name], wanted)
    component = attrs.evolve(
        REQUEST.component, config={**REQUEST.component.config, "in_dim": wanted.shape[1]}
    )
    request = attrs.evolve(REQUEST, component=component)
    asked = Quantization("int8")
    merged = attrs.evolve(request, quantization=asked, loras=(LoraUse(lora, 0.5),))
    stored = attrs.evolve(request, file=out)
    assert_equal(load_transformer(merged).transformer, load_transformer(stored).transformer)
    # one that would take all memory is no such file
    save_file(
        {
            "diffusion_model.patch_embedding.lora_A.weight": torch.zeros(1, 10**5, 1, 2, 2),
            "diffusion_model.patch_embedding.lora_B.weight": torch.zeros(len(own), 1),
        },
        lora,
    )
    capsys.readouterr()
    assert main([*arguments, "--overwrite"]) == 3
    assert "'patch_embedding.weight' 100000 input channels wide" in capsys.readouterr().err


def test_parts_of_a_lora_that_have_no_place_may_be_left_out(tmp_path: Path) -> None:
    lora = {"blocks.0.self_attn.q.diff": torch.ones(192, 192), "elsewhere.diff": torch.ones(2)}
    save_file(lora, tmp_path / "x.safetensors")
    arguments = [
        str(tmp_path / "q.safetensors"),
        "--dtype=int8",
        f"--lora={tmp_path}/x.safetensors",
    ]
    assert main(["quantize", str(TINY), *arguments]) == 3
    assert main(["quantize", str(TINY), *arguments, "--unmatched=skip"]) == 0


@pytest.mark.parametrize("dtype", ["int4", "fp8_e4m3fn"])
def test_one_matrix_at_a_time_is_in_memory(tmp_path: Path, dtype: str) -> None:
    file = prepare(open_weights(TINY), Quantization(dtype), writer="a test")
    with LiveBytes(()) as memory:
        file.write(tmp_path / "q.safetensors")
    largest = 4 * 192 * 544  # in float32
    # read as float16 and widened; its magnitudes or quotients, their rounding, and the codes
    assert largest < memory.peak < 5 * largest
    assert file.nbytes == sum(
        one.nbytes for one in open_weights(tmp_path / "q.safetensors").tensors.values()
    )
