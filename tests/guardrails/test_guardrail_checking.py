"""What is wrong with guardrails that somebody has written, and lists of words."""

import pytest
from gateway_conformance.rules import confirms
from guards import EVERYTHING, guard, masked, screen

from dragoman.guardrails import BadGuardrailError, build_screen, check
from dragoman.guardrails.keywords import LONGEST, MOST, keyword_shape
from dragoman.model import Guardrail


@pytest.mark.parametrize(
    ("guardrail", "said"),
    [
        (guard("mask", detectors=EVERYTHING, patterns={"ticket": r"PROJ-\d+"}, keywords=("a",), max_chars=1), []),
        (guard("block", webhook="https://guard.example/v1?x=1"), []),
        (guard("flag", webhook="http://127.0.0.1:8080"), []),
        (guard("deny", max_chars=1), ["unknown action 'deny'; known are block, mask, flag"]),
        (guard("blok", max_chars=1), ["unknown action 'blok'; did you mean 'block'?"]),
        (guard(stages=frozenset({"inputs", "output"}), max_chars=1), ["unknown stage 'inputs'; did you mean 'input'?"]),
        (guard(stages=frozenset(), max_chars=1), ["it watches no stage"]),
        (guard(detectors=("emails",)), ["unknown detector 'emails'; did you mean 'email'?"]),
        (
            guard(detectors=("weather",)),
            [
                "unknown detector 'weather'; known are email, phone, iban, card, ip_address, api_key, private_key, jwt",
            ],
        ),
        (
            guard(patterns={"Bad name": "a"}),
            ["pattern 'Bad name' must be named by a lower-case word of at most 64 letters, digits and _"],
        ),
        (guard(keywords=("a", " ")), ["keyword 2 must have between 1 and 100 characters that are not all spaces"]),
        (
            guard(keywords=("a" * (LONGEST + 1),)),
            ["keyword 1 must have between 1 and 100 characters that are not all spaces"],
        ),
        (guard(keywords=tuple(map(str, range(MOST + 1)))), ["it has more than 5000 keywords"]),
        (guard(max_chars=0), ["max_chars must be at least 1"]),
        (guard(webhook="ftp://guard.example"), ["webhook must be an address of http or https, without a user"]),
        (guard(webhook="https://"), ["webhook must be an address of http or https, without a user"]),
        (guard(webhook="https://me:pw@a.example"), ["webhook must be an address of http or https, without a user"]),
        (guard(webhook="http://[::1"), ["webhook must be an address of http or https, without a user"]),
        (guard(), ["it looks for nothing"]),
        (guard("deny"), ["unknown action 'deny'; known are block, mask, flag", "it looks for nothing"]),
    ],
)
def test_each_fault_is_told_with_what_is_known(guardrail: Guardrail, said: list[str]) -> None:
    """A fault is one sentence, which names the nearest thing that there is."""
    assert said == check(guardrail)


@confirms("ADR-0037.R2")
def test_a_screen_is_not_built_of_what_does_not_hold() -> None:
    """Who builds one of faulty guardrails is told all that is wrong, by key."""
    faulty = [guard("deny", key="one", max_chars=1), guard(key="two", patterns={"a": "(?=x)"})]

    with pytest.raises(BadGuardrailError) as raised:
        build_screen(faulty, stage="input")

    assert (
        "one: unknown action 'deny'; known are block, mask, flag; "
        "two: pattern 'a' uses look-around, which takes more than linear time"
    ) == str(raised.value)


def test_there_is_no_screen_where_nothing_watches() -> None:
    """A stage that nobody watches costs nothing."""
    assert build_screen([], stage="input") is None
    assert build_screen([guard(stages=frozenset({"output"}), max_chars=1)], stage="input") is None


# --- Words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text", "left"),
    [
        (("foo",), "foo FOO Foo, (foo) foo", "[KEYWORD] [KEYWORD] [KEYWORD], ([KEYWORD]) [KEYWORD]"),
        (("foo",), "food seafoo foo_ 1foo föfoo foo\u0301", None),
        (("foo", "foo bar"), "foo bar foo", "[KEYWORD] [KEYWORD]"),
        (("foo", "foo ba"), "foo bar", "[KEYWORD] bar"),
        (("Zürich",), "in ZÜRICH, Zu\u0308rich", "in [KEYWORD], [KEYWORD]"),
        (("Zu\u0308rich",), "zürich", "[KEYWORD]"),
        (("ΣΊΣΥΦΟΣ",), "σίσυφος", "[KEYWORD]"),
        (("привет",), "Привет приветы", "[KEYWORD] приветы"),
        (("機密",), "社内機密です", "社内[KEYWORD]です"),
        (("AI",), "これはAIです MAIL", "これは[KEYWORD]です MAIL"),
        (("C++",), "C++ C++11 xC++", "[KEYWORD] [KEYWORD]11 xC++"),
        (("@home",), "a@home @homes", "a[KEYWORD] @homes"),
        ((".*", "a|b"), "ab .* a|b", "ab [KEYWORD] [KEYWORD]"),
        (("foo",), "foo foo foo", "[KEYWORD] [KEYWORD] [KEYWORD]"),
        (("foo",), "foo\\nfoo", "[KEYWORD]\\nfoo"),
    ],
)
def test_words_are_found_between_borders(words: tuple[str, ...], text: str, left: str | None) -> None:
    """A word is literal, of any case and form, and not a part of another word."""
    assert (text if left is None else left) == masked(guard(keywords=words), text)


def test_thousands_of_words_are_one_pattern() -> None:
    """A list of the most words that it may have finds each of them, and nothing between them."""
    words = tuple(f"word{number}x" for number in range(MOST))
    made = guard(keywords=words)

    assert [] == check(made)
    assert "[KEYWORD] word5 [KEYWORD]." == masked(made, "word0x word5 word4999x.")
    assert 1 == len(screen(made).probes)


def test_a_list_tells_how_much_a_stream_may_hold() -> None:
    """It is the longest word, and a border at each end."""
    shape = keyword_shape(("foo", "foo bar"))

    assert (3, 9) == (shape.least, shape.most)
