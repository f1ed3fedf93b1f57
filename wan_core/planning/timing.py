"""Predicted seconds, task by task, from the work in closed form and a calibration of the machine. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from wan_core.contract.requests import VideoSize
from wan_core.contract.text import slot_in_words
from wan_core.planning.calibration import Calibration, Curve, find_calibration, rate_at
from wan_core.planning.known import PICTURES, Known
from wan_core.planning.machine import Machine
from wan_core.planning.pagecache import cached_share
from wan_core.planning.plan import PlannedModel, PlannedStage
from wan_core.planning.predict import ITEM_SIZE
from wan_core.planning.sharing import together
from wan_core.planning.work import (
    Work,
    clip_work,
    decoder_work,
    encoder_work,
    transformer_work,
    video_encoder_work,
)
from wan_core.sampling.levels import first_step

CALIBRATE = "run wan-core doctor --calibrate for predicted times"
BY_DTYPE = ("matmul", "attention", "convolution", "small_convolution", "flat_convolution")
BYTES_PER_ROW = 4.0  # of a prompt, in the mean of languages that use letters


def predict_seconds(
    stages: Sequence[tuple[PlannedStage, Known | None]],
    models: Mapping[str, PlannedModel],
    texts: Mapping[str, Sequence[str]],
    machine: Machine,
) -> tuple[dict[str, float], str]:
    """Seconds by ``"stage / task"`` in the order of a run, and what there is to say about them.

    Stages whose work isn't known (those of plugins, those without files) are left out. Nothing is
    predicted on a machine that is not calibrated. Taken for granted are an empty cache of encoded
    prompts and room for all components.

    Args:
        stages: each with what is known of it.
        texts: model name -> its prompts.
        machine: where all models run.
    """
    known = [
        (stage, one)
        for stage, one in stages
        if one and _is_standard(stage) and one.model.device == machine.device
    ]
    if not known:
        return {}, ""
    found, problem = find_calibration(machine)
    if found is None:
        return {}, f"{problem} and not used; {CALIBRATE}" if problem else CALIBRATE
    if any(not has_rates(found, one.model.dtype) for _, one in known):
        return {}, "this precision is not calibrated"
    seconds: dict[str, float] = {}
    for names in together(models, "text_encoder", texts):
        if any(one.model.name in names for _, one in known):
            model = models[names[0]]
            prompts = dict.fromkeys(prompt for name in names for prompt in texts[name])
            _add(seconds, "text / loading text encoder", _loading_text(model, found))
            _add(seconds, "text / encoding", encoding_seconds(model, tuple(prompts), found))
    loaded: set[tuple[str, str]] = set()
    for stage, one in known:
        for task, slot, taken in _tasks(stage, one, found):
            file = one.model.files[slot]
            if (slot, file.fingerprint) not in loaded:
                loaded.add((slot, file.fingerprint))
                load = f"{stage.name} / loading {slot_in_words(slot)}"
                _add(seconds, load, loading(one.model, slot, found))
            if task:
                _add(seconds, f"{stage.name} / {task}", taken)
    return seconds, ""


def _is_standard(stage: PlannedStage) -> bool:
    """Whether its work is that of the standard loop, which a stage of a plugin says with what it encodes."""
    return stage.spec.use == "generate" or stage.needs.encodes is not None


def _tasks(
    stage: PlannedStage, known: Known, found: Calibration
) -> Iterator[tuple[str, str, float]]:
    """What a stage does, in its order: task, the slot that is loaded for it, seconds."""
    model, size, vae = known.model, known.size, known.vae.config
    item = ITEM_SIZE[model.dtype]

    def taking(work: Iterable[Work]) -> float:
        return seconds_of(work, found, model.dtype)

    # the size of the latents is asked of it first
    yield "", "vae", 0.0
    for task, frames in known.encoded.items():
        work = video_encoder_work(vae, size.height, size.width, frames, item)
        yield task, "vae", taking(work)
        if task == PICTURES and known.clip and known.pictures:
            work = clip_work(known.clip, known.pictures, item)
            yield "encoding image tokens", "image_encoder", taking(work)
    for slot in known.experts:
        yield "", slot, 0.0
    sampling = _passes(stage) * swapped_seconds(known, found)
    yield "sampling", known.experts[0], sampling
    if stage.decoded:
        work = decoder_work(vae, size.height, size.width, size.frames, item)
        yield "decoding and writing", "vae", taking(work) + _writing(size, found)


def forward_seconds(known: Known, found: Calibration) -> float:
    """A forward pass of the transformer with all weights in place."""
    work = transformer_work(
        known.transformer,
        known.tokens,
        ITEM_SIZE[known.model.dtype],
        image_rows=known.image_rows,
        contexts=known.contexts,
    )
    return seconds_of(work, found, known.model.dtype)


def swapped_seconds(known: Known, found: Calibration) -> float:
    """A forward pass under the placement: the copies run beside the work, or between its blocks."""
    seconds, slot = forward_seconds(known, found), known.experts[0]
    copies = known.model.traffic(slot) / found.upload if found.upload else 0.0
    if known.model.placement(slot).prefetch:
        return max(seconds, copies)
    return seconds + copies


def seconds_of(work: Iterable[Work], found: Calibration, dtype: str) -> float:
    """How long ``work`` takes.

    A call takes as long as its operations at the measured rate of calls of that size, but at least as
    long as its bytes need. A GPU computes while the next call is made; on a CPU one comes after the
    other.
    """
    large = small = 0.0
    for one in work:
        large += one.times * _of_call(one, found, dtype)
        small += found.call * one.small
    on_gpu = found.threads == 0
    return max(large, small) if on_gpu else large + small


def loading(model: PlannedModel, slot: str, found: Calibration) -> float:
    """Seconds to read a component's file, convert it and bring it to the device."""
    file = model.files[slot]
    here = model.resident_bytes(slot)
    size = max(here, model.host_bytes(slot))
    total = 0.0
    if found.disk:
        share = cached_share(file.path) if found.cached else 0.0
        total += file.bytes * (1 - share) / found.disk
        total += file.bytes * share / (found.cached or found.disk)
    total += (file.bytes + size) / found.elementwise[-1][1]
    return total + (here / found.upload if found.upload else 0.0)


