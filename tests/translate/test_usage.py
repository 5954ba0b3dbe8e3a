"""What an upstream says of tokens, as far as it can be true."""

from typing import Any

import pytest
from chunk_laws import form_errors
from chunk_scripts import GARBAGE
from gateway_conformance.rules import confirms
from hypothesis import given
from hypothesis import strategies as st

from dragoman.model import Usage
from dragoman.translate.usage import usage_document, usage_of

Document = dict[str, Any]


def stated(taken: object = 10, given_: object = 5, total: object = 15, **members: object) -> Document:
    """Return a usage with these counts; None leaves one out."""
    counts = {"prompt_tokens": taken, "completion_tokens": given_, "total_tokens": total}
    return {name: count for name, count in counts.items() if count is not None} | members


@confirms("ADR-0036.R7")
@pytest.mark.parametrize(
    ("usage", "taken", "given_"),
    [
        pytest.param(stated(), 10, 5, id="all"),
        pytest.param(stated(0, 0, 0), 0, 0, id="nothing used"),
        pytest.param(stated(total=None), 10, 5, id="no total"),
        pytest.param(stated(total="15"), 10, 5, id="a bad total"),
        pytest.param(stated(total=99), 10, 5, id="a total that does not add up"),
        pytest.param(stated(given_=None), 10, 5, id="no output"),
        pytest.param(stated(None), 10, 5, id="no input"),
        pytest.param(stated(given_=-5), 10, 5, id="a bad output"),
        pytest.param(stated(x=1), 10, 5, id="unknown members"),
    ],
)
def test_two_counts_are_enough(usage: Document, taken: int, given_: int) -> None:
    """The third follows, and what is stated of input and output outranks the total."""
    assert Usage(input_tokens=taken, output_tokens=given_) == usage_of(usage)


@confirms("ADR-0036.R7")
@pytest.mark.parametrize(
    "usage",
    [
        None,
        [],
        "15",
        {},
        stated(given_=None, total=None),
        stated(None, total=None),
        stated("10", "5", "15"),
        stated(True, True, True),  # noqa: FBT003 - what comes is untrusted
        stated(1.0, 1.0, 2.0),
        stated(-1, 5, None),
        stated(10, -1, None),
        stated(10, None, 9),
        stated(None, 10, 9),
        stated(2**53, 1, None),
    ],
)
def test_what_cannot_be_true_is_no_usage(usage: object) -> None:
    """It is as if nothing had been said, which is not the same as zero."""
    assert usage_of(usage) is None


@pytest.mark.parametrize(
    ("members", "cached", "reasoning"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 4}}, 4, 0),
        ({"completion_tokens_details": {"reasoning_tokens": 3}}, 0, 3),
        ({"prompt_cache_hit_tokens": 4, "reasoning_tokens": 3}, 4, 3),
        ({"cached_tokens": 4}, 4, 0),
        ({"prompt_tokens_details": {"cached_tokens": 0}, "prompt_cache_hit_tokens": 4}, 4, 0),
        ({"prompt_tokens_details": {"cached_tokens": 99}}, 10, 0),
        ({"completion_tokens_details": {"reasoning_tokens": 99}}, 0, 5),
        ({"prompt_tokens_details": None, "completion_tokens_details": []}, 0, 0),
        ({"prompt_tokens_details": {"cached_tokens": -1}}, 0, 0),
        ({"prompt_tokens_details": {"cached_tokens": "4"}}, 0, 0),
        ({"prompt_tokens_details": {"cached_tokens": True}}, 0, 0),
    ],
)
def test_parts_are_found_where_upstreams_put_them(members: Document, cached: int, reasoning: int) -> None:
    """Cached tokens are among the input and reasoning tokens among the output; bad ones are none."""
    usage = usage_of(stated(**members))

    assert Usage(input_tokens=10, output_tokens=5, cached_tokens=cached, reasoning_tokens=reasoning) == usage


def test_reasoning_that_is_counted_beside_the_output_is_added_to_it() -> None:
    """Where only the total has it in: it is billed as output."""
    usage = usage_of(stated(total=115, completion_tokens_details={"reasoning_tokens": 100}))

    assert Usage(input_tokens=10, output_tokens=105, reasoning_tokens=100) == usage


def test_details_are_told_as_the_contract_declares_them() -> None:
    """What adds up is told, what was stated besides is kept if it is declared, and all else is left out."""
    theirs = stated(
        prompt_tokens_details={"cached_tokens": 99, "audio_tokens": 1, "x": 2, "text_tokens": "many"},
        completion_tokens_details={"accepted_prediction_tokens": 0},
        cost=0.1,
    )
    usage = usage_of(theirs)
    assert usage is not None

    assert {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 10, "audio_tokens": 1},
        "completion_tokens_details": {"accepted_prediction_tokens": 0},
    } == usage_document(usage, theirs)


def test_parts_are_told_without_being_asked() -> None:
    """A usage of our own names its parts where there are any."""
    plain, parted = Usage(input_tokens=3, output_tokens=2), Usage(input_tokens=3, cached_tokens=1, output_tokens=2)

    assert {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5} == usage_document(plain)
    assert {"cached_tokens": 1} == usage_document(parted)["prompt_tokens_details"]


@confirms("ADR-0036.R10")
@given(GARBAGE | st.dictionaries(st.sampled_from(sorted(stated())), GARBAGE))
def test_whatever_is_stated_adds_up(usage: object) -> None:
    """Any JSON gives a usage that can be true and told, or none."""
    read = usage_of(usage)

    if read is not None:
        assert 0 <= read.cached_tokens <= read.input_tokens
        assert 0 <= read.reasoning_tokens <= read.output_tokens
        assert [] == form_errors(usage_document(read, usage), "Usage")
