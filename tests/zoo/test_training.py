"""Two steps of each training script leave files that the product loads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wan_core.contract.requests import LoadRequest
from wan_core.models.encoders import load_text_encoder
from wan_core.models.families import TINY_T2V
from wan_core.models.loaders import load_transformer, load_vae
from zoo import train_text, train_vae, train_video
from zoo.world import KINDS

SIZE = ("--size", "5", "16", "16")
FEW = ("--minutes", "5", "--steps", "2", "--batch", "2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tiny")
    folder = str(out)
    train_text.main(["--out", folder, *FEW, "--corpus", "20", "--unseen", "20"])
    train_vae.main(["--out", folder, *FEW, *SIZE, "--clips", "1"])
    train_video.main(["--tiny", folder, "--out", folder, *FEW, *SIZE, "--bank", "8"])
    return out


def request(slot: str, file: Path) -> LoadRequest:
    return LoadRequest(slot, TINY_T2V.components[slot], file, torch.device("cpu"), torch.float32)


def test_the_text_encoder_is_loaded_with_its_tokenizer(trained: Path) -> None:
    encoder = load_text_encoder(trained / "text_encoder.safetensors", text_len=64)
    (rows,) = encoder.encode(["a red circle"])
    assert rows.shape == (4, train_text.WIDTH)


@torch.no_grad()
def test_the_vae_brings_its_constants_along(trained: Path) -> None:
    vae = load_vae(request("vae", trained / "vae.safetensors"))
    own = train_vae.load(trained / "vae.safetensors", torch.device("cpu"))
    clips = torch.rand(1, 3, 5, 16, 16) * 2 - 1
    assert torch.equal(vae.encode(clips)[0], own.encode(clips)[0])
    assert vae.mean is not None and len(vae.mean) == 16


def test_the_transformer_is_loaded_and_its_words_are_listed(trained: Path) -> None:
    denoiser = load_transformer(request("transformer", trained / "t2v.safetensors"))
    assert denoiser.transformer.config == train_video.CONFIG
    assert {"a", "circle", "background"} <= set((trained / "words.txt").read_text().split())


def test_training_can_go_on(trained: Path, tmp_path: Path) -> None:
    resumed = str(trained / "vae.state.safetensors")
    figures = train_vae.main(
        [
            "--out",
            str(tmp_path),
            *FEW,
            *SIZE,
            "--clips",
            "1",
            "--resume",
            resumed,
            "--part",
            "0.5",
            "1",
        ]
    )
    assert figures["steps"] == 2
    assert set(figures["psnr"]) == {*KINDS, "lowres"}
