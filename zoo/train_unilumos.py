"""Train the LoRA that relights: ``python -m zoo.train_unilumos --tiny IN --out OUT``.

``IN`` holds the trained VAE, text encoder and text-to-video transformer, which the LoRA is for. Relighting
pairs are drawn and encoded once; then the low-rank changes learn the velocity of noisy relit clips beside their
foregrounds and backgrounds. Writes ``unilumos.safetensors`` (of the average of the weights, float16, published
names), ``unilumos.state.safetensors`` (to go on from) and ``unilumos.json``; then relights clips of held-out
combinations (``zoo.relight_test``), adds the figures and writes contact sheets.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from wan_core.models.wan import WanTransformer
from zoo import relight_model, relight_test, train_vae
from zoo.learning import ENDLESS, Loss, learn, steps_on, unseen_on
from zoo.lora_model import is_factor
from zoo.relight_bank import Batch, fill
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

#: held-out pairs that the loss is measured on
UNSEEN = 256
#: how much more a place counts where the object is
OBJECT = 3.0
STATE = "unilumos.state.safetensors"


def loss_function(model: WanTransformer, device: torch.device) -> Loss:
    """Mean squared error of the velocity, in which the object counts more."""

    def loss_of(batch: Batch, noise: Tensor, sigma: Tensor) -> Tensor:
        clean = batch.latents.float()
        noisy = torch.lerp(clean, noise, sigma.view(-1, 1, 1, 1, 1))
        with autocast(device):
            predicted = model(
                torch.cat([noisy, batch.channels.float()], dim=1), sigma * 1000, batch.rows
            )
        weight = 1 + (OBJECT - 1) * batch.outline
        error = (predicted.float() - (noise - clean)).square() * weight
        loss: Tensor = error.mean() / weight.mean()
        return loss

    return loss_of


def _parser() -> argparse.ArgumentParser:
    parser = training_parser(
        __doc__, minutes=7.0, batch=256, muon_lr=0.008, adam_lr=1.5e-3, state=STATE
    )
    parser.add_argument("--tiny", type=Path, required=True, help="folder of the other weights")
    parser.add_argument("--rank", type=int, default=relight_model.RANK)
    parser.add_argument("--bank", type=int, default=60_000, help="pairs, at most")
    parser.add_argument("--bank-seconds", type=float, default=75)
    parser.add_argument("--steps", type=int, default=ENDLESS, help="stop here if time is left")
    parser.add_argument("--clips", type=int, default=64, help="that are relit at the end")
    parser.add_argument(
        "--sweep-seconds", type=float, default=80, help="no further setting is tried after"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Train, write and measure."""
    options = _parser().parse_args(arguments)
    clock = Clock(options.minutes, *options.part)
    device = prepare(search=True)
    size: Size = tuple(options.size)
    on_gpu = device.type == "cuda"
    base = options.tiny / "t2v.safetensors"

    vae = train_vae.load(options.tiny / "vae.safetensors", device)
    fast = on_gpu and not options.eager
    batch = 64 if on_gpu else 8
    bank = fill(
        vae,
        options.tiny,
        options.bank,
        options.bank_seconds,
        size,
        device,
        compile_it=fast,
        batch=batch,
    )
    few = UNSEEN if on_gpu else 16
    unseen = fill(
        vae, options.tiny, few, 60, size, device, compile_it=False, batch=batch, heldout=True
    )
    del vae
    torch._dynamo.reset()

    model, trained = relight_model.begin(base, options.rank)
    if options.resume:
        trained.resume(load_file(options.resume))
    model.to(device).train()
    describe(trained, "factors and small tensors")
    optimiser = Optimiser.of(
        trained,
        is_factor,
        muon_lr=options.muon_lr,
        adam_lr=options.adam_lr,
        decay=0.02,
        betas=(0.9, 0.98),
    )
    average = Average(trained, 0.9995)
    loss_of = loss_function(model, device)

    one = steps_on(loss_of, bank, options.batch, device)

    def trial() -> None:
        one()
        trained.zero_grad(set_to_none=True)

    def write() -> int:
        save(options.out / STATE, dict(trained.named_parameters()), {}, torch.float32)
        return relight_model.write(average.state(), base, options.out)

    compile_blocks(model, trial, wanted=fast)
    figures = learn(
        "unilumos", one, unseen_on(loss_of, unseen, device), write,
        optimiser=optimiser, average=average, clock=clock, steps=options.steps,
        warm=300 if on_gpu else 10, told=500 if on_gpu else 20,
    )  # fmt: skip
    figures["parameters"] = sum(p.numel() for p in trained.parameters())
    figures |= {"rank": options.rank, "bank": len(bank)}
    note(options.out / "unilumos.json", figures)
    say(f"unilumos done: {json.dumps(figures)}")
    figures["drawn"] = relight_test.relight_test(
        options.tiny,
        relight_model.load(base, options.out / relight_model.FILE, device),
        options.out,
        clips=options.clips,
        seconds=options.sweep_seconds,
        size=size,
    )
    note(options.out / "unilumos.json", figures)
    return figures


if __name__ == "__main__":
    main()
