"""Health: every fault stops the run after step 1 with its own sentence, and nothing else does."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from scripted_denoisers import SHAPE, Scripted, begin, prompted, smooth
from torch import Tensor, nn

from wan_core.contract.conditioning import Conditioning, Held, Inputs, Timed
from wan_core.contract.errors import DeadLatentsError
from wan_core.contract.protocols import Latents
from wan_core.sampling import recipes
from wan_core.sampling.experts import TwoExperts
from wan_core.sampling.guidance import CFG
from wan_core.sampling.health import Health, LatentStatistics
from wan_core.sampling.loop import sample
from wan_core.weights import QuantLinear
from wan_core.weights.quantised.packed import pack


class TinyModel(nn.Module):
    """An untrained transformer in miniature: it sees latents, text, timestep and channels."""

    sign = 1

    def __init__(self, dtype: torch.dtype = torch.float32, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.inner = nn.Linear(4, 16)
        self.text = nn.Linear(4, 16)
        self.head = nn.Linear(16, 4)
        self.to(dtype)
        self.calls = 0

    def prefill(self, conditioning: Conditioning) -> Mapping[str, Any]:
        return {}

    def forward(
        self, latents: Latents, timesteps: Mapping[str, Tensor], inputs: Inputs
    ) -> dict[str, Tensor]:
        self.calls += 1
        x = latents["video"].to(self.head.weight.dtype).movedim(1, -1)
        told = inputs.text["video"].to(x.dtype)
        hidden = torch.tanh(self.inner(x) + self.text(told).mean())
        return {"video": self.head(hidden + hidden.square()).movedim(-1, 1)}


def run(
    model: Any,
    *,
    conditioning: Conditioning | None = None,
    health: Health | None = None,
    scale: float = 5.0,
    steps: int = 4,
) -> Tensor:
    setup = recipes.unipc(steps, 5.0)
    with torch.no_grad():
        return sample(
            model,
            setup.schedule,
            begin(setup),
            conditioning=prompted() if conditioning is None else conditioning,
            guidance=CFG(scale),
            health=health or Health(),
        )["video"]


def stopped(model: Any, **options: Any) -> str:
    with pytest.raises(DeadLatentsError) as error:
        run(model, **options)
    sentence = str(error.value)
    assert "after step 1 of 4" in sentence
    assert ";" in sentence, "there is no remedy"
    return sentence


def statistics(mean: Any = 0.1, std: Any = 2.0, channels: int = 4, **more: Any) -> Health:
    return Health(
        {
            "video": LatentStatistics(
                torch.full((channels,), float(mean)), torch.full((channels,), float(std)), **more
            )
        }
    )


def test_a_weight_that_is_nan_is_named() -> None:
    model = TinyModel()
    with torch.no_grad():
        model.inner.weight[3, 1] = float("nan")
    assert 'the weight "inner.weight" holds NaN' in stopped(model)
    assert model.calls == 2

    class Holding(Scripted):
        """A denoiser that holds its module, as most do."""

        def __init__(self) -> None:
            super().__init__()
            self.transformer = model

        def __call__(self, *told: Any) -> dict[str, Tensor]:
            return self.transformer(*told)  # type: ignore[no-any-return]

    assert 'the weight "inner.weight" holds NaN' in stopped(Holding())
    pair = TwoExperts(model, TinyModel(), 0.875)
    assert 'the weight "high.inner.weight" holds NaN' in stopped(pair)


def test_a_broken_scale_of_codes_and_a_broken_lora_are_named() -> None:
    model = TinyModel()
    packed = pack(torch.randn(16, 4), "int8", by_channel=True)
    assert packed.scale is not None
    packed.scale[3] = float("nan")
    model.inner = QuantLinear(packed)  # type: ignore[assignment]
    assert 'the weight "inner.scale" holds NaN' in stopped(model)
    packed = pack(torch.randn(16, 64), "int4", by_channel=True)
    assert packed.block_scales is not None
    packed.block_scales.view(torch.bfloat16)[3] = float("nan")
    model = TinyModel()
    model.add_module("unused", QuantLinear(packed))
    with torch.no_grad():
        model.head.bias[0] = float("nan")
    assert 'the weight "head.bias" holds NaN' in stopped(model)
    with torch.no_grad():
        model.head.bias[0] = 60000.0
    model.register_forward_hook(lambda *told: {"video": told[2]["video"] * float("nan")})
    assert 'the weight "unused.weight" holds NaN' in stopped(model)

    model = TinyModel()
    model.inner.add_module("lora", nn.Linear(2, 2))
    with torch.no_grad():
        model.inner.lora.weight[0] = float("nan")  # type: ignore[union-attr, operator, index]
    model.register_forward_hook(lambda *told: {"video": told[2]["video"] * float("nan")})
    assert "a LoRA file is damaged" in stopped(model)


def test_a_denoiser_that_passes_calls_on_names_what_computes() -> None:
    model = TinyModel()
    with torch.no_grad():
        model.inner.weight[3, 1] = float("nan")

    class Holding(Scripted):
        def __init__(self) -> None:
            super().__init__()
            self.transformer = model

    class Passing(Scripted):
        inner = Holding()

        def __call__(self, *told: Any) -> dict[str, Tensor]:
            return model(*told)  # type: ignore[no-any-return]

    assert 'the weight "inner.weight" holds NaN' in stopped(Passing())


def test_quantised_weights_are_unpacked_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All of a large model at once would take more than the room that it is quantised for."""
    model = TinyModel()
    for name in "abcdef":
        packed = pack(torch.randn(16, 64), "int8", by_channel=True)
        model.add_module(name, QuantLinear(packed))
    model.register_forward_hook(lambda *told: {"video": told[2]["video"] * float("nan")})
    unpacked: list[weakref.ref[Tensor]] = []
    most = 0
    plain = QuantLinear.dequantised

    def dequantised(layer: QuantLinear) -> Tensor:
        nonlocal most
        weight = plain(layer)
        unpacked.append(weakref.ref(weight))
        most = max(most, sum(one() is not None for one in unpacked))
        return weight

    monkeypatch.setattr(QuantLinear, "dequantised", dequantised)
    assert "though no weight does" in stopped(model)
    assert len(unpacked) == 6
    assert most <= 2  # that which is looked at, and the next


