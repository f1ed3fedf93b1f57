"""The published family: its numbers, its files, and that the plugin keeps to what the core makes public."""

from __future__ import annotations

import ast
import gzip
import importlib
import json
import subprocess
import sys
from importlib.resources import as_file, files
from math import prod
from pathlib import Path

import pytest
import torch
import wan_plugin_unilumos
from lumos_samples import PLUGINS, RANDOM, moving, workflow_text
from wan_plugin_unilumos.family import MAKERS, UNILUMOS_1_3B, VARIANT

from wan_core.cli import main
from wan_core.contract import Family, LoadRequest, VideoSize, WeightsError
from wan_core.contract.lazy import resolve
from wan_core.media import write_video
from wan_core.models import load_vae, random_vae
from wan_core.models.families import WAN21_T2V_1_3B
from wan_core.models.wan import WanConfig, WanTransformer
from wan_core.planning import Plan, make_plan
from wan_core.sampling import SOLVERS
from wan_core.weights import identify, open_weights
from wan_core.workflow import parse_workflow

MANIFESTS = [
    folder / "tests" / "golden" / "manifests" / "unilumos-1.3b.json.gz"
    for folder in Path(__file__).parents
]
Shapes = dict[str, list[int]]


def published() -> Shapes:
    """Names and shapes of the published file."""
    if manifest := next(filter(Path.exists, MANIFESTS), None):
        shapes: Shapes = json.loads(gzip.decompress(manifest.read_bytes()))
        return shapes
    with torch.device("meta"):
        config = UNILUMOS_1_3B.components["transformer"].config
        sizes = ("dim", "ffn_dim", "num_heads", "num_layers", "in_dim", "text_len")
        transformer = WanTransformer(WanConfig(**{name: config[name] for name in sizes}))
    return {name: list(tensor.shape) for name, tensor in transformer.state_dict().items()}


def write_header(path: Path, shapes: Shapes) -> Path:
    """A safetensors file of that header and no numbers."""
    header, position = {}, 0
    for name, shape in shapes.items():
        end = position + 2 * prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [position, end]}
        position = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + position)
    return path


def test_the_published_file_has_exactly_the_familys_tensors(tmp_path: Path) -> None:
    shapes = published()
    assert len(shapes) == 825
    assert sum(map(prod, shapes.values())) == 1_419_193_408
    component = UNILUMOS_1_3B.components["transformer"]
    config = WanConfig.from_shapes(shapes, text_len=component.config["text_len"])
    for name in ("dim", "ffn_dim", "num_heads", "num_layers", "in_dim", "out_dim"):
        assert getattr(config, name) == component.config[name]
    with torch.device("meta"):
        transformer = WanTransformer(config)
    built = {name: list(tensor.shape) for name, tensor in transformer.state_dict().items()}
    assert built == shapes
    source = open_weights(write_header(tmp_path / "lumos.safetensors", shapes))
    identity = identify(source, "wan-transformer")
    assert (identity.variant, "UniLumos" in identity.model) == (VARIANT, True)
    resolve(component.verify)(source, component.config)


def test_the_familys_outline_is_the_published_file() -> None:
    package, _, inner = (UNILUMOS_1_3B.components["transformer"].outline or "").partition(":")
    with as_file(files(package).joinpath(inner)) as path:
        source = open_weights(path)
    assert {name: list(info.shape) for name, info in source.tensors.items()} == published()
    assert {info.dtype for info in source.tensors.values()} == {"BF16"}


def planned(folder: Path, stage: str = "") -> Plan:
    text = workflow_text(stage, "published-lumos", 'transformer = "t.safetensors"')
    workflow = parse_workflow(text, name="w.toml", folder=folder, plugins=PLUGINS)
    return make_plan(workflow, PLUGINS, device="cpu")


def test_the_published_file_is_planned_with_the_makers_preset(tmp_path: Path) -> None:
    write_header(tmp_path / "t.safetensors", published())
    (stage,) = planned(tmp_path).stages
    assert stage.needs.size == VideoSize(832, 480, 49, 12)
    assert (stage.needs.steps, stage.needs.branches) == (25, 2)
    assert (stage.needs.options.solver, stage.needs.options.shift) == ("dpm++", 8)
    # videos of nearly its proportions are brought to its size, others keep their own
    sizes = {(854, 480): (832, 480), (1920, 1080): (832, 480), (480, 854): (472, 840)}
    for (width, height), size in sizes.items():
        write_video(tmp_path / "v.mkv", [moving(5, width, height)], 12)
        found = planned(tmp_path, 'video = "v.mkv"').stages[0].needs.size
        assert found is not None and (found.width, found.height) == size


