"""Published files: taken by the families they were made for, in each way of writing them, and by no other."""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest
from published_files import TRANSFORMER_OF, file_of, manifest, needed, parts_of, plan_with

from wan_core.contract.descriptions import Family
from wan_core.contract.errors import WanCoreError
from wan_core.models.families import FAMILIES
from wan_core.models.wan.dialects import DIALECTS
from wan_core.models.wan.files import transformer_config
from wan_core.planning.files import plan_files
from wan_core.planning.library import Library
from wan_core.planning.places import Places
from wan_core.plugins import Plugins
from wan_core.weights import in_official_names, open_weights

PUBLISHED = {family.name: family for family in FAMILIES if family.name in TRANSFORMER_OF}
MADE_FOR = {
    name: {family for family, own in TRANSFORMER_OF.items() if own == name}
    for name in TRANSFORMER_OF.values()
} | {
    # one and the same architecture: only their numbers differ
    "wan2.1-t2v-14b": {"wan2.1-t2v-14b", "wan2.2-t2v-a14b"},
    "wan2.2-t2v-a14b": {"wan2.1-t2v-14b", "wan2.2-t2v-a14b"},
}
SIZES = ("dim", "in_dim", "variant")  # in the order in which they are looked at


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("published")


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return Plugins.discover()


def refusal(family: Family, name: str, folder: Path, plugins: Plugins, **others: str) -> str:
    """Why a family does not take a transformer; empty when it does."""
    files = parts_of(family, folder, name, **others)
    places = Places(Library([]), folder)
    try:
        plan_files(family, files, lambda slot: f"model.{slot}", plugins, places)
    except WanCoreError as error:
        return str(error)
    return ""


def test_every_published_family_has_a_manifest() -> None:
    with_files = {f.name for f in FAMILIES if any(c.published for c in f.components.values())}
    assert with_files == set(TRANSFORMER_OF) == set(PUBLISHED)


def differing(name: str, folder: Path, family: Family) -> dict[str, object]:
    """Sizes of a transformer that are not those of the family's."""
    known = family.components[family.slots("transformer")[0]].config
    config = transformer_config(open_weights(file_of(folder, name)), {})
    found = {"dim": config.dim, "in_dim": config.in_dim, "variant": name.split("-")[1]}
    return {key: found[key] for key in SIZES if found[key] != known[key]}


@pytest.mark.parametrize("family", PUBLISHED.values(), ids=PUBLISHED)
def test_a_family_takes_its_own_transformer_and_no_other(
    folder: Path, plugins: Plugins, family: Family
) -> None:
    slot = family.slots("transformer")[0]
    for name, made_for in MADE_FOR.items():
        said = refusal(family, name, folder, plugins)
        if family.name in made_for:
            assert said == ""
            continue
        assert said.startswith(f"model.{slot}") and f"{name}-official.safetensors" in said
        assert said.count(". ") == 0 and said.endswith(", or another family.")
        if different := differing(name, folder, family):
            key, found = next(iter(different.items()))
            wanted = family.components[slot].config[key]
            assert f"its {key} is {found}, that of family {family.name} is {wanted};" in said
        else:
            sees = "takes no image tokens, and that of the family does" in said
            assert sees == ("image_encoder" in family.components)
            assert sees or "takes image tokens, and that of the family does not" in said


@pytest.mark.parametrize("written", ["official", "prefixed", "shards", "diffusers"])
@pytest.mark.parametrize("family", PUBLISHED.values(), ids=PUBLISHED)
def test_a_plan_is_made_from_the_right_files(folder: Path, family: Family, written: str) -> None:
    plan = plan_with(family, folder, written, needed(family, folder))
    files = plan.models["main"].files
    assert set(files) == set(family.components)
    for slot in family.slots("transformer"):
        dialect = "diffusers" if written == "diffusers" else "official"
        assert files[slot].identity.dialect == dialect
        assert files[slot].identity.variant == family.components[slot].config["variant"]


