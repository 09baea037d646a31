"""The expectations of Great Expectations that a user may name, with their arguments.

Listed here because a recipe is checked in milliseconds, before any work, and importing Great Expectations takes eight
seconds; a test holds the list against the library. Those about types, queries and other tables are left out.
"""

from typing import NamedTuple

_BOUNDS = ("min_value", "max_value", "strict_min", "strict_max")
COLUMN_ARGUMENTS = ("column", "column_A", "column_B", "column_list")


class Known(NamedTuple):
    """Arguments of an expectation, and whether it judges rows or a table as a whole."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()
    rows: bool = True

    @property
    def arguments(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.required, *self.optional)


def _rows(*required: str, optional: tuple[str, ...] = ()) -> Known:
    return Known(("column", *required), optional)


def _whole(*required: str, optional: tuple[str, ...] = _BOUNDS) -> Known:
    return Known(("column", *required), optional, rows=False)


_PAIR = ("column_A", "column_B")
EXPECTATIONS: dict[str, Known] = {
    "ExpectColumnValuesToBeBetween": _rows(optional=_BOUNDS),
    "ExpectColumnValuesToBeInSet": _rows("value_set"),
    "ExpectColumnValuesToNotBeInSet": _rows("value_set"),
    "ExpectColumnValuesToBeNull": _rows(),
    "ExpectColumnValuesToNotBeNull": _rows(),
    "ExpectColumnValuesToBeUnique": _rows(),
    "ExpectColumnValuesToMatchRegex": _rows(optional=("regex",)),
    "ExpectColumnValuesToNotMatchRegex": _rows("regex"),
    "ExpectColumnValuesToMatchRegexList": _rows("regex_list", optional=("match_on",)),
    "ExpectColumnValuesToNotMatchRegexList": _rows("regex_list"),
    "ExpectColumnValueLengthsToBeBetween": _rows(optional=_BOUNDS),
    "ExpectColumnValueLengthsToEqual": _rows("value"),
    "ExpectColumnValueZScoresToBeLessThan": _rows("threshold", "double_sided"),
    "ExpectColumnPairValuesToBeEqual": Known(_PAIR, ("ignore_row_if",)),
    "ExpectColumnPairValuesAToBeGreaterThanB": Known(_PAIR, ("or_equal", "ignore_row_if")),
    "ExpectColumnPairValuesToBeInSet": Known((*_PAIR, "value_pairs_set"), ("ignore_row_if",)),
    "ExpectCompoundColumnsToBeUnique": Known(("column_list",), ("ignore_row_if",)),
    "ExpectColumnDistinctValuesToBeInSet": _whole("value_set", optional=()),
    "ExpectColumnDistinctValuesToContainSet": _whole("value_set", optional=()),
    "ExpectColumnDistinctValuesToEqualSet": _whole("value_set", optional=()),
    "ExpectColumnMostCommonValueToBeInSet": _whole("value_set", optional=("ties_okay",)),
    "ExpectColumnMaxToBeBetween": _whole(),
    "ExpectColumnMinToBeBetween": _whole(),
    "ExpectColumnMeanToBeBetween": _whole(),
    "ExpectColumnMedianToBeBetween": _whole(),
    "ExpectColumnStdevToBeBetween": _whole(),
    "ExpectColumnSumToBeBetween": _whole(),
    "ExpectColumnQuantileValuesToBeBetween": _whole("quantile_ranges", optional=("allow_relative_error",)),
    "ExpectColumnUniqueValueCountToBeBetween": _whole(),
    "ExpectColumnProportionOfUniqueValuesToBeBetween": _whole(),
    "ExpectColumnProportionOfNonNullValuesToBeBetween": _whole(),
    "ExpectTableRowCountToBeBetween": Known((), _BOUNDS, rows=False),
    "ExpectTableRowCountToEqual": Known(("value",), rows=False),
}
