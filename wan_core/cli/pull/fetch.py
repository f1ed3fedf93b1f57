"""Fetching: everything is asked and checked first, then each file arrives, is summed, and gets its name."""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import attrs
from filelock import FileLock, Timeout

from wan_core.cli.pull.hub import Hub, Remote
from wan_core.cli.pull.pins import Pins
from wan_core.cli.pull.stores import Store
from wan_core.cli.pull.sums import git_name_of, sha256_of
from wan_core.config import cache_folder
from wan_core.contract.descriptions import PublishedFile
from wan_core.contract.errors import ResourceError, WeightsError
from wan_core.contract.events import Listener, TaskFinished, TaskProgress, TaskStarted
from wan_core.contract.options import show
from wan_core.media import free_space
from wan_core.memory import gigabytes

STAGE = "pull"
MEGABYTE = 1_000_000


def look_up(file: PublishedFile, hub: Hub, pins: Pins, *, ask: bool = True) -> list[Remote]:
    """What the Hub has under this name; of a pattern, all files that it stands for.

    Args:
        ask: False = what is known already needs no question.

    Raises:
        WanCoreError: the Hub can't be asked, or has something else than is known.
    """
    if not ask and file.revision and file.sha256 and file.bytes and not file.is_pattern:
        return [Remote(file, file.bytes, file.sha256)]
    return [hub.look(pins.pinned(one) if file.is_pattern else one) for one in hub.expand(file)]


def check_room(remotes: Sequence[Remote], store: Store) -> int:
    """Bytes that still have to arrive.

    Raises:
        ResourceError: the disk has no room for them.
    """
    missing = sum(
        max(0, one.bytes - _size(store.partial(one))) for one in remotes if not store.stored(one)
    )
    free = free_space(store.root)
    if missing > free:
        raise ResourceError(
            f"{gigabytes(missing)} have to be fetched, and the disk of {show(store.root)} has "
            f"{gigabytes(free)} free",
            remedy="free some space, or name a folder on another disk with --to",
        )
    return missing


def fetch(
    remote: Remote, known: PublishedFile, hub: Hub, store: Store, pins: Pins, emit: Listener
) -> Path:
    """Fetch a file, going on where an earlier attempt has stopped, and put it in its place.

    Args:
        known: what was known of the file before the Hub was asked; what was not is noted in ``pins``.

    Raises:
        WanCoreError: it can't be fetched, or is not what it should be; then it is removed.
    """
    partial = store.partial(remote)
    try:
        with _sole(partial):
            content = store.stored(remote)
            if content is None:
                with _task(emit, remote.file.path, remote.bytes) as tick:
                    _download(remote, partial, hub, tick)
                content = partial
            with _task(emit, f"checking {remote.file.path}", remote.bytes) as tick:
                sum_ = _checked(remote, content, tick)
            place = store.publish(remote, content)
        if not (known.revision and known.sha256):
            pins.note(attrs.evolve(remote.file, sha256=sum_, bytes=remote.bytes))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise ResourceError(
            f"{show(Path(error.filename or store.root))} can't be written ({error.strerror or error})",
            remedy="name another folder with --to",
        ) from error
    return place


def verify(path: Path, file: PublishedFile, emit: Listener) -> bool:
    """Compare a file that is here with its sum; False when no sum of it is known.

    Raises:
        WeightsError: it is another file, or damaged.
    """
    real = path.resolve()
    known = file.sha256 or (
        real.name if real.parent.name == "blobs" and len(real.name) == 64 else ""
    )
    if not known or not path.is_file():
        return False
    with _task(emit, f"checking {file.path}", path.stat().st_size) as tick:
        found = sha256_of(path, tick)
    if found != known:
        raise WeightsError(
            f"its SHA-256 is {found}, not {known}: it is damaged, or another file",
            where=str(path),
            remedy="delete it and pull again",
        )
    return True


def _download(remote: Remote, partial: Path, hub: Hub, tick: Callable[[int], None]) -> None:
    if _size(partial) > remote.bytes:
        partial.unlink()
    with partial.open("ab") as file:
        hub.download(remote, _Counted(file, remote.bytes, tick), file.tell())  # type: ignore[arg-type]


def _checked(remote: Remote, content: Path, tick: Callable[[int], None]) -> str:
    """The SHA-256 of what has arrived, when it is what was meant."""
    found = sha256_of(content, tick)
    wanted = {remote.file.sha256 or found, remote.sum if len(remote.sum) == 64 else found}
    if wanted != {found} or (len(remote.sum) == 40 and git_name_of(content) != remote.sum):
        content.unlink()
        other = ", ".join(sorted(wanted - {found})) or f"that of {remote.sum}"
        raise WeightsError(
            f"what has arrived has the SHA-256 {found}, not {other}, and was removed",
            where=remote.file.name,
            remedy="run the same command again; if it stays so, don't fetch from there",
        )
    return found


@contextmanager
def _sole(partial: Path) -> Iterator[None]:
    """Only one program fetches a file at a time."""
    name = hashlib.sha256(str(partial).encode(errors="surrogateescape")).hexdigest()
    lock = FileLock(cache_folder() / "locks" / f"{name[:32]}.lock", timeout=0)
    for file in (partial, Path(lock.lock_file)):
        file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with lock:
            yield
    except Timeout:
        raise ResourceError(
            "another program is fetching this file", where=str(partial), remedy="wait for it"
        ) from None


@contextmanager
def _task(emit: Listener, task: str, size: int) -> Iterator[Callable[[int], None]]:
    """A task whose progress is counted in megabytes."""
    start, shown = time.perf_counter(), 0

    def tick(done: int) -> None:
        nonlocal shown
        if done // MEGABYTE > shown:
            shown = done // MEGABYTE
            emit(TaskProgress(STAGE, task, shown))

    emit(TaskStarted(STAGE, task, max(1, size // MEGABYTE), "MB"))
    yield tick
    emit(TaskFinished(STAGE, task, time.perf_counter() - start))


class _Counted:
    """A file that tells how long it has become, and does not become longer than it should.

    What else a file can, the file itself does.
    """

    def __init__(self, file: IO[bytes], most: int, tick: Callable[[int], None]) -> None:
        self._file = file
        self._most = most
        self._tick = tick

    def write(self, content: bytes) -> int:
        written = self._file.write(content[: max(0, self._most - self._file.tell() + 1)])
        self._tick(self._file.tell())
        if self._file.tell() > self._most:
            raise OSError(f"more than {self._most} bytes arrive")
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
