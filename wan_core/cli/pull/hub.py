"""The Hugging Face Hub, as far as files are fetched from it: the only place that talks to the network.

What the Hub answers is somebody else's word: commits, sums and names are checked before they become part of a
path, and every failure becomes one sentence.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import BinaryIO

import attrs

from wan_core.contract.descriptions import PublishedFile
from wan_core.contract.errors import ResourceError, WanCoreError, WeightsError, WorkflowError
from wan_core.contract.options import show
from wan_core.contract.validators import is_inner_path
from wan_core.plugins import brief

# its library tells the Hub about this machine otherwise, and asks it which program has called
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    build_hf_headers,
    disable_progress_bars,
    logging,
)

# everything that goes wrong on the way; the library has changed its HTTP client, not this
TRANSPORT: type[Exception] = HfHubHTTPError.__bases__[0]
MOST_FILES = 10_000
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SUM = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


@attrs.frozen
class Remote:
    """A file as the Hub has it.

    Attributes:
        file: what is wanted, with its revision and no pattern any more.
        bytes: its size.
        sum: SHA-256 of its content (64 digits), or git's name for it (40 digits).
    """

    file: PublishedFile
    bytes: int
    sum: str


class Hub:
    """The Hub, or a mirror that speaks like it.

    Args:
        endpoint: its address; None = ``$HF_ENDPOINT``, else the Hub itself.

    Raises:
        WorkflowError: the address is none.
    """

    def __init__(self, endpoint: str | None = None) -> None:
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip(
            "/"
        )
        if not re.match(r"https?://\w", self.endpoint):
            raise WorkflowError(
                f"{show(self.endpoint)} is no address of a hub",
                where="HF_ENDPOINT",
                remedy='write it as "https://…"',
            )
        self._commits: dict[str, str] = {}
        disable_progress_bars()
        logging.set_verbosity_error()  # type: ignore[no-untyped-call]

    def expand(self, file: PublishedFile) -> list[PublishedFile]:
        """The files that a pattern stands for; any other file is itself.

        Raises:
            WanCoreError: the Hub can't be asked, has none, or gives a name that leaves its folder.
        """
        if not file.is_pattern:
            return [file]
        revision = self._revision(file)
        api = HfApi(endpoint=self.endpoint)
        names: list[str] = []
        with self._told(file):
            listing = api.list_repo_tree(file.repository, recursive=True, revision=revision)
            for number, entry in enumerate(listing):
                if number == MOST_FILES:
                    raise WeightsError(f"{file.repository} has more than {MOST_FILES} files")
                if fnmatchcase(entry.path, file.path):
                    names.append(entry.path)
        for name in names:
            if not is_inner_path(name):
                raise WeightsError(
                    f"{self.endpoint} lists the file {show(name)} in {file.repository}, "
                    "which would lie outside its folder",
                    remedy="don't fetch from there",
                )
        if not names:
            raise WeightsError(f"{self.endpoint} has no file {file.name}", remedy=UPDATE)
        return [attrs.evolve(file, path=name, sha256="", bytes=0) for name in sorted(names)]

    def look(self, file: PublishedFile) -> Remote:
        """Ask for a file's commit, size and sum, and compare them with what is known.

        Raises:
            WanCoreError: the Hub can't be asked, does not have it, or has another one.
        """
        revision = self._revision(file)
        url = self._url(file, revision)
        with self._told(file):
            found = get_hf_file_metadata(url, endpoint=self.endpoint)
        commit, sum_, size = found.commit_hash or "", found.etag or "", found.size
        if not _COMMIT.fullmatch(commit) or not _SUM.fullmatch(sum_) or size is None or size < 0:
            raise ResourceError(
                f"{self.endpoint} does not answer as the Hugging Face Hub does",
                where=file.name,
                remedy="check HF_ENDPOINT, the proxy and the network",
            )
        self._commits.setdefault(file.repository, commit)
        if file.revision and commit != file.revision:
            _refuse(file, "commit", commit, file.revision, self.endpoint)
        if file.sha256 and len(sum_) == 64 and sum_ != file.sha256:
            _refuse(file, "SHA-256", sum_, file.sha256, self.endpoint)
        if file.bytes and size != file.bytes:
            _refuse(file, "size", f"{size} bytes", f"{file.bytes} bytes", self.endpoint)
        return Remote(attrs.evolve(file, revision=commit), size, sum_)

    def download(self, remote: Remote, target: BinaryIO, done: int) -> None:
        """Append the content from byte ``done`` on to ``target``.

        Broken connections are taken up again a few times.

        Raises:
            WanCoreError: the Hub stops answering.
        """
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        with self._told(remote.file):
            http_get(
                self._url(remote.file, remote.file.revision),
                target,
                resume_size=done,
                headers=headers,
                expected_size=remote.bytes,
                displayed_filename=remote.file.path,
            )

    def _revision(self, file: PublishedFile) -> str:
        """The commit that is meant; all files of a repository are fetched from one."""
        return file.revision or self._commits.get(file.repository, "main")

    def _url(self, file: PublishedFile, revision: str) -> str:
        return hf_hub_url(file.repository, file.path, revision=revision, endpoint=self.endpoint)

    @contextmanager
    def _told(self, file: PublishedFile) -> Iterator[None]:
        try:
            yield
        except (WanCoreError, MemoryError):
            raise
        except Exception as error:  # an odd proxy or token raises whatever the client meets it with
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise _explained(error, file, self.endpoint) from error


UPDATE = "update wan-core, or name files of your own in the workflow"


def _refuse(file: PublishedFile, what: str, found: str, known: str, endpoint: str) -> None:
    raise WeightsError(
        f"{endpoint} has another file under {file.name}: its {what} is {found}, not {known}",
        remedy="nothing was fetched; " + UPDATE,
    )


def _explained(error: Exception, file: PublishedFile, endpoint: str) -> WanCoreError:
    """An error of the library, the HTTP client or the network as one sentence."""
    where = file.name
    if isinstance(error, OfflineModeIsEnabled):
        return ResourceError(
            "HF_HUB_OFFLINE forbids to ask the Hub", where=where, remedy="unset HF_HUB_OFFLINE"
        )
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, RevisionNotFoundError):
        return WeightsError(
            f"{endpoint} has no commit {file.revision or 'main'} of it", where=where, remedy=UPDATE
        )
    if isinstance(error, EntryNotFoundError):
        return WeightsError(f"{endpoint} has no such file", where=where, remedy=UPDATE)
    if isinstance(error, GatedRepoError) or status in (401, 403):
        return ResourceError(
            f"{endpoint} refuses {file.repository} (HTTP {status}): it is not there, or not for everybody",
            where=where,
            remedy='accept its terms there, and run "hf auth login" or set HF_TOKEN',
        )
    if isinstance(error, RepositoryNotFoundError):
        return WeightsError(
            f"{endpoint} has no repository {file.repository}", where=where, remedy=UPDATE
        )
    if status is not None:
        return ResourceError(
            f"{endpoint} answered with HTTP {status}", where=where, remedy="try again later"
        )
    if isinstance(error, FileMetadataError):
        return ResourceError(
            f"{endpoint} does not answer as the Hugging Face Hub does",
            where=where,
            remedy="check HF_ENDPOINT, the proxy and the network",
        )
    if isinstance(error, TRANSPORT):
        return ResourceError(
            f"{endpoint} can't be reached ({type(error).__name__})",
            where=where,
            remedy="check the network; what has arrived is kept, and the same command goes on from there",
        )
    if not isinstance(error, OSError):
        return WorkflowError(
            f"{endpoint} can't be asked ({brief(error)})",
            where=where,
            remedy="check HF_TOKEN, HF_ENDPOINT and the variables of the proxy, such as HTTPS_PROXY",
        )
    if isinstance(error, FileNotFoundError):
        return WorkflowError(
            "the certificates of the network are not where the environment says",
            where=where,
            remedy="correct or unset SSL_CERT_FILE and SSL_CERT_DIR",
        )
    return ResourceError(
        f"the transfer broke off ({getattr(error, 'strerror', None) or type(error).__name__})",
        where=where,
        remedy="run the same command again",
    )
