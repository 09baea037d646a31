"""Why a row is refused."""


class Refused(Exception):  # noqa: N818 - a verdict on a row, not a fault of the program
    """One row cannot become a record.

    Attributes:
        reason: stable name, such as ``column_missing``.
        message: the reason in words: what was given, the rule, the way out.
        look: what the medium looked like that was refused, where that can be compared later.
    """

    def __init__(self, reason: str, message: str, look: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.look = look
