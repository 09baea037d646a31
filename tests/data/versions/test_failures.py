"""Errors of DVC, git and clouds become advice; those of our own stay what they are."""

import pytest

from data.versions.failures import explained
from model.errors import DataError


def named(name: str, base: type[Exception] = Exception) -> type[Exception]:
    return type(name, (base,), {"__module__": "botocore.exceptions"})


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (named("NoCredentialsError")("Unable to locate credentials"), "AWS_ACCESS_KEY_ID"),
        (PermissionError("Access Denied"), "dvc remote modify --local"),
        (ImportError("s3 is supported, but requires 'dvc-s3'"), r"pip install 'dvc\[s3\]'"),
        (ConnectionRefusedError("nobody listens"), "nobody listens"),
        (FileNotFoundError("no bucket"), "no bucket"),
    ],
)
def test_what_others_report_is_explained(error: Exception, says: str) -> None:
    with pytest.raises(DataError, match=says) as raised, explained("push of mine"):
        raise error
    assert str(raised.value).startswith("push of mine: ")


def test_the_cause_of_a_wrapped_error_counts() -> None:
    wrapped = OSError("transfer failed")
    wrapped.__cause__ = named("NoCredentialsError")("Unable to locate credentials")
    with pytest.raises(DataError, match="no access"), explained("push"):
        raise wrapped


def test_our_own_faults_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError), explained("push"):
        _ = 1 / 0
