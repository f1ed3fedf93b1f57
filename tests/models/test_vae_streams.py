"""Chunks with explicit state: equal to the whole clip, bit-identical when split, and differentiable."""

from __future__ import annotations

from itertools import pairwise

import attrs
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from wan_core.models.vae import RampTiling, VaeConfig, VaeDescriptor, WanVAE
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


def named(config: VaeConfig) -> VaeDescriptor:
    return VaeDescriptor("test", config, MEAN, STD)


@attrs.frozen
class Net:
    """A network, a clip, and what the network makes of all of it at once."""

    vae: WanVAE
    video: Tensor
    latents: Tensor
    log_variance: Tensor
    frames: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, config: VaeConfig, height: int, width: int) -> Net:
        vae = dense(WanVAE.of(named(config)))
        video = random(1, 3, FRAMES, height, width).clamp(-1, 1)
        latents, log_variance = vae.encode(video)
        return cls(vae, video, latents, log_variance, vae.decode(latents))


CONFIG = VaeConfig(dim=8, z_dim=5, num_res_blocks=1)
CONFIG22 = attrs.evolve(CONFIG, patch=2, shortcuts=True, decoder_dim=12)
NETS = {"2.1": Net.of(CONFIG, 16, 24), "2.2": Net.of(CONFIG22, 32, 16)}


@pytest.fixture(params=NETS)
def net(request: pytest.FixtureRequest) -> Net:
    return NETS[request.param]


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
def test_decoding_in_any_chunks_equals_the_whole(net: Net, chunks: list[int]) -> None:
    with torch.no_grad():
        state = net.vae.decoder_state()
        parts = [
            net.vae.decode_chunk(part, state) for part in torch.split(net.latents, chunks, dim=2)
        ]
    assert [part.shape[2] for part in parts] == [4 * n - 3 * (not i) for i, n in enumerate(chunks)]
    assert close(torch.cat(parts, dim=2), net.frames)


@QUICK
@given(sizes(LATENTS))
def test_encoding_in_any_chunks_equals_the_whole(net: Net, chunks: list[int]) -> None:
    frames = [4 * n - 3 * (not i) for i, n in enumerate(chunks)]
    with torch.no_grad():
        state = net.vae.encoder_state()
        parts = [
            net.vae.encode_chunk(part, state) for part in torch.split(net.video, frames, dim=2)
        ]
    assert close(torch.cat([mean for mean, _ in parts], dim=2), net.latents)
    assert close(torch.cat([log for _, log in parts], dim=2), net.log_variance)


@pytest.mark.parametrize("chunk", [1, 2, 4, LATENTS])
@pytest.mark.parametrize("at_once", [None, 1, 2, 3])
def test_streams_equal_the_whole(net: Net, chunk: int, at_once: int | None) -> None:
    frames = list(net.vae.decode_stream(net.latents, chunk, at_once=at_once))
    assert close(torch.cat(frames, dim=2), net.frames)
    assert at_once is None or max(part.shape[2] for part in frames) <= at_once
    latents = [mean for mean, _ in net.vae.encode_stream(net.video, 4 * chunk, at_once=at_once)]
    assert close(torch.cat(latents, dim=2), net.latents)


@QUICK
@given(sizes(LATENTS), st.sampled_from([None, 1, 2]))
def test_a_stream_split_over_calls_is_bit_identical(
    net: Net, pieces: list[int], at_once: int | None
) -> None:
    want = torch.cat(list(net.vae.decode_stream(net.latents, at_once=at_once)), dim=2)
    state = net.vae.decoder_state()
    got = [
        frames
        for piece in torch.split(net.latents, pieces, dim=2)
        for frames in net.vae.decode_stream(piece, at_once=at_once, state=state)
    ]
    assert torch.equal(torch.cat(got, dim=2), want)


@QUICK
@given(sizes(FRAMES + 2))
def test_video_may_arrive_in_any_pieces_bit_identically(net: Net, pieces: list[int]) -> None:
    video = random(1, 3, FRAMES + 2, 16, 16)  # two frames too many, to be dropped
    want = torch.cat([mean for mean, _ in net.vae.encode_stream(video)], dim=2)
    got = [mean for mean, _ in net.vae.encode_stream(torch.split(video, pieces, dim=2))]
    assert want.shape[2] == LATENTS
    assert torch.equal(torch.cat(got, dim=2), want)


def test_saving_memory_changes_rounding_only(net: Net) -> None:
    with plain_arithmetic(), torch.no_grad():
        latents, _ = net.vae.encode(net.video)
        frames = net.vae.decode(net.latents)
    assert close(net.latents, latents)
    assert close(net.frames, frames)


def test_streams_as_shipped_equal_plain_arithmetic_in_a_wider_network(net: Net) -> None:
    wide = attrs.evolve(net.vae.config, dim=16, decoder_dim=24, num_res_blocks=2)
    vae = dense(WanVAE.of(named(wide)))
    video = net.video[:, :, :9]

    def coded() -> tuple[Tensor, Tensor]:
        latents = torch.cat([mean for mean, _ in vae.encode_stream(video)], dim=2)
        return latents, torch.cat(list(vae.decode_stream(net.latents[:, :, :3])), dim=2)

    shipped = coded()
    with plain_arithmetic():
        plain = coded()
    for got, want in zip(shipped, plain, strict=True):
        assert close(got, want, 1e-5)
        assert not torch.equal(got, want)  # they are two paths


