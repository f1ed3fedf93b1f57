"""Loading a stack of blocks: dialect, LoRA files, quantisation and host memory, for every model alike."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from wan_core.contract.errors import PluginError, WeightsError
from wan_core.contract.loading import LoadRequest
from wan_core.contract.quantization import Quantization
from wan_core.weights import StoredStack, TensorSource, load_into, open_weights
from wan_core.weights.described import lora_targets, quantised_layers, stored_stack
from wan_core.weights.lora import LoraTargets
from wan_core.weights.lora.uses import apart, merged
from wan_core.weights.quantised.linear import multiply_in_fp8
from wan_core.weights.quantised.packed import Packed, pack

_M = TypeVar("_M", bound=nn.Module)
Build = Callable[[TensorSource], _M]


def load_stack(request: LoadRequest, build: Build[_M]) -> _M:
    """A module that is a :class:`~wan_core.memory.BlockStack`, from a file in any dialect and precision.

    LoRA files are merged or kept apart, weights quantised, units handed to host memory as they are read, all
    as the request says. What a denoiser is made of may wrap it.

    Args:
        request: its component says which blocks it has (``Component.stack``).
        build: makes the module, without weights, from the file under official names, which shows its sizes. It
            runs on torch's meta device: tensors that are not in the file can't be made there.

    Returns:
        Ready to predict. Its attribute ``loras`` is the LoRA files beside its weights, or None.

    Raises:
        WeightsError: there is no file, or it or a LoRA file does not fit.
        PluginError: the component does not say which blocks it has.
    """
    component, stored = request.component, opened(request)
    stack = stored_stack(component, stored, request.dialects)
    if stack is None:
        raise PluginError(
            f"the component of kind {component.kind} is loaded as a stack of blocks and does not say which",
            remedy="give it stack=Stack()",
        )
    asked = request.quantization
    layers = quantised_layers(component, stored, asked, request.dialects) if asked else ()
    targets = lora_targets(component, stored, request.dialects)
    return filled(request, build, stack, targets, layers)


def filled(
    request: LoadRequest,
    build: Build[_M],
    stack: StoredStack,
    targets: LoraTargets,
    layers: Collection[str],
) -> _M:
    """The same for what is known of the file.

    Args:
        stack: its tensors under official names, and its units.
        targets: what LoRA files may change.
        layers: names of the weights that are quantised, where that is asked for.
    """
    expert, asked = request.slot.partition(".")[2], request.quantization
    official = stack.source
    source = merged(official, targets, request.loras, expert, request.apart)
    module = on_meta(lambda: build(source))
    packs = asked and not stack.holds_codes
    load_into(
        module,
        source,
        dtype=request.dtype,
        device=request.device,
        keep_float32=stack.keep_float32,
        pack=_packing(asked) if asked and packs else None,
        packed=layers if packs else (),
        # units are packed once, with what lies beside
        keep=None if request.apart else request.keep,
    )
    if asked and asked.products == "fp8":
        exact = {name for name, layout in official.layouts.items() if layout.exact}
        multiply_in_fp8(module, set(layers) - exact, request.computes)
    module.loras = apart(  # type: ignore[assignment]
        module, targets, request.apart, expert, device=request.computes, dtype=request.dtype
    )
    return module.eval()


def opened(request: LoadRequest) -> TensorSource:
    """The file of a request.

    Raises:
        WeightsError: it has none, or it can't be read.
    """
    if request.file is None:
        raise WeightsError(f"the {request.slot} needs a file", where=request.slot)
    return open_weights(request.file)


def on_meta(build: Callable[[], _M]) -> _M:
    """What ``build`` makes, without memory for its tensors."""
    with torch.device("meta"):
        return build()


def _packing(asked: Quantization) -> Callable[[Tensor], Packed]:
    return partial(pack, scheme=asked.dtype, by_channel=asked.scale == "channel")
