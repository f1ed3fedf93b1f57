"""Peak memory: independent of the number of frames, and what ``sizes`` says before anything exists."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from live_bytes import LiveBytes, fused_attention
from torch import Tensor

from wan_core.models.vae import (
    LIGHT21,
    WAN21,
    WAN22,
    VaeConfig,
    WanVAE,
    decoder_memory,
    encoder_memory,
)


def peak(vae: WanVAE, source: Tensor, run: Callable[[], Iterator[object]]) -> int:
    """The most bytes alive at a time while the results of ``run`` are thrown away."""
    with LiveBytes([source, *vae.parameters()]) as live:
        for result in run():
            del result
    return live.peak


@pytest.fixture(scope="module", params=[False, True], ids=["2.1", "2.2"])
def vae(request: pytest.FixtureRequest) -> WanVAE:
    newer: bool = request.param
    return WanVAE(VaeConfig(dim=4, num_res_blocks=1, patch=1 + newer, shortcuts=newer))


@pytest.mark.parametrize(("chunk", "at_once"), [(1, None), (1, 1), (3, 2)])
def test_decoding_needs_the_same_for_33_and_321_frames(
    vae: WanVAE, chunk: int, at_once: int | None
) -> None:
    peaks = []
    for latents in (9, 81):
        source = torch.zeros(1, 16, latents, 2, 3)
        peaks.append(
            peak(vae, source, lambda s=source: vae.decode_stream(s, chunk, at_once=at_once))
        )
    assert peaks[1] == pytest.approx(peaks[0], rel=0.02)


def test_encoding_needs_the_same_for_33_and_321_frames(vae: WanVAE) -> None:
    peaks = []
    for frames in (33, 321):
        source = torch.zeros(1, 3, frames, 16, 32)
        peaks.append(peak(vae, source, lambda s=source: vae.encode_stream(s)))
    assert peaks[1] == pytest.approx(peaks[0], rel=0.02)


def test_a_state_holds_two_frames_and_no_more(vae: WanVAE) -> None:
    state = vae.decoder_state()
    assert not state.started and state.nbytes == 0
    list(vae.decode_stream(torch.zeros(1, 16, 3, 2, 3), 3, state=state))
    slots = [slot for slot in state.slots if slot is not None]
    assert state.started and len(slots) == len(state.slots) == 24
    assert all(slot.shape[2] == 2 for slot in slots)
    assert all(slot.untyped_storage().nbytes() == slot.nbytes for slot in slots)


@pytest.mark.parametrize("item", [2, 4])
@pytest.mark.parametrize(
    "config", [WAN21.config, LIGHT21.config, WAN22.config], ids=["full", "light", "2.2"]
)
@pytest.mark.parametrize("at_once", [None, 1, 2])
def test_predicted_bytes(
    monkeypatch: pytest.MonkeyPatch, config: VaeConfig, at_once: int | None, item: int
) -> None:
    dtype = {2: torch.bfloat16, 4: torch.float32}[item]
    with torch.device("meta"):
        vae = WanVAE(config).to(dtype)
        channels, *sizes = config.latent_shape(9, 480, 832)
        latents = torch.empty(1, channels, *sizes, dtype=dtype)
        video = torch.empty(1, 3, 9, 480, 832, dtype=dtype)
    state = vae.decoder_state()
    with fused_attention(monkeypatch):
        decoding = peak(
            vae, latents, lambda: vae.decode_stream(latents, at_once=at_once, state=state)
        )
        encoding = peak(vae, video, lambda: vae.encode_stream(video, at_once=at_once))
    predicted = decoder_memory(config, 480, 832, at_once=at_once, item=item)
    assert predicted.state == state.nbytes
    assert predicted.peak == pytest.approx(decoding, rel=0.015)
    encoder = encoder_memory(config, 480, 832, at_once=at_once, item=item)
    assert encoder.peak == pytest.approx(encoding, rel=0.015)


def test_full_size_peaks_stay_where_they_are() -> None:
    # upstream holds 3.9 GB for the same chunk in bfloat16, 1.9 GB of it carried as here
    assert decoder_memory(WAN21.config, 480, 832).peak < 3.0e9
    assert decoder_memory(WAN21.config, 480, 832, at_once=1).peak < 2.4e9
    assert encoder_memory(WAN21.config, 480, 832).peak < 2.3e9
    # of the 2.2 VAE upstream holds 4.3 GB and 1.4 GB
    assert decoder_memory(WAN22.config, 480, 832).peak < 2.7e9
    assert decoder_memory(WAN22.config, 480, 832, at_once=1).peak < 2.1e9
    assert encoder_memory(WAN22.config, 480, 832).peak < 1.1e9


def test_sizes_need_no_torch() -> None:
    code = (
        "import sys; from wan_core.models.vae import WAN21, decoder_memory;"
        "decoder_memory(WAN21.config, 480, 832); WAN21.latent_shape(81, 480, 832);"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
