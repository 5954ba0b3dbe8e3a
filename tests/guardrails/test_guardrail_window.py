"""One text before guardrails, whole and in pieces: the same is found, and nothing leaves too early or too late."""

from collections.abc import Sequence
from typing import Any, Final

import attrs
import pytest
from gateway_conformance.rules import confirms
from guards import CARD, EMAIL, EVERYTHING, Became, categories, cut, guard, masked, pieces_of, screen, whole
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dragoman.guardrails import Blocked, Screen, Screens, Window, check, look
from dragoman.guardrails.detectors import DETECTORS
from dragoman.guardrails.verdict import Tally
from dragoman.guardrails.window import MATCHES
from dragoman.model import Finding, Guardrail

SAMPLES: Final = [
    *[EMAIL, CARD, "+49 30 123456", "DE89 3704 0044 0532 0130 00", "192.168.1.4", "2001:db8::1"],
    *["sk-abcdefghijklmnopqrstuvwxyz", "-----BEGIN PRIVATE KEY-----\nMIIE", "-----END PRIVATE KEY-----"],
    *["eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.abcdefghij", "foo bar", "FOO", "foo b", "Zürich", "Zu\u0308rich", "機密"],
    *["C++", "PROJ-12", "bar@", "\\", "\\n", " ", ".", ",", "@", "-", "1", "12", "a", "aaaa", "é", "日", "\n", "x"],
    "\ud83d",
]
PATTERNS: Final = [
    *[r"\bPROJ-\d+", "(?i)^foo", "foo$", "a+b?", "(?s)x.*z", "(?m)^1.$", "[^ ]{3,5}@", "é+", r"\Bo+", "a.{0,4}a"],
    *["(?:ab|a)(?:c|bcd)", "foo b", r"x*1\b", r"(?:o\B|\bf)+"],
]
TEXTS: Final = st.lists(st.sampled_from(SAMPLES), max_size=14).map("".join)
GUARDRAILS: Final = st.builds(
    Guardrail,
    key=st.sampled_from("ABC"),
    action=st.sampled_from(["block", "mask", "mask", "flag"]),
    detectors=st.lists(st.sampled_from(EVERYTHING), max_size=3).map(tuple),
    patterns=st.dictionaries(st.sampled_from(["p", "q"]), st.sampled_from(PATTERNS), max_size=2),
    keywords=st.lists(st.sampled_from(["foo", "foo bar", "Zürich", "機密", "C++", "a"]), max_size=2).map(tuple),
    max_chars=st.none() | st.integers(1, 60),
).filter(lambda guardrail: not check(guardrail))
SCREENS: Final = Screens()


@confirms("ADR-0037.R3")
@given(TEXTS, st.lists(GUARDRAILS, min_size=1, max_size=3), st.lists(st.integers(0, 120), max_size=8))
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_text_becomes_the_same_however_it_is_cut(
    text: str, guardrails: Sequence[Guardrail], cuts: Sequence[int]
) -> None:
    """Whole, in any pieces, and character by character: the same leaves, is found, and is blocked by the same."""
    made = SCREENS.of(guardrails, stage="output")
    assert made is not None
    expected = whole(made, text)

    assert expected == cut(made, pieces_of(text, cuts))
    assert expected == cut(made, list(text))


@confirms("ADR-0037.R4")
@given(TEXTS, st.sampled_from(EVERYTHING), st.lists(st.integers(0, 120), max_size=8))
@settings(max_examples=200, deadline=None)
def test_nothing_of_what_is_found_leaves(text: str, detector: str, cuts: Sequence[int]) -> None:
    """What has left at any time is the beginning of the masked text, and before a block of what is before the match."""
    masking = SCREENS.of([guard("mask", detectors=(detector,))], stage="output")
    blocking = SCREENS.of([guard("block", detectors=(detector,))], stage="output")
    assert masking is not None
    assert blocking is not None
    safe = look(masking, text).text
    before, tag, _ = safe.partition(f"[{detector.upper()}]")

    masked_window, blocking_window, left, left_before_block = (
        Window(masking, Tally()),
        Window(blocking, Tally()),
        "",
        "",
    )
    blocked = False
    for piece in [*pieces_of(text, cuts), None]:
        left += masked_window.end() if piece is None else masked_window.feed(piece)
        assert safe.startswith(left)
        try:
            left_before_block += blocking_window.end() if piece is None else blocking_window.feed(piece)
        except Blocked:
            blocked = True
            break
        assert before.startswith(left_before_block.rstrip("\\")) or not tag

    assert blocked is bool(tag)


