"""Reading patterns of RE2: how much they match, and how a match begins. RE2 itself is the judge."""

import math
from typing import Final

import pytest
from gateway_conformance.rules import confirms
from guards import guard
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.guardrails.check import check
from dragoman.guardrails.detectors import DETECTORS
from dragoman.guardrails.pattern import (
    DEEPEST,
    LONGEST,
    BadPatternError,
    check_pattern,
    compile_pattern,
    compile_sieve,
    read,
)

INF: Final = math.inf

WIDTHS: Final = [
    ("abc", 3, 3),
    ("", 0, 0),
    ("a|bcd|", 0, 3),
    ("a?b", 1, 2),
    ("a*", 0, INF),
    ("a+?b", 2, INF),
    ("a{3}", 3, 3),
    ("a{2,}?", 2, INF),
    ("a{2,5}", 2, 5),
    ("a{0}", 0, 0),
    ("(?:a*){0}b", 1, 1),
    ("(?:^){2,}", 0, 0),
    ("a{,5}", 5, 5),
    ("a{05}", 5, 5),
    ("a{x}", 4, 4),
    ("a{", 2, 2),
    ("(ab)(?P<name>c)(?<other>d)", 4, 4),
    ("(?:ab|c){2}", 2, 4),
    ("(?i)ab", 2, 2),
    ("a(?i:b(?-i)c)d", 4, 4),
    ("(?im-s)a", 1, 1),
    ("(?U)a+", 1, INF),
    (r"^\Aa\b\B$\z", 1, 1),
    (r"\d\pL\p{Greek}\P{Lu}\x41\x{1F600}\012\0\.\Qa.b\E", 12, 12),
    (r"\Qa+", 2, 2),
    (r"\Qab\E{2}", 3, 3),
    (r"\Q\Ea", 1, 1),
    ("[]a][^]b][[:alpha:]-]", 3, 3),
    (r"[\]\x{41}\pL]{2}", 2, 2),
    ("[[:x]", 1, 1),
    (".é", 2, 2),
]


@pytest.mark.parametrize(("pattern", "least", "most"), WIDTHS)
def test_a_pattern_tells_how_much_it_matches(pattern: str, least: int, most: float) -> None:
    """RE2 accepts the pattern, and the reading says between how many and how many characters it matches."""
    compile_pattern(pattern)
    shape = read(pattern)

    assert (least, most) == (shape.least, shape.most)


@pytest.mark.parametrize(
    ("pattern", "anchored"),
    [("a", False), (r"\bab\B", False), ("^a", True), ("(a|b$)", True), (r"(?:a\z){1,2}", True), (r"a*\A", True)],
)
def test_a_pattern_tells_whether_it_is_anchored(pattern: str, anchored: bool) -> None:  # noqa: FBT001 - a column
    """It is where it asks for a beginning or an end."""
    assert anchored is read(pattern).anchored


@confirms("ADR-0037.R2")
@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("a(?=b)", "uses look-around, which takes more than linear time"),
        ("a(?!b)", "uses look-around, which takes more than linear time"),
        ("(?<=a)b", "uses look-around, which takes more than linear time"),
        ("(?<!a)b", "uses look-around, which takes more than linear time"),
        (r"(a)\1", "uses a back-reference, which takes more than linear time"),
        ("a*", "matches the empty text"),
        (r"\b", "matches the empty text"),
        ("a|", "matches the empty text"),
        (r"a\C", r"uses \C, which matches parts of characters"),
        ("(a", "is no pattern of RE2: missing ): (a"),
        ("[z-a]", "is no pattern of RE2: invalid character class range: z-a"),
        ("a{2000}", "is no pattern of RE2: invalid repetition size: {2000}"),
        (r"\pL{500}", "is too large"),
        (r"(?:\pL{100}){10}", "is too large"),
        (r"(?:[\pL\pN]{30}x){30}[\pL\pN]{900}", "is too large"),
        ("a" * (LONGEST + 1), "has more than 1000 characters"),
        ("(" * (DEEPEST + 1) + "a" + ")" * (DEEPEST + 1), "nests more than 50 groups"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_by_name(pattern: str, said: str) -> None:
    """The refusal names the category of the pattern, and why."""
    assert [f"pattern 'bad' {said}"] == check(guard(patterns={"bad": pattern, "good": r"PROJ-\d+"}))


def test_a_pattern_may_nest_and_be_long_within_bounds() -> None:
    """What is at the bounds is accepted."""
    deep = "(" * DEEPEST + "a" + ")" * DEEPEST

    assert 1 == check_pattern(deep).most
    assert 900 == check_pattern("a" * 900).most


def test_patterns_that_are_too_large_together_are_refused() -> None:
    """What RE2 makes no sieve of is refused, whatever the reason: each pattern alone was accepted before."""
    with pytest.raises(BadPatternError, match="is too large together with the others"):
        compile_sieve(["a", "("])


@pytest.mark.parametrize(
    ("name", "longest"),
    [("email", 473), ("phone", 59), ("iban", 62), ("card", 37), ("ip_address", 60), ("api_key", INF), ("jwt", INF)],
)
def test_what_a_detector_may_match_is_bounded_but_for_keys(name: str, longest: float) -> None:
    """What a stream may hold follows from it."""
    assert longest == read(DETECTORS[name].pattern).most


# --- Any pattern ------------------------------------------------------------------------------------------------------

LETTERS: Final = "abc \n-é"
ATOMS: Final = st.sampled_from(
    [
        *["a", "b", "c", "é", ".", "[ab]", "[^a]", r"\w", r"\s", r"\b", r"\B", "^", "$", r"\Qab\E", r"\A", r"\z"],
        *["(?i:A)", "(?s:.)", "(?m:^)", "(?m:$)", r"\pL", "-"],
    ]
)


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return patterns that are made of *inner* ones."""
    bounds = st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "*?", "+?", "??"])
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map("|".join).map("({})".format),
        st.tuples(inner, bounds).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
        inner.map("(?i){}".format).map("(?:{})".format),
        inner.map("x(?ms){}".format),
    )


PATTERNS: Final = st.recursive(ATOMS, grown, max_leaves=8)


@given(PATTERNS, st.text(LETTERS + "ABx", max_size=12))
@settings(max_examples=400, deadline=None)
def test_no_match_is_shorter_or_longer_than_its_shape_says(pattern: str, text: str) -> None:
    """Whatever RE2 matches has a length within the bounds, and begins where the pattern as it was read does."""
    written = text.encode()
    shape = read(pattern)
    match = compile_pattern(pattern).search(written)
    again = compile_pattern(shape.written).search(written)

    assert (match is None) is (again is None)
    if match is not None and again is not None:
        assert match.span()[0] == again.span()[0]
        start, end = match.span()
        assert shape.least <= len(written[start:end].decode()) <= shape.most


@given(PATTERNS, st.text(LETTERS + "ABx", max_size=12))
@settings(max_examples=400, deadline=None)
def test_an_opening_never_begins_behind_a_match_that_goes_on(pattern: str, text: str) -> None:
    """At each cut inside a match, or behind its end, what is open begins where the match does, or before."""
    written = text.encode()
    opening = compile_pattern(f"(?:{read(pattern).opening})\\z")
    match = compile_pattern(pattern).search(written)
    if match is None:
        return
    start, end = match.span()

    for at in range(len(written[:start].decode()), len(written[:end].decode()) + 1):
        begun = opening.search(text[:at].encode())
        assert begun is not None
        assert begun.span()[0] <= start
