"""Where the files of a version lie: listed with their digests, and opened one by one."""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from data.versions.reference import GitReference, Reference, RemoteReference, check_remote
from model.errors import DataError

_MD5 = re.compile(r"[0-9a-f]{32}")
_LAYOUT = "files/md5"
_MOST_LISTING = 256 * 2**20


@dataclass(frozen=True)
class Entry:
    """A file of a version: its name in the directory, and its MD5 unless git itself carries it."""

    name: str
    md5: str | None


@dataclass(frozen=True)
class Origin:
    """A version that was looked up.

    Attributes:
        reference: the reference with its revision pinned.
        entries: its files.
        open: opens one of them for reading; the file can seek.
        md5: DVC's digest of the whole directory, ``None`` when git carries the files.
        remote: address of the place that holds the files.
        revision: commit, ``None`` without git.
    """

    reference: Reference
    entries: tuple[Entry, ...]
    open: Callable[[Entry], IO[bytes]]
    md5: str | None
    remote: str
    revision: str | None = None

    @property
    def name(self) -> str:
        """What the directory is called."""
        return self.reference.path.rsplit("/", 1)[-1] if isinstance(self.reference, GitReference) else "corpus"


def portable(found: Origin) -> Reference:
    """The reference that a machine without git can use, when the files lie in a remote that others reach too."""
    shared = found.remote.partition("://")[0] not in ("file", "memory")
    if not isinstance(found.reference, GitReference) or found.md5 is None or not shared:
        return found.reference
    return RemoteReference(found.remote, found.md5, found.reference.sources, found.revision)


@contextmanager
def origin(reference: Reference) -> Iterator[Origin]:
    """Look a version up; its files can be opened until the block ends.

    Raises:
        DataError: there is no such repository, revision, path or remote, or no access to it.
    """
    from data.versions.failures import explained

    with explained(str(reference)):
        if isinstance(reference, RemoteReference):
            yield _in_remote(reference)
        else:
            with _in_repository(reference) as found:
                yield found


def _in_remote(reference: RemoteReference) -> Origin:
    import fsspec

    files, root = fsspec.core.url_to_fs(reference.remote)

    def place(md5: str) -> str:
        return f"{root.rstrip('/')}/{_LAYOUT}/{md5[:2]}/{md5[2:]}"

    try:
        with files.open(place(reference.md5), "rb") as listing:
            text = listing.read(_MOST_LISTING)
    except FileNotFoundError:
        raise DataError(
            f"{reference.remote} holds no {reference.md5}; push it (`omnivec data push`) or correct the digest"
        ) from None
    entries = _entries(text, reference.md5)

    def opened(entry: Entry) -> IO[bytes]:
        file: IO[bytes] = files.open(place(str(entry.md5)), "rb")
        return file

    return Origin(reference, entries, opened, reference.md5, reference.remote, reference.revision)


def _entries(text: bytes, md5: str) -> tuple[Entry, ...]:
    import hashlib

    found = hashlib.md5(text, usedforsecurity=False).hexdigest()
    if f"{found}.dir" != md5:
        raise DataError(f"the list of files {md5} has the digest {found}.dir: it is damaged; push the version again")
    return tuple(_entry(str(item["relpath"]), str(item["md5"])) for item in json.loads(text))


def _entry(name: str, md5: str | None) -> Entry:
    """Check what somebody else wrote before it becomes a path."""
    path = Path(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or (md5 is not None and not _MD5.fullmatch(md5)):
        raise DataError(f"the list of files names {name!r} ({md5}), which is no file inside the directory")
    return Entry(path.as_posix(), md5)


@contextmanager
def _in_repository(reference: GitReference) -> Iterator[Origin]:
    address = _address(reference.repository)
    reference = replace(reference, repository=address)
    with _here(address) as repo:
        if repo is not None and repo.config["core"].get("no_scm"):
            yield _without_git(repo, reference)
            return
        recorded = _recorded(repo, reference.path) if repo is not None else None
    with _at(reference, here=repo is not None) as files:
        revision = str(files.repo.get_rev())
        tracked = _recorded(files.repo, reference.path)
        if repo is not None and reference.revision is None and recorded != tracked:
            raise DataError(
                f"{address} records {recorded} for {reference.path}, its last commit {revision[:10]} {tracked}; "
                "commit the .dvc file first, or name the revision that you mean with @REVISION"
            )
        yield _listed(files, replace(reference, revision=revision), tracked)


@contextmanager
def _here(address: str) -> Iterator[Any]:
    """The repository in a directory of this machine; ``None`` for one that has to be cloned."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    repo = None
    if Path(address).is_dir():
        with suppress(NotDvcRepoError):
            repo = Repo(address)
    try:
        yield repo
    finally:
        if repo is not None:
            repo.close()


@contextmanager
def _at(reference: GitReference, *, here: bool) -> Iterator[Any]:
    """The files of a repository at a revision."""
    from dvc.api import DVCFileSystem

    revision = reference.revision or "HEAD"
    # HEAD of DVC's clone is what was cloned first; without a revision it takes that of the repository.
    files = DVCFileSystem(reference.repository, rev=None if revision == "HEAD" and not here else revision)
    try:
        yield files
    finally:
        files.repo.close()


def _listed(files: Any, reference: GitReference, md5: str | None) -> Origin:
    if not files.isdir(reference.path):
        raise DataError(f"{reference} is no directory in that version of the repository; name one that DVC tracks")
    found = files.find(reference.path, detail=True)
    names = {path.removeprefix(reference.path).lstrip("/"): info.get("md5") for path, info in found.items()}
    entries = tuple(_entry(name, md5) for name, md5 in sorted(names.items()))
    stored = all(entry.md5 for entry in entries)
    remote = _remote_of(files.repo) if stored else reference.repository

    def opened(entry: Entry) -> IO[bytes]:
        file: IO[bytes] = files.open(f"{reference.path}/{entry.name}", "rb")
        return file

    return Origin(reference, entries, opened, md5 if stored else None, remote, reference.revision)


def _without_git(repo: Any, reference: GitReference) -> Origin:
    """A repository without git has one version, the recorded one; older ones have digests."""
    md5 = reference.revision or _recorded(repo, reference.path)
    if md5 is None or not md5.endswith(".dir"):
        raise DataError(
            f"{reference.repository} is not under git and records "
            f"{_recorded(repo, reference.path) or 'nothing'} for {reference.path}: leave out @{reference.revision}, or "
            "name an older version by its digest, @MD5.dir"
        )
    store = repo.cache.local
    place = f"file://{Path(store.path).parents[1]}" if store.exists(md5) else _remote_of(repo)
    return replace(
        _in_remote(RemoteReference(place, md5, reference.sources)), reference=replace(reference, revision=md5)
    )


def _recorded(repo: Any, path: str) -> str | None:
    place = str(Path(repo.root_dir) / path)
    out = next((out for out in repo.index.outs if out.fs_path == place), None)
    return str(out.hash_info.value) if out is not None and out.hash_info else None


def _address(repository: str) -> str:
    """An address as it is, a path here in full, so that a pinned reference means the same in every directory."""
    path = Path(repository).expanduser()
    return str(path.resolve()) if "://" not in repository and path.is_dir() else repository


def _remote_of(repo: Any) -> str:
    """Address of the default remote; the repository's own cache when none is configured."""
    name = repo.config["core"].get("remote")
    if name is None:
        return f"file://{Path(repo.cache.local.path).parents[1]}"
    url = str(repo.config["remote"][name]["url"])
    check_remote(url)
    return url if "://" in url else f"file://{Path(url).absolute()}"
