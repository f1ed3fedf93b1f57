"""A calibration with round figures."""

from __future__ import annotations

from typing import Any

import attrs

from wan_core.planning.calibration import Calibration, identity
from wan_core.planning.machine import Machine


def calibration_of(machine: Machine, **changes: Any) -> Calibration:
    """1 TFLOP/s for everything, 100 GB/s of memory, 1 GB/s of disk, 10 Mpixel/s encoded."""
    device, torch, threads = identity(machine)
    rate = dict.fromkeys(("float32", "bfloat16"), ((1.0, 1000000000000.0),))
    plain = Calibration(
        device=device,
        torch=torch,
        threads=threads,
        measured="2026-01-31 12:00",
        call=1e-9,
        matmul=rate,
        attention=rate,
        convolution=rate,
        small_convolution=rate,
        flat_convolution=rate,
        norm=((1.0, 1e11),),
        elementwise=((1.0, 1e11),),
        encoding=((1.0, 1e7),),
        disk=1e9,
        cached=1e10,
        imports={"transformers": 2.0},
    )
    return attrs.evolve(plain, **changes)
