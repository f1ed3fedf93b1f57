"""LoRA files that widen the patch embedding: control LoRAs, on families that take as many channels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from wan_core.cli import main
from wan_core.contract.descriptions import Family
from wan_core.contract.errors import WanCoreError
from wan_core.contract.requests import LoadRequest
from wan_core.contract.stack import Stack
from wan_core.hookspecs import hookimpl
from wan_core.models import load_stack
from wan_core.models.families import TINY_T2V
from wan_core.models.loaders import load_transformer
from wan_core.models.wan import WanDenoiser, WanTransformer
from wan_core.models.wan.files import KEEP_FLOAT32, transformer_config
from wan_core.planning import Library, Plan, bundled, make_plan
from wan_core.planning.known import what_is_known
from wan_core.plugins import Found, Plugins, installed_entry_points
from wan_core.weights import TensorSource
from wan_core.workflow import parse_workflow

WIDE, OWN = 48, 16
PATCH = "patch_embedding"
QUERY = "blocks.0.self_attn.q"
TEXT = """
format = 1
[model]
family = "{family}"
precision = "float32"
{model}
[[stages]]
use = "generate"
prompt = "a small red circle moves right on a black background"
frames = 5
width = 32
height = 32
steps = 2
{stage}
"""


class Wider:
    WAN_CORE_CONTRACT = (1, 1)

    @hookimpl
    def wan_register(self) -> Sequence[Family]:
        part = TINY_T2V.components["transformer"]
        wide = attrs.evolve(part, config={**part.config, "in_dim": WIDE})
        declared = attrs.evolve(
            wide,
            load=f"{__name__}:load_declared",
            lora_targets=None,
            quantises=None,
            units=None,
            keeps_apart=False,
            stack=Stack(widens={f"{PATCH}.weight": "in_dim"}, keep_float32=KEEP_FLOAT32),
        )
        return [
            attrs.evolve(
                TINY_T2V, name=name, components={**TINY_T2V.components, "transformer": one}
            )
            for name, one in (("wide", wide), ("declared", declared))
        ]


def load_declared(request: LoadRequest) -> WanDenoiser:
    """As a plugin loads a transformer of its own that it declares as a stack of blocks."""
    known = request.component.config

    def build(source: TensorSource) -> WanTransformer:
        return WanTransformer(transformer_config(source, known))

    return WanDenoiser(load_stack(request, build))


PLUGINS = Plugins([next(iter(installed_entry_points())), Found("wide", "wide", "1", Wider)])
WEIGHTS = load_file(bundled("tiny/t2v.safetensors"))
DIM = len(WEIGHTS[f"{PATCH}.bias"])


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def diff(inputs: int, seed: int = 1) -> dict[str, Tensor]:
    return {f"diffusion_model.{PATCH}.diff": numbers(DIM, inputs, 1, 2, 2, seed=seed)}


def pair(inputs: int, seed: int = 2) -> dict[str, Tensor]:
    lead = f"diffusion_model.{PATCH}"
    return {
        f"{lead}.lora_A.weight": numbers(4, inputs, 1, 2, 2, seed=seed),
        f"{lead}.lora_B.weight": numbers(DIM, 4, 1, 1, 1, seed=seed + 10),
    }


def query(seed: int = 3) -> dict[str, Tensor]:
    lead = f"diffusion_model.{QUERY}"
    return {
        f"{lead}.lora_A.weight": numbers(4, DIM, seed=seed),
        f"{lead}.lora_B.weight": numbers(DIM, 4, seed=seed + 10),
    }


FILES = {
    "diff": {**diff(WIDE), **query()},
    "pair": {
        **pair(WIDE),
        f"diffusion_model.{PATCH}.reshape_weight": torch.tensor([DIM, WIDE, 1, 2, 2]),
    },
    "narrow": pair(OWN, seed=5),
    "other": diff(32),
    "plain": query(),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wide")
    for name, tensors in FILES.items():
        save_file(tensors, folder / f"{name}.safetensors")
    return folder


def use(name: str, more: str = "") -> str:
    return f'{{ file = "{name}.safetensors"{more} }}'


def plan(folder: Path, *loras: str, family: str = "wide", model: str = "", stage: str = "") -> Plan:
    lines = f"loras = [{', '.join(loras)}]\n{model}"
    text = TEXT.format(family=family, model=lines, stage=stage)
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
    return make_plan(workflow, PLUGINS, device="cpu", library=Library(()))


def loaded(made: Plan) -> WanTransformer:
    model = made.models["main"]
    slot = "transformer"
    request = LoadRequest(
        slot,
        model.family.components[slot],
        model.files[slot].path,
        torch.device("cpu"),
        torch.float32,
        loras=tuple(one.use for one in model.loras_of(slot)),
        apart=tuple(one.use for one in model.apart_of(slot)),
    )
    load = load_declared if model.family.name == "declared" else load_transformer
    return load(request).transformer


def predicted(transformer: WanTransformer) -> Tensor:
    """A full forward pass."""
    latents = numbers(1, transformer.config.in_dim, 2, 4, 4, seed=7)
    text = numbers(3, transformer.config.text_dim, seed=8)
    with torch.no_grad():
        return transformer(latents, torch.tensor([500.0]), [text])


def by_hand(*terms: Tensor) -> Tensor:
    wide = torch.zeros(DIM, WIDE, 1, 2, 2)
    wide[:, :OWN] = WEIGHTS[f"{PATCH}.weight"].float()
    for term in terms:
        wide[:, : term.shape[1]] += term
    return wide


def product(tensors: dict[str, Tensor], path: str = PATCH) -> Tensor:
    down, up = (tensors[f"diffusion_model.{path}.lora_{one}.weight"] for one in "AB")
    return (up.flatten(1) @ down.flatten(1)).reshape(DIM, *down.shape[1:])


DIFF = FILES["diff"][f"diffusion_model.{PATCH}.diff"]
MERGED = [
    ((use("diff"),), [DIFF]),
    ((use("pair", ", strength = 0.5"),), [0.5 * product(FILES["pair"])]),
    ((use("diff"), use("pair")), [DIFF, product(FILES["pair"])]),
    ((use("narrow"), use("diff")), [product(FILES["narrow"]), DIFF]),
    ((use("diff", ", strength = 0"),), []),
    ((use("diff", ', skip = ["patch_embedding"]'),), []),
    ((use("diff", ", strength = 2, merge = false"),), [2 * DIFF]),
]


@pytest.mark.parametrize(("loras", "terms"), MERGED)
def test_the_weight_is_the_one_merged_by_hand(
    folder: Path, loras: tuple[str, ...], terms: list[Tensor]
) -> None:
    made = plan(folder, *loras)
    transformer = loaded(made)
    weight = transformer.state_dict()[f"{PATCH}.weight"]
    torch.testing.assert_close(weight.reshape(DIM, WIDE, 1, 2, 2), by_hand(*terms))
    assert transformer.config.in_dim == WIDE


def test_a_forward_pass_is_that_of_a_file_merged_by_hand(folder: Path) -> None:
    whole = {name: weight.float() for name, weight in WEIGHTS.items()}
    whole[f"{PATCH}.weight"] = by_hand(DIFF)
    whole[f"{QUERY}.weight"] = whole[f"{QUERY}.weight"] + product(FILES["diff"], QUERY)
    save_file(whole, folder / "whole.safetensors", {"config": '{"num_heads": 4, "text_len": 64}'})
    wanted = predicted(loaded(plan(folder, model='transformer = "whole.safetensors"')))
    for more in ("", ", merge = false"):
        found = predicted(loaded(plan(folder, use("diff", more))))
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("more", ["", ", merge = false"])
def test_a_stack_of_blocks_that_says_so_becomes_wider_likewise(folder: Path, more: str) -> None:
    found, wanted = (plan(folder, use("diff", more), family=f) for f in ("declared", "wide"))
    bytes_of, other = (p.models["main"].weight_bytes("transformer") for p in (found, wanted))
    assert bytes_of == other
    same, one = loaded(wanted).state_dict(), loaded(found).state_dict()
    assert same.keys() == one.keys()
    assert all(torch.equal(one[name], same[name]) for name in same)


def test_on_quantised_weights_the_patch_embedding_is_merged_all_the_same(folder: Path) -> None:
    small = folder / "small.safetensors"
    original = str(bundled("tiny/t2v.safetensors"))
    arguments = ["quantize", original, str(small), "--dtype", "int8", "--quiet", "--overwrite"]
    assert main(arguments) == 0
    made = plan(folder, use("diff"), model='transformer = "small.safetensors"')
    (lora,) = made.models["main"].loras
    assert lora.apart and lora.partly
    assert lora.title.endswith("widens patch_embedding.weight to 48 input channels")
    weight = loaded(made).state_dict()[f"{PATCH}.weight"]
    torch.testing.assert_close(weight.reshape(DIM, WIDE, 1, 2, 2), by_hand(DIFF))
    # of a file kept apart that changes nothing else there is nothing left to keep apart
    (only,) = (
        plan(folder, use("pair"), model='transformer = "small.safetensors"').models["main"].loras
    )
    assert not only.apart


def test_the_plan_counts_what_becomes_wider(folder: Path) -> None:
    made = plan(folder, use("diff"))
    model, (stage,) = made.models["main"], made.stages
    held = [t.numel() * t.element_size() for t in loaded(made).state_dict().values()]
    assert model.weight_bytes("transformer") == sum(held)
    assert model.files["transformer"].details["in_dim"] == WIDE
    known = what_is_known(stage, made.models)
    assert known is not None and known.transformer.in_dim == WIDE
    assert dict(made.describe())["LoRAs"][0].endswith(
        "merged, widens patch_embedding.weight to 48 input channels"
    )


@pytest.mark.parametrize(
    ("loras", "more", "says"),
    [
        (
            (use("diff"),),
            {"family": "tiny-t2v"},
            "w.toml, line 6, model.loras.0.file, diff.safetensors: the LoRA makes 'patch_embedding.weight' 48 "
            "input channels wide, and that of the family has 16; name a family that takes 48, or use a LoRA "
            "that keeps the model's shapes.",
        ),
        (
            (use("diff"), use("other")),
            {},
            "w.toml, line 6, model.loras.1.file, other.safetensors: the LoRA makes 'patch_embedding.weight' 32 "
            "input channels wide, and that of the family has 48; name a family that takes 32, or use a LoRA "
            "that keeps the model's shapes.",
        ),
        ((), {}, "its in_dim is 16, that of family wide is 48; name a file of"),
        ((use("plain"),), {}, "its in_dim is 16, that of family wide is 48; name a file of"),
        (
            (use("diff", ", strength = [1, 0.5]"),),
            {},
            "w.toml, line 6, model.loras.0.file: diff.safetensors changes patch_embedding.weight, which gets "
            "more input channels while it is loaded, so it can't have a strength for each step; put it into "
            "the loras of the model, with one strength.",
        ),
        (
            (use("diff"),),
            {"stage": f"loras = [{use('narrow')}]"},
            "w.toml, line 15, stages.0.loras.0.file: narrow.safetensors changes patch_embedding.weight, which "
            "gets more input channels while it is loaded, so it can't belong to a stage; put it into the loras "
            "of the model, with one strength.",
        ),
    ],
)
def test_what_can_not_be(
    folder: Path, loras: tuple[str, ...], more: dict[str, Any], says: str
) -> None:
    with pytest.raises(WanCoreError) as caught:
        plan(folder, *loras, **more)
    assert says in str(caught.value)
