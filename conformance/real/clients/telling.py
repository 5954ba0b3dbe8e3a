"""Tells what a program that uses a client sees, one line of JSON a case.

Laws of this file:
- It runs in the environment of the client: it has the standard library, and nothing else.
- What a case raises is told by its classes, which is what a program would catch.
"""

import json
import sys
from collections.abc import Iterator
from typing import Final

Heard = list[str]
"""The pieces that a case has got from a stream, in their order: a stream that breaks leaves them there."""

TEXT: Final = "The quick brown fox jumps over the lazy dog."
"""What is said to the model. The provider of the tests says it back, word by word."""


def tell(program: object) -> None:
    """Run every case of *program*, which are its public methods in their order; print what each returned or raised."""
    for name in (name for name in vars(type(program)) if not name.startswith("_")):
        heard: Heard = []
        try:
            seen = {"answer": getattr(program, name)(heard)}
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            seen = {"raised": list(_raised(error)), "says": str(error)}
        sys.stdout.write(json.dumps({"case": name, "heard": heard, **seen}) + "\n")
        sys.stdout.flush()


def _raised(error: BaseException) -> Iterator[str]:
    """Yield the classes that would catch *error*, and those of what it was raised from, each with its package."""
    for one in type(error).__mro__:
        yield f"{one.__module__.partition('.')[0]}.{one.__qualname__}"
    if error.__cause__ is not None:
        yield from (f"from {name}" for name in _raised(error.__cause__))
