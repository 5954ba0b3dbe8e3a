"""What settings may name."""

from collections.abc import Collection, Mapping

import attrs


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
    """The *dialects*, and for each operation whether it forwards; *forwarding* ones can now."""

    dialects: Mapping[str, Dialect]
    operations: Mapping[str, bool]
    forwarding: Collection[str]
