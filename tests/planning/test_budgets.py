"""Plans within a budget: what is swapped, what is said of it, and what is refused with the arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from calibrations import calibration_of
from published_files import TRANSFORMER_OF, needed, plan_with

from wan_core.contract.errors import ResourceError, WanCoreError
from wan_core.contract.placement import Placement
from wan_core.models.families import FAMILIES
from wan_core.planning import Plan, making
from wan_core.planning.bounds import MARGIN, Bounds, bounds_of
from wan_core.planning.calibration import save_calibration
from wan_core.planning.knobs import SIMULATED
from wan_core.planning.machine import Machine, look
from wan_core.planning.predict import CONTEXT
from wan_core.planning.vram_table import table_of_budgets
from wan_core.workflow import MemorySpec

GIB = 2**30
PUBLISHED = {family.name: family for family in FAMILIES if family.name in TRANSFORMER_OF}
FREE = 8 * GIB + CONTEXT - MARGIN
T2V = PUBLISHED["wan2.1-t2v-14b"]
SMALL = "width = 832\nheight = 480\nframes = 81"
Assume = Callable[..., None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("published")


def card(free: float, ram: float = 64, whole: float | None = None) -> Machine:
    """A GPU with so many GiB."""
    size = int((whole or free) * GIB)
    return Machine("cuda:0", "RTX", int(ram * GIB), int(free * GIB), int(ram * GIB), size)


@pytest.fixture
def assume(monkeypatch: pytest.MonkeyPatch) -> Assume:
    def there_is(machine: Machine) -> None:
        def look_at(device: str, *, where: str = "") -> Machine:
            return look("cpu") if device == "cpu" else machine

        monkeypatch.setattr(making, "look", look_at)

    return there_is


def plan(folder: Path, memory: str = "", *, family: str = T2V.name, model: str = "") -> Plan:
    made = PUBLISHED[family]
    stage = f"{needed(made, folder)}\n{SMALL}\n[memory]\n{memory}"
    return plan_with(made, folder, "official", stage, model, device="auto")


def swapped(made: Plan, slot: str = "transformer") -> int:
    model = made.models["main"]
    return sum(name in model.sizes[slot].units for name in model.placement(slot).swapped)


def test_a_card_that_is_too_small_needs_no_knob(folder: Path, assume: Assume) -> None:
    assume(card(11.2))
    made = plan(folder)
    model = made.models["main"]
    bound = 11.2 * GIB + CONTEXT - MARGIN
    assert made.bounds and made.bounds.vram == int(bound)
    peaks = {phase.part: phase for phase in made.phases}
    assert all(phase.peak <= bound for phase in made.phases)
    assert not any("free here" in note for note in made.notes)
    assert 0 < swapped(made) < 40
    said = dict(made.describe())
    assert said["Placements"] == [
        f"main.transformer: {swapped(made)} of 40 blocks swapped, one on its way"
    ]
    sampling = peaks["sampling"]
    assert sampling.weights == model.resident_bytes("transformer")
    assert sampling.host == model.host_bytes("transformer") > 20e9
    assert made.peak_host == sampling.host
    assert sampling.context == CONTEXT
    # a block is 0.7 GB: one less swapped would be too much
    assert sampling.peak + 0.7e9 > bound
    assert any(line.endswith(" GB in RAM") for line in said["Predicted memory"])


def test_a_large_card_keeps_everything(folder: Path, assume: Assume) -> None:
    assume(card(79))
    made = plan(folder)
    assert made.models["main"].placements == {}
    assert "Placements" not in dict(made.describe())
    assert made.peak_host == 0


def test_the_text_encoder_is_streamed_within_8_gib(folder: Path, assume: Assume) -> None:
    assume(card(7.6))
    made = plan(folder, 'vram = "8GiB"')
    placement = made.models["main"].placement("text_encoder")
    assert placement.device is None
    assert "shared" in placement.swapped
    assert 0 < swapped(made, "text_encoder") < 24
    text = made.phases[0]
    assert (text.part, text.peak <= 8 * GIB) == ("text", True)
    assert text.host > 256384 * 4096 * 2


@pytest.mark.parametrize(
    ("rate", "ram", "upload", "on_cpu"),
    [
        (1e12, 64, 1e9, True),  # 1 GB/s to the GPU: the CPU is done before the weights are there
        (1e12, 64, 1e11, False),
        (1e9, 64, 1e9, False),  # the CPU is slow
        (1e12, 8, 1e9, False),  # the RAM does not hold it
    ],
)
def test_the_text_encoder_computes_where_it_is_faster(
    folder: Path, assume: Assume, rate: float, ram: float, upload: float, on_cpu: bool
) -> None:
    machine = card(7.6, ram)
    assume(machine)
    save_calibration(calibration_of(machine, upload=upload, threads=0))
    curve = dict.fromkeys(("float32", "bfloat16"), ((1.0, rate),))
    save_calibration(calibration_of(look("cpu"), matmul=curve))
    made = plan(folder)
    placement = made.models["main"].placement("text_encoder")
    assert (placement == Placement("cpu")) == on_cpu
    text = made.phases[0]
    assert (text.weights == 0) == on_cpu
    if on_cpu:
        assert text.host > 11e9
        assert "main.text_encoder: computes on the CPU" in dict(made.describe())["Placements"]


@pytest.mark.parametrize(
    ("ram", "both", "files"),
    [
        (128, 2, False),
        (100, 1, False),  # half of it holds one, which leaves before the other one comes
        (40, 0, True),
    ],
)
def test_swapped_blocks_of_both_experts_stay_in_ram_where_there_is_room(
    folder: Path, assume: Assume, ram: int, both: int, files: bool
) -> None:
    assume(card(11.2, ram))
    made = plan(folder, family="wan2.2-t2v-a14b")
    sampling = [phase for phase in made.phases if phase.part.startswith("sampling")]
    one = made.models["main"].host_bytes("transformer.high")
    room = ram * GIB // 2
    assert [phase.host for phase in sampling] == [both * one or room] * 2
    assert [phase.files > 0 for phase in sampling] == [files] * 2
    notes = [note for note in made.notes if "memory-mapped" in note]
    assert len(notes) == files
    if files:
        largest = max(made.models["main"].sizes["transformer.high"].movable.values())
        away = one + 2 * largest - room
        assert notes[0].startswith(
            f"of {one / 1e9:.1f} GB of weights outside the GPU, {away / 1e9:.1f} GB are more than RAM may "
        )


def test_all_that_lies_in_ram_is_within_a_stated_bound(folder: Path, assume: Assume) -> None:
    assume(card(7.6))
    save_calibration(calibration_of(look("cpu"), matmul={"bfloat16": ((1.0, 1e15),)}))
    for ram in (16 * GIB, 8 * GIB, 4 * GIB):
        made = plan(folder, f'ram = "{ram}B"')
        text, sampling = made.phases[0], next(p for p in made.phases if p.part == "sampling")
        assert max(phase.host for phase in made.phases) <= ram
        assert sampling.host == ram
        assert text.host == min(ram, made.models["main"].host_bytes("text_encoder"))
        assert made.peak_host == ram


def test_ram_above_what_is_free_holds_as_far_as_there_is_memory(
    folder: Path, assume: Assume
) -> None:
    assume(card(11.2, 20))
    made = plan(folder, 'ram = "64GiB"')
    assert made.peak_host == int(20 * GIB) - 20 * GIB // 50
    assert any("memory-mapped" in note for note in made.notes)


@pytest.mark.parametrize(
    ("memory", "more"),
    [
        ('ram = "1.5GiB"', ""),
        ('ram = "1.5GiB"\nblocks_to_swap = 38', ", or leave blocks_to_swap out"),
    ],
)
def test_ram_that_has_no_room_even_for_what_comes_from_files_is_refused(
    folder: Path, assume: Assume, memory: str, more: str
) -> None:
    assume(card(11.2))
    with pytest.raises(ResourceError) as caught:
        plan(folder, memory)
    said = str(caught.value)
    assert (
        "memory.ram: generate / sampling is predicted to need at least 2.1 GB of RAM (742 MB"
        in said
    )
    assert (
        " of weights that are in no block, 1.4 GB for two blocks on their way from files), the "
        in said
    )
    assert said.endswith(
        "the budget is 1.6 GB; state more ram, or less is swapped with a smaller precision or more "
        f"vram{more}."
    )


def test_ram_that_knobs_need_without_a_gpu_is_refused_with_their_names(folder: Path) -> None:
    fits = max(phase.peak for phase in plan(folder).phases)
    memory = f'ram = "{fits}B"\nblocks_to_swap = 30\nprefetch_blocks = 3'
    assert max(phase.peak for phase in plan(folder, f'ram = "{fits}B"').phases) == fits
    with pytest.raises(ResourceError) as caught:
        plan(folder, memory)
    said = str(caught.value)
    assert "memory.blocks_to_swap: generate / sampling is predicted to need " in said
    assert " because of blocks_to_swap and prefetch_blocks: without a GPU " in said
    assert said.endswith("leave blocks_to_swap and prefetch_blocks out, or state more ram.")


def test_predicted_time_counts_copies_that_do_not_hide(folder: Path, assume: Assume) -> None:
    machine = card(11.2)
    assume(machine)
    seconds = {}
    for upload in (1e6, 1e12):
        save_calibration(calibration_of(machine, upload=upload, threads=0))
        made = plan(folder)
        seconds[upload] = made.seconds["generate / sampling"]
    passes = 50 * 2
    copies = passes * made.models["main"].traffic("transformer") / 1e6
    assert seconds[1e6] == pytest.approx(copies)
    assert seconds[1e12] < seconds[1e6]


# -- knobs ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "count", "prefetch", "parts"),
    [
        ("blocks_to_swap = 39", 39, 1, set()),
        ("blocks_to_swap = 40\nprefetch_blocks = 0", 40, 0, set()),
        ("blocks_to_swap = 36\nprefetch_blocks = 3", 36, 3, set()),
        ("blocks_to_swap = 38\noffload_txt_emb = true", 38, 1, {"text_embedding"}),
    ],
)
def test_knobs_overrule_the_plan(
    folder: Path, assume: Assume, memory: str, count: int, prefetch: int, parts: set[str]
) -> None:
    assume(card(15))
    made = plan(folder, memory)
    placement = made.models["main"].placement("transformer")
    assert swapped(made) == count
    assert placement.prefetch == prefetch
    assert {name for name in placement.swapped if not name.startswith("blocks.")} == parts


@pytest.mark.parametrize(
    ("memory", "key", "says"),
    [
        (
            "blocks_to_swap = 5",
            "blocks_to_swap",
            "blocks_to_swap = 5 leaves 35 blocks of 0.70 GB on the device: 26.0 GB of weights with the slots "
            "of swapped ones, 2.6 GB of activations, 199 MB that the allocator holds back and 860 MB for "
            "CUDA make 29.7 GB; the budget is 12.9 GB; swap 29 or more, or leave the key out.",
        ),
        (
            "prefetch_blocks = 20",
            "prefetch_blocks",
            "prefetch_blocks = 20 takes 21 slots of 0.70 GB: ",
        ),
        (
            "blocks_to_swap = 40\nprefetch_blocks = 39",
            "prefetch_blocks",
            "prefetch_blocks = 39 takes 40 slots of 0.70 GB: ",
        ),
    ],
)
def test_a_knob_that_contradicts_the_budget_is_refused(
    folder: Path, assume: Assume, memory: str, key: str, says: str
) -> None:
    assume(card(12))
    with pytest.raises(ResourceError) as caught:
        plan(folder, f'vram = "12GiB"\n{memory}')
    said = str(caught.value)
    place, _, rest = said.partition(": ")
    assert place.endswith(f", memory.{key}")
    assert rest[: len(says)] == says
    assert "the budget is 12.9 GB; " in rest


def test_what_is_free_is_a_budget_too(folder: Path, assume: Assume) -> None:
    assume(card(11))
    with pytest.raises(ResourceError) as caught:
        plan(folder, "blocks_to_swap = 10")
    assert "blocks_to_swap = 10 leaves 30 blocks of 0.70 GB on the device: " in str(caught.value)
    assert "the budget is 12.4 GB; swap 30 or more, or leave the key out." in str(caught.value)


def test_without_a_gpu_swapping_is_simulated(folder: Path) -> None:
    plain, made = plan(folder), plan(folder, "blocks_to_swap = 30")
    assert plain.models["main"].placements == {}
    assert swapped(made) == 30
    assert SIMULATED in made.notes
    assert SIMULATED not in plain.notes
    sizes = [one.models["main"].resident_bytes("transformer") for one in (plain, made)]
    assert sizes[1] > sizes[0]
    assert made.peak_host == 0


def test_what_fits_in_no_way_is_refused(folder: Path, assume: Assume) -> None:
    assume(card(24))
    with pytest.raises(WanCoreError) as caught:
        plan(folder, 'vram = "5GiB"')
    said = str(caught.value)
    assert "generate / decoding is predicted to need 5.9 GB (weights 254 MB, " in said
    assert ", CUDA 860 MB), the budget is 5.4 GB; use a smaller size, fewer frames, " in said


def test_a_budget_below_what_cuda_takes_is_refused(folder: Path, assume: Assume) -> None:
    assume(card(24))
    with pytest.raises(ResourceError) as caught:
        plan(folder, 'vram = "700MB"')
    assert str(caught.value).endswith(
        "memory.vram: CUDA alone takes about 860 MB of the GPU, the budget is 700 MB; state a larger budget."
    )


def test_the_size_of_the_video_is_no_remedy_for_an_encoder(folder: Path) -> None:
    with pytest.raises(ResourceError) as caught:
        plan(folder, 'ram = "9GB"')
    said = str(caught.value)
    assert "memory.ram: generate / text is predicted to need 22.8 GB (weights " in said
    assert said.endswith("the budget is 9.0 GB; use a smaller precision or a larger budget.")


# -- bounds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "bounds"),
    [
        (MemorySpec(), Bounds(FREE, 98 * GIB, host=64 * GIB)),
        (MemorySpec(vram=6 * GIB), Bounds(6 * GIB, 98 * GIB, 6 * GIB, host=64 * GIB)),
        (MemorySpec(vram=0.5), Bounds(6 * GIB, 98 * GIB, 6 * GIB, host=64 * GIB)),
        # more than is free: that is what there is
        (MemorySpec(vram=12 * GIB), Bounds(FREE, 98 * GIB, 12 * GIB, host=64 * GIB)),
        (MemorySpec(ram=0.25), Bounds(FREE, 32 * GIB, None, 32 * GIB, 32 * GIB)),
        (MemorySpec(ram=0.75), Bounds(FREE, 96 * GIB, None, 96 * GIB, 96 * GIB)),
    ],
)
def test_bounds(memory: MemorySpec, bounds: Bounds) -> None:
    machine = Machine("cuda:0", "RTX", 100 * GIB, 8 * GIB, 128 * GIB, 12 * GIB)
    assert bounds_of(memory, machine) == bounds


def test_bounds_without_a_gpu() -> None:
    machine = Machine("cpu", "CPU", 100 * GIB, whole_ram=128 * GIB)
    assert bounds_of(MemorySpec(vram=GIB), machine) == Bounds(None, 98 * GIB, host=64 * GIB)
    stated = bounds_of(MemorySpec(ram=0.5), machine)
    assert stated == Bounds(None, 64 * GIB, None, 64 * GIB, 64 * GIB)
    assert stated.allocatable(machine) == 64 * GIB


# -- the table ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["bf16", "fp8"])
@pytest.mark.parametrize("family", PUBLISHED)
def test_every_family_runs_on_every_card(folder: Path, family: str, precision: str) -> None:
    made = plan(folder, family=family, model="quantization = {}" if precision == "fp8" else "")
    budgets = [size * GIB for size in (8, 12, 16, 24, 80)]
    rows = table_of_budgets(made, MemorySpec(), budgets)
    assert [row.budget for row in rows] == budgets
    assert all(row.fits and row.peak <= row.budget for row in rows)
    counts = [row.swapped for row in rows]
    assert counts == sorted(counts, reverse=True)
    assert (rows[-1].swapped, rows[-1].ram, rows[-1].text_encoder) == (0, 0, "GPU")
    for row in rows:
        assert row.seconds is None
        assert row.prefetch == (1 if row.swapped else 0)
        assert bool(row.ram) == bool(row.swapped or row.text_encoder != "GPU")


def test_the_table_obeys_the_knobs_and_says_what_does_not_fit(folder: Path) -> None:
    rows = table_of_budgets(plan(folder), MemorySpec(blocks_to_swap=20), [8 * GIB, 24 * GIB])
    assert [(row.swapped, row.fits) for row in rows] == [(20, False), (20, True)]
    assert rows[0].part == "generate / sampling"
    assert rows[0].peak > 8 * GIB


def test_the_table_keeps_to_a_stated_ram(folder: Path) -> None:
    made = plan(folder)
    (free,) = table_of_budgets(made, MemorySpec(), [8 * GIB])
    (some,) = table_of_budgets(made, MemorySpec(ram=4 * GIB), [8 * GIB])
    (least,) = table_of_budgets(made, MemorySpec(ram=GIB), [8 * GIB])
    assert (free.files, free.fits) == (0, True)
    assert (some.ram, some.fits, some.ram_part) == (4 * GIB, True, "generate / text")
    assert 0 < free.ram - some.ram < some.files < free.ram
    assert (least.fits, least.peak) == (False, free.peak)
    assert least.ram > GIB


def test_the_table_with_a_stated_ram_is_the_same_wherever_it_is_asked(
    folder: Path, assume: Assume
) -> None:
    rows = []
    for free in (4, 100):
        assume(card(11.2, free))
        (row,) = table_of_budgets(plan(folder), MemorySpec(ram=64 * GIB), [8 * GIB])
        rows.append((row.fits, row.ram, row.files))
    assert rows[0] == rows[1]
    assert rows[0][0] and rows[0][2] == 0


def test_the_table_of_this_machine_has_its_times(folder: Path, assume: Assume) -> None:
    machine = card(79)
    assume(machine)
    save_calibration(calibration_of(machine, upload=1e6, threads=0))
    made = plan(folder)
    rows = table_of_budgets(made, MemorySpec(), [8 * GIB, 80 * GIB])
    assert rows[1].seconds == pytest.approx(sum(made.seconds.values()))
    assert rows[0].seconds and rows[1].seconds and rows[0].seconds > rows[1].seconds


def test_no_budget_changes_the_plan_itself(folder: Path) -> None:
    made = plan(folder)
    table_of_budgets(made, MemorySpec(), [8 * GIB])
    assert made.models["main"].placements == {}
    assert attrs.evolve(made) == made
