"""What plugins hand to the engine is checked where it is used, and its faults name the plugin."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from torch import Tensor

from wan_core import Session
from wan_core.contract.attention import AttentionCall
from wan_core.contract.conditioning import Conditioning, Held, Timed
from wan_core.contract.descriptions import AttentionBackend, Feature, Stage
from wan_core.contract.errors import PluginError
from wan_core.contract.requests import AttentionPatch, StageNeeds, VideoSize
from wan_core.engine.guards import guarded_attend
from wan_core.hookspecs import hookimpl
from wan_core.media import read_frames
from wan_core.models.wan import attend
from wan_core.plugins import Found, Plugins
from wan_core.workflow import Workflow

Make = Callable[..., Workflow]
WithPlugins = Callable[..., Plugins]
TITLE = r'feature "odd" of plugin odd \(wan-plugin-odd 1\.0\)'
ASKED = '[[stages.apply]]\nuse = "odd"'


@attrs.frozen
class NoOptions:
    """Options of a feature or a stage without any."""


def brings(*descriptions: Any, **hooks: Any) -> ModuleType:
    made = ModuleType("odd")
    vars(made).update(
        {hook: hookimpl(function) for hook, function in hooks.items()},
        WAN_CORE_CONTRACT=(1, 0),
        wan_register=hookimpl(lambda: list(descriptions)),
    )
    return made


def odd(**hooks: Any) -> ModuleType:
    slots = ("text", "pin")
    writes = (*slots, "post")
    feature = Feature("odd", "", f"{__name__}:NoOptions", writes=writes, replaces=slots)
    return brings(feature, **hooks)


def run(workflow: Workflow, plugins: Plugins) -> np.ndarray:
    with Session(plugins=plugins) as session:
        return np.stack(list(read_frames(session.run(workflow).outputs[0])))


def each(change: Callable[[Tensor], Any]) -> Any:
    def wan_post_process(source: Any, request: Any) -> Any:
        for chunk in source:
            yield change(chunk)

    return wan_post_process


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: torch.cat([c, c[:, :1]], 1), r"a chunk \[1, 4, 32, 32\] of float32, not \[fr"),
        (lambda c: c[:, :1], r"a chunk \[1, 1, 32, 32\] of float32"),
        (lambda c: c.permute(0, 2, 3, 1), r"a chunk \[1, 32, 32, 3\] of float32"),
        (lambda c: c[0], r"a chunk \[3, 32, 32\] of float32"),
        (lambda c: c.int(), r"a chunk \[1, 3, 32, 32\] of int32"),
        (lambda c: c[..., ::2], r"a chunk \[1, 3, 32, 16\] of float32"),
        (lambda c: c.numpy().astype(np.uint8), "a chunk of type uint8, not a float tensor"),
        (lambda c: None, "a chunk of type NoneType"),
        (lambda c: "frames", "a chunk of type str"),
        (lambda c: c * float("nan"), "a chunk with values that are not finite"),
        (lambda c: c[:0], "0 frames, not the 5 of the stage"),
        (lambda c: torch.cat([c, c, c, c]), "more than the 5 frames of the stage"),
        (lambda c: sys.exit("stop"), "SystemExit: stop"),
    ],
)
def test_a_wrong_chunk_is_the_plugins(
    make: Make, plugins_with: WithPlugins, change: Any, says: str
) -> None:
    plugins = plugins_with(odd=odd(wan_post_process=each(change)))
    with pytest.raises(PluginError, match=f"{TITLE} (made|failed:) {says}"):
        run(make(ASKED, plugins), plugins)


def test_an_array_is_as_good_as_a_tensor(make: Make, plugins_with: WithPlugins) -> None:
    plugins = plugins_with(odd=odd(wan_post_process=each(lambda c: c.double().numpy())))
    assert np.array_equal(run(make(ASKED, plugins), plugins), run(make(), plugins_with()))


@pytest.mark.parametrize(
    ("slots", "says"),
    [
        (lambda c: {"text": None}, "failed: text must be a Mapping, not NoneType"),
        (lambda c: {"text": {"audio": c.text["video"]}}, 'wrote text for the latents "audio", whi'),
        (lambda c: {"pin": {"audio": (Held(torch.zeros(1, 1, 1)),)}}, "wrote pin for the latents"),
        (lambda c: c.text.update(video=Timed(torch.zeros(1))), "failed: AttributeError"),
    ],
)
def test_a_wrong_slot_is_the_plugins(
    make: Make, plugins_with: WithPlugins, slots: Any, says: str
) -> None:
    def wan_condition(request: Any, conditioning: Conditioning) -> Conditioning:
        return attrs.evolve(conditioning, **slots(conditioning))

    plugins = plugins_with(odd=odd(wan_condition=wan_condition))
    with pytest.raises(PluginError, match=f"{TITLE} {says}"):
        run(make(ASKED, plugins), plugins)


def failing(q: Tensor, k: Tensor, v: Tensor, call: AttentionCall) -> Tensor:
    raise ZeroDivisionError("oops")


def narrow(q: Tensor, k: Tensor, v: Tensor, call: AttentionCall) -> Tensor:
    return q[:, :1]


def own(q: Tensor, k: Tensor, v: Tensor, call: AttentionCall) -> Tensor:
    return attend(q, k, v, call) * 0.5


@pytest.mark.parametrize(
    ("patch", "says"),
    [
        ({"attend": failing}, f"{TITLE} failed: ZeroDivisionError: oops"),
        ({"attend": lambda q, k: q}, f"{TITLE} failed: .*takes 2 positional arguments"),
        ({"attend": None}, f"{TITLE} gave NoneType as attention, not a callable"),
        ({"attend": lambda *_: None}, f"{TITLE} returned NoneType as attention, not a Tensor"),
        ({"attend": narrow}, rf"{TITLE} returned attention \[1, 1, .* like q"),
        ({"attend": attend, "blocks": 1}, f"{TITLE} is wrong: its blocks must be"),
        ({"attend": attend, "steps": 0.5}, f"{TITLE} is wrong: its steps must be"),
        ({"attend": attend, "source": None}, f"{TITLE} is wrong: its source must be"),
    ],
)
def test_a_wrong_attention_patch_is_the_plugins(
    make: Make, plugins_with: WithPlugins, patch: Any, says: str
) -> None:
    plugins = plugins_with(odd=odd(wan_patch_attention=lambda request: [AttentionPatch(**patch)]))
    with pytest.raises(PluginError, match=says):
        run(make(ASKED, plugins), plugins)


def test_a_guarded_attention_is_captured_whole() -> None:
    feature = Feature("odd", "", "a:b")
    plugins = Plugins([Found("odd", "wan-plugin-odd", "1.0", lambda: brings(feature))])
    guarded = guarded_attend(own, feature, plugins)
    q = torch.randn(1, 6, 2, 4)
    compiled = torch.compile(guarded, backend="aot_eager", fullgraph=True)
    assert torch.allclose(compiled(q, q, q, AttentionCall()), own(q, q, q, AttentionCall()))


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("nowhere_at_all:attend", "failed: ModuleNotFoundError"),
        (f"{__name__}:narrow", "returned attention"),
        (f"{__name__}:failing", "failed: ZeroDivisionError"),
        (f"{__name__}:ASKED", "gave str as attention"),
    ],
)
def test_a_wrong_attention_backend_is_the_plugins(
    make: Make, plugins_with: WithPlugins, reference: str, says: str
) -> None:
    plugins = plugins_with(odd=brings(AttentionBackend("mine", "", reference)))
    text = (
        'format=1\n[model]\nfamily="tiny-random"\nattention="mine"\n[[stages]]\nuse="generate"\n'
        'prompt="a circle"\n[output]\npath="out.mp4"'
    )
    title = r'attention backend "mine" of plugin odd \(wan-plugin-odd 1\.0\)'
    with pytest.raises(PluginError, match=f"{title} {says}"):
        run(make("", plugins, text), plugins)


def plan(context: Any) -> StageNeeds:
    return StageNeeds(context.options, size=VideoSize(32, 32, 5, 8))


def right(context: Any) -> Any:
    return {"video": [torch.zeros(5, 3, 32, 32)]}


def nothing(context: Any) -> Any:
    return None


def other_output(context: Any) -> Any:
    return {"vidoe": []}


def no_source(context: Any) -> Any:
    return {"video": 5}


def no_chunks(context: Any) -> Any:
    return {"video": [None]}


def broken_source(context: Any) -> Any:
    return {"video": (1 // 0 for _ in range(1))}


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("nowhere_at_all:run", "failed: ModuleNotFoundError"),
        (f"{__name__}:nowhere", "failed: AttributeError"),
        (f"{__name__}:nothing", "returned NoneType, not a mapping of outputs"),
        (f"{__name__}:other_output", 'did not return the output "video" that it declares'),
        (f"{__name__}:no_source", 'returned int as "video", not a source of chunks'),
        (f"{__name__}:no_chunks", "failed: ValueError: a chunk is"),
        (f"{__name__}:broken_source", "failed: ZeroDivisionError"),
        (f"{__name__}:right", None),
    ],
)
def test_a_wrong_stage_is_the_plugins(
    make: Make, plugins_with: WithPlugins, reference: str, says: str | None
) -> None:
    stage = Stage("make", "", f"{__name__}:NoOptions", reference, plan=f"{__name__}:plan")
    plugins = plugins_with(odd=brings(stage))
    workflow = make("", plugins, 'format=1\n[[stages]]\nuse="make"\n[output]\npath="o.mp4"')
    if says is None:
        assert run(workflow, plugins).shape == (5, 32, 32, 3)
        return
    title = r'stage "make" of plugin odd \(wan-plugin-odd 1\.0\)'
    with pytest.raises(PluginError, match=f"{title} {says}"):
        run(workflow, plugins)
