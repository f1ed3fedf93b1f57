"""Ovi's towers meet their reference cases, and are a stack of units like any other transformer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch._dynamo.utils import counters

from tests.seams.ovi.golden import HANDLERS, own_name, towers_of
from tests.seams.ovi.model import FusedDenoiser, load_random, to_published
from wan_core.contract import Component, LoadRequest
from wan_core.memory import BlockSwap, SimulatedCopier
from wan_core.testing.golden import Case, Verdict, find_cases, run_case

ROOT = Path(__file__).parents[3]
OWN = ROOT / "tests" / "golden" / "ovi"
CASES = [
    path
    for path in find_cases([OWN, ROOT.parent / "shared" / "golden" / "ovi"])
    if json.loads(path.read_text())["kind"] in HANDLERS
]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_reference_case(path: Path) -> None:
    outcome = run_case(path, HANDLERS)
    assert outcome.verdict is Verdict.PASSED, outcome.note


@pytest.mark.parametrize(
    "name",
    [
        "video_model.blocks.1.cross_attn.k_fusion.weight",
        "audio_model.blocks.0.cross_attn.pre_attn_norm_fusion.bias",
        "audio_model.blocks.2.modulation.modulation",
        "audio_model.patch_embedding.2.w2.weight",
        "video_model.head.modulation",
    ],
)
def test_every_published_weight_counts(tmp_path: Path, name: str) -> None:
    for file in OWN.glob("two_guidance_i2v.*"):
        shutil.copy(file, tmp_path)
    file = tmp_path / "two_guidance_i2v.safetensors"
    tensors = load_file(file)
    weight = tensors[f"weights.{name}"]
    noise = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    save_file(tensors | {f"weights.{name}": weight + 0.1 * weight.abs().max() * noise}, file)
    assert run_case(file.with_suffix(".json"), HANDLERS).verdict is Verdict.FAILED


def test_names_go_to_the_published_ones_and_back() -> None:
    case = Case(OWN / "two_guidance_i2v.json")
    published = case.group("weights.")
    assert [to_published(own_name(name)) for name in published] == list(published)


def test_a_unit_is_a_pair_of_blocks_and_nothing_is_left_over() -> None:
    towers = towers_of(Case(OWN / "two_guidance_i2v.json"))
    units = towers.units()
    assert [unit.name for unit in units] == ["blocks.0", "blocks.1", "blocks.2"]
    for unit in units:
        assert unit.module is towers.get_submodule(unit.name)
        names = {name.partition(".")[0] for name, _ in unit.module.named_parameters()}
        assert names == {"video", "audio", "norms"}
    within = {f"{u.name}.{n}" for u in units for n, _ in u.module.named_parameters()}
    assert within.isdisjoint(towers.rest())
    assert within | set(towers.rest()) == {name for name, _ in towers.named_parameters()}


@torch.no_grad()
def test_all_pairs_share_one_compiled_graph_swapped_or_not() -> None:
    case = Case(OWN / "two_guidance_i2v.json")
    towers = towers_of(case)
    latents = {
        "video": case.tensor("inputs.video_noise"),
        "audio": case.tensor("inputs.audio_noise").T,
    }
    text = case.tensor("inputs.ctx_pos")

    def predict(t: float, branch: str = "cond", skip: frozenset[int] = frozenset()) -> torch.Tensor:
        streams = {
            name: towers.tower(name).stream([x], torch.tensor([t]), [text], branch=branch)
            for name, x in latents.items()
        }
        return torch.cat([sample.flatten() for (sample,) in towers(streams, skip).values()])

    want = predict(900.0)
    torch._dynamo.reset()
    counters.clear()
    for pair in towers.blocks:
        pair.compile(backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(predict(900.0), want, rtol=0, atol=1e-5)
    predict(300.0, "uncond", frozenset({1}))
    compiled = predict(900.0)
    swap = BlockSwap(towers, ["blocks.0", "blocks.2"], 0, SimulatedCopier())
    with swap.active():
        assert torch.equal(predict(900.0), compiled)
    assert swap.copies == 2
    assert counters["stats"]["unique_graphs"] == 1
    torch._dynamo.reset()


@pytest.fixture(scope="module")
def denoiser() -> FusedDenoiser:
    component = Component("ovi-transformer", "x:y", needs_file=False)
    request = LoadRequest("transformer", component, None, torch.device("cpu"), torch.float32)
    return load_random(request)


@torch.no_grad()
def test_padding_and_neighbours_in_the_batch_change_nothing(denoiser: FusedDenoiser) -> None:
    towers = denoiser.transformer
    generator = torch.Generator().manual_seed(1)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    video = [noise(16, 2, 4, 4), noise(16, 3, 2, 4)]
    sound = [noise(5, 9), noise(5, 4)]
    text = [noise(3, 16), noise(5, 16)]

    def predict(rows: list[int], lengths: tuple[int | None, int | None]) -> list[torch.Tensor]:
        t = torch.tensor([900.0, 300.0])[rows]
        streams = {
            name: towers.tower(name).stream(
                [samples[i] for i in rows], t, [text[i] for i in rows], length=length
            )
            for name, samples, length in zip(
                ("video", "audio"), (video, sound), lengths, strict=True
            )
        }
        return [sample for samples in towers(streams).values() for sample in samples]

    together = predict([0, 1], (11, 12))
    alone = [predict([row], (None, None)) for row in (0, 1)]
    for row in (0, 1):
        torch.testing.assert_close(together[row], alone[row][0], rtol=0, atol=1e-5)
        torch.testing.assert_close(together[2 + row], alone[row][1], rtol=0, atol=1e-5)
