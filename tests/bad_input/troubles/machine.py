"""Memory, devices and the disk."""

from __future__ import annotations

from makers import workflow
from table import Case, Group, Trouble


def memory(line: str) -> dict[str, str]:
    return {"w.toml": workflow() + f"[memory]\n{line}\n"}


def model(line: str) -> dict[str, str]:
    return {"w.toml": workflow(model=line)}


GROUP = Group(
    "The machine is too small, or has no such device",
    (
        Trouble(
            "Amounts of memory",
            "A budget is a number with a unit, in quotes.",
            'Write it like `"12GiB"`, `"800MB"` or `"auto"`.',
            (
                Case("vram-12-gigs", "?", memory('vram = "12 gigs"')),
                Case("vram-5", "?", memory("vram = 5")),
                Case("vram-negative", "?", memory('vram = "-1GB"')),
                Case("vram-no-unit", "?", memory('ram = "12"')),
                Case("vram-endless", "?", memory("ram = inf")),
                Case("vram-huge", "?", memory('ram = "99999PB"')),
                Case("vram-list", "?", memory('ram = ["1GB"]')),
            ),
        ),
        Trouble(
            "The budget is smaller than what the run needs",
            "Before anything is loaded the run's memory is predicted from the headers of its files.",
            "Use a smaller size, fewer frames or a smaller precision, or raise the budget. `wan-core plan WORKFLOW` "
            "shows the prediction part by part.",
            (
                Case("budget-too-small", "?",
                     {"w.toml": workflow(family="tiny-t2v") + '[memory]\nram = "1MiB"\n'}, code=5),
                Case("too-many-frames-for-the-budget", "?",
                     {"w.toml": workflow("width = 1920\nheight = 1088\nframes = 81", family="tiny-t2v")
                      + '[memory]\nram = "2GiB"\n'}, code=5),
            ),
        ),
        Trouble(
            "There is no such device",
            "`device` (in `[model]`, or `--device`) is `auto`, `cpu`, `cuda` or `cuda:N`.",
            "Leave it out: `auto` takes the first GPU, or the CPU. If there is a GPU that torch does not see, `wan-core "
            "doctor` says why.",
            (
                Case("cuda-without-a-gpu", "?", model('device = "cuda"'), given=["no GPU"], code=5),
                Case("cuda-option-without-a-gpu", "?", {"w.toml": workflow()}, "plan w.toml --device cuda",
                     given=["no GPU"], code=5),
                Case("cuda-99", "?", model('device = "cuda:99"'), given=["no GPU"], code=5),
                Case("cuda-99-of-1", "?", model('device = "cuda:99"'), given=["one GPU"], code=5),
                Case("device-gpu", "?", model('device = "gpu"')),
                Case("device-option-gpu", "?", {"w.toml": workflow()}, "run w.toml --device gpu"),
                Case("device-option-empty", "?", {"w.toml": workflow()}, "run w.toml --device ''"),
                Case("device-option-control", "?", {"w.toml": workflow()},
                     ("run", "w.toml", "--device", "cu\x1b[31mda")),
                Case("device-option-long", "?", {"w.toml": workflow()},
                     ("run", "w.toml", "--device", "x" * 100_000)),
                Case("device-number", "?", model("device = 0")),
            ),
        ),
        Trouble(
            "The disk is too small",
            "The size of the video is estimated before it is made.",
            "Free some space, or write to another disk with `-o`.",
            (
                Case("disk-full", "?", {"w.toml": workflow()}, given=["1 kB left on the disk"], code=5),
                Case("disk-full-for-pictures", "?",
                     {"w.toml": workflow("width = 8192\nheight = 8192\nframes = 81")},
                     "run w.toml -o frames/%05d.png", given=["10 GB left on the disk"], code=5),
            ),
        ),
    ),
)  # fmt: skip
