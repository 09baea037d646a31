"""What DVC and file systems report, in the words of somebody who wants to get on."""

from collections.abc import Iterator
from contextlib import contextmanager

from model.errors import DataError, OmnivecError

NO_REMOTE = (
    "no remote is configured, so there is nowhere to keep the files. Add one: `omnivec data push --to "
    "s3://BUCKET/PREFIX` (or gs://, az://, ssh://, or a directory)"
)
_LOGIN = (
    "check the login: environment variables (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS, ...), the cloud's own "
    "configuration file, or `dvc remote modify --local NAME KEY VALUE`; in a pod, a secret as environment"
)
_DENIED = ("NoCredentials", "AccessDenied", "Forbidden", "InvalidAccessKey", "Permission", "AuthError", "Unauthorized")


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn the errors of DVC, git and fsspec inside the block into a :class:`DataError` that says what to do."""
    try:
        yield
    except OmnivecError:
        raise
    except Exception as error:
        message = advice(error)
        if message is None:
            raise
        raise DataError(f"{what}: {message}") from error


def advice(error: BaseException) -> str | None:
    """What an error means and the way out; ``None`` for one that is nobody's fault but ours."""
    names = [type(e).__name__ for e in _chain(error)]
    said = "; ".join(dict.fromkeys(str(e).strip() for e in _chain(error) if str(e).strip()))
    if {"NoRemoteError", "NoRemoteInExternalRepoError"} & set(names) or "no remote specified" in said:
        return NO_REMOTE
    if {"RemoteMissingDepsError", "ImportError", "ModuleNotFoundError"} & set(names[:1]):
        return f"the file system of that remote is not installed ({error}): pip install 'dvc[s3]' (or gs, azure, ssh)"
    if any(mark in name for name in names for mark in _DENIED) or "credentials" in said.lower():
        return f"no access ({said}); {_LOGIN}"
    if {"CloneError", "GitAuthError", "InvalidRemoteSCMRepo"} & set(names):
        return f"the repository cannot be reached ({said}); check the address, and git's own access to it"
    if {"RevError", "UnknownRevisionError"} & set(names):
        return f"there is no such revision ({said}); name a commit, tag or branch that was pushed"
    if "NotDvcRepoError" in names:
        return f"not a DVC repository ({said}); start one with `omnivec data add`"
    if _is_theirs(error):
        return said or names[0]
    return None


def _is_theirs(error: BaseException) -> bool:
    home = type(error).__module__.partition(".")[0]
    return home in {"dvc", "dvc_data", "dvc_objects", "scmrepo", "fsspec"} or isinstance(error, OSError)


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in found:
        found.append(at)
        at = at.__cause__ or at.__context__
    return found