def test_inputs_are_left_alone(net: Net) -> None:
    video, latents = net.video.clone(), net.latents.clone()
    list(net.vae.encode_stream(video, at_once=1))
    list(net.vae.decode_stream(latents, at_once=1))
    assert torch.equal(video, net.video) and torch.equal(latents, net.latents)


def test_every_sample_of_a_batch_is_on_its_own(net: Net) -> None:
    with torch.no_grad():
        both = torch.cat([net.latents, random(*net.latents.shape)])
        assert close(net.vae.decode(both)[:1], net.frames)


def test_gradients_flow_through_clip_and_chunks_alike(net: Net) -> None:
    vae = dense(WanVAE(net.vae.config)).requires_grad_(True)
    video = net.video[:, :, :9, :16, :16]

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


def test_whole_clips_and_chunks_compile_without_a_break(net: Net) -> None:
    small = attrs.evolve(net.vae.config, dim_mult=(2, 2), temporal_downsample=[True])
    vae = dense(WanVAE(small)).requires_grad_(True)
    video = net.video[:, :, :5, :8, :8]

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


def test_frame_counts(net: Net) -> None:
    with torch.no_grad():
        for frames, latents in ((1, 1), (4, 1), (5, 2), (8, 2), (11, 3)):
            clip = random(1, 3, frames, 16, 16)
            assert net.vae.encode(clip)[0].shape[2] == latents
            streamed = torch.cat([mean for mean, _ in net.vae.encode_stream(clip)], dim=2)
            assert close(streamed, net.vae.encode(clip)[0])
    assert list(net.vae.encode_stream([])) == []


@pytest.mark.parametrize(("first", "then"), [(2, 4), (4, 4), (1, 3), (5, 1)])
def test_chunks_that_would_lose_frames_are_refused(net: Net, first: int, then: int) -> None:
    state = net.vae.encoder_state()
    with torch.no_grad(), pytest.raises(ValueError, match="first chunk has 1 \\+ 4n"):
        net.vae.encode_chunk(random(1, 3, first, 16, 16), state)
        net.vae.encode_chunk(random(1, 3, then, 16, 16), state)


@pytest.mark.parametrize("shape", [(1, 3, 0, 8, 8), (1, 3, 1, 12, 8), (1, 3, 1, 8, 4)])
def test_sizes_that_do_not_fit_are_refused(net: Net, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="does not fit stride"):
        net.vae.encode(torch.zeros(shape))


def test_latents_are_normalised_by_the_constants(net: Net) -> None:
    bare = WanVAE(net.vae.config)
    bare.load_state_dict(net.vae.state_dict())
    mean, std = torch.tensor(MEAN).view(-1, 1, 1, 1), torch.tensor(STD).view(-1, 1, 1, 1)
    with torch.no_grad():
        raw, log_variance = bare.encode(net.video)
        assert close(net.latents, (raw - mean) / std)
        assert close(net.log_variance.exp(), log_variance.exp() / std**2, 1e-4)
        assert close(net.vae.denormalise(net.latents), raw)
        assert close(bare.decode(raw), net.frames)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision(net: Net, dtype: torch.dtype, tolerance: float) -> None:
    half = dense(WanVAE.of(named(net.vae.config))).to(dtype)
    for mean, _ in half.encode_stream(net.video):
        assert mean.dtype == torch.float32 and mean.isfinite().all()
    frames = torch.cat(list(half.decode_stream(net.latents, at_once=1)), dim=2)
    assert frames.dtype == dtype
    assert close(frames.float(), net.frames, tolerance)
    with plain_arithmetic(), torch.no_grad():
        assert close(half.decode(net.latents).float(), net.frames, tolerance)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_norm_of_nothing_and_of_much(dtype: torch.dtype) -> None:
    norm = RMSNorm(64, 3).to(dtype)
    x = torch.zeros(1, 64, 1, 1, 3, dtype=dtype)
    x[..., 1] = 1e-7  # its square is nothing in half dtypes
    x[..., 2] = 6e4  # its norm is beyond float16
    for y in (norm(x), norm(x, out=torch.empty_like(x))):
        assert y[..., 0].eq(0).all()
        assert (y[..., 1:] - 1).abs().max() < 0.02


def test_what_a_stream_takes_at_once_may_be_set_on_the_vae() -> None:
    vae = dense(WanVAE.of(named(VaeConfig(dim=8, z_dim=5))))
    latents = random(1, 5, 3, 4, 4)
    want = list(vae.decode_stream(latents, at_once=1))
    vae.at_once = 1
    got = list(vae.decode_stream(latents))
    assert [part.shape[2] for part in got] == [1] * 9
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    video = random(1, 3, 9, 32, 32)
    means = [mean for mean, _ in vae.encode_stream(video)]
    vae.at_once = None
    once = [mean for mean, _ in vae.encode_stream(video, at_once=1)]
    assert all(torch.equal(a, b) for a, b in zip(means, once, strict=True))


def test_a_stream_may_be_decoded_in_tiles() -> None:
    vae = dense(WanVAE.of(named(VaeConfig(dim=8, z_dim=5))))
    latents = random(1, 5, 2, 6, 6)
    tiling = RampTiling((4, 4), (2, 2))
    want = tiling.decode(vae, latents)
    whole = torch.cat(list(vae.decode_stream(latents)), dim=2)
    vae.tiling = tiling
    got = torch.cat(list(vae.decode_stream(latents)), dim=2)
    assert torch.equal(got, want)
    assert got.shape == whole.shape
    assert not torch.allclose(got, whole, atol=1e-3)  # inexact, as it says
    assert vae.tiling is tiling