def test_a_weight_that_is_infinite_in_bfloat16_is_no_overflow_of_float16() -> None:
    model = TinyModel(torch.bfloat16)
    with torch.no_grad():
        model.head.weight[1, 1] = float("inf")
    assert 'the weight "head.weight" holds infinity' in stopped(model)


def test_an_overflow_of_float16() -> None:
    model = TinyModel(torch.float16)
    with torch.no_grad():
        model.head.weight.fill_(60000.0)
    sentence = stopped(model)
    assert "float16 overflowed" in sentence
    assert "bfloat16" in sentence


def test_a_model_that_computes_in_float16_but_answers_in_float32() -> None:
    def overflow(x: Tensor, t: float, inputs: Inputs) -> Tensor:
        return (x.half() * 60000).float()

    model = Scripted(overflow)
    assert "though no weight does" in stopped(model)

    class Half(Scripted):
        dtype = torch.float16

    assert "float16 overflowed" in stopped(Half(overflow))


def test_text_rows_of_zero() -> None:
    assert "text rows of the prompt" in stopped(TinyModel(), conditioning=prompted(0.0, 0.0))
    assert "text rows of the prompt" in stopped(TinyModel(), conditioning=prompted(0.0, 0.3))
    assert "hold NaN" in stopped(TinyModel(), conditioning=prompted(float("nan")))


def test_zeros_as_negative_prompt_are_fine() -> None:
    run(TinyModel(), conditioning=prompted(0.5, 0.0))


@pytest.mark.parametrize(
    ("health", "words"),
    [
        (statistics(std=0.0), "standard deviations from 0 to 0"),
        (statistics(std=-1.0), "standard deviations from -1"),
        (statistics(std=1000.0), "standard deviations"),
        (statistics(std=float("nan")), "NaN"),
        (statistics(mean=float("inf")), "NaN or infinity"),
        (statistics(mean=1e4), "a mean of"),
        (statistics(channels=16), "have 16 channels, the latents have 4"),
        (statistics(probe=torch.full((1, 4, 1, 2, 2), 37.0)), "test picture"),
    ],
)
def test_wrong_statistics_of_the_vae(health: Health, words: str) -> None:
    sentence = stopped(TinyModel(), health=health)
    assert "VAE" in sentence
    assert words in sentence