# --- How much is held -------------------------------------------------------------------------------------------------


def left_by(made: Screen, pieces: Sequence[str]) -> list[str]:
    """Return what leaves with each of *pieces*, and with the end."""
    window = Window(made, Tally())
    return [*(window.feed(piece) for piece in pieces), window.end()]


@confirms("ADR-0037.R4")
def test_of_prose_the_last_word_is_held() -> None:
    """A word that is over leaves with the space behind it."""
    made = screen(guard(detectors=EVERYTHING, keywords=("foo bar",)))

    left = left_by(made, ["The", " quick", " brown", " fox, and", " so on."])

    assert ["", "The ", "quick ", "brown fox, ", "and so ", "on."] == left


@pytest.mark.parametrize(
    ("wanted", "pieces", "left"),
    [
        (
            {"detectors": ("card",)},
            ["no digits at all", " 41", "11 ", "no"],
            ["no digits at all", " ", "", "4111 no", ""],
        ),
        ({"detectors": ("api_key",)}, ["a sk-", "short", " b"], ["a ", "", "sk-short ", "b"]),
        ({"keywords": ("secret plan",)}, ["a secret", " pl", "ace ", "b"], ["a", "", " secret place", " b", ""]),
        ({"patterns": {"t": r"T-\d+"}}, ["T-1", "2", "3 x"], ["", "", "[T] x", ""]),
        ({"detectors": ("email",)}, ["a\\", "\\", "nbob@", "x.co ", "b"], ["a", "", "", "[EMAIL] ", "", "b"]),
        ({"max_chars": 4}, ["ab", "cde", "f"], ["ab", "cd[TOO_LONG]", "", ""]),
    ],
)
def test_what_may_become_a_match_is_held_and_nothing_else(
    wanted: dict[str, Any], pieces: list[str], left: list[str]
) -> None:
    """What can no longer be one leaves at once."""
    assert left == left_by(screen(guard(**wanted)), pieces)


def test_a_run_that_goes_on_holds_no_more_than_a_match_has() -> None:
    """Of a word of ten thousand letters no more is held than the first part of an address may have."""
    left = left_by(screen(guard(detectors=("email",))), ["a" * 10 for _ in range(1000)])

    assert 10_000 - 64 == len("".join(left[:-1]))


def test_what_only_flags_holds_nothing() -> None:
    """A text that is only looked at leaves as it comes, and what was found in it is told."""
    made = screen(guard("flag", detectors=("email",)))
    tally = Tally()
    window = Window(made, tally)

    assert ["bob@exam", "ple.com", ""] == [window.feed("bob@exam"), window.feed("ple.com"), window.end()]
    assert {"guard": ["email"]} == categories(made.verdicts(tally))


# --- What follows from finding ----------------------------------------------------------------------------------------


def test_each_guardrail_finds_in_the_text_as_it_came() -> None:
    """What one masks another flags, and each category is told once."""
    made = screen(
        guard("mask", key="a", detectors=("email", "card")),
        guard("flag", key="b", detectors=("email",), keywords=("example",)),
        guard("flag", key="c", detectors=("iban",)),
    )
    seen = look(made, f"{EMAIL}, {EMAIL}, {CARD}")

    assert "[EMAIL], [EMAIL], [CARD]" == seen.text
    assert {"a": ["email", "card"], "b": ["email", "keyword"]} == categories(seen.verdicts)
    assert (Finding(category="email", message="PII detected"),) == seen.verdicts[1].findings[:1]
    assert ["mask", "flag"] == [verdict.action for verdict in seen.verdicts]


def test_the_guardrail_whose_match_begins_first_blocks() -> None:
    """Not the first one in the list; and it tells all that it has found."""
    made = screen(
        guard("block", key="a", detectors=("card",)),
        guard("block", key="b", detectors=("email", "ip_address")),
    )

    with pytest.raises(Blocked) as raised:
        look(made, f"{EMAIL} {CARD} 8.8.8.8")

    assert "b" == raised.value.guardrail_key
    assert ["email", "ip_address"] == [finding.category for finding in raised.value.findings]


