"""``wan-core quantize``: a transformer's file in fewer bits."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from wan_core.cli.failures import tell
from wan_core.cli.options import Strict, debug_option
from wan_core.cli.run import terminated_like_interrupted
from wan_core.cli.text import columns, short_path
from wan_core.cli.views import choose_view
from wan_core.contract.errors import WeightsError
from wan_core.contract.events import TaskFinished, TaskProgress, TaskStarted
from wan_core.contract.loras import LoraUse
from wan_core.contract.options import OptionError, show
from wan_core.contract.quantization import Quantization
from wan_core.memory import gigabytes
from wan_core.weights import identify, open_weights, printable

STAGE = "quantize"
MEGABYTE = 10**6


@click.command(cls=Strict)
@click.argument("original", metavar="IN")
@click.argument("target", metavar="OUT")
@click.option(
    "--dtype", required=True, metavar="TYPE",
    help="Type of the codes: fp8_e4m3fn, fp8_e5m2, int8 or int4.",
)  # fmt: skip
@click.option(
    "--scale", default="channel", metavar="channel|tensor",
    help="A scale for each output channel, or for a whole matrix; int4 has groups of 64.",
)  # fmt: skip
@click.option(
    "--keep", multiple=True, metavar="PATTERN",
    help='Layers that stay as they are, such as "blocks.0.*" (may be given several times).',
)  # fmt: skip
@click.option(
    "--lora", "loras", multiple=True, metavar="FILE[=STRENGTH]",
    help="Merge a LoRA file first (may be given several times).",
)  # fmt: skip
@click.option(
    "--unmatched", default="refuse", metavar="refuse|skip",
    help="What to do when IN has no place for some tensors of a LoRA file.",
)  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace a file that is there already.")
@click.option("--quiet", is_flag=True, help="Print nothing but warnings and errors.")
@debug_option
def quantize(
    original: str,
    target: str,
    dtype: str,
    scale: str,
    keep: tuple[str, ...],
    loras: tuple[str, ...],
    unmatched: str,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Write a transformer's file with the matrices of its blocks quantised.

    \b
    wan-core quantize wan2.1_t2v_14B_bf16.safetensors wan2.1_t2v_14B_int4.safetensors --dtype int4

    IN is a transformer of the Wan family in bf16, fp16 or fp32, in any container and under any names; OUT is a
    safetensors file under the official names. A run with OUT gives the same bits as one that quantises IN
    while it is loaded. One matrix at a time is in memory, and OUT appears when it is whole.
    """
    from wan_core.models.wan.quantising import prepare
    from wan_core.plugins import own_version

    asked = _asked(dtype, scale, keep)
    uses = [_lora(one, unmatched) for one in loras]
    for name in (original, target):
        _check_named(name)
    source = open_weights(original)
    try:
        file = prepare(source, asked, writer=f"wan-core {own_version()}", loras=uses)
    except WeightsError as error:
        error.remedy = error.remedy.replace('unmatched = "skip"', "--unmatched skip")
        raise
    with terminated_like_interrupted(), choose_view(json=False, quiet=quiet) as view:
        start, task = time.perf_counter(), f"writing {printable(Path(target).name)}"
        view(TaskStarted(STAGE, task, max(1, file.nbytes // MEGABYTE), "MB"))
        written = file.write(
            Path(target),
            overwrite=overwrite,
            on_bytes=lambda done: view(TaskProgress(STAGE, task, done // MEGABYTE)),
        )
        view(TaskFinished(STAGE, task, time.perf_counter() - start))
    if not quiet:
        share = 100 * file.nbytes / max(1, source.nbytes)
        rows = [
            ("written", printable(short_path(written))),
            ("what", str(identify(open_weights(written)))),
            ("quantised", f"{len(file.matrices)} matrices to {asked.dtype}"),
            ("size", f"{gigabytes(file.nbytes)}, {share:.0f} % of {gigabytes(source.nbytes)}"),
        ]
        tell("\n".join(columns(rows)), sys.stdout)


def _asked(dtype: str, scale: str, keep: tuple[str, ...]) -> Quantization:
    try:
        return Quantization(dtype, scale, keep)
    except OptionError as error:
        error.place(f"--{error.option}")
        raise


def _lora(text: str, unmatched: str) -> LoraUse:
    """``FILE`` or ``FILE=STRENGTH``; an equals sign may be part of the name, too."""
    name, equals, strength = text.rpartition("=")
    if not equals or (not _is_number(strength) and not Path(name).is_file()):
        name, strength = text, "1"
    _check_named(name, "--lora")
    try:
        if not _is_number(strength):
            raise OptionError("strength", f"must be a number, not {show(strength)}")
        return LoraUse(Path(name), float(strength), unmatched=unmatched)
    except OptionError as error:
        error.place("--unmatched" if error.option == "unmatched" else "--lora")
        raise


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_named(name: str, where: str = "") -> None:
    if not name:
        raise WeightsError(
            "the name of a file is empty", where=where, remedy="name the file itself"
        )
