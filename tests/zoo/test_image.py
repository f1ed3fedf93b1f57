"""The tiny image-to-video model: what is given, where it begins, what it writes and how it is measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from wan_core.contract.descriptions import Component
from wan_core.contract.requests import LoadRequest
from wan_core.models.encoders.clip_files import verify_image_encoder
from wan_core.models.loaders import load_image_encoder, load_transformer
from wan_core.models.wan.files import verify_transformer
from wan_core.weights import identify, open_weights
from zoo import given, image_model, image_test, tiny_clip, train_image, train_vae, train_video
from zoo.evaluate import BUNDLED
from zoo.image_bank import fill
from zoo.world import KINDS, render
from zoo.world.continued import continued
from zoo.world.kinds.plain import scenes_of
from zoo.world.words import MOTIONS

CPU = torch.device("cpu")
KNOWN = {"num_heads": 4, "text_len": 64}
SIZE = (9, 32, 32)
#: both files of the model together
MOST_BYTES = 8_000_000


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("image")
    sizes = ["--minutes", "5", "--steps", "2", "--batch", "4", "--size", "9", "32", "32"]
    few = ["--bank", "8", "--prompts", "0"]
    figures = train_image.main(["--tiny", str(BUNDLED), "--out", str(out), *sizes, *few])
    assert figures["steps"] == 2
    assert figures["bytes"] <= MOST_BYTES
    return out


def request(slot: str, file: Path) -> LoadRequest:
    component = Component(kind=slot, load="x:y", config=KNOWN if slot == "transformer" else {})
    return LoadRequest(slot, component, file, CPU, torch.float32)


def clips(motion: str, count: int = 1) -> Tensor:
    row = [1, 0, 0, MOTIONS.index(motion), 0]
    scenes = scenes_of(torch.tensor([row] * count), torch.Generator().manual_seed(3))
    return render(KINDS["plain"], scenes, "cpu", SIZE)


@pytest.mark.parametrize(
    ("name", "frames", "table"),
    [
        ("first", (0,), ["111", "000", "000"]),
        ("ends", (0, 8), ["111", "000", "001"]),
        ("opening of 5", (0, 1, 2, 3, 4), ["111", "111", "000"]),
        ("opening of 9", tuple(range(9)), ["111", "111", "111"]),
        ("nothing", (), ["000", "000", "000"]),
    ],
)
def test_the_mask_says_which_frames_are_given(
    name: str, frames: tuple[int, ...], table: list[str]
) -> None:
    """Channels 0, 1 and 3 of each latent frame; the first one counts four times."""
    number = given.NAMES.index(name)
    mask = given.masks(9)[number, :, :, 0, 0]
    assert mask.shape == (4, 3)
    assert mask[[0, 1, 3]].T.int().tolist() == [[int(bit) for bit in row] for row in table]
    clip = torch.rand(1, 3, *SIZE) + 0.5
    kept = given.only_given(clip, torch.tensor([number]))
    assert tuple(f for f in range(9) if torch.equal(kept[:, :, f], clip[:, :, f])) == frames
    assert all(not kept[:, :, f].any() for f in range(9) if f not in frames)


def test_the_picture_is_the_first_frame_and_of_an_opening_the_last_one() -> None:
    clip = torch.arange(9.0).view(1, 1, 9, 1, 1).expand(1, 3, *SIZE)
    numbers = torch.arange(len(given.NAMES))
    shown = given.shown(clip.expand(len(numbers), -1, -1, -1, -1), numbers)
    places = dict(zip(given.NAMES, shown[:, 0, 0, 0].tolist(), strict=True))
    assert places == {
        "first": 0, "ends": 0, "opening of 5": 4, "opening of 9": 8, "nothing": 0
    }  # fmt: skip


@torch.no_grad()
def test_it_begins_as_the_text_to_video_model_with_one_block_less() -> None:
    """Whatever stands in the new channels and whatever picture it sees."""
    file = BUNDLED / "t2v.safetensors"
    start = image_model.begin(file).eval()
    whole = train_video.load(file, CPU)
    torch.manual_seed(0)
    latents, rows = torch.randn(2, 16, 3, 4, 4), torch.randn(2, 64, 128)
    times = torch.tensor([200.0, 900.0])
    wanted = whole(latents, times, rows, skip_blocks=frozenset({image_model.DROPPED}))
    channels, tokens = torch.randn(2, 20, 3, 4, 4), torch.randn(2, 17, tiny_clip.CONFIG.width)
    joined = torch.cat([latents, channels], dim=1)
    assert torch.allclose(start(joined, times, rows, image_tokens=tokens), wanted, atol=1e-5)
    assert not torch.allclose(whole(latents, times, rows), wanted, atol=1e-2)


@torch.no_grad()
def test_a_sample_without_a_picture_is_as_if_there_were_no_image_tokens() -> None:
    model = image_model.Trainee().eval()
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.normal_(std=0.1)
    latents, rows = torch.randn(2, 36, 3, 4, 4), torch.randn(2, 64, 128)
    times, tokens = torch.tensor([200.0, 900.0]), torch.randn(2, 17, tiny_clip.CONFIG.width)
    seen = torch.tensor([1.0, 0.0])
    mixed = model.forward_seen(latents, times, rows, tokens, seen)
    with_picture = model(latents, times, rows, image_tokens=tokens)
    without = model(latents, times, rows)
    assert torch.allclose(mixed[0], with_picture[0], atol=1e-5)
    assert torch.allclose(mixed[1], without[1], atol=1e-5)
    assert not torch.allclose(with_picture[1], without[1], atol=1e-2)


def test_the_product_knows_and_takes_both_files(trained: Path) -> None:
    transformer = open_weights(trained / image_model.FILE)
    encoder = open_weights(trained / tiny_clip.FILE)
    verify_transformer(transformer, {})
    verify_image_encoder(encoder, {})
    assert identify(transformer).component == "wan-transformer"
    assert identify(encoder).component == "clip-vision"
    denoiser = load_transformer(request("transformer", trained / image_model.FILE))
    assert denoiser.transformer.config == image_model.CONFIG


@torch.no_grad()
def test_the_image_encoder_sees_what_was_trained(trained: Path) -> None:
    encoder = load_image_encoder(request("image_encoder", trained / tiny_clip.FILE))
    picture = clips("stays still")[:, :, 0]
    state = load_file(trained / "i2v.state.safetensors")
    tower = tiny_clip.build(CPU)
    tower.load_state_dict(image_model.halves(state)[1])
    wanted = tiny_clip.tokens_of(tower, tiny_clip.pixels_of(picture))
    got = encoder.encode([picture[0]])
    assert got.shape == (1, 17, image_model.CONFIG.image_dim)
    # the file holds the moving average of two steps
    assert torch.allclose(got, wanted, atol=0.2)


def test_two_steps_change_every_part_and_training_can_go_on(trained: Path, tmp_path: Path) -> None:
    state = load_file(trained / "i2v.state.safetensors")
    start = dict(image_model.begin(BUNDLED / "t2v.safetensors").named_parameters())
    after, _ = image_model.halves(state)
    same = [name for name, parameter in start.items() if torch.equal(parameter, after[name])]
    assert not same
    figures = train_image.main(
        [
            *("--tiny", str(BUNDLED), "--out", str(tmp_path), "--minutes", "5", "--steps", "1"),
            *("--batch", "2", "--size", "5", "16", "16", "--bank", "8", "--prompts", "0"),
            *("--resume", str(trained / "i2v.state.safetensors"), "--part", "0.5", "1"),
        ]
    )
    assert figures["steps"] == 1


def test_the_bank_encodes_the_given_frames_alone() -> None:
    """The first latent of a clip and of its first frame alone are the same, the later ones are not."""
    vae = train_vae.load(BUNDLED / "vae.safetensors", CPU)
    bank = fill(vae, BUNDLED, 16, 60, SIZE, CPU, compile_it=False, batch=16)
    first = (bank.kinds != given.NOTHING).nonzero().flatten()
    clips_latents, alone = bank.clips.latents.float(), bank.given.float()
    assert torch.allclose(clips_latents[first, :, 0], alone[first, :, 0], atol=2e-2)
    only_first = (bank.kinds == 0).nonzero().flatten()
    assert len(only_first)
    assert not torch.allclose(clips_latents[only_first, :, 1:], alone[only_first, :, 1:], atol=0.1)
    batch = bank.batch(4)
    assert batch.channels.shape == (4, 20, 3, 4, 4)
    assert batch.pixels.shape == (4, 3, 32, 32)


def test_continued_clips_arrive_where_the_told_motion_begins() -> None:
    rows = torch.tensor([[0, 0, 0, motion, 0] for motion in range(len(MOTIONS))] * 4)
    scenes = scenes_of(rows, torch.Generator().manual_seed(3))
    size = (33, 48, 48)
    drawn = continued(scenes, 9, torch.Generator().manual_seed(4), "cpu", size)
    told = render(KINDS["plain"], scenes, "cpu", size)
    assert drawn.shape == told.shape
    assert torch.allclose(drawn[:, :, 8], told[:, :, 0], atol=1e-5)
    assert torch.allclose(drawn[:, :, -1], told[:, :, -1], atol=1e-5)
    still = (drawn[:, :, 0] - drawn[:, :, 8]).abs().amax(dim=(1, 2, 3)) < 0.05
    assert 0 < int(still.sum()) < len(still)
    # nobody is cut by the edge: as much is seen of it in every frame of the opening
    red = (drawn[:, 0, :9] > 0.5).sum(dim=(2, 3)).float()
    assert float((red.amin(1) / red.amax(1)).min()) > 0.8


def test_given_frames_and_words_are_measured(trained: Path, tmp_path: Path) -> None:
    settings = {"steps": 1, "shift": 3.0, "guidance": 2.0, "solver": "euler"}
    plan = [(name, settings) for name in image_test.TASKS]
    results = image_test.image_test(
        BUNDLED, trained, tmp_path, plan=plan, prompts=2, size=(13, 32, 32)
    )
    found = {result["task"]: result for result in results}
    assert set(found) == set(image_test.TASKS)
    assert set(found["ends"]["psnr"]) == {"frame 0", "frame 12"}
    assert set(found["opening"]["psnr"]) == {"frame 0", "frame 8", "all given"}
    assert found["nothing"]["psnr"] == {}
    assert {f.name for f in tmp_path.iterdir()} == {
        "image-first.png", "image-ends.png", "image-continued.png"
    }  # fmt: skip
