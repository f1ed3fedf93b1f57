"""The reference cases of topic ``transformer``."""

from __future__ import annotations

from pathlib import Path

import pytest

from wan_core.testing.golden.case import Case
from wan_core.testing.golden.kinds import conditioning, lora, quantisation, transformer

HANDLERS = {
    **transformer.HANDLERS,
    **conditioning.HANDLERS,
    **lora.HANDLERS,
    **quantisation.HANDLERS,
}

CASES = sorted((Path(__file__).parents[1] / "golden" / "transformer").glob("*.json"))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_reference_case(path: Path) -> None:
    case = Case(path)
    HANDLERS[case.kind](case)
    assert case.checks
    assert not [check for check in case.checks if not check.ok]
    assert not case.uncompared()


def test_there_is_a_case_of_every_path() -> None:
    kinds = [Case(path).kind for path in CASES]
    models = {Case(path).get("config", {}).get("model_type") for path in CASES}
    wan = {f"wan.{one}" for one in ("transformer.forward", "keymap", "rope", "conditioning")}
    assert set(kinds) == {*wan, "lora.merge", "quant.gguf.blocks", "quant.nvfp4"}
    assert models >= {"t2v", "i2v", "flf2v", "vace", "ti2v"}