def test_right_statistics_of_the_vae() -> None:
    probe = torch.randn(1, 4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    run(TinyModel(), health=statistics(probe=probe))


@pytest.mark.parametrize("size", [1e-5, 300.0])
def test_given_latents_show_wrong_statistics_too(size: float) -> None:
    picture = size * torch.randn(1, 4, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    pinned = Conditioning(text=prompted().text, pin={"video": (Held(picture),)})
    assert "latent statistics" in stopped(TinyModel(), conditioning=pinned, scale=1.0)
    mask = torch.ones(1, 2, 3, 2, 2)
    encoded = size * torch.randn(1, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    channels = {"video": (Timed(torch.cat([mask, encoded], dim=1)),)}
    joined = Conditioning(text=prompted().text, concat=channels)
    assert "latent statistics" in stopped(TinyModel(), conditioning=joined, scale=1.0)


def test_zeros_and_masks_as_given_channels_are_fine() -> None:
    channels = {"video": (Timed(torch.ones(1, 1, 3, 2, 2)), Timed(torch.zeros(1, 4, 3, 2, 2)))}
    frames = {"video": (Held(torch.zeros(1, 4, 1, 2, 2)),)}
    run(
        TinyModel(),
        conditioning=Conditioning(text=prompted().text, concat=channels, overlay=frames),
        scale=1.0,
    )


def test_a_constant_prediction() -> None:
    model = TinyModel()
    with torch.no_grad():
        model.head.weight.zero_()
    assert "constant" in stopped(model)
    with torch.no_grad():
        model.head.bias.zero_()
    assert "zero everywhere" in stopped(model)


def test_a_text_without_effect() -> None:
    model = TinyModel()
    with torch.no_grad():
        model.text.weight.zero_()
    assert "the text has no effect" in stopped(model)
    run(model, scale=1.0)
    run(model, conditioning=prompted(0.5, 0.5))


def test_latents_that_explode() -> None:
    wild = Scripted(lambda x, t, inputs: 1e5 * smooth(x, t, inputs))
    assert "have grown to a size of" in stopped(wild)


def test_a_fault_that_comes_later_is_seen_at_the_end() -> None:
    late = Scripted(lambda x, t, inputs: x * (float("nan") if t < 700 else 0.5))
    with pytest.raises(DeadLatentsError, match="at the end"):
        run(late, scale=1.0)
    black = Scripted(lambda x, t, inputs: x / levels[int(t)])
    levels = dict(
        zip(
            recipes.unipc(4, 5.0).schedule.timesteps.tolist(),
            recipes.unipc(4, 5.0).schedule.sigmas.tolist(),
            strict=False,
        )
    )
    with pytest.raises(DeadLatentsError, match="flat"):
        run(black, scale=1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("seed", range(4))
def test_untrained_models_are_let_run(dtype: torch.dtype, seed: int) -> None:
    video = run(TinyModel(dtype, seed))
    assert video.shape == SHAPE
    assert video.dtype == torch.float32


def test_nobody_looks_when_told_so() -> None:
    setup = recipes.unipc(2, 5.0)
    dead = Scripted(lambda x, t, inputs: torch.zeros_like(x))
    sample(
        dead,
        setup.schedule,
        begin(setup),
        conditioning=prompted(),
        guidance=CFG(1.0),
        health=None,
    )


def test_health_looks_at_the_first_step_that_predicts() -> None:
    setup = recipes.unipc(4, 5.0)
    dead = Scripted(lambda x, t, inputs: torch.zeros_like(x))
    with pytest.raises(DeadLatentsError, match="after step 2 of 4"):
        sample(
            dead,
            setup.schedule,
            begin(setup),
            conditioning=prompted(),
            guidance=CFG(5.0, zero_steps=1),
        )
