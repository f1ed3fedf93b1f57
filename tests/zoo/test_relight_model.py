"""The LoRA that relights: where it begins, what it writes, and that the file is the model that was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from wan_core.models.wan.files import lora_targets
from wan_core.weights import open_weights
from wan_core.weights.lora import read_lora
from zoo import lora_model, relight_model, relight_test, train_unilumos, train_video
from zoo.evaluate import BUNDLED

CPU = torch.device("cpu")
BASE = BUNDLED / "t2v.safetensors"
MOST_BYTES = 3_000_000


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("relight")
    sizes = ["--minutes", "5", "--steps", "2", "--batch", "4", "--size", "5", "16", "16"]
    few = ["--bank", "8", "--clips", "0"]
    figures = train_unilumos.main(["--tiny", str(BUNDLED), "--out", str(out), *sizes, *few])
    assert figures["steps"] == 2
    assert figures["bytes"] <= MOST_BYTES
    return out


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 48, 2, 4, 4), torch.tensor([200.0, 900.0]), torch.randn(2, 64, 128)


@torch.no_grad()
def test_it_begins_as_the_text_to_video_model() -> None:
    """Whatever stands in the new channels."""
    latents, times, rows = inputs()
    wanted = train_video.load(BASE, CPU)(latents[:, :16], times, rows)
    assert torch.allclose(relight_model.begin(BASE)[0](latents, times, rows), wanted, atol=1e-5)


@torch.no_grad()
def test_the_file_makes_the_trained_model(tmp_path: Path) -> None:
    """Merged by hand onto the zero-padded weights it gives the velocity of the trainee."""
    model, trained = relight_model.begin(BASE, 4)
    for parameter in trained.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape))
    written = relight_model.write(dict(trained.named_parameters()), BASE, tmp_path)
    assert written == (tmp_path / relight_model.FILE).stat().st_size
    latents, times, rows = inputs()
    wanted = model(latents, times, rows)
    got = relight_model.load(BASE, tmp_path / relight_model.FILE, CPU)(latents, times, rows)
    start = train_video.load(BASE, CPU)(latents[:, :16], times, rows)
    assert float((got - wanted).abs().max()) < 0.02 * float(wanted.abs().max())
    assert float((start - wanted).abs().mean()) > 0.2 * float(wanted.abs().mean())


def test_every_name_of_the_file_is_known_and_fits(trained: Path) -> None:
    """But for the patch embedding, which becomes wider, the core takes each tensor as it is."""
    file = open_weights(trained / relight_model.FILE)
    found = read_lora(file, lora_targets(open_weights(BASE)))
    assert found.scaled
    assert set(found.unmatched) <= {"diffusion_model.patch_embedding.diff"}
    state = load_file(trained / relight_model.FILE)
    assert state["diffusion_model.patch_embedding.diff"].shape == (192, 48, 1, 2, 2)
    assert all(tensor.dtype == torch.float16 for tensor in state.values())


def test_two_steps_change_all_that_is_trained_and_training_can_go_on(
    trained: Path, tmp_path: Path
) -> None:
    after = load_file(trained / train_unilumos.STATE)
    start = relight_model.widened(load_file(BASE))
    frozen = {name for name in start if name.startswith(("time_embedding.", "time_projection."))}
    whole = {name for name in after if not lora_model.is_factor(name, after[name])}
    matrices = {f"{n.removesuffix('.down')}.weight" for n in after if n.endswith(".down")}
    assert whole | matrices | frozen == start.keys()
    assert len(whole) + len(matrices) + len(frozen) == len(start)
    assert not any(torch.equal(after[name], start[name]) for name in whole)
    assert all(bool(after[name].any()) for name in after if name.endswith(".up"))
    figures = train_unilumos.main(
        [
            *("--tiny", str(BUNDLED), "--out", str(tmp_path), "--minutes", "5", "--steps", "1"),
            *("--batch", "2", "--size", "5", "16", "16", "--bank", "8", "--clips", "0"),
            *("--resume", str(trained / train_unilumos.STATE), "--part", "0.5", "1"),
        ]
    )
    assert figures["steps"] == 1


def test_clips_are_relit_and_measured(trained: Path, tmp_path: Path) -> None:
    settings = {"steps": 1, "shift": 3.0, "guidance": 2.0, "solver": "euler"}
    model = relight_model.load(BASE, trained / relight_model.FILE, CPU)
    results = relight_test.relight_test(
        BUNDLED,
        model,
        tmp_path,
        plan=[(task, settings) for task in relight_test.TASKS],
        clips=2,
        size=(9, 32, 32),
    )
    assert [result["task"] for result in results] == list(relight_test.TASKS)
    for result in results:
        assert 0 <= result["right"] <= 1
        assert set(result["flicker"]) == {"input", "truth", "object"}
    assert {file.name for file in tmp_path.iterdir()} == {
        "relit-even.png", "relit-lit.png", "relit-new-background.png"
    }  # fmt: skip
