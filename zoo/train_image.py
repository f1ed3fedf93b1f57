"""Train the tiny image-to-video model: ``python -m zoo.train_image --tiny IN --out OUT``.

``IN`` holds the trained VAE, text encoder and text-to-video transformer, from which it begins. The transformer
and a tiny CLIP vision tower are trained together, on clips of which some frames are given (``zoo.given``).
Writes ``i2v.safetensors`` and ``image_encoder.safetensors`` (the average of the weights, float16, published
names), ``i2v.state.safetensors`` (to go on from) and ``image.json``; then draws held-out combinations from
given frames (``zoo.image_test``), adds the figures and writes contact sheets.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo import image_model, image_test, tiny_clip, train_vae, train_video
from zoo.image_bank import Batch, fill, fill_unseen
from zoo.image_model import Pair
from zoo.learning import ENDLESS, Loss, learn, steps_on, unseen_on
from zoo.train_video import Size, compile_blocks
from zoo.training import (
    Average,
    Clock,
    Optimiser,
    autocast,
    describe,
    note,
    prepare,
    save,
    say,
    training_parser,
)

#: held-out clips that the loss is measured on
UNSEEN = 512


def loss_function(pair: Pair, device: torch.device) -> Loss:
    """Mean squared error of the velocity, of given and of new frames alike."""

    def loss_of(batch: Batch, noise: Tensor, sigma: Tensor) -> Tensor:
        clean = batch.latents.float()
        noisy = torch.lerp(clean, noise, sigma.view(-1, 1, 1, 1, 1))
        with autocast(device):
            tokens = tiny_clip.tokens_of(pair.clip, batch.pixels)
            predicted = pair.transformer.forward_seen(
                torch.cat([noisy, batch.channels.float()], dim=1),
                sigma * 1000,
                batch.rows,
                tokens,
                batch.seen,
            )
        loss: Tensor = (predicted.float() - (noise - clean)).square().mean()
        return loss

    return loss_of


def is_matrix(name: str, parameter: nn.Parameter) -> bool:
    """What Muon steps: the matrices inside the blocks of the transformer and the layers of the tower."""
    return parameter.ndim == 2 and (".blocks." in name or ".layers." in name)


def write(state: dict[str, Tensor], words: Sequence[str], out: Path) -> int:
    """Save both halves as the product loads them; returns the bytes of both files."""
    transformer, clip = image_model.halves(state)
    save(out / image_model.FILE, transformer, train_video.header(image_model.CONFIG, "i2v", words))
    return (out / image_model.FILE).stat().st_size + tiny_clip.write(clip, out)


def keep(pair: Pair, out: Path) -> None:
    """Save what training can go on from: the weights as they are, in float32."""
    save(out / "i2v.state.safetensors", dict(pair.named_parameters()), {}, torch.float32)


def begin(options: argparse.Namespace, device: torch.device) -> Pair:
    """The pair at the start of this call."""
    transformer = image_model.begin(options.tiny / "t2v.safetensors")
    pair = Pair(transformer, tiny_clip.build(torch.device("cpu")))
    if options.resume:
        pair.load_state_dict(load_file(options.resume))
    return pair.to(device).train()


def _parser() -> argparse.ArgumentParser:
    parser = training_parser(
        __doc__,
        minutes=6.5,
        batch=256,
        muon_lr=0.015,
        adam_lr=1.5e-3,
        state="i2v.state.safetensors",
    )
    parser.add_argument("--tiny", type=Path, required=True, help="folder of the other weights")
    parser.add_argument("--bank", type=int, default=120_000, help="clips, at most")
    parser.add_argument("--bank-seconds", type=float, default=75)
    parser.add_argument("--steps", type=int, default=ENDLESS, help="stop here if time is left")
    parser.add_argument("--prompts", type=int, default=64, help="clips that are drawn at the end")
    parser.add_argument(
        "--sweep-seconds", type=float, default=110, help="no further setting is tried after"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Train, write and measure."""
    options = _parser().parse_args(arguments)
    clock = Clock(options.minutes, *options.part)
    device = prepare(search=True)
    size: Size = tuple(options.size)
    on_gpu = device.type == "cuda"

    vae = train_vae.load(options.tiny / "vae.safetensors", device)
    bank = fill(
        vae,
        options.tiny,
        options.bank,
        options.bank_seconds,
        size,
        device,
        compile_it=on_gpu and not options.eager,
        batch=128 if on_gpu else 8,
    )
    unseen = fill_unseen(vae, options.tiny, size, device, UNSEEN if on_gpu else 16)
    torch._dynamo.reset()

    pair = begin(options, device)
    describe(pair, "transformer and vision tower")
    optimiser = Optimiser.of(
        pair, is_matrix, muon_lr=options.muon_lr, adam_lr=options.adam_lr, decay=0.02
    )
    average = Average(pair, 0.9995)
    loss_of = loss_function(pair, device)

    one = steps_on(loss_of, bank, options.batch, device)

    def trial() -> None:
        one()
        pair.zero_grad(set_to_none=True)

    compile_blocks(pair.transformer, trial, wanted=on_gpu and not options.eager)

    def save_all() -> int:
        keep(pair, options.out)
        return write(average.state(), bank.clips.words, options.out)

    figures = learn(
        "image", one, unseen_on(loss_of, unseen, device), save_all,
        optimiser=optimiser, average=average, clock=clock, steps=options.steps,
    )  # fmt: skip
    figures["parameters"] = sum(p.numel() for p in pair.parameters())
    figures["bank"] = len(bank)
    note(options.out / "image.json", figures)
    say(f"image done: {json.dumps(figures)}")
    figures["drawn"] = image_test.image_test(
        options.tiny,
        options.out,
        options.out,
        prompts=options.prompts,
        seconds=options.sweep_seconds,
        size=size,
    )
    note(options.out / "image.json", figures)
    return figures


if __name__ == "__main__":
    main()
