"""What a conditioning's slots may hold, and that nobody changes them behind its back."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch

from wan_core.contract.conditioning import Conditioning, Held, Positions, Timed

ROWS = Timed(torch.zeros(1, 2, 3))
FRAMES = Held(torch.zeros(1, 4, 1, 2, 2))


@pytest.mark.parametrize(
    ("slot", "value", "says"),
    [
        ("text", None, "text must be a Mapping, not NoneType"),
        ("text", {"video": ROWS.value}, r'text\["video"\] must be a Timed, not Tensor'),
        (
            "concat",
            {"video": ROWS.value},
            r'concat\["video"\] must be a tuple of Timed, not Tensor',
        ),
        ("concat", {"video": (ROWS.value,)}, r'each of concat\["video"\] must be a Timed'),
        ("pin", {"video": FRAMES.value}, r'pin\["video"\] must be a tuple of Held, not Tensor'),
        ("overlay", {"video": (ROWS,)}, r'each of overlay\["video"\] must be a Held, not Timed'),
        ("add_ons", {"mine": ROWS}, r'add_ons\["mine"\] must be a Mapping, not Timed'),
        ("add_ons", {"mine": {"x": 1}}, r'add_ons\["mine"\]\["x"\] must be a Timed, not int'),
        ("held_timestep", "0", "held_timestep must be a number, not str"),
        ("held_timestep", float("nan"), "held_timestep must be a finite number"),
        ("positions", {"video": None}, r'positions\["video"\] must be a Positions'),
        ("branches", {"uncond": None}, r'branches\["uncond"\] must be a Mapping'),
        ("branches", {"uncond": {"text": 1}}, "text must be a Mapping, not int"),
    ],
)
def test_a_slot_that_holds_something_else_is_refused(slot: str, value: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        attrs.evolve(Conditioning(), **{slot: value})


@pytest.mark.parametrize("sort", [Timed, Held])
@pytest.mark.parametrize("value", [None, [1.0], "text"])
def test_timed_and_held_are_of_tensors(sort: Any, value: Any) -> None:
    with pytest.raises(TypeError, match=f"{sort.__name__}.value must be a Tensor"):
        sort(value)


def test_held_has_frames() -> None:
    with pytest.raises(TypeError, match="frames as third axis"):
        Held(torch.zeros(2, 2))


def test_mappings_are_read_only_copies_and_stay_the_same_objects() -> None:
    given = {"video": ROWS}
    told = Conditioning(
        text=given,
        add_ons={"mine": {"x": ROWS}},
        concat={"video": (ROWS,)},
        positions={"video": Positions()},
    ).with_branch("uncond", text={"video": ROWS})
    given.clear()
    assert told.text["video"] is ROWS
    for mapping in (told.text, told.add_ons, told.add_ons["mine"], told.branches["uncond"]["text"]):
        with pytest.raises(TypeError, match="does not support item assignment"):
            mapping["audio"] = ROWS  # type: ignore[index]
    after = attrs.evolve(told, held_timestep=0.0)
    assert after.text is told.text
    assert after.add_ons is told.add_ons
    assert after.branches["uncond"]["text"] is told.branches["uncond"]["text"]