def _of_call(one: Work, found: Calibration, dtype: str) -> float:
    moving = one.bytes / rate_at(found.elementwise, one.bytes) if one.bytes else 0.0
    if one.sort == "elementwise":
        return moving
    if one.sort == "norm":
        return one.bytes / rate_at(found.norm, one.bytes)
    curve: Curve = getattr(found, one.sort)[dtype]
    size = one.channels or one.flop
    return max(moving, one.flop / rate_at(curve, size))


def has_rates(found: Calibration, dtype: str) -> bool:
    return all(dtype in getattr(found, sort) for sort in BY_DTYPE)


def _add(seconds: dict[str, float], task: str, more: float) -> None:
    seconds[task] = seconds.get(task, 0.0) + more


def _loading_text(model: PlannedModel, found: Calibration) -> float:
    return loading(model, "text_encoder", found) + found.imports.get("transformers", 0.0)


def encoding_seconds(model: PlannedModel, prompts: Sequence[str], found: Calibration) -> float:
    file = model.files["text_encoder"]
    sizes = file.identity.details
    table = sizes.get("vocabulary", 0) * sizes.get("dim", 0)
    longest = int(model.family.components["text_encoder"].config.get("text_len", 512))
    item = ITEM_SIZE[model.dtype]
    total = 0.0
    for prompt in prompts:
        rows = min(longest, 1 + round(len(prompt.encode()) / BYTES_PER_ROW))
        work = encoder_work(max(1, file.elements - table), sizes.get("layers", 24), rows, item)
        total += seconds_of(work, found, model.dtype)
    return total


def _passes(stage: PlannedStage) -> int:
    """Forward passes of the transformer: steps that are run, times branches."""
    options = stage.needs.options
    last = options.steps if options.end_step is None else min(options.end_step, options.steps)
    first = max(options.start_step, first_step(options.steps, options.strength))
    passes: int = (last - first) * stage.needs.branches
    return passes


def _writing(size: VideoSize, found: Calibration) -> float:
    pixels = size.width * size.height
    return pixels * size.frames / rate_at(found.encoding, pixels) if found.encoding else 0.0
