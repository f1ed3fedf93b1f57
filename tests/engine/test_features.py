"""Features: asked ones are called in order, their slots and patches reach the denoiser, conflicts are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import numpy as np
import pytest
import torch

from wan_core import Session
from wan_core.contract.attention import AttentionSupport
from wan_core.contract.conditioning import Conditioning, StepRange, Timed
from wan_core.contract.descriptions import AttentionBackend, Feature, Solver
from wan_core.contract.errors import PluginError, WorkflowError
from wan_core.contract.events import Event, Note
from wan_core.contract.requests import AttentionPatch
from wan_core.hookspecs import hookimpl
from wan_core.media import read_frames
from wan_core.models.wan import attend
from wan_core.plugins import Plugins
from wan_core.workflow import Workflow

Make = Callable[..., Workflow]
WithPlugins = Callable[..., Plugins]


@attrs.frozen
class NoOptions:
    """A feature without options."""


def plugin(name: str, *, description: dict[str, Any] | None = None, **hooks: Any) -> ModuleType:
    made = ModuleType(name)
    options = f"{__name__}:NoOptions"
    feature = Feature(name=name, summary="", options=options, **(description or {}))
    vars(made).update(
        {hook: hookimpl(function) for hook, function in hooks.items()},
        WAN_CORE_CONTRACT=(1, 0),
        wan_register=hookimpl(lambda: [feature]),
    )
    return made


def apply(*names: str) -> str:
    return "\n".join(f'[[stages.apply]]\nuse = "{name}"' for name in names)


def frames(path: Path) -> np.ndarray:
    return np.stack(list(read_frames(path)))


def run(workflow: Workflow, plugins: Plugins, **more: Any) -> np.ndarray:
    with Session(plugins=plugins) as session:
        return frames(session.run(workflow, **more).outputs[0])


def check_notes(request: Any) -> list[str]:
    assert request.where("odd") == "test.toml, line 8, stages.0.apply.0.odd"
    return [f"{request.steps} steps of {request.feature}"]


def check_text(request: Any) -> str:
    return "no list"


@pytest.mark.parametrize(
    ("check", "says"),
    [("check_notes", None), ("check_text", "check returned 'no list', not a list")],
)
def test_a_check_returns_notes(
    make: Make, plugins_with: WithPlugins, check: str, says: str | None
) -> None:
    one = plugin("one", description={"check": f"{__name__}:{check}"})
    plugins = plugins_with(one=one)
    with Session(plugins=plugins) as session:
        if says is None:
            assert "2 steps of one" in session.plan(make(apply("one"), plugins)).notes
        else:
            with pytest.raises(PluginError, match=says):
                session.plan(make(apply("one"), plugins))


def test_conditioning_is_changed_in_the_workflows_order(
    make: Make, plugins_with: WithPlugins
) -> None:
    seen: list[tuple[str, Any]] = []

    def writer(name: str, value: float) -> ModuleType:
        def wan_condition(request: Any, conditioning: Conditioning) -> Conditioning:
            assert request.latent_shapes == {"video": (16, 2, 4, 4)}
            assert (request.size.width, request.size.frames, request.steps) == (32, 5, 2)
            seen.append((name, conditioning.held_timestep))
            return attrs.evolve(conditioning, held_timestep=value)

        slots = {"writes": ("held_timestep",), "replaces": ("held_timestep",)}
        return plugin(name, description=slots, wan_condition=wan_condition)

    plugins = plugins_with(a=writer("a", 1.0), b=writer("b", 2.0), c=writer("c", 3.0))
    run(make(apply("b", "a"), plugins), plugins)
    assert seen == [("b", None), ("a", 2.0)]


def test_a_conditioning_slot_changes_the_video_and_an_unasked_feature_does_not(
    make: Make, plugins_with: WithPlugins
) -> None:
    def wan_condition(request: Any, conditioning: Conditioning) -> Conditioning:
        text = conditioning.text["video"].value
        return attrs.evolve(conditioning, text={"video": Timed(torch.roll(text, 1, dims=2))})

    roll = plugin("roll", description={"writes": ("text",)}, wan_condition=wan_condition)
    plain, plugins = plugins_with(), plugins_with(roll=roll)
    before = run(make(), plain)
    assert np.array_equal(before, run(make("", plugins), plugins))
    assert not np.array_equal(before, run(make(apply("roll"), plugins), plugins))


def test_two_writers_of_one_slot_are_refused_at_planning_unless_one_replaces(
    make: Make, plugins_with: WithPlugins
) -> None:
    writes = {"writes": ("concat",)}
    replaces = {"writes": ("concat",), "replaces": ("concat",)}
    plugins = plugins_with(
        a=plugin("a", description=writes),
        b=plugin("b", description=writes),
        c=plugin("c", description=replaces),
    )
    with Session(plugins=plugins) as session:
        with pytest.raises(
            PluginError, match=r"test\.toml, line \d+.*features a and b both write concat"
        ):
            session.plan(make(apply("a", "b"), plugins))
        session.plan(make(apply("a", "c"), plugins))


def test_a_feature_that_writes_what_it_does_not_declare_is_refused(
    make: Make, plugins_with: WithPlugins
) -> None:
    def shared(request: Any, conditioning: Conditioning) -> Conditioning:
        return attrs.evolve(conditioning, held_timestep=0.0)

    def in_a_branch(request: Any, conditioning: Conditioning) -> Conditioning:
        return conditioning.with_branch("uncond", held_timestep=0.0)

    for hook in (shared, in_a_branch):
        plugins = plugins_with(sly=plugin("sly", wan_condition=hook))
        says = r'feature "sly" of plugin sly \(wan-plugin-sly 1\.0\) wrote held_timestep, which'
        with pytest.raises(PluginError, match=says):
            run(make(apply("sly"), plugins), plugins)


def wrong_conditioning(request: Any, conditioning: Any) -> Any:
    return {"text": 1}


def wrong_patches(request: Any) -> Any:
    return [1]


def wrong_source(source: Any, request: Any) -> Any:
    return 5


@pytest.mark.parametrize(
    ("hook", "function", "says"),
    [
        ("wan_condition", wrong_conditioning, "returned dict, not a Conditioning"),
        ("wan_patch_attention", wrong_patches, "returned list, not a list of AttentionPatch"),
        ("wan_post_process", wrong_source, "returned int, not a source of chunks"),
    ],
)
def test_a_hook_that_returns_something_else_is_named(
    make: Make, plugins_with: WithPlugins, hook: str, function: Any, says: str
) -> None:
    post = {"writes": ("post",)}
    plugins = plugins_with(odd=plugin("odd", description=post, **{hook: function}))
    with pytest.raises(PluginError, match=f'{hook} of feature "odd" of plugin odd .* {says}'):
        run(make(apply("odd"), plugins), plugins)


def test_post_processes_are_declared_and_chained(make: Make, plugins_with: WithPlugins) -> None:
    def adding(level: float) -> Any:
        def wan_post_process(source: Any, request: Any) -> Any:
            return (torch.full_like(chunk, level) + 0 * chunk for chunk in source)

        return wan_post_process

    post = {"writes": ("post",)}
    dark = plugin("dark", description=post, wan_post_process=adding(-1.0))
    light = plugin("light", description=post, wan_post_process=adding(1.0))
    plugins = plugins_with(dark=dark, light=light)
    assert run(make(apply("dark", "light"), plugins), plugins).min() > 250
    assert run(make(apply("light", "dark"), plugins), plugins).max() < 5
    secret = plugins_with(secret=plugin("secret", wan_post_process=adding(0.0)))
    with pytest.raises(PluginError, match="wrote post, which its description does not declare"):
        run(make(apply("secret"), secret), secret)


def test_a_post_process_that_fails_while_it_is_read_is_named(
    make: Make, plugins_with: WithPlugins, tmp_path: Path
) -> None:
    def wan_post_process(source: Any, request: Any) -> Any:
        for chunk in source:
            yield chunk * (1 // 0)

    post = {"writes": ("post",)}
    plugins = plugins_with(bad=plugin("bad", description=post, wan_post_process=wan_post_process))
    with pytest.raises(PluginError, match=r'feature "bad" of plugin bad .* ZeroDivisionError'):
        run(make(apply("bad"), plugins), plugins)
    assert not list(tmp_path.glob("*.mp4"))


def test_a_feature_for_other_families_is_refused(make: Make, plugins_with: WithPlugins) -> None:
    plugins = plugins_with(a=plugin("a", description={"families": ("wan2.1-t2v-14b",)}))
    with (
        Session(plugins=plugins) as session,
        pytest.raises(
            WorkflowError,
            match=r"feature a does not fit family tiny-random; it fits wan2\.1-t2v-14b",
        ),
    ):
        session.plan(make(apply("a"), plugins))


def counting(calls: list[tuple[int, str]]) -> Any:
    def patched(q: Any, k: Any, v: Any, call: Any) -> Any:
        calls.append((call.block, call.source))
        return attend(q, k, v, call)

    return patched


def test_an_attention_patch_serves_the_blocks_and_steps_it_names(
    make: Make, plugins_with: WithPlugins
) -> None:
    calls: list[tuple[int, str]] = []

    def wan_patch_attention(request: Any) -> list[AttentionPatch]:
        assert (request.blocks, request.token_grid) == (2, (2, 2, 2))
        first_half = StepRange(0, 0.5)
        return [AttentionPatch(counting(calls), blocks=frozenset({1}), steps=first_half)]

    plugins = plugins_with(p=plugin("p", wan_patch_attention=wan_patch_attention))
    patched = run(make(apply("p"), plugins), plugins)
    # 2 steps, of which the first; 2 branches; block 1 alone
    assert calls == [(1, "self")] * 2
    assert np.array_equal(patched, run(make(), plugins_with()))


def test_two_patches_of_the_same_attention_are_refused(
    make: Make, plugins_with: WithPlugins
) -> None:
    def wan_patch_attention(request: Any) -> list[AttentionPatch]:
        return [AttentionPatch(attend)]

    patches = {n: plugin(n, wan_patch_attention=wan_patch_attention) for n in ("p", "q")}
    plugins = plugins_with(**patches)
    with pytest.raises(PluginError, match='two attention patches serve the attention "self"'):
        run(make(apply("p", "q"), plugins), plugins)


def test_an_attention_backend_serves_all_and_is_refused_where_it_cannot(
    make: Make, plugins_with: WithPlugins
) -> None:
    backend = AttentionBackend(name="mine", summary="", attend=f"{__name__}:counted")
    bf16 = AttentionBackend(
        name="only16", summary="", attend="x:y", support=AttentionSupport(dtypes=("bfloat16",))
    )
    brings = ModuleType("brings")
    vars(brings).update(WAN_CORE_CONTRACT=(1, 0), wan_register=hookimpl(lambda: [backend, bf16]))
    plugins = plugins_with(brings=brings)
    text = (
        'format=1\n[model]\nfamily="tiny-random"\nattention="{more}"\n[[stages]]\nuse="generate"\n'
        'prompt="a circle"\n[output]\npath="out.mp4"'
    )
    COUNTED.clear()
    run(make("mine", plugins, text), plugins)
    # 2 steps x 2 branches x 2 blocks, self and text
    assert len(COUNTED) == 16
    with (
        Session(plugins=plugins) as session,
        pytest.raises(
            WorkflowError, match=r"attention only16 can't run in float32; it is for bfloat16"
        ),
    ):
        session.plan(make("only16", plugins, text))


COUNTED: list[tuple[int, str]] = []
counted = counting(COUNTED)


@pytest.mark.parametrize("raised", [ValueError, SystemExit])
def test_an_observer_that_fails_is_reported_once(
    make: Make, plugins_with: WithPlugins, raised: type[BaseException]
) -> None:
    def wan_on_event(event: Any) -> None:
        raise raised("no")

    events: list[Event] = []
    plugins = plugins_with(w=plugin("w", wan_on_event=wan_on_event))
    run(make("", plugins), plugins, listen=events.append)
    notes = [e.text for e in events if isinstance(e, Note)]
    assert notes == [f"plugin w (wan-plugin-w 1.0) stopped watching: {raised.__name__}: no"]


def test_a_loader_or_solver_of_a_plugin_that_fails_is_named(
    make: Make, plugins_with: WithPlugins
) -> None:
    core = plugins_with().family("tiny-random")
    broken = attrs.evolve(core.components["vae"], load="builtins:print")
    family = attrs.evolve(core, name="mine", components={**core.components, "vae": broken})
    solver = Solver(name="mine", summary="", build="builtins:open")
    brings = ModuleType("brings")
    vars(brings).update(WAN_CORE_CONTRACT=(1, 0), wan_register=hookimpl(lambda: [family, solver]))
    plugins = plugins_with(brings=brings)
    text = (
        'format=1\n[model]\nfamily="{more}"\n[[stages]]\nuse="generate"\nprompt="a circle"\n'
        '[output]\npath="out.mp4"'
    )
    with pytest.raises(PluginError, match=r'family "mine" of plugin brings .* returned nothing'):
        run(make("mine", plugins, text), plugins)
    with pytest.raises(PluginError, match=r'solver "mine" of plugin brings .* failed'):
        run(make('solver = "mine"', plugins), plugins)
