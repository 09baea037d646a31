"""SPDX expressions against an allow-list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.licenses import is_allowed
from model.errors import DataError

ALLOWED = frozenset({"MIT", "Apache-2.0"})


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("MIT AND Apache-2.0", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only OR MIT AND GPL-2.0-only", False),
        ("(GPL-3.0-only OR MIT) AND Apache-2.0", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
    ],
)
def test_expressions(expression: str, expected: bool) -> None:
    assert is_allowed(expression, ALLOWED) is expected


def test_an_exception_can_be_allowed_by_its_full_name() -> None:
    assert is_allowed("GPL-2.0-only WITH Classpath-exception-2.0", {"GPL-2.0-only WITH Classpath-exception-2.0"})


@pytest.mark.parametrize(
    "expression", ["", "MIT AND", "AND MIT", "(MIT", "MIT)", "MIT Apache-2.0", "MIT, X", "MIT OR OR X"]
)
def test_malformed_expressions_are_refused(expression: str) -> None:
    with pytest.raises(DataError, match="not an SPDX expression"):
        is_allowed(expression, ALLOWED)


names = st.sampled_from(["MIT", "Apache-2.0", "X", "Y"])
trees = st.recursive(names, lambda inner: st.tuples(st.sampled_from(["AND", "OR"]), inner, inner), max_leaves=8)


@given(trees)
def test_agrees_with_boolean_logic(tree: object) -> None:
    def spdx(node: object) -> str:
        return node if isinstance(node, str) else f"({spdx(node[1])} {node[0]} {spdx(node[2])})"

    def logic(node: object) -> bool:
        if isinstance(node, str):
            return node in ALLOWED
        return (all if node[0] == "AND" else any)([logic(node[1]), logic(node[2])])

    assert is_allowed(spdx(tree), ALLOWED) == logic(tree)