@pytest.mark.parametrize(
    ("family", "others"),
    [
        ("wan2.1-t2v-1.3b", {"vae": "wan2.1-vae.diffusers", "text_encoder": "umt5-xxl-encoder.hf"}),
        ("wan2.2-ti2v-5b", {"vae": "wan2.2-vae.diffusers"}),
        ("wan2.1-i2v-14b-480p", {"image_encoder": "clip-vit-h-14-visual"}),
        ("wan2.1-flf2v-14b", {"image_encoder": "clip-vit-h-14-visual.hf"}),
    ],
)
def test_the_other_parts_are_taken_as_others_write_them(
    folder: Path, family: str, others: dict[str, str]
) -> None:
    one = PUBLISHED[family]
    plan = plan_with(one, folder, stage=needed(one, folder), **others)
    for slot, name in others.items():
        assert plan.models["main"].files[slot].path.name == f"{name}-official.safetensors"


@pytest.mark.parametrize(
    ("family", "others", "says"),
    [
        ("wan2.2-ti2v-5b", {"vae": "wan2.1-vae"}, "its z_dim is 16, that of family"),
        ("wan2.1-i2v-14b-720p", {"vae": "wan2.2-vae"}, "its z_dim is 48, that of family"),
        (
            "wan2.1-i2v-14b-480p",
            {"image_encoder": "umt5-xxl-encoder"},
            "slot image_encoder of family",
        ),
        ("wan2.1-t2v-14b", {"text_encoder": "clip-vit-h-14-visual"}, "slot text_encoder of family"),
    ],
)
def test_the_other_parts_of_another_family_are_refused(
    folder: Path, plugins: Plugins, family: str, others: dict[str, str], says: str
) -> None:
    said = refusal(PUBLISHED[family], TRANSFORMER_OF[family], folder, plugins, **others)
    assert says in said


def test_families_without_an_image_encoder_take_no_file_for_one(
    folder: Path, plugins: Plugins
) -> None:
    said = refusal(
        PUBLISHED["wan2.2-i2v-a14b"],
        "wan2.2-i2v-a14b",
        folder,
        plugins,
        image_encoder="clip-vit-h-14-visual",
    )
    assert said.startswith(
        'model.image_encoder: family wan2.2-i2v-a14b has no slot "image_encoder"'
    )


@pytest.mark.parametrize(
    ("name", "layers"),
    [("wan2.1-vace-1.3b", range(0, 30, 2)), ("wan2.1-vace-14b", range(0, 40, 5))],
)
@pytest.mark.parametrize("written", ["official", "diffusers"])
def test_hints_go_to_the_published_blocks(
    folder: Path, name: str, layers: range, written: str
) -> None:
    official = in_official_names(open_weights(file_of(folder, name, written)), DIALECTS)
    config = transformer_config(official, PUBLISHED[name].components["transformer"].config)
    assert config.vace_layers == tuple(layers)
    assert config.vace_in_dim == 96


@pytest.mark.parametrize(
    ("family", "slot", "name", "item"),
    [
        ("wan2.1-t2v-1.3b", "transformer", "wan2.1-t2v-1.3b", 4),
        ("wan2.1-t2v-14b", "transformer", "wan2.1-t2v-14b", 4),
        ("wan2.1-vace-1.3b", "transformer", "wan2.1-vace-1.3b", 4),
        ("wan2.1-vace-14b", "transformer", "wan2.1-vace-14b", 4),
        ("wan2.2-i2v-a14b", "transformer.high", "wan2.2-i2v-a14b", 4),
        ("wan2.2-i2v-a14b", "transformer.low", "wan2.2-i2v-a14b", 4),
        ("wan2.2-ti2v-5b", "transformer", "wan2.2-ti2v-5b", 4),
        ("wan2.1-t2v-1.3b", "text_encoder", "umt5-xxl-encoder", 2),
        ("wan2.1-t2v-1.3b", "vae", "wan2.1-vae", 4),
        ("wan2.2-ti2v-5b", "vae", "wan2.2-vae", 4),
        ("wan2.1-i2v-14b-480p", "image_encoder", "clip-vit-h-14-full-official-checkpoint", 4),
    ],
)
def test_published_sizes_are_those_of_the_tensors(
    family: str, slot: str, name: str, item: int
) -> None:
    """Published in float32 but for UMT5 and the blocks of VACE; beside them lie only names and offsets."""
    files = PUBLISHED[family].components[slot].published
    own = [f for f in files if not f.slot and not f.path.endswith(".json")]
    assert all(file.bytes for file in own)
    shapes = manifest(name)
    tensors = sum(prod(s) * (2 if n.startswith("vace") else item) for n, s in shapes.items())
    beside = sum(file.bytes for file in own) - tensors
    assert 70 * len(shapes) < beside < 700 * len(shapes)