def test_a_file_of_text_to_video_is_refused(tmp_path: Path) -> None:
    narrow = {**published(), "patch_embedding.weight": [1536, 16, 1, 2, 2]}
    write_header(tmp_path / "t.safetensors", narrow)
    with pytest.raises(
        WeightsError, match="its in_dim is 16, that of family published-lumos is 48"
    ):
        planned(tmp_path)


def test_the_makers_numbers() -> None:
    preset = UNILUMOS_1_3B.preset
    assert (preset.width, preset.height, preset.frames, preset.fps) == (832, 480, 49, 12)
    assert (preset.steps, preset.shift, preset.guidance) == (25, 8.0, 6.0)
    assert preset.negative_prompt == WAN21_T2V_1_3B.preset.negative_prompt
    assert preset.negative_prompt.startswith("色调艳丽，过曝，静态")
    (solver,) = (one for one in SOLVERS if one.name == preset.solver)
    schedule = resolve(solver.build)(preset.steps, preset.shift).schedule
    # as the makers' scheduler gives them
    told = (
        1000,
        994,
        989,
        983,
        976,
        969,
        962,
        953,
        944,
        934,
        923,
        910,
        896,
        880,
        862,
        842,
        818,
        790,
    )
    assert tuple(schedule.timesteps[:18].tolist()) == told
    assert tuple(schedule.timesteps[18:].tolist()) == (756, 716, 666, 603, 521, 410, 250)


def test_its_files() -> None:
    parts = UNILUMOS_1_3B.components
    assert parts["transformer"].published[0].repository == "Kijai/WanVideo_comfy"
    assert parts["transformer"].alternatives[0].name == f"{MAKERS}/unilumos.pt"
    assert parts["vae"].alternatives[0].name == f"{MAKERS}/vae.pth"
    assert parts["vae"].published == WAN21_T2V_1_3B.components["vae"].published


def test_the_makers_vae_is_read_under_its_key(tmp_path: Path) -> None:
    component = RANDOM.components["vae"]
    plain = random_vae(LoadRequest("vae", component, None, torch.device("cpu"), torch.float32))
    state = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    torch.save({"model_state": state, "epoch": 3}, tmp_path / "vae.pth")
    torch.save(state, tmp_path / "flat.pth")
    for name in ("vae.pth", "flat.pth"):
        request = LoadRequest("vae", component, tmp_path / name, torch.device("cpu"), torch.float32)
        loaded = load_vae(request).state_dict()
        assert loaded.keys() == state.keys()
        assert all(torch.equal(loaded[key], tensor) for key, tensor in state.items())


class Code:
    """Runs something when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (open, ("/tmp/unilumos-code-was-run",))


def test_code_in_the_makers_file_is_refused(tmp_path: Path) -> None:
    torch.save({"model_state": {"conv1.weight": torch.zeros(1)}, "more": Code()}, tmp_path / "u.pt")
    with pytest.raises(WeightsError, match="could run code, and is refused"):
        open_weights(tmp_path / "u.pt")


def test_the_family_builds_on_the_cores() -> None:
    base, own = WAN21_T2V_1_3B.components["transformer"], UNILUMOS_1_3B.components["transformer"]
    differing = {key for key in own.config if own.config[key] != base.config.get(key)}
    assert differing == {"in_dim", "border", "variant"}
    assert (own.load, own.units, own.lora_targets) == (base.load, base.units, base.lora_targets)


def test_registration_imports_no_torch() -> None:
    code = (
        "import sys, wan_plugin_unilumos as p; p.wan_register(); import wan_plugin_unilumos.planning; "
        "import wan_plugin_unilumos.command; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_names_are_unique() -> None:
    brought = [one.name for one in wan_plugin_unilumos.wan_register() if isinstance(one, Family)]
    assert brought[0] == "unilumos-1.3b" and len(set(brought)) == len(brought)


MODULES = sorted(Path(wan_plugin_unilumos.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_only_public_names_of_the_core_are_used(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("wan_core"):
            continue
        module = importlib.import_module(str(node.module))
        contract = str(node.module).startswith("wan_core.contract")
        if node.module == "wan_core.hookspecs" or contract:
            continue
        assert hasattr(module, "__path__"), f"{node.module} is no package"
        assert {alias.name for alias in node.names} <= set(module.__all__), node.module


def test_the_makers_own_files_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "unilumos-1.3b"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"transformer (or) not here {MAKERS}: unilumos.pt" in shown
    assert "shift 8" in shown and "solver dpm++" in shown