def test_a_match_begins_with_its_border() -> None:
    """A word that is decided before a longer match that begins with it blocks, in one piece and in several."""
    made = screen(
        guard("block", key="a", patterns={"a": "foo bar"}),
        guard("block", key="b", keywords=("foo",)),
    )

    assert Became(None, {}, "b") == whole(made, "a foo bar.") == cut(made, ["a foo ", "bar."])


def test_what_two_guardrails_look_for_blocks_if_one_of_them_does() -> None:
    """Masking helps nothing where the same thing must not pass."""
    made = screen(guard("mask", key="a", detectors=("email",)), guard("block", key="b", detectors=("email",)))

    assert Became(None, {}, "b") == whole(made, EMAIL)


@pytest.mark.parametrize(
    ("wanted", "text", "left"),
    [
        ({"patterns": {"a": "abc", "b": "bcd"}}, "xabcdy", "x[A]y"),
        ({"patterns": {"a": "abc", "b": "ab"}}, "xabcy", "x[A]y"),
        ({"patterns": {"a": "b", "b": "abc"}}, "xabcy", "x[B]y"),
        ({"patterns": {"a": "ab", "b": "cd"}}, "abcd", "[A][B]"),
        ({"detectors": ("email",)}, '{"a":"line\\nbob@x.co"}', '{"a":"line[EMAIL]"}'),
        ({"detectors": ("email",)}, r"\\\\bob@x.co", "[EMAIL]"),
        ({"detectors": ("email",), "max_chars": 10}, f"to: {EMAIL} and more", "to: [EMAIL]"),
        ({"max_chars": 2}, "日本語", "日本[TOO_LONG]"),
        ({"max_chars": 3}, "日本語", "日本語"),
        ({"detectors": ("email",)}, f"\ud83d{EMAIL}\ude00", "\ud83d[EMAIL]\ude00"),
    ],
)
def test_a_mask_covers_all_that_was_found(wanted: dict[str, Any], text: str, left: str) -> None:
    """Spans that overlap become one, a backslash goes with what it would escape, and of a long text the rest goes."""
    assert left == masked(guard(**wanted), text)


def test_a_text_in_which_nothing_is_masked_is_the_same_object() -> None:
    """Nothing is copied."""
    text = "nothing to be found, but a word"

    assert text is look(screen(guard(detectors=EVERYTHING)), text).text
    assert text is look(screen(guard("flag", keywords=("word",))), text).text


@pytest.mark.parametrize("action", ["block", "flag"])
def test_a_text_that_is_too_long_is_found_whoever_looks(action: str) -> None:
    """A limit of characters blocks and flags as anything else does, once for each."""
    made = screen(guard(action, max_chars=3), guard("flag", key="other", max_chars=100))
    became = cut(made, ["ab", "cd", "ef"])

    assert (Became(None, {}, "guard") if action == "block" else Became("abcdef", {"guard": ["too_long"]})) == became


# --- Bounded work -----------------------------------------------------------------------------------------------------


@attrs.define
class Counting:
    """A sieve that counts the bytes that it is given."""

    sieve: Any
    seen: int = 0

    def Match(self, text: bytes) -> list[int] | None:  # noqa: N802 - RE2's name
        """Look."""
        self.seen += len(text)
        found: list[int] | None = self.sieve.Match(text)
        return found


@confirms("ADR-0037.R10")
def test_what_is_held_for_long_is_not_looked_at_with_every_piece() -> None:
    """Of 100,000 characters in pieces of four, held to the end, each is looked at a few times only."""
    made = screen(guard(patterns={"a": "(?s)a.*b"}))
    counting = Counting(made._sieve)  # noqa: SLF001 - what is counted is inside
    left = left_by(attrs.evolve(made, sieve=counting), ["aaaa"] * 25_000)

    assert "aaaa" * 25_000 == "".join(left)
    assert {""} == set(left[:-1])
    assert counting.seen < 10 * 100_000


@confirms("ADR-0037.R10")
def test_from_so_many_matches_on_the_rest_is_masked_whole() -> None:
    """Nothing of it passes unseen, whole or in pieces."""
    text = "a@b.co " * (MATCHES - 1) + "a@b.co and the rest"
    made = screen(guard(detectors=("email",)))

    assert "[EMAIL] " * (MATCHES - 1) + "[EMAIL]" == look(made, text).text
    assert look(made, text).text == cut(made, pieces_of(text, range(0, len(text), 1000))).text


