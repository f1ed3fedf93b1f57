"""Chunks with explicit state: equal to the whole clip, bit-identical when split, and differentiable."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from wan_core.models.vae import VaeConfig, VaeDescriptor, WanVAE
from wan_core.models.vae.layers import RMSNorm, plain_arithmetic

LATENTS = 6
FRAMES = 1 + 4 * (LATENTS - 1)


def dense(vae: WanVAE, seed: int = 0) -> WanVAE:
    """No layer left at zero: every tensor has its say in the result."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in vae.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            fan = max(1, parameter[0].numel())
            parameter.copy_(1 + 0.2 * noise if name.endswith("gamma") else noise / fan**0.5)
    return vae.requires_grad_(False)


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


MEAN, STD = [0.3, -0.2, 0.1, 0.5, 0.0], [1.5, 0.7, 2.0, 1.0, 3.0]
CONFIG = VaeConfig(dim=8, z_dim=5, num_res_blocks=1)
VAE = dense(WanVAE.of(VaeDescriptor("test", CONFIG, MEAN, STD)))
VIDEO = random(1, 3, FRAMES, 16, 24).clamp(-1, 1)
with torch.no_grad():
    WHOLE_LATENTS, WHOLE_LOG_VARIANCE = VAE.encode(VIDEO)
    WHOLE_FRAMES = VAE.decode(WHOLE_LATENTS)


def close(got: Tensor, want: Tensor, tolerance: float = 1e-5) -> bool:
    assert got.shape == want.shape
    return float((got - want).abs().max()) <= tolerance * float(want.abs().max())


def sizes(total: int) -> st.SearchStrategy[list[int]]:
    """All ways to cut ``total`` into pieces of at least 1."""
    cuts = st.sets(st.integers(1, total - 1)) if total > 1 else st.just(set())
    return cuts.map(lambda at: [b - a for a, b in pairwise([0, *sorted(at), total])])


QUICK = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


@QUICK
@given(sizes(LATENTS))
def test_decoding_in_any_chunks_equals_the_whole(chunks: list[int]) -> None:
    with torch.no_grad():
        state = VAE.decoder_state()
        parts = [
            VAE.decode_chunk(part, state) for part in torch.split(WHOLE_LATENTS, chunks, dim=2)
        ]
    assert [part.shape[2] for part in parts] == [4 * n - 3 * (not i) for i, n in enumerate(chunks)]
    assert close(torch.cat(parts, dim=2), WHOLE_FRAMES)


@QUICK
@given(sizes(LATENTS))
def test_encoding_in_any_chunks_equals_the_whole(chunks: list[int]) -> None:
    frames = [4 * n - 3 * (not i) for i, n in enumerate(chunks)]
    with torch.no_grad():
        state = VAE.encoder_state()
        parts = [VAE.encode_chunk(part, state) for part in torch.split(VIDEO, frames, dim=2)]
    assert close(torch.cat([mean for mean, _ in parts], dim=2), WHOLE_LATENTS)
    assert close(torch.cat([log for _, log in parts], dim=2), WHOLE_LOG_VARIANCE)


@pytest.mark.parametrize("chunk", [1, 2, 4, LATENTS])
@pytest.mark.parametrize("at_once", [None, 1, 2, 3])
def test_streams_equal_the_whole(chunk: int, at_once: int | None) -> None:
    frames = list(VAE.decode_stream(WHOLE_LATENTS, chunk, at_once=at_once))
    assert close(torch.cat(frames, dim=2), WHOLE_FRAMES)
    assert at_once is None or max(part.shape[2] for part in frames) <= at_once
    latents = [mean for mean, _ in VAE.encode_stream(VIDEO, 4 * chunk, at_once=at_once)]
    assert close(torch.cat(latents, dim=2), WHOLE_LATENTS)


