"""Guidance: edits against their definitions, and what a workflow may say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from wan_core.contract.options import OptionError
from wan_core.contract.protocols import Step
from wan_core.sampling.guidance import CFG, ByExpert
from wan_core.sampling.guidance_edits import (
    RAAG,
    TCFG,
    FreSca,
    Parts,
    TemporalScoreRescaling,
    ZeroStar,
)
from wan_core.sampling.guidance_options import build_guidance

SHAPE = (2, 3, 2, 6, 8)


def step(index: int = 0, timestep: float = 700.0) -> Step:
    return Step(index, 10, timestep / 1000, 0.5, timestep)


def draw(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def guide(*edits: Any, scale: float = 5.0, timestep: float = 700.0) -> Tensor:
    predictions = {"cond": {"video": draw(0)}, "uncond": {"video": draw(1)}}
    return CFG(scale, edits).combine(predictions, {"video": draw(2)}, step(timestep=timestep))[
        "video"
    ]


def test_zero_star_leaves_a_rest_that_is_orthogonal_to_u() -> None:
    fitted = ZeroStar().before(Parts(draw(0), draw(1), 5.0)).uncond
    rest = (draw(0) - fitted).flatten(1)
    assert torch.allclose((rest * draw(1).flatten(1)).sum(1), torch.zeros(2), atol=1e-3)


def test_edits_treat_samples_of_a_batch_alone() -> None:
    together = guide(ZeroStar(), TCFG(), RAAG(), FreSca(cutoff=2))
    for index in range(2):
        predictions = {
            "cond": {"video": draw(0)[index : index + 1]},
            "uncond": {"video": draw(1)[index : index + 1]},
        }
        guidance = CFG(5.0, (ZeroStar(), TCFG(), RAAG(), FreSca(cutoff=2)))
        alone = guidance.combine(predictions, {"video": draw(2)[:1]}, step())["video"]
        assert torch.allclose(together[index : index + 1], alone, atol=1e-5)


def test_tcfg_is_the_projection_on_the_first_singular_vector() -> None:
    cond, uncond = draw(0), draw(1)
    rows = torch.stack([cond.flatten(2), uncond.flatten(2)], dim=2).double()
    first = torch.linalg.svd(rows, full_matrices=False).Vh[:, :, 0]
    want = (uncond.flatten(2).double() * first).sum(-1, keepdim=True) * first
    got = TCFG().before(Parts(cond, uncond, 5.0)).uncond
    assert torch.allclose(got.flatten(2).double(), want, atol=1e-5)


def test_raag_guides_less_where_branches_differ() -> None:
    cond, uncond = draw(0), draw(1)
    far = RAAG(1.0).adapted(Parts(cond, uncond, 5.0))
    near = RAAG(1.0).adapted(Parts(uncond + 0.01 * cond, uncond, 5.0))
    assert bool((far < near).all())
    assert bool((near < 5.0).all())
    assert torch.allclose(guide(RAAG(0.0)), guide(), atol=1e-5)


def test_fresca_splits_the_spectrum() -> None:
    assert torch.allclose(guide(FreSca(1.0, 1.0)), guide(), atol=1e-4)
    flat = torch.ones(SHAPE)
    assert torch.allclose(FreSca(low=2.0, high=0.0, cutoff=1).between(flat), 2 * flat, atol=1e-5)
    sound = torch.randn(1, 5, 7)
    assert torch.equal(FreSca().between(sound), sound)
    # a cutoff beyond the picture keeps everything in the low part
    wide = FreSca(low=1.0, high=9.0, cutoff=20).between(draw(0))
    assert torch.allclose(wide, draw(0), atol=1e-5)


def test_temporal_score_rescaling_is_nothing_at_k_one_and_at_the_start() -> None:
    assert torch.allclose(guide(TemporalScoreRescaling(k=1.0)), guide(), atol=1e-4)
    assert torch.equal(guide(TemporalScoreRescaling(), timestep=1000.0), guide())
    assert not torch.allclose(guide(TemporalScoreRescaling()), guide(), atol=1e-4)


def test_scales_go_on_with_their_last_value() -> None:
    guidance = CFG([6.0, 4.0, 2.0])
    assert [guidance.scale(step(i)) for i in (0, 1, 2, 9)] == [6.0, 4.0, 2.0, 2.0]


def test_zero_init_runs_nothing_and_stands_still() -> None:
    guidance = CFG(5.0, zero_steps=1)
    assert guidance.branches(step(0)) == ()
    assert not bool(guidance.combine({}, {"video": draw(0)}, step(0))["video"].any())
    assert len(guidance.branches(step(1))) == 2


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (5, CFG(5.0)),
        ([6.0, 5, 1.0], CFG((6.0, 5.0, 1.0))),
        ({"scale": 5.0, "zero_star": True}, CFG(5.0, (ZeroStar(),))),
        (
            {"scale": 5.0, "tsr": {"k": 0.9}, "tcfg": True, "zero_star": True, "raag": False},
            CFG(5.0, (ZeroStar(), TCFG(), TemporalScoreRescaling(k=0.9))),
        ),
        (
            {"scale": [5.0], "fresca": {"high": 1.5, "cutoff": 8}, "zero_steps": 1},
            CFG((5.0,), (FreSca(high=1.5, cutoff=8),), zero_steps=1),
        ),
    ],
)
def test_what_a_workflow_may_say(value: Any, want: CFG) -> None:
    assert build_guidance(value) == want


@pytest.mark.parametrize(
    "value", [(4.0, 3.0), [4.0, 3.0], {"high": 4.0, "low": [3.0]}, {"scale": [4.0, 3.0]}]
)
def test_two_experts_have_two_scales(value: Any) -> None:
    assert build_guidance(value, boundary=0.875) == ByExpert(CFG(4.0), CFG(3.0), 0.875)
    assert build_guidance(3.5, boundary=0.875) == CFG(3.5)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("strong", "must be a number"),
        ([], "1 to 1000 numbers"),
        (True, "must be a number"),
        ({"zero_star": True}, "guidance has no scale"),
        ({"scale": 5.0, "zerostar": True}, 'did you mean "zero_star"'),
        ({"scale": 5.0, "fresca": {"hight": 2}}, 'guidance.fresca has no option "hight"'),
        ({"scale": 5.0, "fresca": {"high": "2"}}, "guidance.fresca.high must be a number"),
        ({"scale": 5.0, "tcfg": 3}, "guidance.tcfg must be true or false"),
        ({"scale": 5.0, "zero_steps": "1"}, "zero_steps"),
        ({"scale": 5.0, "zero_steps": -1}, "zero_steps"),
        ({"high": 5.0, "low": 4.0}, "only one expert"),
        ({"high": 5.0}, "two experts"),
        ({"scale": 5.0, "high": 5.0}, "two experts"),
        ({"scale": 5.0, "fresca": {"cutoff": 1.5}}, "guidance.fresca.cutoff must be a whole"),
        ({"scale": 5.0, "tsr": {"k": 0.0}}, "guidance.tsr.k must be above 0"),
    ],
)
def test_what_a_workflow_may_not_say(value: Any, sentence: str) -> None:
    with pytest.raises(OptionError) as error:
        build_guidance(value)
    assert sentence in str(error.value)
