"""How long it takes until a 14 B Wan transformer in a file is ready to be swapped, here and in diffusers.

    python benchmarks/swap_setup.py --out result.json

Writes a file of random bfloat16 weights in the shape of Wan 2.1 T2V 14B (28 GB, removed afterwards), has it in
the page cache, and in every round reads it once in a single thread, then lets ours and diffusers set up, each
in a process of its own, so that neither finds memory that is pinned already. The clock runs from opening the
file until everything that is swapped is pinned, and what stays is on the device:

* ours as a run does it: tensors go from the mapped file into packed host memory, which is pinned by threads;
* diffusers: ``from_pretrained`` (where the package accelerate is missing, mapped tensors are assigned, which is
  no slower), then group offloading by blocks with a stream.

Printed: seconds of each part, the whole in units of the single-threaded read, and beside diffusers; exits 1
where it is more than 3 reads or half of diffusers' time. The first round also finds memory that the system had
not given to anybody before, which costs more in virtual machines.

Needs 110 GB of RAM, the file's pages included, or 70 without diffusers; without an NVIDIA GPU nothing is pinned
and diffusers is left out. ``--layers`` makes the model smaller;
``--folder /dev/shm`` spares a slow disk.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from side_by_side import (
    DEVICE,
    GB,
    bare_diffusers,
    copier,
    diffusers_config,
    environment,
    filled,
    fits,
    offload,
    options_of,
    timed,
    wide,
    write,
)

from wan_core.contract import Component, LoadRequest, Placement
from wan_core.memory import BlockSwap, HostRoom, Keeper, stack_of
from wan_core.models.loaders import load_transformer
from wan_core.models.wan import WanConfig, WanTransformer
from wan_core.models.wan.dialects import DIFFUSERS

BLOCK = 16 << 20
MOST_READS, MOST_BESIDE = 3.0, 0.5
TINY = WanConfig(dim=128, ffn_dim=64, num_heads=1, num_layers=2)
FILE = "diffusion_pytorch_model.safetensors"


def main() -> int:
    options = parse()
    if options.one:
        print(json.dumps(one_set_up(options)))
        return 0
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        result = measure(write_model(Path(folder), wide(options.layers)), options)
    show(result)
    return 0 if result["kept to"] else 1


def parse() -> argparse.Namespace:
    parser = options_of(__doc__)
    parser.add_argument("--layers", type=int, help="blocks, if not as many as the model has")
    parser.add_argument("--swapped", type=int, help="blocks; all but one if not given")
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    parser.add_argument("--folder", type=Path, help="where the file is written")
    parser.add_argument("--alone", action="store_true", help="leave diffusers out")
    parser.add_argument("--one", choices=SET_UPS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def write_model(folder: Path, config: WanConfig) -> Path:
    """A file of weights, and the page that diffusers wants beside it."""
    about = {"_class_name": "WanTransformer3DModel", **diffusers_config(config)}
    write(about, folder / "config.json")
    write_random(folder / FILE, config)
    return folder / FILE


def write_random(path: Path, config: WanConfig) -> None:
    """A safetensors file in diffusers' names, a tensor at a time; the same random numbers over and over."""
    with torch.device("meta"):
        shapes = {
            str(DIFFUSERS.from_official(name)): tensor.shape
            for name, tensor in WanTransformer(config).state_dict().items()
        }
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        size = shape.numel() * 2
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    numbers = memoryview(torch.randn(BLOCK // 2).mul_(0.02).bfloat16().view(torch.uint8).numpy())
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for start in range(0, end, BLOCK):
            file.write(numbers[: min(BLOCK, end - start)])


# In the process that compares


def measure(file: Path, options: argparse.Namespace) -> dict[str, Any]:
    names = ["wan_core"]
    if not options.alone and DEVICE.type == "cuda":
        names.append("diffusers")
    result: dict[str, Any] = environment() | {"file GB": file.stat().st_size / GB, "rounds": []}
    read_once(file)
    for _ in range(options.repeats):
        row: dict[str, Any] = {}
        with timed(row, "read seconds"):
            read_once(file)
        for name in names:
            row[name] = in_a_process(name, file, options)
        result["rounds"].append(row)
        print(f"  {row}", flush=True)
        sum_up(result, names)
        write(result, options.out)  # what comes after may be cut off
    return result


def sum_up(result: dict[str, Any], names: Sequence[str]) -> None:
    """Medians of the rounds so far, and whether they keep to what is promised."""
    read = statistics.median(row["read seconds"] for row in result["rounds"])
    result["read seconds"] = read
    sides = result["sides"] = {}
    for name in names:
        seconds = [row[name]["seconds"] for row in result["rounds"]]
        sides[name] = {"seconds": statistics.median(seconds), "all seconds": seconds}
    own = sides["wan_core"]["seconds"]
    result["of a read"] = own / read
    result["kept to"] = own <= MOST_READS * read
    if "diffusers" in names:
        result["of diffusers"] = own / sides["diffusers"]["seconds"]
        result["kept to"] &= result["of diffusers"] <= MOST_BESIDE


def read_once(file: Path) -> None:
    """In one thread, into memory that is there already."""
    block = bytearray(BLOCK)
    with file.open("rb", buffering=0) as opened:
        while opened.readinto(block):
            pass


def in_a_process(name: str, file: Path, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", name, "--file", str(file)]
    for option in ("layers", "swapped"):
        if getattr(options, option) is not None:
            command += [f"--{option}", str(getattr(options, option))]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True, env=os.environ)
    if done.returncode:
        raise SystemExit(f"setting up {name} failed")
    made: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return made


def show(result: Mapping[str, Any]) -> None:
    sides, beside = result["sides"], ""
    if "of diffusers" in result:
        beside = (
            f"; diffusers takes {sides['diffusers']['seconds']:.2f} s: {result['of diffusers']:.2f} "
            f"of that (at most {MOST_BESIDE})"
        )
    print(
        f"{result['device']}, torch {result['torch']}, {result['cores']} cores: a file of "
        f"{result['file GB']:.1f} GB is read in {result['read seconds']:.2f} s, set up in "
        f"{sides['wan_core']['seconds']:.2f} s, {result['of a read']:.2f} times as long (at most "
        f"{MOST_READS}){beside}; {'kept to' if result['kept to'] else 'NOT KEPT TO'}"
    )


# In a process of its own


def one_set_up(options: argparse.Namespace) -> dict[str, Any]:
    set_up = SET_UPS[options.one]
    with tempfile.TemporaryDirectory() as folder:  # the context and imports are no part of it
        set_up(write_model(Path(folder), TINY), TINY, None, {})
    row: dict[str, Any] = {}
    set_up(options.file, wide(options.layers), options.swapped, row)
    return row


def ours(file: Path, config: WanConfig, swapped: int | None, row: dict[str, Any]) -> None:
    """What a run does until its first step."""
    count = config.num_layers - 1 if swapped is None else swapped
    first = config.num_layers - count
    names = tuple(f"blocks.{index}" for index in range(first, config.num_layers))
    component = Component("wan-transformer", "x:y", config={"num_heads": config.num_heads})
    with timed(row, "seconds"):
        keeper = Keeper(names, DEVICE, HostRoom(share=1 << 62))
        request = LoadRequest(
            "transformer",
            component,
            file,
            torch.device("cpu"),
            torch.bfloat16,
            placement=Placement(swapped=names),
            keep=keeper,
        )
        with timed(row, "loading seconds"):
            stack = stack_of(load_transformer(request))
        assert stack is not None
        with timed(row, "pinning that was waited for, seconds"):
            swap = BlockSwap(stack, names, 1, copier(), provider=keeper, from_host=True)
            sources = [unit.source for unit in swap._units]
            row["pinned blocks"] = sum(bool(getattr(one, "pinned", False)) for one in sources)
        with timed(row, "to the device seconds"):
            swap.open()
    row["swapped GB"] = sum(source.packing.bytes for source in sources) / GB


def diffusers(file: Path, config: WanConfig, swapped: int | None, row: dict[str, Any]) -> None:
    """Its loading and its offloading, of all blocks."""
    import diffusers
    from diffusers.utils import is_accelerate_available

    quick = is_accelerate_available()
    with timed(row, "seconds"):
        with timed(row, "loading seconds"):
            if quick:
                theirs = diffusers.WanTransformer3DModel.from_pretrained(
                    str(file.parent), torch_dtype=torch.bfloat16
                )
            else:
                theirs = assigned(file, config)
        with timed(row, "offloading seconds"):
            offload(theirs)
    row["loaded by"] = "from_pretrained" if quick else "assigning mapped tensors"


def assigned(file: Path, config: WanConfig) -> Any:
    """What diffusers' loading comes to: tensors of the mapped file, few of them in float32."""
    from safetensors.torch import load_file

    theirs = filled(bare_diffusers(config), load_file(file))
    kept = [f"*{part}*" for part in theirs._keep_in_fp32_modules]
    for name, parameter in theirs.named_parameters():
        if fits(name, kept):
            parameter.data = parameter.data.float()
    return theirs


SET_UPS = {"wan_core": ours, "diffusers": diffusers}


if __name__ == "__main__":
    sys.exit(main())
