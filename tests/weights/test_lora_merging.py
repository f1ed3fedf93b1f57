"""Merging LoRA files: each form against its formula, written out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from lora_samples import DIM, SHAPES, TARGETS, WIDE, filled, pair
from safetensors.torch import save_file
from torch import Tensor

from wan_core.contract.errors import WeightsError
from wan_core.contract.loras import LoraUse
from wan_core.weights import StateDict
from wan_core.weights.lora import merge, merged, read_lora

Q = "blocks.0.self_attn.q"
PATCHES = "patch_embedding"
BASE = filled(SHAPES, 7)


def after(tensors: Mapping[str, Tensor], strength: float = 1.0) -> dict[str, Tensor]:
    """Official name -> what becomes of the weight."""
    source = StateDict(tensors)
    found = read_lora(source, TARGETS)
    assert not found.unmatched
    return {
        name: merge(BASE[name], [p for p in found.patches if p.target == name], source, strength)
        for name in {patch.target for patch in found.patches}
    }


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_a_pair() -> None:
    own = filled(pair("blocks.0.ffn.0", WIDE, DIM, 3))
    down, up = own.values()
    base = BASE["blocks.0.ffn.0.weight"]
    close(after(own, 0.7)["blocks.0.ffn.0.weight"], base + 0.7 * up @ down)
    own["blocks.0.ffn.0.alpha"] = torch.tensor(6.0)
    close(after(own, 0.7)["blocks.0.ffn.0.weight"], base + 0.7 * 2 * up @ down)
    own["blocks.0.ffn.0.lora_B.bias"] = bias = torch.randn(WIDE)
    # a bias is not scaled by alpha
    close(after(own, 0.7)["blocks.0.ffn.0.bias"], BASE["blocks.0.ffn.0.bias"] + 0.7 * bias)


def test_a_pair_of_convolutions() -> None:
    down, up = torch.randn(2, 4, 1, 2, 2), torch.randn(DIM, 2, 1, 1, 1)
    own = {f"{PATCHES}.lora_down.weight": down, f"{PATCHES}.lora_up.weight": up}
    change = torch.einsum("or,rixyz->oixyz", up[:, :, 0, 0, 0], down)
    close(after(own)["patch_embedding.weight"], BASE["patch_embedding.weight"] + change)


def test_a_convolution_with_a_core() -> None:
    down, up, core = (
        torch.randn(2, 4, 1, 1, 1),
        torch.randn(DIM, 2, 1, 1, 1),
        torch.randn(2, 2, 1, 2, 2),
    )
    own = {
        f"{PATCHES}.lora_down.weight": down,
        f"{PATCHES}.lora_up.weight": up,
        f"{PATCHES}.lora_mid.weight": core,
    }
    change = sum(
        up[:, p, 0, 0, 0].view(-1, 1, 1, 1, 1)
        * core[p, q].view(1, 1, 1, 2, 2)
        * down[q].view(1, 4, 1, 1, 1)
        for p in range(2)
        for q in range(2)
    )
    close(after(own)["patch_embedding.weight"], BASE["patch_embedding.weight"] + change)


def test_loha() -> None:
    own = filled(
        {f"{Q}.hada_w{i}_a": (6, i) for i in (1, 2)} | {f"{Q}.hada_w{i}_b": (i, 6) for i in (1, 2)}
    )
    a1, a2, b1, b2 = own.values()
    own[f"{Q}.alpha"] = torch.tensor(0.5)
    close(after(own, 2)[f"{Q}.weight"], BASE[f"{Q}.weight"] + 2 * 0.5 * (a1 @ b1) * (a2 @ b2))


def test_loha_with_cores() -> None:
    shapes = {f"{PATCHES}.hada_w{i}_a": (2, DIM) for i in (1, 2)}
    shapes |= {f"{PATCHES}.hada_w{i}_b": (2, 4) for i in (1, 2)}
    shapes |= {f"{PATCHES}.hada_t{i}": (2, 2, 1, 2, 2) for i in (1, 2)}
    a1, a2, b1, b2, t1, t2 = filled(shapes).values()

    def full(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
        return torch.einsum("io,jc,ijxyz->ocxyz", a, b, t)

    change = full(a1, b1, t1) * full(a2, b2, t2)
    got = after(filled(shapes))["patch_embedding.weight"]
    close(got, BASE["patch_embedding.weight"] + change)


def test_lokr() -> None:
    own = filled({f"{Q}.lokr_w1": (2, 3), f"{Q}.lokr_w2": (3, 2), f"{Q}.alpha": ()})
    one, two, _ = own.values()
    want = torch.cat([torch.cat([n * two for n in row], 1) for row in one])
    close(after(own)[f"{Q}.weight"], BASE[f"{Q}.weight"] + want)  # alpha counts for nothing
    del own[f"{Q}.lokr_w2"]
    own |= filled({f"{Q}.lokr_w2_a": (3, 4), f"{Q}.lokr_w2_b": (4, 2)}, 1)
    two = own[f"{Q}.lokr_w2_a"] @ own[f"{Q}.lokr_w2_b"]
    want = torch.cat([torch.cat([n * two for n in row], 1) for row in one]) * own[f"{Q}.alpha"] / 4
    close(after(own)[f"{Q}.weight"], BASE[f"{Q}.weight"] + want)


def test_lokr_of_a_convolution() -> None:
    own = filled({f"{PATCHES}.lokr_w1": (2, 2), f"{PATCHES}.lokr_w2": (3, 2, 1, 2, 2)})
    one, two = own.values()
    want = torch.einsum("ab,cdxyz->acbdxyz", one, two).reshape(6, 4, 1, 2, 2)
    close(after(own)["patch_embedding.weight"], BASE["patch_embedding.weight"] + want)


@pytest.mark.parametrize("by", ["rows", "columns", "peft"])
@pytest.mark.parametrize("strength", [1.0, 0.4])
def test_dora(by: str, strength: float) -> None:
    own = filled(pair(Q))
    down, up = own.values()
    base = BASE[f"{Q}.weight"]
    new = base + up @ down
    magnitudes = torch.rand(DIM) + 0.5
    if by == "rows":
        own[f"{Q}.dora_scale"] = magnitudes.view(-1, 1)
        want = torch.stack(
            [m * n / w.norm() for m, n, w in zip(magnitudes, new, base, strict=True)]
        )
    elif by == "columns":
        own[f"{Q}.dora_scale"] = magnitudes.view(1, -1)
        want = torch.stack([m * n / n.norm() for m, n in zip(magnitudes, new.T, strict=True)]).T
    else:
        own[f"{Q}.lora_magnitude_vector.weight"] = magnitudes
        want = torch.stack([m * n / n.norm() for m, n in zip(magnitudes, new, strict=True)])
    close(after(own, strength)[f"{Q}.weight"], base + strength * (want - base))


def test_differences_and_new_weights() -> None:
    own = {f"{Q}.diff": torch.randn(6, 6), "blocks.0.diff_m": torch.randn(1, 6, 6)}
    got = after(own, -0.5)
    close(got[f"{Q}.weight"], BASE[f"{Q}.weight"] - 0.5 * own[f"{Q}.diff"])
    close(got["blocks.0.modulation"], BASE["blocks.0.modulation"] - 0.5 * own["blocks.0.diff_m"])
    new = {f"{Q}.set_weight": torch.randn(6, 6)}
    assert torch.equal(after(new, 0.1)[f"{Q}.weight"], new[f"{Q}.set_weight"])


def test_bfloat16_is_rounded_once() -> None:
    own = filled(pair(Q))
    down, up = own.values()
    source = StateDict({name: tensor.bfloat16() for name, tensor in own.items()})
    base = BASE[f"{Q}.weight"].bfloat16()
    patches = read_lora(source, TARGETS).patches
    got = merge(base, patches, source, 0.3)
    exact = base.double() + 0.3 * up.bfloat16().double() @ down.bfloat16().double()
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, exact.float().bfloat16())
    assert torch.equal(base, BASE[f"{Q}.weight"].bfloat16())


@pytest.mark.parametrize("alpha", [float("nan"), float("inf")])
def test_an_alpha_that_is_no_number_is_refused(alpha: float) -> None:
    own = {**filled(pair(Q)), f"{Q}.alpha": torch.tensor(alpha)}
    with pytest.raises(WeightsError, match=rf"alpha for {Q}\.weight is no finite number"):
        after(own)


@pytest.mark.parametrize("broken", [float("nan"), float("-inf")])
def test_a_file_of_broken_numbers_is_named(broken: float) -> None:
    own = filled(pair(Q))
    own[f"{Q}.lora_B.weight"][2, 1] = broken
    with pytest.raises(WeightsError, match=rf"tensor '{Q}\.lora_B\.weight' holds NaN or infinity"):
        after(own)


@pytest.mark.parametrize(
    "shape", [[6, 4, 1, 2, 10**6], [6, 2, 1, 2, 2], [6, 32], [-1, 8, 1, 2, 2], [6, 9, 1, 2, 2]]
)
def test_growth_is_bounded(shape: list[int]) -> None:
    own = {
        **filled({f"{PATCHES}.lora_A.weight": (2, 8, 1, 2, 2), f"{PATCHES}.lora_B.weight": (6, 2)}),
        f"{PATCHES}.reshape_weight": torch.tensor(shape),
    }
    with pytest.raises(WeightsError, match=r"of shape \[6, [49], 1, 2, 2\] to become"):
        after(own)


def test_a_weight_grows_at_the_end_of_its_axes() -> None:
    down, up = torch.randn(2, 5, 1, 2, 2), torch.randn(DIM + 1, 2)
    own = {
        f"{PATCHES}.lora_A.weight": down,
        f"{PATCHES}.lora_B.weight": up,
        f"{PATCHES}.reshape_weight": torch.tensor([DIM + 1, 5, 1, 2, 2]),
    }
    got = after(own, 0.5)["patch_embedding.weight"]
    change = 0.5 * (up @ down.flatten(1)).reshape(got.shape)
    close(got[:DIM, :4], BASE["patch_embedding.weight"] + change[:DIM, :4])
    close(got[DIM:], change[DIM:])
    close(got[:, 4:], change[:, 4:])


# -- files, as a workflow uses them ---------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    names = [*pair(Q), *pair("blocks.11.self_attn.q"), *pair("text_embedding.2")]
    shapes = {name: (2, DIM) if "lora_A" in name else (DIM, 2) for name in names}
    paths = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    for seed, path in enumerate(paths):
        save_file(filled(shapes, seed), path)
    return paths


def use(*uses: LoraUse) -> dict[str, Tensor]:
    """What changes, and by how much."""
    base = StateDict(BASE)
    source = merged(base, TARGETS, uses)
    got = {name: source.get(name) for name in source.names()}
    assert list(got) == list(BASE)
    return {n: got[n] - BASE[n] for n in got if not torch.equal(got[n], BASE[n])}


def test_files_add_up_in_order(files: tuple[Path, Path]) -> None:
    one, two = (use(LoraUse(file)) for file in files)
    both = use(LoraUse(files[0], 0.5), LoraUse(files[1], -2))
    assert both.keys() == one.keys() == two.keys()
    assert len(both) == 3
    for name, change in both.items():
        close(change, 0.5 * one[name] - 2 * two[name])


def test_blocks_and_names_are_chosen(files: tuple[Path, Path]) -> None:
    whole = use(LoraUse(files[0]))
    assert use(LoraUse(files[0], blocks="1-5, 11")).keys() == whole.keys() - {f"{Q}.weight"}
    assert use(LoraUse(files[0], blocks="0", skip=("text_",))).keys() == {f"{Q}.weight"}
    graded = use(LoraUse(files[0], 2.0, blocks={"0-9": 0.25, "10-39": -1.0}))
    close(graded[f"{Q}.weight"], 0.5 * whole[f"{Q}.weight"])
    close(graded["blocks.11.self_attn.q.weight"], -2 * whole["blocks.11.self_attn.q.weight"])
    close(graded["text_embedding.2.weight"], 2 * whole["text_embedding.2.weight"])


def test_nothing_counts_for_nothing(files: tuple[Path, Path]) -> None:
    base = StateDict(BASE)
    assert merged(base, TARGETS, []) is base
    assert (
        merged(base, TARGETS, [LoraUse(files[0], 0.0), LoraUse(files[1], skip=("q", "text"))])
        is base
    )


def test_weights_are_read_in_the_type_asked_for(files: tuple[Path, Path]) -> None:
    stored = StateDict({name: tensor.bfloat16() for name, tensor in BASE.items()})
    source = merged(stored, TARGETS, [LoraUse(files[0])])
    name = f"{Q}.weight"
    assert source.get(name).dtype == torch.bfloat16
    exact = source.get(name, dtype=torch.float32)
    # the sum is not rounded to the stored type on its way
    assert not torch.equal(exact, exact.bfloat16().float())
    assert torch.equal(source.get(name), exact.bfloat16())
