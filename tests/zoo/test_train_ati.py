"""The LoRA of tracks: what is trained, what is written, and that the product makes the same of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from wan_core.weights import open_weights
from wan_core.weights.lora import LoraTargets, merge, read_lora
from zoo import image_model, tiny_clip, track_test, train_ati, train_vae
from zoo.evaluate import BUNDLED
from zoo.track_bank import fill, where
from zoo.world import KINDS, render

CPU = torch.device("cpu")
SIZE = (9, 32, 32)
BASE = BUNDLED / image_model.FILE


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ati")
    sizes = ["--minutes", "5", "--steps", "3", "--batch", "4", "--size", "9", "32", "32"]
    few = ["--bank", "8", "--prompts", "0", "--muon-lr", "0.1", "--adam-lr", "0.02"]
    figures = train_ati.main(["--tiny", str(BUNDLED), "--out", str(out), *sizes, *few])
    assert figures["steps"] == 3
    assert figures["bytes"] == (out / train_ati.FILE).stat().st_size <= train_ati.MOST_BYTES
    return out


def inputs() -> tuple[Tensor, ...]:
    torch.manual_seed(0)
    latents, rows = torch.randn(2, 36, 3, 4, 4), torch.randn(2, 64, 128)
    return latents, torch.tensor([200.0, 900.0]), rows, torch.randn(2, 17, tiny_clip.CONFIG.width)


@torch.no_grad()
def test_it_begins_as_the_image_to_video_model() -> None:
    (model, own), base = train_ati.begin(BUNDLED), image_model.load(BASE, CPU)
    latents, times, rows, tokens = inputs()
    assert torch.equal(
        model(latents, times, rows, image_tokens=tokens),
        base(latents, times, rows, image_tokens=tokens),
    )
    names = [name for name, _ in own.named_parameters()]
    assert {name.split(".")[0] for name in names} == {"blocks", "head", "patch_embedding"}
    assert not any(name.endswith((".q.weight", "ffn.0.weight")) for name in names)


@torch.no_grad()
def test_the_product_matches_every_tensor_and_computes_what_was_trained(trained: Path) -> None:
    base = load_file(BASE)
    source = open_weights(trained / train_ati.FILE)
    shapes = {name: tuple(tensor.shape) for name, tensor in base.items()}
    file = read_lora(source, LoraTargets(shapes))
    assert not file.unmatched and file.scaled
    assert file.matched == len(source.names())
    merged = {name: tensor.float() for name, tensor in base.items()}
    for patch in file.patches:
        merged[patch.target] = merge(merged[patch.target], [patch], source)
    product = image_model.Trainee()
    product.load_state_dict(merged)

    model = train_ati.load(BUNDLED, trained / train_ati.FILE, CPU)
    untrained = image_model.load(BASE, CPU)
    latents, times, rows, tokens = inputs()
    wanted = model(latents, times, rows, image_tokens=tokens)
    got = product.eval()(latents, times, rows, image_tokens=tokens)
    before = untrained(latents, times, rows, image_tokens=tokens)
    assert torch.allclose(got, wanted, atol=1e-4)
    assert float((wanted - before).abs().max()) > 0.02


def test_all_that_is_trained_changes_and_training_can_go_on(trained: Path, tmp_path: Path) -> None:
    state = load_file(trained / train_ati.STATE)
    torch.manual_seed(0)
    start = dict(train_ati.begin(BUNDLED)[1].named_parameters())
    assert set(state) == set(start)
    same = [n for n, p in start.items() if not n.endswith(".down") and torch.equal(p, state[n])]
    assert same == []
    figures = train_ati.main(
        [
            *("--tiny", str(BUNDLED), "--out", str(tmp_path), "--minutes", "5", "--steps", "1"),
            *("--batch", "2", "--size", "5", "16", "16", "--bank", "8", "--prompts", "0"),
            *("--resume", str(trained / train_ati.STATE), "--part", "0.5", "1"),
        ]
    )
    assert figures["steps"] == 1


def test_the_bank_knows_where_objects_are() -> None:
    vae = train_vae.load(BUNDLED / "vae.safetensors", CPU)
    tower = tiny_clip.load(BUNDLED / tiny_clip.FILE, CPU)
    bank = fill(vae, tower, BUNDLED, 16, 60, SIZE, CPU, compile_it=False, batch=8)
    assert bank.centres.shape == (16, 9, 2, 3) and bank.radii.shape == (16, 2)
    assert bool(bank.centres[:, 0, 0, 2].all())
    # the first latent of a clip and of its first frame alone are the same, the later ones are not
    clips, alone = bank.clips.latents.float(), bank.given.float()
    assert torch.allclose(clips[:, :, 0], alone[:, :, 0], atol=2e-2)
    assert not torch.allclose(clips[:, :, 1:], alone[:, :, 1:], atol=0.1)
    batch = bank.batch(4)
    assert batch.channels.shape == (4, 20, 3, 4, 4)
    assert batch.channels[:, :4, 0].min() == 1 and not batch.channels[:, :4, 1:].any()
    assert batch.tokens.shape == (4, 17, tiny_clip.CONFIG.width)


def test_plain_scenes_have_tracks_where_they_are_drawn() -> None:
    kind = KINDS["plain"]
    scenes = kind.sample(6, torch.Generator().manual_seed(1))
    size = (5, 96, 96)
    centres, radii = where(kind, scenes, size)
    assert not bool(centres[:, :, 1].any())
    seen = track_test.look(render(kind, scenes, "cpu", size), _colours(scenes["attributes"]))
    for places, track in zip(seen.places, centres, strict=True):
        assert float((places[:, 0] - track[:, 0, :2]).norm(dim=-1).max()) < 1
    assert bool((radii > 4).all())


def _colours(attributes: Tensor) -> list[list[str]]:
    from zoo.world.words import COLOURS

    return [[COLOURS[row[1]]] for row in attributes.tolist()]


def test_tracks_are_measured_with_and_without(tmp_path: Path) -> None:
    vae = train_vae.load(BUNDLED / "vae.safetensors", CPU)
    tower = tiny_clip.load(BUNDLED / tiny_clip.FILE, CPU)
    results = track_test.track_test(
        image_model.load(BASE, CPU), vae, tower, BUNDLED, tmp_path, count=4, size=(9, 48, 48),
        plan=[{"steps": 1, "shift": 3.0, "guidance": 1.0, "solver": "euler"}],
    )  # fmt: skip
    (result,) = results
    assert len(result["clips"]) == len(result["clips_without"]) == 4
    assert result["mean"] == pytest.approx(sum(result["clips"]) / 4, abs=1e-3)
    assert {f.name for f in tmp_path.iterdir()} == {"tracks-with.png", "tracks-without.png"}
