"""What a VAE takes of the host where the CPU computes, in a process of its own, against the closed form."""

from __future__ import annotations

import subprocess
import sys

import pytest

MEASURE = """
import sys, torch
from wan_core.contract.requests import VideoSize

from wan_core.models.vae import VaeConfig, WanVAE
from wan_core.planning.predict import vae_decoding, vae_encoding

def memory(key):
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))

def run(side):
    if sys.argv[1] == "encoding":
        results = vae.encode_stream(torch.zeros(1, 3, 5, side, side))
    else:
        results = vae.decode_stream(torch.zeros(1, 16, 2, side // 8, side // 8))
    for result in results:
        del result


torch.set_num_threads(2)
config = VaeConfig(dim=int(sys.argv[2]), num_res_blocks=1)
vae = WanVAE(config).eval()
run(32)
before = memory("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
run(256)
form = vae_encoding if sys.argv[1] == "encoding" else vae_decoding
print(memory("VmHWM") - before, form(config, VideoSize(256, 256, 5, 16), 4, on_cpu=True))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for a peak")
@pytest.mark.parametrize(("part", "dim"), [("encoding", 8), ("decoding", 24)])
def test_the_peak_of_a_process(part: str, dim: int) -> None:
    """Convolutions of so few channels as 8 are computed by columns, others in blocks of channels."""
    told = subprocess.run(
        [sys.executable, "-c", MEASURE, part, str(dim)], capture_output=True, text=True, check=True
    )
    measured, predicted = map(int, told.stdout.split())
    assert 0.6 * predicted < measured < 1.2 * predicted, f"{measured=} {predicted=}"
