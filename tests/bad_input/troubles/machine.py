"""Memory, devices and the disk."""

from __future__ import annotations

from makers import workflow
from table import Case, Group, Trouble


def memory(line: str) -> dict[str, str]:
    return {"w.toml": workflow() + f"[memory]\n{line}\n"}


def swap(line: str) -> dict[str, str]:
    return {"w.toml": workflow(family="tiny-t2v") + f"[memory]\n{line}\n"}


def model(line: str) -> dict[str, str]:
    return {"w.toml": workflow(model=line)}


GROUP = Group(
    "The machine is too small, or has no such device",
    (
        Trouble(
            "Amounts of memory",
            "A budget is a number with a unit, in quotes, or a share of all the memory of the device.",
            'Write it like `"12GiB"`, `"800MB"`, `"80%"` (or `0.8`), or `"auto"`.',
            (
                Case("vram-12-gigs",
                     'w.toml, line 12, memory.vram: vram must be an amount of memory, not "12 gigs"; write it '
                     'like "12GiB", "80%" or "auto".',
                     memory('vram = "12 gigs"')),
                Case("vram-5",
                     "w.toml, line 12, memory.vram: vram must be from 1MiB to 1PiB, not 5; a unit goes with "
                     'it, as in "12GiB".',
                     memory("vram = 5")),
                Case("vram-negative",
                     'w.toml, line 12, memory.vram: vram must be an amount of memory, not "-1GB"; write it '
                     'like "12GiB", "80%" or "auto".',
                     memory('vram = "-1GB"')),
                Case("vram-no-unit",
                     'w.toml, line 12, memory.ram: ram must be an amount of memory, not "12"; write it like '
                     '"12GiB", "80%" or "auto".',
                     memory('ram = "12"')),
                Case("vram-endless",
                     "w.toml, line 12, memory.ram: ram must be an amount of memory, not inf; write it like "
                     '"12GiB", "80%" or "auto".',
                     memory("ram = inf")),
                Case("vram-huge",
                     'w.toml, line 12, memory.ram: ram must be from 1MiB to 1PiB, not "99999PB".',
                     memory('ram = "99999PB"')),
                Case("vram-share",
                     "w.toml, line 12, memory.vram: vram must be a share above 0 and at most 1, not 1.5; write "
                     'it like 0.8 or "80%".',
                     memory("vram = 1.5")),
                Case("vram-percent",
                     'w.toml, line 12, memory.ram: ram must be a share above 0 and at most 1, not "250%"; '
                     'write it like 0.8 or "80%".',
                     memory('ram = "250%"')),
                Case("vram-list",
                     "w.toml, line 12, memory.ram: ram must be an amount of memory, not a list of 1; write it "
                     'like "12GiB", "80%" or "auto".',
                     memory('ram = ["1GB"]')),
            ),
        ),
        Trouble(
            "The budget is smaller than what the run needs",
            "Before anything is loaded the run's memory is predicted from the headers of its files.",
            "Use a smaller size, fewer frames or a smaller precision, or raise the budget. `wan-core "
            "plan WORKFLOW` shows the prediction part by part.",
            (
                Case("budget-too-small",
                     "w.toml, line 12, memory.ram: generate / text is predicted to need 113 MB (weights 3 MB, "
                     "activations 110 MB), the budget is 1 MB; use a smaller precision or a larger budget.",
                     {"w.toml": workflow(family="tiny-t2v") + '[memory]\nram = "1MiB"\n'}, code=5),
                Case("too-many-frames-for-the-budget",
                     "w.toml, line 14, memory.ram: generate / decoding is predicted to need 5.2 GB (weights "
                     "10 MB, activations 5.2 GB), the budget is 2.1 GB; use a smaller size, fewer frames, a "
                     "smaller precision or a larger budget.",
                     {"w.toml": workflow("width = 1920\nheight = 1088\nframes = 81", family="tiny-t2v")
                      + '[memory]\nram = "2GiB"\n'}, code=5),
            ),
        ),
        Trouble(
            "Block swap",
            "The keys `blocks_to_swap`, `prefetch_blocks`, `offload_txt_emb` and `offload_img_emb` of "
            "`[memory]` overrule the plan, as far as the models can do it and the budget allows.",
            "Leave the key out: the plan swaps as many blocks as it has to, and no more.",
            (
                Case("swap-too-many",
                     "w.toml, line 12, memory.blocks_to_swap: blocks_to_swap = 40, but the transformer has 7 "
                     "blocks; write a number up to 7, or leave the key out.",
                     swap("blocks_to_swap = 40")),
                Case("prefetch-too-many",
                     "w.toml, line 12, memory.prefetch_blocks: prefetch_blocks = 8, but the transformer has 7 "
                     "blocks; write a number up to 7, or leave the key out.",
                     swap("prefetch_blocks = 8")),
                Case("swap-without-blocks",
                     "w.toml, line 12, memory.blocks_to_swap: blocks_to_swap = 1, but no model here is made of "
                     "blocks; leave the key out.",
                     memory("blocks_to_swap = 1")),
                Case("swap-negative",
                     "w.toml, line 12, memory.blocks_to_swap: blocks_to_swap must be from 0 to 1000, not -1.",
                     swap("blocks_to_swap = -1")),
                Case("swap-half",
                     "w.toml, line 12, memory.blocks_to_swap: blocks_to_swap must be a whole number, not 2.5.",
                     swap("blocks_to_swap = 2.5")),
                Case("swap-auto",
                     "w.toml, line 12, memory.blocks_to_swap: blocks_to_swap must be a whole number, not "
                     '"auto".',
                     swap('blocks_to_swap = "auto"')),
                Case("prefetch-yes",
                     "w.toml, line 12, memory.prefetch_blocks: prefetch_blocks must be a whole number, not "
                     "true.",
                     swap("prefetch_blocks = true")),
                Case("offload-one",
                     "w.toml, line 12, memory.offload_txt_emb: offload_txt_emb must be true or false, not 1.",
                     swap("offload_txt_emb = 1")),
                Case("offload-images-of-text-to-video",
                     "w.toml, line 12, memory.offload_img_emb: offload_img_emb = true, but the transformer has "
                     "no image embedding; leave the key out.",
                     swap("offload_img_emb = true")),
                Case("debug-loud",
                     "w.toml, line 12, memory.block_swap_debug: block_swap_debug must be true or false, not "
                     '"loud".',
                     swap('block_swap_debug = "loud"')),
            ),
        ),
        Trouble(
            "Sizes of GPUs for a table",
            "`wan-core plan WORKFLOW --vram 8GiB,12GiB` takes amounts of memory with commas between them.",
            "Write them without blanks, each with its unit.",
            (
                Case("table-no-unit",
                     '--vram: a budget must be an amount of memory, not "12"; write it like "8GiB,12GiB".',
                     {"w.toml": workflow()}, "plan w.toml --vram 8GiB,12"),
                Case("table-share",
                     '--vram: a budget must be an amount of memory, not "50%"; write it like "8GiB,12GiB".',
                     {"w.toml": workflow()}, "plan w.toml --vram 50%"),
                Case("table-empty",
                     '--vram: a budget must be an amount of memory, not ""; write it like "8GiB,12GiB".',
                     {"w.toml": workflow()}, "plan w.toml --vram 8GiB,"),
                Case("table-two-commas",
                     '--vram: a budget must be an amount of memory, not ""; write it like "8GiB,12GiB".',
                     {"w.toml": workflow()}, "plan w.toml --vram 8GiB,,12GiB"),
                Case("table-tiny",
                     '--vram: a budget must be from 1MiB to 1PiB, not "5B".',
                     {"w.toml": workflow()}, "plan w.toml --vram 5B"),
                Case("table-control",
                     '--vram: a budget must be an amount of memory, not "\\x1b[31m8"; write it like '
                     '"8GiB,12GiB".',
                     {"w.toml": workflow()}, ("plan", "w.toml", "--vram", "\x1b[31m8")),
                Case("table-long",
                     "--vram: 500 budgets are more than 32; name fewer.",
                     {"w.toml": workflow()}, ("plan", "w.toml", "--vram", ",".join(["8GiB"] * 500))),
            ),
        ),
        Trouble(
            "Runs that did not finish",
            "`wan-core runs` lists them; `--resume` goes on with the one of a workflow, from any folder.",
            "Take a name from the list, or run the workflow without `--resume`.",
            (
                Case("resume-nothing",
                     "--resume: there is no unfinished run; name a workflow to run.",
                     run="run --resume"),
                Case("resume-not-that-one",
                     '--resume: there is no unfinished run of "w.toml"; run it without --resume.',
                     {"w.toml": workflow()}, "run w.toml --resume"),
                Case("decode-nothing",
                     'there is no unfinished run "w.toml"; wan-core runs lists them.',
                     {"w.toml": workflow()}, "runs decode w.toml"),
                Case("decode-control",
                     'there is no unfinished run "\\x1b[31m"; wan-core runs lists them.',
                     run=("runs", "decode", "\x1b[31m")),
            ),
        ),
        Trouble(
            "There is no such device",
            "`device` (in `[model]`, or `--device`) is `auto`, `cpu`, `cuda` or `cuda:N`.",
            "Leave it out: `auto` takes the first GPU, or the CPU. If there is a GPU that torch does "
            "not see, `wan-core doctor` says why.",
            (
                Case("cuda-without-a-gpu",
                     "w.toml, line 4, model.device: device cuda was asked for, but torch {any} sees no CUDA "
                     "device; install a CUDA build of torch and a driver, or use device cpu.",
                     model('device = "cuda"'), given=["no GPU"], code=5),
                Case("cuda-option-without-a-gpu",
                     "--device: device cuda was asked for, but torch {any} sees no CUDA device; install a "
                     "CUDA build of torch and a driver, or use device cpu.",
                     {"w.toml": workflow()}, "plan w.toml --device cuda",
                     given=["no GPU"], code=5),
                Case("cuda-99",
                     "w.toml, line 4, model.device: device cuda:99 was asked for, but torch {any} sees no "
                     "CUDA device; install a CUDA build of torch and a driver, or use device cpu.",
                     model('device = "cuda:99"'), given=["no GPU"], code=5),
                Case("cuda-99-of-1",
                     "w.toml, line 4, model.device: device cuda:99 was asked for, but this machine has 1.",
                     model('device = "cuda:99"'), given=["one GPU"], code=5),
                Case("device-gpu",
                     'w.toml, line 4, model.device: device must be "auto", "cpu", "cuda" or "cuda:1", not '
                     '"gpu".',
                     model('device = "gpu"')),
                Case("device-option-gpu",
                     '--device: there is no device "gpu"; known are auto, cpu, cuda, cuda:N.',
                     {"w.toml": workflow()}, "run w.toml --device gpu"),
                Case("device-option-empty",
                     '--device: there is no device ""; known are auto, cpu, cuda, cuda:N.',
                     {"w.toml": workflow()}, "run w.toml --device ''"),
                Case("device-option-control",
                     '--device: there is no device "cu\\x1b[31mda"; known are auto, cpu, cuda, cuda:N.',
                     {"w.toml": workflow()},
                     ("run", "w.toml", "--device", "cu\x1b[31mda")),
                Case("device-option-long",
                     "--device: there is no device {any} known are auto, cpu, cuda, cuda:N.",
                     {"w.toml": workflow()},
                     ("run", "w.toml", "--device", "x" * 100_000)),
                Case("device-number",
                     "w.toml, line 4, model.device: device must be text, not 0.",
                     model("device = 0")),
            ),
        ),
        Trouble(
            "The disk is too small",
            "The size of the video is estimated before it is made.",
            "Free some space, or write to another disk with `-o`.",
            (
                Case("disk-full",
                     "w.toml, line 9, output.path: the disk has 1 kB left, this video is predicted to need "
                     "about 69 kB; free some space or write somewhere else.",
                     {"w.toml": workflow()}, given=["1 kB left on the disk"], code=5),
                Case("disk-full-for-pictures",
                     "-o: the disk has 10.0 GB left, this video is predicted to need about 16.3 GB; free some "
                     "space or write somewhere else.",
                     {"w.toml": workflow("width = 8192\nheight = 8192\nframes = 81")},
                     "run w.toml -o frames/%05d.png", given=["10 GB left on the disk"], code=5),
            ),
        ),
    ),
)  # fmt: skip