ATTACKS: Final = [
    *["a", "@", "a@", "a@a.", "a.", "1", "1 ", "1.", "1.1.1.1.", ":", "f:", "::", "+1", "+1 (", "00", "4111 "],
    *["AA11 ", "A1", "sk-", "eyJ", "eyJaaaaaaaa.", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "gh", "_", "\\"],
    *["foo ", "é", "\u0301", " ", "\n", "\ud83d", "0", "AKIA", "212-", "bob@example.com"],
]


@confirms("ADR-0037.R10")
@pytest.mark.parametrize("attack", ATTACKS)
def test_texts_made_to_take_long_do_not(attack: str) -> None:
    """A hundred thousand characters of them pass all detectors, whole and in pieces, within the time of a test."""
    text = (attack * 100_000)[:100_000]
    made = screen(guard(detectors=tuple(DETECTORS), keywords=("foo foo", "foo")))

    assert look(made, text).text == cut(made, pieces_of(text, range(0, len(text), 997))).text


# --- Failing engines --------------------------------------------------------------------------------------------------


@attrs.frozen
class Broken:
    """A sieve, or a pattern, that fails, or has run out of memory and finds nothing."""

    raises: bool = False
    groups: int = 0

    def Match(self, _: bytes) -> list[int] | None:  # noqa: N802 - RE2's name
        """Fail."""
        self.fail()
        return None

    def search(self, text: bytes, pos: int = 0) -> None:
        """Fail."""
        del text, pos
        self.fail()

    def fail(self) -> None:
        """Fail as it is told."""
        if self.raises:
            raise MemoryError(EMAIL)


def failing_check(candidate: bytes) -> int:
    """Fail with what was looked at."""
    raise ValueError(candidate)


def broken(action: str, part: str) -> Screen:
    """Return a screen of which a *part* fails."""
    made = screen(guard(action, detectors=("email", "card")))
    match part:
        case "sieve":
            return attrs.evolve(made, sieve=Broken(raises=True))
        case "sieve out of memory":
            return attrs.evolve(made, sieve=Broken())
        case "opening":
            return attrs.evolve(made, opening=Broken(raises=True))
        case "opening out of memory":
            return attrs.evolve(made, opening=Broken())
        case _:
            probe = made.probes[1]
            failing = attrs.evolve(probe, check=failing_check)
            return attrs.evolve(made, probes=(made.probes[0], failing))


UNAVAILABLE: Final = [Finding(category="guardrail_unavailable", message="The guardrail could not be applied")]
PARTS: Final = ["sieve", "sieve out of memory", "opening", "opening out of memory", "check"]


@confirms("ADR-0037.R7")
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("action", ["block", "mask"])
def test_an_engine_that_fails_blocks(action: str, part: str) -> None:
    """What would block or mask lets nothing pass that nobody has seen, and tells nothing of it."""
    window = Window(broken(action, part), Tally())

    with pytest.raises(Blocked) as raised:
        window.feed(f"a card: {CARD}, and more")

    assert ("guard", "block") == (raised.value.guardrail_key, raised.value.action)
    assert UNAVAILABLE == list(raised.value.findings)
    assert (None, None) == (raised.value.__cause__, raised.value.__context__)


@confirms("ADR-0037.R7")
@pytest.mark.parametrize("part", PARTS)
def test_an_engine_that_fails_passes_what_is_only_flagged(part: str) -> None:
    """The text passes as it is, and the verdict says that nobody has looked."""
    made, tally = broken("flag", part), Tally()
    window = Window(made, tally)

    assert f"a card: {CARD}, and more" == window.feed(f"a card: {CARD}, and more") + window.end()
    assert {"guard": ["guardrail_unavailable"]} == categories(made.verdicts(tally))


@confirms("ADR-0037.R7")
def test_only_the_guardrails_of_what_fails_fail() -> None:
    """A detector whose check fails closes who looks for it; others go on."""
    made = screen(guard("flag", key="a", detectors=("card",)), guard("mask", key="b", detectors=("email",)))
    failing = attrs.evolve(made.probes[0], check=failing_check)
    seen = look(attrs.evolve(made, probes=(failing, made.probes[1])), f"{CARD} {EMAIL}")

    assert f"{CARD} [EMAIL]" == seen.text
    assert {"a": ["guardrail_unavailable"], "b": ["email"]} == categories(seen.verdicts)
