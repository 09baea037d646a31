"""Record a corpus as a version, send it to a remote and bring it back: DVC does the work, through its API.

A corpus is tracked by a ``.dvc`` file beside it, or is an output of a stage in ``dvc.yaml``. Both work in a git
checkout and, for a directory that is under no version control, without git.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.shards import shard_paths
from data.versions.failures import NO_REMOTE, explained
from data.versions.fetch import PROBES, file_md5
from data.versions.reference import GitReference, Reference, RemoteReference, check_remote
from model.errors import DataError

DEFAULT_REMOTE = "storage"


@dataclass(frozen=True)
class Recorded:
    """A recorded version.

    Attributes:
        md5: DVC's digest of the directory.
        files: number of files.
        size: bytes in all.
        commit: files to commit to git, relative to ``root``; empty without git.
        root: the DVC repository.
    """

    md5: str
    files: int
    size: int
    commit: tuple[str, ...]
    root: Path


def add(corpus: Path, *, no_scm: bool = False) -> Recorded:
    """Record the present content of a corpus; a repository is started where there is none.

    Args:
        corpus: directory of shards.
        no_scm: start the repository without git, beside the corpus.

    Raises:
        DataError: there are no shards, or no git checkout and ``no_scm`` is not set, or git tracks the files.
    """
    corpus = corpus.absolute()
    shard_paths(corpus)
    root = repository_root(corpus) or _start(corpus, no_scm)
    _ignore_probes(root, corpus)
    with _opened(root, f"{corpus}") as repo:
        out = _output(repo, corpus)
        if out is None:
            stage = repo.add([str(corpus)])[0]
        elif out.use_cache:
            stage = repo.add([str(corpus)])[0] if out.stage.is_data_source else _commit(repo, out)
        else:
            stage = _commit(repo, out)
        made = next(o for o in stage.outs if Path(o.fs_path) == corpus)
        return Recorded(made.hash_info.value, made.meta.nfiles or 0, made.meta.size or 0, _changed(repo, stage), root)


def push(corpus: Path, *, remote: str | None = None, to: str | None = None) -> int:
    """Send the recorded version to a remote.

    Args:
        corpus: directory of shards.
        remote: name of a configured remote; default: the default one.
        to: address of a remote, made the default one first.

    Returns:
        Number of files sent; what is there already is not sent again.

    Raises:
        DataError: the corpus is not recorded or was changed since, no remote is configured, or there is no access.
    """
    corpus = corpus.absolute()
    root = _root_of(corpus)
    if to is not None:
        set_remote(root, to)
    with _opened(root, f"push of {corpus}") as repo:
        out = _tracked(repo, corpus)
        if not out.use_cache:
            raise DataError(
                f"{corpus} is carried by git itself (cache: false in dvc.yaml): commit and push it with git"
            )
        _expect_unchanged(out, corpus)
        _expect_remote(repo, remote)
        return int(repo.push(targets=[_target(out)], remote=remote))


def pull(corpus: Path, *, remote: str | None = None, force: bool = False) -> int:
    """Bring the recorded version into the directory.

    Args:
        corpus: directory of shards, which need not exist yet.
        remote: name of a configured remote; default: the default one.
        force: throw away local changes.

    Returns:
        Number of files fetched.

    Raises:
        DataError: nothing is recorded for the directory, it was changed, or there is no access.
    """
    corpus = corpus.absolute()
    with _opened(_root_of(corpus), f"pull of {corpus}") as repo:
        out = _tracked(repo, corpus)
        if not out.use_cache:
            raise DataError(f"{corpus} is carried by git itself (cache: false in dvc.yaml): get it with git")
        here = corpus.is_dir() and any(corpus.iterdir())
        if here and not out.changed_checksum():
            return 0
        if here and not force and not _known(repo, corpus):
            raise DataError(
                f"{corpus} was changed and the change is recorded nowhere; keep it with `omnivec data add {corpus}`, "
                "or throw it away with --force"
            )
        fetched = 0 if _complete(repo, out) else _fetch(repo, out, remote)
        # Whatever is in the directory is in the cache, or was to be thrown away: DVC need not ask.
        repo.checkout(targets=[_target(out)], force=True)
        return fetched


def set_remote(root: Path, url: str) -> None:
    """Make an address the default remote of a repository, in ``.dvc/config``, which belongs into git.

    Raises:
        DataError: its scheme is not allowed.
    """
    check_remote(url)
    place = url if "://" in url else str(Path(url).expanduser().resolve())
    with _opened(root, str(root)) as repo, repo.config.edit("repo") as config:
        config["remote"][DEFAULT_REMOTE] = {"url": place}
        config["core"]["remote"] = DEFAULT_REMOTE


def recorded_reference(corpus: Path, revision: str | None = None) -> Reference:
    """Reference to a recorded version of a directory.

    Args:
        corpus: the directory, which need not exist.
        revision: commit, tag or branch, or without git a digest ending in ``.dir``; default: the last commit, or what
            is recorded now.

    Raises:
        DataError: nothing is recorded for the directory, or a repository without git is asked for a revision.
    """
    corpus = corpus.absolute()
    root = _root_of(corpus)
    with _opened(root, str(corpus)) as repo:
        if repo.config["core"].get("no_scm"):
            md5 = revision or str(_tracked(repo, corpus).hash_info.value)
            if not md5.endswith(".dir"):
                raise DataError(
                    f"{root} is not under git, so {md5!r} names nothing there; give a digest ending in .dir"
                )
            kept = repo.cache.local
            store = f"file://{Path(kept.path).parents[1]}" if kept.exists(md5) else _remote_url(repo)
            return RemoteReference(store, md5)
        return GitReference(str(root), corpus.relative_to(root).as_posix(), revision or "HEAD")


def pinned_reference(corpus: Path) -> RemoteReference:
    """Reference to the recorded version by its digest in the default remote, which needs no git to be fetched.

    Raises:
        DataError: nothing is recorded for the directory, or no remote is configured.
    """
    corpus = corpus.absolute()
    with _opened(_root_of(corpus), str(corpus)) as repo:
        return RemoteReference(_remote_url(repo), str(_tracked(repo, corpus).hash_info.value))


def _remote_url(repo: Any) -> str:
    _expect_remote(repo, None)
    url = str(repo.config["remote"][repo.config["core"]["remote"]]["url"])
    return url if "://" in url else f"file://{Path(url).resolve()}"


def repository_root(corpus: Path) -> Path | None:
    """The nearest directory above a corpus that holds a DVC repository."""
    return next((folder for folder in corpus.absolute().parents if (folder / ".dvc").is_dir()), None)


@contextmanager
def _opened(root: Path, what: str) -> Iterator[Any]:
    from dvc.repo import Repo

    with explained(what), _quiet():
        repo = Repo(str(root))
        repo.scm_context.quiet = True
        try:
            yield repo
        finally:
            repo.close()


@contextmanager
def _quiet() -> Iterator[None]:
    """What DVC warns of is raised here, with the way out."""
    logs = [logging.getLogger(name) for name in ("dvc", "dvc_data", "dvc_objects")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)


def _start(corpus: Path, no_scm: bool) -> Path:
    """Start a repository: at the top of the git checkout, or beside the corpus."""
    from dvc.repo import Repo

    checkout = next((folder for folder in corpus.parents if (folder / ".git").exists()), None)
    if checkout is None and not no_scm:
        raise DataError(
            f"{corpus} is in no git checkout; start one (`git init`) so that versions get names and a history, or "
            "record it without git: --no-scm"
        )
    root = corpus.parent if no_scm or checkout is None else checkout
    with explained(str(root)), _quiet():
        repo = Repo.init(str(root), no_scm=no_scm or checkout is None)
        with repo.config.edit("repo") as config:
            config["core"]["analytics"] = False
        repo.close()
    return root


def _ignore_probes(root: Path, corpus: Path) -> None:
    """Keep the findings about the shards, which are made again where they lack, out of the version."""
    ignored = root / ".dvcignore"
    line = f"/{(corpus.relative_to(root) / PROBES).as_posix()}/"
    before = ignored.read_text(encoding="utf-8") if ignored.is_file() else ""
    if line not in before.splitlines():
        ignored.write_text(
            f"{before}{'' if before.endswith(chr(10)) or not before else chr(10)}{line}\n", encoding="utf-8"
        )


def _root_of(corpus: Path) -> Path:
    root = repository_root(corpus)
    if root is None:
        raise DataError(
            f"{corpus} is recorded nowhere: no DVC repository above it; record it with `omnivec data add {corpus}`"
        )
    return root


def _output(repo: Any, corpus: Path) -> Any:
    return next((out for out in repo.index.outs if Path(out.fs_path) == corpus), None)


def _tracked(repo: Any, corpus: Path) -> Any:
    out = _output(repo, corpus)
    if out is None or not out.hash_info:
        known = ", ".join(sorted(str(Path(o.fs_path).relative_to(repo.root_dir)) for o in repo.index.outs)) or "nothing"
        raise DataError(f"{corpus} is not recorded ({repo.root_dir} records {known}); run `omnivec data add {corpus}`")
    return out


def _target(out: Any) -> str:
    return str(out.stage.addressing)


def _commit(repo: Any, out: Any) -> Any:
    """Record an output of a stage of ``dvc.yaml`` as it is, without running the stage."""
    repo.commit(target=out.stage.addressing, force=True)
    repo._reset()  # the index of outputs is kept otherwise
    return _output(repo, Path(out.fs_path)).stage


def _changed(repo: Any, stage: Any) -> tuple[str, ...]:
    from dvc.scm import NoSCM

    if isinstance(repo.scm, NoSCM):
        return ()
    root = Path(repo.root_dir)
    names = [
        Path(stage.path),
        Path(stage.path).parent / ".gitignore",
        root / "dvc.lock",
        root / ".dvc" / "config",
        root / ".dvc" / ".gitignore",
        root / ".dvcignore",
    ]
    return tuple(str(path.relative_to(root)) for path in dict.fromkeys(names) if path.is_file())


def _expect_unchanged(out: Any, corpus: Path) -> None:
    if corpus.is_dir() and out.changed_checksum():
        raise DataError(f"{corpus} was changed since it was recorded; record it first: `omnivec data add {corpus}`")


def _expect_remote(repo: Any, remote: str | None) -> None:
    configured = repo.config["remote"]
    name = remote or repo.config["core"].get("remote")
    if not configured:
        raise DataError(NO_REMOTE)
    if name is None or name not in configured:
        raise DataError(
            f"there is no remote {name or 'by default'}; configured are {', '.join(sorted(configured))}: use --remote"
        )
    check_remote(str(configured[name]["url"]))


def _fetch(repo: Any, out: Any, remote: str | None) -> int:
    """Fetch into the cache, completely: DVC's checkout of a version that misses files deletes the directory."""
    _expect_remote(repo, remote)
    fetched = int(repo.fetch(targets=[_target(out)], remote=remote))
    if not _complete(repo, out):
        raise DataError(
            f"the remote lacks {out.hash_info.value} or a file of it: run `omnivec data push` where that version was "
            "recorded. Nothing was changed here"
        )
    return fetched


def _complete(repo: Any, out: Any) -> bool:
    """Whether the cache holds the recorded version with all its files."""
    store = repo.cache.local
    if not store.exists(out.hash_info.value):
        return False
    return all(store.exists(oid.value) for _, (_, oid) in _tree(store, out.hash_info))


def _tree(store: Any, identity: Any) -> Any:
    from dvc_data.hashfile.tree import Tree

    return Tree.load(store, identity)._dict.items()


def _known(repo: Any, corpus: Path) -> bool:
    """Whether every file that lies in a directory is also in the cache, so that it may be replaced."""
    files = [path for path in corpus.rglob("*") if path.is_file() and path.relative_to(corpus).parts[0] != PROBES]
    return all(repo.cache.local.exists(file_md5(path)) for path in files)
