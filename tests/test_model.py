"""The converter is strict, whatever the contract accepts becomes a record, and rates are read as they are written."""

import json
from collections.abc import Callable
from typing import Any, Final

import attrs
import orjson
import pytest
import schemathesis
from gateway_conformance.rules import confirms
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dragoman.contract import Body, compile_contract
from dragoman.model import SECOND, ChatRequest, Rate, ResponsesRequest, rate_of, rate_text, structure
from fakes import effective

HELLO: Final = {"role": "user", "content": "hello"}


@attrs.frozen(kw_only=True)
class Scalars:
    """One field of each scalar type."""

    text: str = ""
    count: int = 0
    share: float = 0.0
    flag: bool = False


@pytest.mark.parametrize(("name", "value"), [("text", "a"), ("count", 1), ("share", 1.5), ("flag", True)])
def test_a_value_of_exactly_its_type_is_kept(name: str, value: object) -> None:
    """A scalar of exactly the field's type is passed through."""
    assert value == getattr(structure({name: value}, Scalars), name)


@confirms("ADR-0007.R6")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", 1),
        ("text", None),
        ("count", "1"),
        ("count", True),
        ("count", 1.0),
        ("share", 1),
        ("share", "1.5"),
        ("flag", "false"),
        ("flag", 0),
    ],
)
def test_a_value_of_another_type_is_not_coerced(name: str, value: object) -> None:
    """A scalar of another type is an error and never a converted value."""
    with pytest.raises(TypeError, match=r"^expected (str|int|float|bool), got "):
        structure({name: value}, Scalars)


@confirms("ADR-0007.R6")
def test_a_list_is_a_list() -> None:
    """A tuple, or a text, is not taken for the list of messages."""
    with pytest.raises(TypeError, match=r"^expected list, got str$"):
        structure({"model": "m", "messages": "hello"}, ChatRequest)


def test_members_that_no_field_has_are_left_out() -> None:
    """A record holds what the gateway acts on, and nothing else of the document."""
    record = structure({"model": "m", "messages": [HELLO], "temperature": 1, "other": 2}, ChatRequest)

    assert ChatRequest(model="m", messages=[HELLO]) == record


def test_messages_are_counted_as_metadata() -> None:
    """A chat request knows how many messages it has."""
    assert 2 == ChatRequest(model="m", messages=[HELLO, HELLO]).message_count


@pytest.mark.parametrize(
    ("stated", "count"),
    [
        ({}, 0),
        ({"input": "hello"}, 1),
        ({"input": []}, 0),
        ({"input": [HELLO, HELLO]}, 2),
        ({"messages": [HELLO]}, 1),
        ({"messages": [HELLO], "input": [HELLO, HELLO]}, 1),
    ],
)
def test_items_are_counted_as_metadata(stated: dict[str, Any], count: int) -> None:
    """Of a Responses request the items are counted, a text counts as one, and messages go before input."""
    assert count == structure({"model": "m", **stated}, ResponsesRequest).message_count


DOCUMENT: Final = effective()
BODIES: Final = {operation.path: operation.body for operation in compile_contract(DOCUMENT).operations}


def bodies(path: str) -> st.SearchStrategy[Any]:
    """Return a strategy for the bodies that the contract accepts at *path*."""
    operation = schemathesis.openapi.from_dict(DOCUMENT)[path]["POST"]
    return operation.as_strategy().map(lambda case: case.body)


def check_that_generated_bodies_structure(path: str, record: type[ChatRequest | ResponsesRequest]) -> None:
    """Send what fits the schema through the codec, the validator and the converter, as a request goes."""

    # The generator of a large union is slow to start, which is no fault of the schema; shrinking is for failures.
    @settings(max_examples=100, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
    @given(bodies(path))
    def structures(body: Any) -> None:  # noqa: ANN401 - any JSON value
        document = orjson.loads(json.dumps(body))
        schema = BODIES[path]
        assert isinstance(schema, Body)
        assert schema.schema.problem(document) is None

        request = structure(document, record)

        assert document["model"] == request.model
        assert request.message_count >= 0

    run: Callable[[], None] = structures
    run()


@confirms("ADR-0007.R3")
def test_every_chat_body_that_the_schema_accepts_structures() -> None:
    """A hundred generated chat bodies that fit the contract become records."""
    check_that_generated_bodies_structure("/v1/chat/completions", ChatRequest)


@confirms("ADR-0007.R3")
def test_every_responses_body_that_the_schema_accepts_structures() -> None:
    """A hundred generated Responses bodies that fit the contract become records."""
    check_that_generated_bodies_structure("/v1/responses", ResponsesRequest)


# --- Rates ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1/s", Rate(count=1, period=SECOND, burst=1)),
        ("600/m", Rate(count=600, period=60 * SECOND, burst=600)),
        ("20/s burst 40", Rate(count=20, period=SECOND, burst=40)),
        ("5/h burst 1", Rate(count=5, period=3600 * SECOND, burst=1)),
        ("999999999/d burst 999999999", Rate(count=999_999_999, period=86400 * SECOND, burst=999_999_999)),
    ],
)
def test_a_rate_is_a_count_in_a_unit_of_time(text: str, rate: Rate) -> None:
    """The units are second, minute, hour and day; the burst is the count unless it is said otherwise."""
    assert rate == rate_of(text)


@given(
    count=st.integers(1, 999_999_999),
    period=st.sampled_from([SECOND, 60 * SECOND, 3600 * SECOND, 86400 * SECOND]),
    burst=st.integers(1, 999_999_999) | st.none(),
)
def test_a_rate_is_read_as_it_was_written(count: int, period: int, burst: int | None) -> None:
    """Writing a rate and reading it gives the same rate."""
    rate = Rate(count=count, period=period, burst=burst or count)

    assert rate == rate_of(rate_text(rate))


def test_a_rate_is_written_without_what_goes_without_saying() -> None:
    """A burst that is the count is not written."""
    assert ["600/m", "20/s burst 40"] == [rate_text(rate_of(text)) for text in ("600/m burst 600", "20/s burst 40")]


@confirms("ADR-0032.R7")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "600",
        "600/",
        "/m",
        "m/600",
        "0/m",
        "00/m",
        "06/m",
        "-1/m",
        "+1/m",
        "1.5/m",
        "1e3/m",
        "1_000/m",
        "1000000000/m",
        "٦/m",
        "600/w",
        "600/ms",
        "600/M",
        "600/min",
        "600 / m",
        " 600/m",
        "600/m ",
        "600/m\n",
        "600/m burst",
        "600/m burst 0",
        "600/m burst -1",
        "600/m burst 1000000000",
        "600/m burst 40 ",
        "600/m  burst 40",
        "600/m burst=40",
        "600/m, burst 40",
        "600/m burst 40 burst 40",
        "600/m/s",
        "off",
    ],
)
def test_a_malformed_rate_is_none(text: str) -> None:
    """What is not written as a rate is refused, and the refusal says how one is written."""
    with pytest.raises(
        ValueError, match=r"^a rate is written as 600/m or 20/s burst 40, with the units s, m, h and d$"
    ):
        rate_of(text)


@confirms("ADR-0032.R7")
@given(text=st.text(alphabet="0129/smhd burst", max_size=16) | st.text(max_size=16))
def test_a_text_is_a_rate_or_is_refused(text: str) -> None:
    """Any text is read as a rate that is written the same way, or refused."""
    try:
        rate = rate_of(text)
    except ValueError:
        return
    assert text in (rate_text(rate), f"{rate.count}/{text.split('/')[1][0]} burst {rate.burst}")
