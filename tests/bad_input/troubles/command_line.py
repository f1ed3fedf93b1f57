"""Commands, options, overrides and the configuration file."""

from __future__ import annotations

from makers import folder, workflow
from table import Case, Group, Trouble

GOOD = {"w.toml": workflow()}
CONFIG = {"WAN_CORE_CONFIG": "{folder}/c.toml"}


def overridden(*arguments: str) -> tuple[str, ...]:
    return ("run", "w.toml", *arguments)


GROUP = Group(
    "The command line or the configuration is refused",
    (
        Trouble(
            "Commands and options",
            "`wan-core --help` lists the commands, `wan-core COMMAND --help` the options of one.",
            "Take the suggested word. Options may stand before or after the file.",
            (
                Case("command-unknown", "?", run="rnu w.toml", usage=True),
                Case("command-is-a-file", "?", GOOD, "w.toml", usage=True),
                Case("command-long", "?", run=("x" * 100_000,), usage=True),
                Case("command-control", "?", run=("a\x1b[31mb",), usage=True),
                Case("command-empty", "?", run=("",), usage=True),
                Case("option-unknown", "?", GOOD, "run w.toml --overwrit", usage=True),
                Case("option-of-the-program", "?", run="--verson", usage=True),
                Case("option-control", "?", GOOD, ("run", "w.toml", "--a\x1b[31mb"), usage=True),
                Case("option-long", "?", GOOD, ("run", "w.toml", "--" + "x" * 100_000), usage=True),
                Case("option-twice", "?", GOOD, "run w.toml -o a.mp4 -o b.mp4", usage=True),
                Case("option-twice-in-two-spellings", "?", GOOD, "plan w.toml --output=a.mp4 -ob.mp4", usage=True),
                Case("option-without-value", "?", GOOD, "run w.toml -o", usage=True),
                Case("flag-with-value", "?", GOOD, "run w.toml --json=yes", usage=True),
                Case("workflow-left-out", "?", run="run", usage=True),
                Case("two-workflows", "?", GOOD, "run w.toml w.toml", usage=True),
                Case("without-unknown", "?", GOOD, "run w.toml --without ati", code=4),
                Case("without-core", "?", GOOD, "run w.toml --without core", code=4),
                Case("without-control", "?", GOOD, ("run", "w.toml", "--without", "a\x1bb"), code=4),
            ),
        ),
        Trouble(
            "Overrides with -s",
            "`-s KEY=VALUE` overrules a key of the workflow for one run.",
            "Write the whole path of the key, as in `-s stages.0.seed=7`; stages count from 0, or go by name: "
            "`-s stages.generate.seed=7`.",
            (
                Case("s-without-equals", "?", GOOD, overridden("-s", "stages.0.seed")),
                Case("s-empty", "?", GOOD, overridden("-s", "")),
                Case("s-only-equals", "?", GOOD, overridden("-s", "=7")),
                Case("s-no-such-stage", "?", GOOD, overridden("-s", "stages.3.seed=7")),
                Case("s-no-such-stage-name", "?", GOOD, overridden("-s", "stages.genrate.seed=7")),
                Case("s-unknown-key", "?", GOOD, overridden("-s", "stages.0.sed=7")),
                Case("s-unknown-table", "?", GOOD, overridden("-s", "seed=7")),
                Case("s-bad-value", "?", GOOD, overridden("-s", "stages.0.seed=seven")),
                Case("s-bad-second", "?", GOOD, overridden("-s", "stages.0.seed=7", "-s", "stages.0.steps=0")),
                Case("s-into-text", "?", GOOD, overridden("-s", "stages.0.prompt.x=7")),
                Case("s-whole-stage", "?", GOOD, overridden("-s", "stages=5")),
                Case("s-control", "?", GOOD, overridden("-s", "stages.0.prompt=a\x1b[31mb")),
                Case("s-control-in-key", "?", GOOD, overridden("-s", "a\x1b[31mb=1")),
                Case("s-line-end-in-key", "?", GOOD, overridden("-s", "a\nb=1")),
                Case("s-long", "?", GOOD, overridden("-s", "a" * 100_000 + "=1")),
                Case("s-deep", "?", GOOD, overridden("-s", "a." * 3000 + "b=1")),
                Case("s-huge-number", "?", GOOD, overridden("-s", "stages.0.seed=" + "9" * 5000)),
                Case("s-empty-list", "?", GOOD, overridden("-s", "stages.0.seed=[]")),
                Case("s-list-twice", "?", GOOD, overridden("-s", "stages.0.seed=1,1")),
            ),
        ),
        Trouble(
            "The configuration file",
            "`~/.config/wan-core/config.toml`, or the file that `$WAN_CORE_CONFIG` names, holds for every command.",
            "Correct it, or unset `WAN_CORE_CONFIG`; see [the configuration file](command-line.md#the-configuration-file).",
            (
                Case("config-missing", "?", GOOD, environment=CONFIG),
                Case("config-broken", "?", {**GOOD, "c.toml": "x ="}, environment=CONFIG),
                Case("config-no-text", "?", {**GOOD, "c.toml": b"\xff\xfe"}, environment=CONFIG),
                Case("config-folder", "?", {**GOOD, "c.toml": folder}, environment=CONFIG),
                Case("config-unknown-key", "?", {**GOOD, "c.toml": "[plugin]\n"}, environment=CONFIG),
                Case("config-unknown-inner-key", "?", {**GOOD, "c.toml": '[paths]\nmodel = "x"\n'},
                     environment=CONFIG),
                Case("config-control-key", "?", {**GOOD, "c.toml": '"a\\u001bb" = 1\n'}, environment=CONFIG),
                Case("config-wrong-type", "?", {**GOOD, "c.toml": "plugins = 3\n"}, environment=CONFIG),
                Case("config-disable-text", "?", {**GOOD, "c.toml": '[plugins]\ndisable = "ati"\n'},
                     environment=CONFIG),
                Case("config-paths-number", "?", {**GOOD, "c.toml": "[paths]\nmodels = 3\n"},
                     environment=CONFIG),
                Case("config-unknown-home", "?", {**GOOD, "c.toml": '[paths]\nmodels = "~nobody-at-all/x"\n'},
                     environment=CONFIG),
                Case("config-deep", "?", {**GOOD, "c.toml": "x = " + "[" * 3000}, environment=CONFIG),
                Case("config-device", "?", GOOD, environment={"WAN_CORE_CONFIG": "/dev/zero"}),
                Case("config-many-digits", "?", {**GOOD, "c.toml": "x = " + "9" * 5000}, environment=CONFIG),
            ),
        ),
    ),
)  # fmt: skip
