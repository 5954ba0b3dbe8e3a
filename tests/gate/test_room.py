"""How many requests may be in work at once."""

from collections.abc import Callable

import pytest
from gateway_conformance.rules import confirms

from documents import tiny
from dragoman.contract import Operation, compile_contract
from dragoman.errors import Kind, Refusal
from dragoman.gate.room import Room

FORWARDING = [compile_contract(tiny(**{"x-phase": phase})).operations[0] for phase in (1, 2)]
OF_ITSELF = compile_contract(tiny()).operations[0]


@confirms("ADR-0033.R1")
@pytest.mark.parametrize("operation", FORWARDING, ids=["phase 1", "phase 2"])
def test_one_request_more_than_there_are_places_is_refused(operation: Operation) -> None:
    """The places are taken one by one, and the next request is told to come again after a second."""
    room, endings = Room(capacity=2), list[Callable[[], None]]()
    for _ in range(2):
        room.enter(operation, endings.append)

    with pytest.raises(Refusal) as caught:
        room.enter(operation, endings.append)

    assert (Kind.OVERLOADED, {"retry_after": 1}) == (caught.value.kind, caught.value.arguments)
    assert (2, 2) == (room.taken, len(endings))


@confirms("ADR-0033.R1")
def test_a_place_is_free_again_when_its_answer_has_ended() -> None:
    """Each ending frees one place, and only that."""
    room, endings = Room(capacity=1), list[Callable[[], None]]()
    for _ in range(3):
        room.enter(FORWARDING[0], endings.append)
        endings.pop()()

    assert (0, []) == (room.taken, endings)


@confirms("ADR-0033.R1")
def test_what_the_gateway_says_about_itself_needs_no_place() -> None:
    """An operation that never forwards is let in to a full room, and takes nothing of it."""
    room, endings = Room(capacity=1), list[Callable[[], None]]()
    room.enter(FORWARDING[0], endings.append)

    room.enter(OF_ITSELF, endings.append)

    assert (1, 1) == (room.taken, len(endings))
