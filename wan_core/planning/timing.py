"""Predicted seconds, task by task, from the work in closed form and a calibration of the machine. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wan_core.contract.text import slot_in_words
from wan_core.models.vae import vae_descriptor
from wan_core.models.wan.dialects import DIALECTS
from wan_core.models.wan.files import transformer_config
from wan_core.planning.calibration import Calibration, Curve, find_calibration, rate_at
from wan_core.planning.machine import Machine
from wan_core.planning.pagecache import cached_share
from wan_core.planning.plan import PlannedModel, PlannedStage
from wan_core.planning.predict import ITEM_SIZE, tokens
from wan_core.planning.work import Work, decoder_work, encoder_work, transformer_work
from wan_core.sampling.levels import first_step
from wan_core.weights import in_official_names, open_weights

CALIBRATE = "run wan-core doctor --calibrate for predicted times"
BY_DTYPE = ("matmul", "attention", "convolution", "small_convolution", "flat_convolution")
PARTS = {"text_encoder", "transformer", "vae"}
BYTES_PER_ROW = 4.0  # of a prompt, in the mean of languages that use letters


def predict_seconds(
    stages: Sequence[PlannedStage],
    models: Mapping[str, PlannedModel],
    texts: Mapping[str, Sequence[str]],
    machine: Machine,
) -> tuple[dict[str, float], str]:
    """Seconds by ``"stage / task"`` in the order of a run, and what there is to say about them.

    Stages whose work isn't known (those of plugins, those without files) are left out. Nothing is
    predicted on a machine that is not calibrated. Taken for granted are an empty cache of encoded
    prompts and room for all components.

    Args:
        texts: model name -> its prompts.
        machine: where all models run.
    """
    known = [s for s in stages if _is_known(s, models, machine)]
    if not known:
        return {}, ""
    found, problem = find_calibration(machine)
    if found is None:
        return {}, f"{problem} and not used; {CALIBRATE}" if problem else CALIBRATE
    if any(not _has_rates(found, models[s.spec.model or ""].dtype) for s in known):
        return {}, "this precision is not calibrated"
    seconds: dict[str, float] = {}
    for name, prompts in texts.items():
        model = models[name]
        if any(s.spec.model == name for s in known):
            _add(seconds, "text / loading text encoder", _loading_text(model, found))
            _add(seconds, "text / encoding", _encoding(model, prompts, found))
    loaded: set[tuple[str, str]] = set()
    for stage in known:
        model = models[stage.spec.model or ""]
        for slot in ("vae", *model.family.slots("transformer")):
            if (slot, model.files[slot].fingerprint) not in loaded:
                loaded.add((slot, model.files[slot].fingerprint))
                task = f"{stage.name} / loading {slot_in_words(slot)}"
                _add(seconds, task, loading(model, slot, found))
        _add(seconds, f"{stage.name} / sampling", _sampling(stage, model, found))
        _add(seconds, f"{stage.name} / decoding and writing", _decoding(stage, model, found))
    return seconds, ""


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
    size = model.resident_bytes(slot)
    total = 0.0
    if found.disk:
        share = cached_share(file.path) if found.cached else 0.0
        total += file.bytes * (1 - share) / found.disk
        total += file.bytes * share / (found.cached or found.disk)
    total += (file.bytes + size) / found.elementwise[-1][1]
    return total + (size / found.upload if found.upload else 0.0)


def _of_call(one: Work, found: Calibration, dtype: str) -> float:
    moving = one.bytes / rate_at(found.elementwise, one.bytes) if one.bytes else 0.0
    if one.sort == "elementwise":
        return moving
    if one.sort == "norm":
        return one.bytes / rate_at(found.norm, one.bytes)
    curve: Curve = getattr(found, one.sort)[dtype]
    size = one.channels or one.flop
    return max(moving, one.flop / rate_at(curve, size))


def _is_known(stage: PlannedStage, models: Mapping[str, PlannedModel], machine: Machine) -> bool:
    model = models.get(stage.spec.model or "")
    return (
        model is not None
        and stage.needs.size is not None
        and stage.spec.use == "generate"
        and model.parts == PARTS
        and {"dim", "ffn_dim"} <= set(model.files[_expert(model)].identity.details)
        and model.device == machine.device
    )


def _has_rates(found: Calibration, dtype: str) -> bool:
    return all(dtype in getattr(found, sort) for sort in BY_DTYPE)


def _add(seconds: dict[str, float], task: str, more: float) -> None:
    seconds[task] = seconds.get(task, 0.0) + more


def _loading_text(model: PlannedModel, found: Calibration) -> float:
    return loading(model, "text_encoder", found) + found.imports.get("transformers", 0.0)


def _encoding(model: PlannedModel, prompts: Sequence[str], found: Calibration) -> float:
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


def _sampling(stage: PlannedStage, model: PlannedModel, found: Calibration) -> float:
    size = stage.needs.size
    assert size is not None, "only stages with a size are predicted"
    options = stage.needs.options
    slot = _expert(model)
    source = open_weights(model.files[slot].path)
    official = in_official_names(source, (*DIALECTS, *model.dialects.get(slot, ())))
    config = transformer_config(official, model.family.components[slot].config)
    stride = vae_descriptor(open_weights(model.files["vae"].path)).stride
    contexts = stage.contexts(model)
    work = transformer_work(config, tokens(size, stride), ITEM_SIZE[model.dtype], contexts)
    last = options.steps if options.end_step is None else min(options.end_step, options.steps)
    first = max(options.start_step, first_step(options.steps, options.strength))
    passes: int = (last - first) * stage.needs.branches
    return passes * seconds_of(work, found, model.dtype)


def _expert(model: PlannedModel) -> str:
    """The slot of the transformer, or of one of two experts, which are of one size."""
    return model.family.slots("transformer")[0]


def _decoding(stage: PlannedStage, model: PlannedModel, found: Calibration) -> float:
    size = stage.needs.size
    assert size is not None, "only stages with a size are predicted"
    config = vae_descriptor(open_weights(model.files["vae"].path)).config
    work = decoder_work(config, size.height, size.width, size.frames, ITEM_SIZE[model.dtype])
    pixels = size.width * size.height
    written = pixels * size.frames / rate_at(found.encoding, pixels) if found.encoding else 0.0
    return seconds_of(work, found, model.dtype) + written
