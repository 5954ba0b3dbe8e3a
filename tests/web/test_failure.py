"""Of a fault of ours its type and places are logged, and never its text."""

import json

from gateway_conformance.rules import confirms

from dragoman.contract.validation import Schema
from dragoman.model import RequestEvent
from dragoman.web.failure import failure_fields
from treaty import TreatyError

EVENT = RequestEvent(request_id="r", trace_id="t")


def caught() -> TreatyError:
    """Return an error that passed through our own code."""
    try:
        Schema({}, {"canary": 1}, where="here")
    except TreatyError as error:
        return error
    raise AssertionError


@confirms("ADR-0015.R3")
def test_a_failure_is_its_type_and_its_places() -> None:
    """The ids, the type and the places in our own modules are told, the innermost place last, and no text."""
    fields = failure_fields(caught(), EVENT)

    assert ("r", "t", "treaty.errors.TreatyError") == (fields["request_id"], fields["trace_id"], fields["error"])
    places = fields["places"]
    assert isinstance(places, list)
    assert ["dragoman.contract.validation"] == sorted({place.partition(":")[0] for place in places})
    assert "canary" not in json.dumps(fields)


def test_a_failure_without_a_traceback_has_no_places() -> None:
    """An error that was never raised has a type and no place."""
    expected = {"request_id": "r", "trace_id": "t", "error": "builtins.ValueError", "places": []}

    assert expected == failure_fields(ValueError("canary"), EVENT)
