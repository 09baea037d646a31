"""How a recipe names one version of a corpus that is not a directory here.

Two forms, each with an optional ``?sources=a,b`` that limits it to the shards of these sources:

- ``dvc://REPOSITORY#PATH@REVISION``: what a DVC repository tracks at PATH. REPOSITORY is a path or a git address.
- ``dvc+SCHEME://REMOTE#MD5.dir``: the same by the digest that DVC gave the directory, straight from its remote, for a
  machine without git. ``revision=COMMIT`` may say where the digest was recorded; it is passed on to reports and tags.
"""

import re
from dataclasses import dataclass, replace

from model.errors import DataError

GIT_SCHEMES = ("https", "ssh", "file")
REMOTE_SCHEMES = ("file", "s3", "gs", "az", "abfs", "https", "ssh", "sftp", "memory")
_PREFIX = re.compile(r"dvc(\+[a-z0-9]+)?://")
_GIT = re.compile(r"dvc://(?P<repository>[^#]+)#(?P<path>[^@?#]+)(@(?P<revision>[^?#@]+))?")
_REMOTE = re.compile(r"dvc\+(?P<remote>[a-z0-9]+://[^#]+)#(?P<md5>[0-9a-f]{32}\.dir)")
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z0-9+.-]+)::?//|(?P<helper>[A-Za-z0-9+.-]+)::")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/~^-]*")
_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LOGIN = re.compile(r"://[^/@#]*:[^/@#]*@|https://[^/@#]*@")
FORMS = "dvc://REPOSITORY#PATH@REVISION or dvc+SCHEME://REMOTE#MD5.dir, each with ?sources=a,b if wanted"


@dataclass(frozen=True)
class GitReference:
    """A directory that a DVC repository tracks, at a revision (the last commit when ``None``)."""

    repository: str
    path: str
    revision: str | None = None
    sources: tuple[str, ...] = ()

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"dvc://{self.repository}#{self.path}{at}{_query(self.sources)}"


@dataclass(frozen=True)
class RemoteReference:
    """A directory in a DVC remote, by its digest; ``revision`` is the commit that recorded it, if that is known."""

    remote: str
    md5: str
    sources: tuple[str, ...] = ()
    revision: str | None = None

    def __str__(self) -> str:
        return f"dvc+{self.remote}#{self.md5}{_query(self.sources, self.revision)}"


Reference = GitReference | RemoteReference


def is_reference(text: str) -> bool:
    """Whether a recipe's ``corpus`` names a version instead of a directory."""
    return _PREFIX.match(text) is not None


def parse_reference(text: str) -> Reference:
    """Read a reference.

    Raises:
        DataError: it has another form, a scheme that is not allowed, a login inside, or a path out of the repository.
    """
    body, _, query = text.partition("?")
    _refuse_login(body)
    sources, revision = _options(text, query)
    if (git := _GIT.fullmatch(body)) and revision is None:
        found = GitReference(git["repository"], git["path"].strip("/"), git["revision"])
        _check_git(text, found)
        return replace(found, sources=sources)
    if remote := _REMOTE.fullmatch(body):
        check_remote(remote["remote"])
        return RemoteReference(remote["remote"].rstrip("/"), remote["md5"], sources, revision)
    raise DataError(f"{text!r} is no reference to a version of a corpus; write {FORMS}")


def check_remote(url: str) -> None:
    """Refuse a remote with a login in it or a scheme not in :data:`REMOTE_SCHEMES`; a plain path counts as ``file``.

    Raises:
        DataError: naming the schemes that are allowed.
    """
    _refuse_login(url)
    scheme = url.partition("://")[0] if "://" in url else "file"
    if scheme not in REMOTE_SCHEMES:
        raise DataError(f"remote {url!r} has the scheme {scheme!r}; allowed are {', '.join(REMOTE_SCHEMES)}")


def _refuse_login(text: str) -> None:
    if _LOGIN.search(text):
        raise DataError(
            "an address of a corpus holds a login; addresses are logged and shown, so keep logins in git's credential "
            "helper, the cloud's own configuration, or `dvc remote modify --local`"
        )


def _check_git(text: str, found: GitReference) -> None:
    scheme = _SCHEME.match(found.repository)
    if found.repository.startswith("-") or (scheme and (scheme["scheme"] not in GIT_SCHEMES)):
        raise DataError(
            f"{text!r} names the repository {found.repository!r}; give a path, user@host:path, or an address with one "
            f"of {', '.join(GIT_SCHEMES)}"
        )
    if ".." in found.path.split("/") or not found.path:
        raise DataError(f"{text!r} names the path {found.path!r}; give one inside the repository, without '..'")
    if found.revision is not None and not _REVISION.fullmatch(found.revision):
        raise DataError(f"{text!r} names the revision {found.revision!r}; give a commit, tag or branch")


def _options(text: str, query: str) -> tuple[tuple[str, ...], str | None]:
    """Sources and revision from what follows the question mark."""
    found = dict(item.partition("=")[::2] for item in query.split("&")) if query else {}
    names = tuple(dict.fromkeys(found["sources"].split(","))) if "sources" in found else ()
    revision = found.get("revision")
    wrong = [name for name in names if not _SOURCE.fullmatch(name)] or sorted(found.keys() - {"sources", "revision"})
    if wrong or (revision is not None and not _REVISION.fullmatch(revision)):
        raise DataError(
            f"{text!r} ends in ?{query}; write ?sources=emoji-noto,stamps, the names of shards without .parquet"
        )
    return names, revision


def _query(sources: tuple[str, ...], revision: str | None = None) -> str:
    said = [f"sources={','.join(sources)}"] if sources else []
    said += [f"revision={revision}"] if revision else []
    return f"?{'&'.join(said)}" if said else ""
