"""What can be wrong with what an upstream sends, and with what it is asked.

Laws of this file:
- A `GrammarError` blames the upstream, an `UntranslatableError` the request.
- Neither holds a word of what was sent: its text is ours, and for logs.
"""

import enum
from typing import NoReturn


class Reason(enum.Enum):
    """Why an answer is none; the values are those of the faults of an upstream."""

    FAILED = "failed"
    """The upstream says itself that it has failed."""
    GARBLED = "garbled"
    """It is not of the form that was agreed on."""
    CUT = "cut"
    """It began, and did not end."""
    TOO_LARGE = "too_large"


class GrammarError(Exception):
    """What an upstream sent is no answer."""

    def __init__(self, reason: Reason, what: str) -> None:
        """Take the *reason*, and in *what* a phrase that says where it was seen."""
        super().__init__(what)
        self.reason = reason


class TooLongError(GrammarError):
    """A line or an event is longer than any that is read."""

    def __init__(self, what: str) -> None:
        """Take what is too long."""
        super().__init__(Reason.TOO_LARGE, what)


class UntranslatableError(Exception):
    """A request asks for what its upstream has no word for.

    *param* is the place, in OpenAI's path style, and *code* one of OpenAI's words: `unsupported_parameter` for a member
    that has no equal, `unsupported_value` for one that has, but not with this value.
    """

    def __init__(self, param: str, *, code: str) -> None:
        """Take what is known."""
        super().__init__(f"{param}: {code}")
        self.param = param
        self.code = code


def reject(what: str, reason: Reason = Reason.GARBLED) -> NoReturn:
    """Raise `GrammarError` for *what* was seen."""
    raise GrammarError(reason, what)


def refuse(param: str, *, code: str = "unsupported_value") -> NoReturn:
    """Raise `UntranslatableError` for what stands at *param*."""
    raise UntranslatableError(param, code=code)
