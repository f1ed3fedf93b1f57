"""``wan-core models pull`` against a stand-in for the Hub."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import huggingface_hub.constants
import huggingface_hub.file_download
import pytest
from fake_plugins import found
from hub_server import COMMIT, StandIn, serving

from wan_core.cli import main
from wan_core.cli.pull import fetch
from wan_core.cli.pull import hub as hub_module
from wan_core.config import cache_folder, huggingface_folder
from wan_core.contract.descriptions import Component, Family, Preset, PublishedFile
from wan_core.planning.library import Library

Install = Callable[..., None]
Capture = pytest.CaptureFixture[str]

CONTENT = {
    "Org/Big/model.safetensors": bytes(range(256)) * 40,
    "Org/Big/sub/encoder.pth": b"encoder" * 100,
    "Org/Big/sub/tok/tokenizer.json": b'{"a": 1}',
}
KEPT_IN_GIT = "Org/Big/sub/tok/tokenizer.json"
MODEL = "Org/Big/model.safetensors"


def published(name: str, pin: bool = True, slot: str = "") -> PublishedFile:
    organisation, repository, path = name.split("/", 2)
    sum_ = hashlib.sha256(CONTENT[name]).hexdigest()
    known = {"revision": COMMIT, "sha256": sum_, "bytes": len(CONTENT[name])} if pin else {}
    return PublishedFile(f"{organisation}/{repository}", path, slot=slot, **known)  # type: ignore[arg-type]


def family(pin: bool = True, **components: tuple[PublishedFile, ...]) -> Family:
    parts = components or {
        "transformer": (published(MODEL, pin),),
        "text_encoder": (
            published("Org/Big/sub/encoder.pth", pin),
            published(KEPT_IN_GIT, pin, "tokenizer"),
        ),
    }
    return Family(
        "big", "a big model", "text-to-video",
        {slot: Component(slot, "m:l", published=files) for slot, files in parts.items()},
        Preset(832, 480, 81, 16, 50, 5.0, 5.0),
    )  # fmt: skip


BIG = family()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    # read from the environment when the library is imported, which another test may have done
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr(huggingface_hub.file_download.time, "sleep", lambda seconds: None)
    with serving(StandIn(dict(CONTENT), {KEPT_IN_GIT})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def pull(install_plugins: Install, hub: StandIn, capsys: Capture) -> Callable[..., Any]:
    """Pull a family; gives the exit code, what was printed, and the one sentence of an error."""

    def pull(*options: str, family: Family = BIG) -> tuple[int, list[str], str]:
        install_plugins(found("x", family))
        code = main(["models", "pull", "big", *options])
        printed = capsys.readouterr()
        errors = printed.err.splitlines()
        return code, printed.out.splitlines(), errors[-1] if errors else ""

    return pull


def snapshot(name: str) -> Path:
    folder = huggingface_folder() / "models--Org--Big" / "snapshots" / COMMIT
    return folder / name.removeprefix("Org/Big/")


def leftovers(folder: Path) -> list[str]:
    return [
        path.name
        for path in folder.rglob("*")
        if "incomplete" in path.name and path.suffix != ".lock"
    ]


def test_everything_is_fetched_into_the_hubs_cache(pull: Callable[..., Any], hub: StandIn) -> None:
    code, lines, _ = pull()
    assert code == 0
    for name, content in CONTENT.items():
        assert snapshot(name).read_bytes() == content
        assert snapshot(name).is_symlink()
        assert snapshot(name).resolve().name == hub.sum_of(name)
    assert lines[0].split() == [
        "transformer",
        "model.safetensors",
        str(snapshot(MODEL)),
        "(fetched)",
    ]
    assert lines[2].split()[0] == "tokenizer"
    assert lines[-1] == 'All is here: in a workflow, family = "big" is enough.'
    assert leftovers(huggingface_folder()) == []
    # the Hub's own library finds it without asking anybody
    assert huggingface_hub.try_to_load_from_cache(
        "Org/Big", "model.safetensors", cache_dir=huggingface_folder(), revision=COMMIT
    ) == str(snapshot(MODEL))
    assert not (cache_folder() / "wan-core.lock.json").exists()
    hub.asked.clear()
    code, lines, _ = pull()
    assert (code, hub.asked) == (0, [])
    assert lines[0].split()[2:] == [str(snapshot(MODEL))]


def test_a_folder_of_ones_own(
    pull: Callable[..., Any], tmp_path: Path, own_configuration: Path, capsys: Capture
) -> None:
    code, lines, _ = pull("--to", str(tmp_path / "new"))
    assert code == 0
    assert (tmp_path / "new/Big/sub/encoder.pth").read_bytes() == CONTENT["Org/Big/sub/encoder.pth"]
    assert lines[-3:] == [
        f"To have it found, write into {own_configuration}:",
        "  [paths]",
        f'  models = ["{tmp_path}/new"]',
    ]
    own_configuration.parent.mkdir(parents=True)
    own_configuration.write_text("\n".join(lines[-2:]))
    code, lines, _ = pull("--to", str(tmp_path / "new/deeper"))
    assert lines[-1].startswith("All is here")
    assert not (tmp_path / "new/deeper").exists()
    assert main(["models", "big", "--json"]) == 0
    here = json.loads(capsys.readouterr().out)["here"]
    assert here[MODEL] == str(tmp_path / "new/Big/model.safetensors")


def test_a_dry_run_fetches_nothing(pull: Callable[..., Any], hub: StandIn) -> None:
    code, lines, _ = pull("--dry-run")
    assert (code, hub.asked) == (0, [])
    assert not huggingface_folder().exists()
    assert str(snapshot(MODEL)) in lines[0]
    assert lines[-1].split() == ["in", "all", "1", "MB", "to", "fetch", "from", hub.url]
    code, unpinned, _ = pull("--dry-run", family=family(pin=False))
    assert (code, unpinned) == (0, lines)
    assert [method for method, *_ in hub.asked] == ["HEAD"] * 3


def test_a_broken_transfer_goes_on_where_it_stopped(pull: Callable[..., Any], hub: StandIn) -> None:
    hub.cuts = [4500]
    assert pull()[0] == 0
    assert snapshot(MODEL).read_bytes() == CONTENT[MODEL]
    assert hub.ranges()[:2] == ["", "bytes=4000-"]


def test_a_later_pull_goes_on_where_the_first_was_stopped(
    pull: Callable[..., Any], hub: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fetch._Counted.write

    def interrupted(self: Any, content: bytes) -> int:
        if self._file.tell() >= 3000:
            raise KeyboardInterrupt
        return real(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(fetch._Counted, "write", interrupted)
        code, _, said = pull()
    assert (code, said) == (
        130, "stopped; what has arrived is kept, and the same command goes on from there.",
    )  # fmt: skip
    assert not snapshot(MODEL).exists()
    (left,) = huggingface_folder().rglob("*.incomplete")
    assert left.read_bytes() == CONTENT[MODEL][:3000]
    hub.asked.clear()
    assert pull()[0] == 0
    assert hub.ranges()[0] == "bytes=3000-"
    assert snapshot(MODEL).read_bytes() == CONTENT[MODEL]


@pytest.mark.parametrize("to", [False, True])
def test_what_has_another_sum_is_removed(
    pull: Callable[..., Any], hub: StandIn, tmp_path: Path, to: bool
) -> None:
    hub.served[MODEL] = CONTENT[MODEL][:-1] + b"?"
    code, _, said = pull(*(("--to", str(tmp_path / "to")) if to else ()))
    wrong = hashlib.sha256(hub.served[MODEL]).hexdigest()
    assert code == 3
    assert said == (
        f"{MODEL}: what has arrived has the SHA-256 {wrong}, not {hub.sum_of(MODEL)}, and was removed; "
        "run the same command again; if it stays so, don't fetch from there."
    )
    folder = tmp_path / "to" if to else huggingface_folder()
    assert not list(folder.rglob("model.safetensors"))
    assert leftovers(folder) == []
    assert not list(folder.rglob("blobs/*"))


def test_what_git_keeps_is_checked_by_gits_name(pull: Callable[..., Any], hub: StandIn) -> None:
    hub.served[KEPT_IN_GIT] = b'{"a": 2}'
    unpinned = family(tokenizer=(published(KEPT_IN_GIT, pin=False),))
    code, _, said = pull(family=unpinned)
    assert code == 3 and f"not that of {hub.sum_of(KEPT_IN_GIT)}, and was removed" in said


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (
            {"statuses": {"model.safetensors": 503}},
            5,
            f"{MODEL}: URL answered with HTTP 503; try again later.",
        ),
        ({"statuses": {"model.safetensors": 401}}, 5, "URL refuses Org/Big (HTTP 401): "),
        ({"statuses": {"model.safetensors": 403}}, 5, 'run "hf auth login" or set HF_TOKEN.'),
        ({"files": {}}, 3, f"{MODEL}: URL has no such file; update wan-core"),
        ({"commit": "d" * 40}, 3, f"{MODEL}: URL has no commit {COMMIT} of it; update"),
        (
            {"headers": {"X-Repo-Commit": "e" * 40}},
            3,
            f"URL has another file under {MODEL}: its commit is {'e' * 40}, not {COMMIT};",
        ),
        (
            {"headers": {"X-Linked-Etag": '"' + "a" * 64 + '"'}},
            3,
            f"its SHA-256 is {'a' * 64}, not ",
        ),
        ({"headers": {"X-Linked-Size": "17"}}, 3, "its size is 17 bytes, not 10240 bytes; nothing"),
        (
            {"headers": {"X-Repo-Commit": "../../x"}},
            5,
            "URL does not answer as the Hugging Face Hub",
        ),
        (
            {"headers": {"X-Linked-Etag": '"../../x"'}},
            5,
            "URL does not answer as the Hugging Face H",
        ),
    ],
)
def test_what_the_hub_says_first(
    pull: Callable[..., Any], hub: StandIn, change: dict[str, Any], code: int, says: str
) -> None:
    for name, value in change.items():
        setattr(hub, name, value)
    failed, lines, said = pull()
    assert (failed, lines) == (code, [])
    assert says.replace("URL", hub.url) in said
    assert hub.ranges() == []
    assert not huggingface_folder().exists()


@pytest.mark.parametrize(
    ("endpoint", "code", "says"),
    [
        ("http://127.0.0.1:9", 5, "127.0.0.1:9 can't be reached (ConnectError); check the network"),
        (
            "127.0.0.1",
            2,
            'HF_ENDPOINT: "127.0.0.1" is no address of a hub; write it as "https://…".',
        ),
    ],
)
def test_no_hub(
    pull: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, endpoint: str, code: int, says: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    failed, _, said = pull()
    assert failed == code and says in said


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ImportError("no socksio"), 2, "can't be asked (ImportError: no socksio); check HF_TOKEN"),
        (ValueError("odd proxy"), 2, "can't be asked (ValueError: odd proxy); check HF_TOKEN"),
        (FileNotFoundError(2, "x"), 2, "certificates of the network are not where the environment"),
        (
            ConnectionError(5, "gone"),
            5,
            "the transfer broke off (gone); run the same command again",
        ),
    ],
)
def test_what_the_client_meets(
    pull: Callable[..., Any],
    hub: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    code: int,
    says: str,
) -> None:
    def refuse(*arguments: object, **more: object) -> None:
        raise error

    monkeypatch.setattr(hub_module, "get_hf_file_metadata", refuse)
    failed, _, said = pull()
    assert failed == code and says in said


def test_variables_that_the_library_does_not_take(tmp_path: Path) -> None:
    # it reads them as it is imported
    environment = {**os.environ, "HF_HUB_DOWNLOAD_TIMEOUT": "soon"}
    pull = [sys.executable, "-m", "wan_core", "models", "pull", "wan2.1-t2v-1.3b"]
    ended = subprocess.run(pull, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("a variable of the Hub's library is wrong (ValueError: ")
    assert ended.stderr.endswith("; check the variables that begin with HF_.\n")


def test_offline(pull: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    # set before the library's client exists, as the environment would
    huggingface_hub.close_session()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    code, _, said = pull()
    huggingface_hub.close_session()
    assert code == 5
    assert said == f"{MODEL}: HF_HUB_OFFLINE forbids to ask the Hub; unset HF_HUB_OFFLINE."


def test_a_full_disk_is_said_before_anything_is_fetched(
    pull: Callable[..., Any], hub: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage("/")._replace(free=9_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    code, _, said = pull()
    assert code == 5
    assert said.startswith("1 MB have to be fetched, and the disk of ")
    assert said.endswith(
        "has 1 MB free; free some space, or name a folder on another disk with --to."
    )
    assert hub.ranges() == []


def test_more_than_was_announced_is_not_taken(pull: Callable[..., Any], hub: StandIn) -> None:
    hub.served[MODEL] = CONTENT[MODEL] * 50
    code, _, said = pull()
    assert code == 5 and said.startswith(f"{MODEL}: the transfer broke off (")
    assert not snapshot(MODEL).exists()
    for path in huggingface_folder().rglob("*"):
        assert path.is_dir() or path.stat().st_size <= len(CONTENT[MODEL]) + 1
    hub.served = {}
    assert pull()[0] == 0


def test_two_programs_do_not_fetch_the_same_file(
    pull: Callable[..., Any], hub: StandIn, tmp_path: Path
) -> None:
    with fetch._sole(
        tmp_path / "to/Big" / f".model.safetensors.{hub.sum_of(MODEL)[:16]}.incomplete"
    ):
        code, _, said = pull("--to", str(tmp_path / "to"))
    assert code == 5 and said.endswith(
        "incomplete: another program is fetching this file; wait for it."
    )
    assert pull("--to", str(tmp_path / "to"))[0] == 0
    assert [path for path in (tmp_path / "to").rglob("*") if path.name.startswith(".")] == []


def test_a_folder_that_cannot_be_written(pull: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "Big").touch()
    code, _, said = pull("--to", str(tmp_path))
    assert code == 5
    assert said == (
        f'"{tmp_path}/Big" can\'t be written (File exists); name another folder with --to.'
    )


def test_names_from_a_list_stay_inside(
    pull: Callable[..., Any], hub: StandIn, tmp_path: Path
) -> None:
    pattern = family(transformer=(PublishedFile("Org/Big", "*.safetensors"),))
    for evil in (
        "../../evil.safetensors",
        "/tmp/evil.safetensors",
        "a\\..\\evil.safetensors",
        "\x1b.safetensors",
    ):
        hub.listing = [evil]
        code, _, said = pull("--to", str(tmp_path / "to"), family=pattern)
        assert code == 3
        assert "which would lie outside its folder; don't fetch from there." in said
        assert said.isprintable()
    assert hub.ranges() == []
    assert not (tmp_path / "to").exists()


def test_a_pattern_stands_for_all_files_of_the_list(pull: Callable[..., Any], hub: StandIn) -> None:
    shards = {f"Org/Big/t/part-{n}.safetensors": b"%d" % n for n in range(3)}
    hub.files |= shards
    pattern = family(transformer=(PublishedFile("Org/Big", "t/part*.safetensors"),))
    assert pull(family=pattern)[0] == 0
    for name, content in shards.items():
        assert snapshot(name).read_bytes() == content
    hub.files = {}
    code, lines, _ = pull(family=pattern)
    assert code == 0 and lines[0].endswith(f"  {snapshot('Org/Big/t')}")


def test_what_is_not_pinned_is_pinned_by_the_first_pull(
    pull: Callable[..., Any], hub: StandIn, tmp_path: Path
) -> None:
    to = ("--to", str(tmp_path / "to"))
    assert pull(*to, family=family(pin=False))[0] == 0
    lock = json.loads((cache_folder() / "wan-core.lock.json").read_text())
    assert lock["files"][MODEL] == {
        "revision": COMMIT,
        "sha256": hub.sum_of(MODEL),
        "bytes": len(CONTENT[MODEL]),
    }
    sum_ = hashlib.sha256(CONTENT[KEPT_IN_GIT]).hexdigest()
    assert lock["files"][KEPT_IN_GIT]["sha256"] == sum_
    # somebody has put another file there since
    shutil.rmtree(tmp_path / "to")
    hub.files[MODEL] = b"another"
    code, _, said = pull(*to, family=family(pin=False))
    assert code == 3 and f"has another file under {MODEL}" in said
    hub.commit = "d" * 40
    code, _, said = pull(*to, family=family(pin=False))
    assert code == 3 and f"has no commit {COMMIT} of it" in said
    (cache_folder() / "wan-core.lock.json").unlink()
    assert pull(*to, family=family(pin=False))[0] == 0
    assert (tmp_path / "to/Big/model.safetensors").read_bytes() == b"another"


@pytest.mark.parametrize(
    "content", ["", "[]", '{"format": 2}', '{"format": 1, "files": {"a/b/../c": {}}}', "[" * 10**5]
)
def test_a_damaged_lock_is_said(pull: Callable[..., Any], content: str) -> None:
    cache_folder().mkdir(parents=True)
    (cache_folder() / "wan-core.lock.json").write_text(content)
    code, _, said = pull()
    assert code == 3 and said.endswith("this is no list of fetched files; delete it.")


def test_verify_sums_what_is_here(pull: Callable[..., Any], hub: StandIn, tmp_path: Path) -> None:
    to = ("--to", str(tmp_path))
    assert pull(*to)[0] == 0
    code, lines, _ = pull(*to, "--verify")
    assert code == 0 and lines[0].endswith("model.safetensors (checked)")
    damaged = tmp_path / "Big/model.safetensors"
    damaged.write_bytes(CONTENT[MODEL][:-1] + b"?")
    assert pull(*to)[0] == 0
    code, _, said = pull(*to, "--verify")
    assert code == 3
    assert said.startswith(f"{damaged}: its SHA-256 is ")
    assert said.endswith("it is damaged, or another file; delete it and pull again.")
    # a file of another size is not taken for the right one
    damaged.write_bytes(b"half")
    hub.asked.clear()
    Library([tmp_path]).look_again()
    assert pull(*to)[0] == 0
    assert len(hub.ranges()) == 1
    assert damaged.read_bytes() == CONTENT[MODEL]


def test_shards_are_fetched_to_where_their_index_goes(
    pull: Callable[..., Any], hub: StandIn, tmp_path: Path
) -> None:
    names = [
        "Org/Big/m.safetensors.index.json",
        "Org/Big/m-1.safetensors",
        "Org/Big/m-2.safetensors",
    ]
    hub.files |= {name: name.encode() for name in names}
    files = tuple(PublishedFile("Org/Big", name[8:], COMMIT) for name in names)
    alone = tmp_path / "old/Big/m-1.safetensors"
    alone.parent.mkdir(parents=True)
    alone.write_bytes(names[1].encode())
    sharded = family(transformer=files)
    hub.statuses = {"m-2": 503}
    assert pull(family=sharded)[0] == 5
    hub.statuses = {}
    assert pull(family=sharded)[0] == 0
    assert Library([huggingface_folder()]).component(files) == snapshot(names[0])
    hub.asked.clear()
    snapshot(names[1]).unlink()
    Library([huggingface_folder()]).look_again()
    assert pull(family=sharded)[0] == 0
    assert hub.ranges() == []  # its content was still there
    assert snapshot(names[1]).read_bytes() == names[1].encode()


def test_what_makes_no_sense(pull: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for to, says in (
        ("", "--to: the folder must not be empty."),
        (str(tmp_path / "file"), f'--to: the folder "{tmp_path}/file" is no folder.'),
        ("a\x1b", "--to: the folder has a control character (U+001B) in it."),
    ):
        assert pull("--to", to)[::2] == (2, says)
    bundled = family(vae=())
    assert pull(family=bundled)[1] == ["big has no published files to fetch"]


def test_what_a_family_does_without_is_not_fetched(pull: Callable[..., Any], hub: StandIn) -> None:
    look = Component(
        "look", "m:l", published=(PublishedFile("Org/Big", "look.bin"),), optional=True
    )
    more = attrs.evolve(BIG, components={**BIG.components, "look": look})
    code, _, _ = pull(family=more)
    assert code == 0
    assert hub.asked and not any("look.bin" in path for _, path, _ in hub.asked)


def test_where_another_form_of_the_weights_is_here_they_are_not_fetched(
    pull: Callable[..., Any], hub: StandIn, tmp_path: Path
) -> None:
    """What belongs to them is."""
    encoder = attrs.evolve(
        BIG.components["text_encoder"], alternatives=(PublishedFile("Any/Body", "encoder.pt"),)
    )
    more = attrs.evolve(BIG, components={**BIG.components, "text_encoder": encoder})
    other = tmp_path / "Body" / "encoder.pt"
    other.parent.mkdir()
    other.write_bytes(b"weights")
    code, lines, _ = pull("--to", str(tmp_path), family=more)
    assert code == 0
    assert ["text_encoder", "encoder.pt", str(other)] in [line.split() for line in lines]
    assert any("tokenizer.json" in path for _, path, _ in hub.asked)
    assert not any("encoder.pth" in path for _, path, _ in hub.asked)
