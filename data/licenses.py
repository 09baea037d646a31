"""Which licences a corpus may hold: SPDX expressions against an allow-list."""

import re
from collections.abc import Collection

from model.errors import DataError

_TOKEN = re.compile(r"\s*(\(|\)|[A-Za-z0-9.+:-]+)")
_WORDS = {"AND", "OR", "WITH", "(", ")"}


def is_allowed(expression: str, allowed: Collection[str]) -> bool:
    """Whether an SPDX expression can be satisfied with allowed licences only.

    ``A AND B`` needs both, ``A OR B`` one of them; ``A WITH exception`` counts as ``A``, since an exception only adds
    permissions, or may be allowed by its full name.

    Raises:
        DataError: the expression does not follow the SPDX grammar.
    """
    parser = _Parser(expression, allowed)
    result = parser.any_of()
    parser.expect_end()
    return result


class _Parser:
    """Recursive descent over ``any_of := all_of (OR all_of)*``, ``all_of := one (AND one)*``."""

    def __init__(self, expression: str, allowed: Collection[str]) -> None:
        self.expression = expression
        self.allowed = allowed
        self.tokens = self._tokens()

    def _tokens(self) -> list[str]:
        tokens, at, text = [], 0, self.expression.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise self._error(f"unexpected {text[at:]!r}")
            tokens.append(match[1])
            at = match.end()
        return tokens

    def any_of(self) -> bool:
        result = self.all_of()
        while self._take("OR"):
            # Both sides are always parsed, so that a broken right side is found.
            result = self.all_of() or result
        return result

    def all_of(self) -> bool:
        result = self.one()
        while self._take("AND"):
            result = self.one() and result
        return result

    def one(self) -> bool:
        if self._take("("):
            result = self.any_of()
            if not self._take(")"):
                raise self._error("a ')' is missing")
            return result
        name = self._name()
        if self._take("WITH"):
            full = f"{name} WITH {self._name()}"
            return name in self.allowed or full in self.allowed
        return name in self.allowed

    def expect_end(self) -> None:
        if self.tokens:
            raise self._error(f"unexpected {self.tokens[0]!r}")

    def _name(self) -> str:
        if not self.tokens or self.tokens[0] in _WORDS:
            raise self._error("a licence name is missing")
        return self.tokens.pop(0)

    def _take(self, word: str) -> bool:
        if self.tokens and self.tokens[0] == word:
            self.tokens.pop(0)
            return True
        return False

    def _error(self, detail: str) -> DataError:
        return DataError(
            f"license {self.expression!r} is not an SPDX expression ({detail}); write e.g. 'MIT AND Unicode-3.0'"
        )