@QUICK
@given(sizes(LATENTS), st.sampled_from([None, 1, 2]))
def test_a_stream_split_over_calls_is_bit_identical(pieces: list[int], at_once: int | None) -> None:
    want = torch.cat(list(VAE.decode_stream(WHOLE_LATENTS, at_once=at_once)), dim=2)
    state = VAE.decoder_state()
    got = [
        frames
        for piece in torch.split(WHOLE_LATENTS, pieces, dim=2)
        for frames in VAE.decode_stream(piece, at_once=at_once, state=state)
    ]
    assert torch.equal(torch.cat(got, dim=2), want)


@QUICK
@given(sizes(FRAMES + 2))
def test_video_may_arrive_in_any_pieces_bit_identically(pieces: list[int]) -> None:
    video = random(1, 3, FRAMES + 2, 8, 16)  # two frames too many, to be dropped
    want = torch.cat([mean for mean, _ in VAE.encode_stream(video)], dim=2)
    got = [mean for mean, _ in VAE.encode_stream(torch.split(video, pieces, dim=2))]
    assert want.shape[2] == LATENTS
    assert torch.equal(torch.cat(got, dim=2), want)


def test_saving_memory_changes_rounding_only() -> None:
    with plain_arithmetic(), torch.no_grad():
        latents, _ = VAE.encode(VIDEO)
        frames = VAE.decode(WHOLE_LATENTS)
    assert close(WHOLE_LATENTS, latents)
    assert close(WHOLE_FRAMES, frames)


def test_streams_as_shipped_equal_plain_arithmetic_in_a_wider_network() -> None:
    vae = dense(WanVAE.of(VaeDescriptor("wide", VaeConfig(dim=16, z_dim=5), MEAN, STD)))
    video = VIDEO[:, :, :9]

    def coded() -> tuple[Tensor, Tensor]:
        latents = torch.cat([mean for mean, _ in vae.encode_stream(video)], dim=2)
        return latents, torch.cat(list(vae.decode_stream(WHOLE_LATENTS[:, :, :3])), dim=2)

    shipped = coded()
    with plain_arithmetic():
        plain = coded()
    for got, want in zip(shipped, plain, strict=True):
        assert close(got, want, 1e-5)
        assert not torch.equal(got, want)  # they are two paths


def test_inputs_are_left_alone() -> None:
    video, latents = VIDEO.clone(), WHOLE_LATENTS.clone()
    list(VAE.encode_stream(video, at_once=1))
    list(VAE.decode_stream(latents, at_once=1))
    assert torch.equal(video, VIDEO) and torch.equal(latents, WHOLE_LATENTS)


def test_every_sample_of_a_batch_is_on_its_own() -> None:
    with torch.no_grad():
        both = torch.cat([WHOLE_LATENTS, random(*WHOLE_LATENTS.shape)])
        assert close(VAE.decode(both)[:1], WHOLE_FRAMES)


def test_gradients_flow_through_clip_and_chunks_alike() -> None:
    vae = dense(WanVAE(CONFIG)).requires_grad_(True)
    video = VIDEO[:, :, :9, :8, :8]

    def gradients(latents: Tensor, frames: Tensor) -> list[Tensor]:
        vae.zero_grad()
        (frames.square().mean() + latents.square().mean()).backward()  # type: ignore[no-untyped-call]
        return [p.grad.clone() for p in vae.parameters() if p.grad is not None]

    latents, _ = vae.encode(video)
    whole = gradients(latents, vae.decode(latents))
    encoder, decoder = vae.encoder_state(), vae.decoder_state()
    parts = [vae.encode_chunk(part, encoder)[0] for part in torch.split(video, [1, 8], dim=2)]
    frames = [vae.decode_chunk(part, decoder) for part in parts]
    chunked = gradients(torch.cat(parts, dim=2), torch.cat(frames, dim=2))
    assert len(whole) == len(list(vae.parameters()))
    assert all(close(a, b, 1e-4) for a, b in zip(chunked, whole, strict=True))


