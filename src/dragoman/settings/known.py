"""What settings may name."""

from collections.abc import Callable, Collection, Iterable, Mapping

import attrs

from dragoman.model import Guardrail, Provider


@attrs.frozen(kw_only=True)
class Dialect:
    """What a dialect adds: *switches* (dotted name in the file -> operation), and what is *off* by default.

    *asks* is whether any of its operations asks for a credential.
    """

    switches: Mapping[str, str]
    off: frozenset[str]
    asks: bool = True


@attrs.frozen(kw_only=True)
class Known:
    """The *dialects*, and for each operation whether it forwards; *forwarding* ones can now.

    *check_provider* and *check_guardrail* say what is wrong with one that only those know who work with it: its quirks,
    its detectors and patterns.
    """

    dialects: Mapping[str, Dialect]
    operations: Mapping[str, bool]
    forwarding: Collection[str]
    check_provider: Callable[[Provider], Iterable[str]] = lambda _: ()
    check_guardrail: Callable[[Guardrail], Iterable[str]] = lambda _: ()
