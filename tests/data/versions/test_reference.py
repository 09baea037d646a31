"""References are read back as they are written, and what could run or read something else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.versions.reference import GitReference, RemoteReference, is_reference, parse_reference
from model.errors import DataError

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
REPOSITORIES = st.one_of(
    PATHS.map("/srv/{}".format), PATHS.map("../{}".format), PATHS.map("https://host.example/{}.git".format),
    PATHS.map("git@host.example:{}".format), PATHS.map("ssh://git@host.example/{}".format),
)  # fmt: skip
SOURCES = st.lists(NAMES, max_size=3, unique=True).map(tuple)


@given(REPOSITORIES, PATHS, st.none() | PATHS, SOURCES)
def test_a_written_git_reference_is_read_back(
    repository: str, path: str, revision: str | None, sources: tuple[str, ...]
) -> None:
    reference = GitReference(repository, path, revision, sources)
    assert is_reference(str(reference))
    assert parse_reference(str(reference)) == reference


@given(st.sampled_from(["s3", "gs", "file", "az", "https"]), PATHS, SOURCES, st.none() | NAMES)
def test_a_written_remote_reference_is_read_back(
    scheme: str, path: str, sources: tuple[str, ...], revision: str | None
) -> None:
    reference = RemoteReference(f"{scheme}:///{path}", "0" * 32 + ".dir", sources, revision)
    assert parse_reference(str(reference)) == reference


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_message(text: str) -> None:
    try:
        parsed = parse_reference(f"dvc://{text}")
    except DataError:
        return
    assert parse_reference(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dvc://ext::sh -c evil#data@v1", "names the repository"),
        ("dvc://ext::https://x/y#data@v1", "names the repository"),
        ("dvc://git://host/x#data@v1", "https, ssh, file"),
        ("dvc://http://host/x#data@v1", "https, ssh, file"),
        ("dvc://--upload-pack=evil#data@v1", "names the repository"),
        ("dvc:///repo#../../etc@v1", "without '..'"),
        ("dvc:///repo#data@--output=x", "commit, tag or branch"),
        ("dvc://https://me:secret@host/x#data@v1", "holds a login"),
        ("dvc+s3://key:secret@bucket/x#" + "0" * 32 + ".dir", "holds a login"),
        ("dvc+ftp://bucket/x#" + "0" * 32 + ".dir", "allowed are file, s3"),
        ("dvc+s3://bucket/x#123.dir", "is no reference"),
        ("dvc:///repo@v1", "is no reference"),
        ("dvc:///repo#data@v1?shards=a", "?sources="),
        ("dvc:///repo#data@v1?sources=../a", "?sources="),
        ("dvc:///repo#data@v1?revision=v2", "is no reference"),
    ],
)
def test_what_is_not_allowed_is_refused_with_the_way_out(text: str, says: str) -> None:
    with pytest.raises(DataError) as error:
        parse_reference(text)
    assert says in str(error.value)
    assert "secret" not in str(error.value)


def test_a_directory_is_no_reference() -> None:
    assert not is_reference("data/starter")
    assert not is_reference("/srv/dvc/starter")