def test_whole_clips_and_chunks_compile_without_a_break() -> None:
    small = VaeConfig(dim=4, z_dim=5, dim_mult=(1, 2), num_res_blocks=1, temporal_downsample=[True])
    vae = dense(WanVAE(small)).requires_grad_(True)
    video = VIDEO[:, :, :5, :8, :8]

    def step(clip: Tensor) -> Tensor:
        mean, log_variance = vae.encode(clip)
        return vae.decode(mean + (0.5 * log_variance).exp())

    compiled = torch.compile(step, backend="eager", fullgraph=True)
    assert close(compiled(video).detach(), step(video).detach())
    chunk = torch.compile(vae.decode_chunk, backend="eager", fullgraph=True)
    with torch.no_grad():
        latents = random(1, 5, 3, 4, 4)
        state = vae.decoder_state()
        frames = [chunk(part, state) for part in torch.split(latents, 1, dim=2)]
        assert close(torch.cat(frames, dim=2), vae.decode(latents))


def test_frame_counts() -> None:
    with torch.no_grad():
        for frames, latents in ((1, 1), (4, 1), (5, 2), (8, 2), (11, 3)):
            clip = random(1, 3, frames, 8, 8)
            assert VAE.encode(clip)[0].shape[2] == latents
            streamed = torch.cat([mean for mean, _ in VAE.encode_stream(clip)], dim=2)
            assert close(streamed, VAE.encode(clip)[0])
    assert list(VAE.encode_stream([])) == []


@pytest.mark.parametrize(("first", "then"), [(2, 4), (4, 4), (1, 3), (5, 1)])
def test_chunks_that_would_lose_frames_are_refused(first: int, then: int) -> None:
    state = VAE.encoder_state()
    with torch.no_grad(), pytest.raises(ValueError, match="first chunk has 1 \\+ 4n"):
        VAE.encode_chunk(random(1, 3, first, 8, 8), state)
        VAE.encode_chunk(random(1, 3, then, 8, 8), state)


@pytest.mark.parametrize("shape", [(1, 3, 0, 8, 8), (1, 3, 1, 12, 8), (1, 3, 1, 8, 4)])
def test_sizes_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="does not fit stride"):
        VAE.encode(torch.zeros(shape))


def test_latents_are_normalised_by_the_constants() -> None:
    bare = WanVAE(CONFIG)
    bare.load_state_dict(VAE.state_dict())
    mean, std = torch.tensor(MEAN).view(-1, 1, 1, 1), torch.tensor(STD).view(-1, 1, 1, 1)
    with torch.no_grad():
        raw, log_variance = bare.encode(VIDEO)
        assert close(WHOLE_LATENTS, (raw - mean) / std)
        assert close(WHOLE_LOG_VARIANCE.exp(), log_variance.exp() / std**2, 1e-4)
        assert close(VAE.denormalise(WHOLE_LATENTS), raw)
        assert close(bare.decode(raw), WHOLE_FRAMES)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision(dtype: torch.dtype, tolerance: float) -> None:
    half = dense(WanVAE.of(VaeDescriptor("half", CONFIG, MEAN, STD))).to(dtype)
    for mean, _ in half.encode_stream(VIDEO):
        assert mean.dtype == torch.float32 and mean.isfinite().all()
    frames = torch.cat(list(half.decode_stream(WHOLE_LATENTS, at_once=1)), dim=2)
    assert frames.dtype == dtype
    assert close(frames.float(), WHOLE_FRAMES, tolerance)
    with plain_arithmetic(), torch.no_grad():
        assert close(half.decode(WHOLE_LATENTS).float(), WHOLE_FRAMES, tolerance)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_norm_of_nothing_and_of_much(dtype: torch.dtype) -> None:
    norm = RMSNorm(64, 3).to(dtype)
    x = torch.zeros(1, 64, 1, 1, 3, dtype=dtype)
    x[..., 1] = 1e-7  # its square is nothing in half dtypes
    x[..., 2] = 6e4  # its norm is beyond float16
    for y in (norm(x), norm(x, out=torch.empty_like(x))):
        assert y[..., 0].eq(0).all()
        assert (y[..., 1:] - 1).abs().max() < 0.02
