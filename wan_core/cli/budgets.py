"""``wan-core plan --vram``: the run on GPUs of several sizes, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from wan_core.cli.text import columns, duration
from wan_core.contract.amounts import amount, format_bytes
from wan_core.contract.errors import WorkflowError
from wan_core.contract.options import OptionError

if TYPE_CHECKING:
    from wan_core.planning import BudgetRow

MOST = 32
HEAD = (
    "GPU",
    "fits",
    "peak",
    "RAM",
    "blocks swapped",
    "on their way",
    "rows",
    "text encoder",
    "time",
)


def read_budgets(text: str) -> list[int]:
    """The amounts of ``--vram``, in bytes.

    Raises:
        WorkflowError: one is none, or they are too many.
    """
    written = [one.strip() for one in text.split(",")]
    if len(written) > MOST:
        problem = f"{len(written)} budgets are more than {MOST}"
        raise WorkflowError(problem, where="--vram", remedy="name fewer")
    try:
        return [amount(one, "a budget", '"8GiB,12GiB"') for one in written]
    except OptionError as error:
        error.place("--vram")
        raise


def budget_lines(rows: Sequence[BudgetRow], stated: Sequence[str] = ()) -> Iterator[str]:
    """The table, and below it what does not fit.

    Args:
        stated: keys of ``[memory]`` by which the workflow overrules the plan.
    """
    yield from columns([HEAD, *map(_cells, rows)])
    less = "a smaller size, fewer frames or quantized weights need less"
    if stated:
        less = f"leaving out {' and '.join(stated)}, {less}"
    for row in rows:
        if row.files:
            yield (
                f"{_budget(row.budget)}: RAM has no room for {_gibibytes(row.files)} of weights, which are "
                "read from files in every pass"
            )
        if not row.fits and row.peak <= row.budget:
            yield (
                f"{_budget(row.budget)} would do, but {row.ram_part} is predicted to need at least "
                f"{_gibibytes(row.ram)} of RAM, which is more than [memory] ram"
            )
        elif not row.fits:
            yield (
                f"{_budget(row.budget)} is too little: {row.part} is predicted to need at least "
                f"{_gibibytes(row.peak)} with [memory] as it is; {less}"
            )


def _cells(row: BudgetRow) -> tuple[str, ...]:
    swapped = f"{row.swapped} of {row.blocks}" if row.blocks else "-"
    return (
        _budget(row.budget),
        "yes" if row.fits else "no",
        _gibibytes(row.peak),
        _gibibytes(row.ram) if row.ram else "-",
        swapped,
        str(row.prefetch) if row.swapped else "-",
        str(row.rows or "all"),
        row.text_encoder,
        duration(row.seconds) if row.seconds is not None else "not calibrated",
    )


def _budget(size: int) -> str:
    written = format_bytes(size)
    return written if isinstance(written, str) else f"{size / 2**30:.2f} GiB"


def _gibibytes(size: int) -> str:
    # the unit in which sizes of GPUs are told
    return f"{size / 2**30:.1f} GiB"
