"""What each detector finds, and what only looks like it."""

from typing import Final

import pytest
from gateway_conformance.rules import confirms
from guards import CARD, EMAIL, guard, masked
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.adapters.tokens import make_key_id, make_token
from dragoman.guardrails.checksums import card, iban, ip_address, luhn, telephone
from dragoman.guardrails.detectors import DETECTORS
from dragoman.guardrails.pattern import compile_pattern

OWN_TOKEN: Final = make_token("cgt", make_key_id(bytes), bytes)
OTHER_TOKEN: Final = make_token("acme", make_key_id(lambda count: b"\xfb" * count), lambda count: b"\xfb" * count)
JWT: Final = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
PEM: Final = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n7bq+/==\n-----END RSA PRIVATE KEY-----"

FOUND: Final = {
    "email": [
        (EMAIL, "[EMAIL]"),
        ("Mail Bob.O'Neil+news@mail.example.co.uk.", "Mail [EMAIL]."),
        ("<müller@bücher-straße.de>,иван@пример.com", "<[EMAIL]>,[EMAIL]"),
        ("联系bob@example.com谢谢", "联系[EMAIL]谢谢"),
        ("a@b.co;c@d.io", "[EMAIL];[EMAIL]"),
        ("x" * 80 + "@example.com", "x" * 16 + "[EMAIL]"),
        ("user@a.b.c.d.e.f.us", "[EMAIL]"),
    ],
    "phone": [
        ("+12125550123", "[PHONE]"),
        ("call +49 (0)30 / 123456, please", "call [PHONE], please"),
        ("00442079460958", "[PHONE]"),
        ("tel:+1-212-555-0123;x", "tel:[PHONE];x"),
        ("(212) 555-0123 or 212.555.0123 or 212 555 0123", "[PHONE] or [PHONE] or [PHONE]"),
        ("+33\u00a01\u00a023\u00a045\u00a067\u00a089", "[PHONE]"),
        ("+12125550123 17:30", "[PHONE] 17:30"),
    ],
    "iban": [
        ("DE89 3704 0044 0532 0130 00", "[IBAN]"),
        ("GB82WEST12345698765432", "[IBAN]"),
        ("gb82 west 1234 5698 7654 32.", "[IBAN]."),
        ("NO93-8601-1117-947", "[IBAN]"),
        ("DE89370400440532013000 thanks", "[IBAN] thanks"),
        ("XX12 3456 DE89 3704 0044 0532 0130 00", "XX12 3456 [IBAN]"),
        ("MT84MALT011000012345MTLCAST001S", "[IBAN]"),
    ],
    "card": [
        (CARD, "[CARD]"),
        ("4111111111111111", "[CARD]"),
        ("5555-5555-5555-4444", "[CARD]"),
        ("2223 0031 2200 3222", "[CARD]"),
        ("378282246310005", "[CARD]"),
        ("6011111111111117", "[CARD]"),
        ("3530111333300000", "[CARD]"),
        ("30569309025904", "[CARD]"),
        ("6240008631401148", "[CARD]"),
        ("6759649826438453", "[CARD]"),
        ("4222222222222", "[CARD]"),
        (f"{CARD} 12/26 123", "[CARD] 12/26 123"),
        (f"{CARD} 123", "[CARD] 123"),
        (f"2 {CARD}", "2 [CARD]"),
    ],
    "ip_address": [
        ("192.168.1.4", "[IP_ADDRESS]"),
        ("at 8.8.8.8:53.", "at [IP_ADDRESS]:53."),
        ("2001:db8::1", "[IP_ADDRESS]"),
        ("[fe80::1%eth0]/64", "[[IP_ADDRESS]%eth0]/64"),
        ("2001:0db8:0000:0000:0000:ff00:0042:8329", "[IP_ADDRESS]"),
        ("2001:db8:: ", "[IP_ADDRESS] "),
        ("::ffff:192.0.2.1", "::ffff:[IP_ADDRESS]"),
    ],
    "api_key": [
        ("sk-abcdefghijklmnopqrst", "[API_KEY]"),
        ("key=sk-proj-" + "a1_-" * 20 + ";", "key=[API_KEY];"),
        ("sk-ant-api03-" + "Ab-_" * 10, "[API_KEY]"),
        ("AKIAIOSFODNN7EXAMPLE", "[API_KEY]"),
        ("ghp_" + "a1B2" * 9, "[API_KEY]"),
        ("github_pat_" + "a1B2_" * 10, "[API_KEY]"),
        ("glpat-" + "a1-_" * 5, "[API_KEY]"),
        ("xoxb-123456789012-abc", "[API_KEY]"),
        ("AIza" + "a1-_B" * 7, "[API_KEY]"),
        ("sk_live_" + "a1B2" * 4, "[API_KEY]"),
        ("hf_" + "aB" * 17, "[API_KEY]"),
        (f"Bearer {OWN_TOKEN}", "Bearer [API_KEY]"),
        (OTHER_TOKEN, "[API_KEY]"),
    ],
    "private_key": [
        (PEM, "[PRIVATE_KEY]"),
        (f"see {PEM}, and no more.", "see [PRIVATE_KEY], and no more."),
        (PEM.replace("\n", "\\n") + ".", "[PRIVATE_KEY]."),
        ("-----BEGIN PRIVATE KEY-----\nMIIE, cut", "[PRIVATE_KEY], cut"),
        (
            "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMII=\n-----END EC PRIVATE KEY-----\nHi",
            "[PRIVATE_KEY]\nHi",
        ),
    ],
    "jwt": [(JWT, "[JWT]"), (f"Bearer {JWT}.", "Bearer [JWT].")],
}

PASSED: Final = {
    "email": ["bob@", "@example.com", "bob@example", "bob at example.com", "a@b.c", "@@@.@@", "bob@exam ple.com"],
    "phone": ["+12", "2125550123", "+999 123 456 789", "212 155 0123", "1718000000", "+1 555", "00", "0123456789012"],
    "iban": [
        "DE88 3704 0044 0532 0130 00",
        "XX89 3704 0044 0532 0130 00",
        "DE89 3704 0044 0532 0130",
        "DE89 3704 0044 0532 0130 000",
        "of12 different companies there are",
        "DE8937",
    ],
    "card": [
        "4111 1111 1111 1112",
        "1234 5678 9012 3452",
        "9111111111111111",
        "41111111111111",
        "4111  1111  1111  1111",
        "55555555555544",
        "7992739871",
        "41111111111111111111111111",
        "00000000000000000000",
    ],
    "ip_address": [
        "1.2.3",
        "1.2.3.256",
        "1.2.3.4.5",
        "127.0.0.1",
        "0.0.0.0",  # noqa: S104 - no address to listen on
        "12:30:45",
        "aa:bb:cc:dd:ee:ff",
        "std::cout",
        "abc::def",
    ],
    "api_key": ["sk-short", "risk-averse-decision-making-process", "AKIA", "ghp_short", "cgt_short_token", "hf_x"],
    "private_key": ["-----BEGIN PUBLIC KEY-----\nMIIB", "BEGIN PRIVATE KEY", "-----BEGIN CERTIFICATE-----"],
    "jwt": ["eyJhbGciOiJIUzI1NiJ9", "eyJ.eyJ.x", "a.b.c"],
}


def test_every_detector_is_in_both_tables() -> None:
    """What is found and what is not is said of each detector."""
    assert set(DETECTORS) == set(FOUND) == set(PASSED)


@pytest.mark.parametrize(
    ("name", "text", "left"), [(name, *sample) for name, samples in FOUND.items() for sample in samples]
)
def test_a_detector_finds(name: str, text: str, left: str) -> None:
    """What is found is masked, all of it and nothing else."""
    assert left == masked(guard(detectors=(name,)), text)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in PASSED.items() for text in texts])
def test_a_detector_passes(name: str, text: str) -> None:
    """What only looks like it is left as it is."""
    assert text == masked(guard(detectors=(name,)), text)


def test_the_finding_has_a_category_and_a_message() -> None:
    """The category is the detector's name; the message is the one that clients know."""
    assert {name: name for name in DETECTORS} == {name: one.finding.category for name, one in DETECTORS.items()}
    assert {"PII detected", "Secret detected"} == {one.finding.message for one in DETECTORS.values()}
    assert "PII detected" == DETECTORS["email"].finding.message


# --- Hints ------------------------------------------------------------------------------------------------------------

HINTED: Final = sorted(name for name, detector in DETECTORS.items() if detector.hint is not None)
PIECES: Final = ["bob", "@", ".", "co", "+", "00", "49", "(", ")", " ", "-", ":", "::", "4111", "1", "DE", "89", "fe80"]


@pytest.mark.parametrize("name", HINTED)
@given(st.lists(st.sampled_from([*PIECES, "212", "555", "0123", "\u00a0", "/", "é"]), max_size=24).map("".join))
@settings(max_examples=150, deadline=None)
def test_a_hint_matches_wherever_the_pattern_does(name: str, text: str) -> None:
    """The sieve never passes over what the pattern would find."""
    detector = DETECTORS[name]
    if compile_pattern(detector.pattern).search(text.encode()) is not None:
        assert compile_pattern(detector.hint or "").search(text.encode()) is not None


@pytest.mark.parametrize("name", HINTED)
def test_a_hint_matches_every_sample(name: str) -> None:
    """Whatever is found has the hint."""
    hint = compile_pattern(DETECTORS[name].hint or "")

    assert [] == [text for text, _ in FOUND[name] if hint.search(text.encode()) is None]


# --- Checks -----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**18))
def test_each_number_has_one_check_digit_of_luhn(number: int) -> None:
    """Of the ten digits that may follow, exactly one passes; a changed digit never does."""
    right = [digit for digit in range(10) if luhn(f"{number}{digit}".encode())]

    assert 1 == len(right)
    assert not luhn(f"{(number // 10 * 10) + (number + 1) % 10}{right[0]}".encode())


@pytest.mark.parametrize(
    ("text", "held"),
    [
        (b"4111111111111111", 16),
        (b"4111 1111 1111 1111 12", 19),
        (b"4111 1111 1111 1112", 0),
        (b"4 1 1 1 1 1 1 1 1 1 1 1 1", 0),
    ],
)
def test_a_card_check_tells_how_much_of_it_holds(text: bytes, held: int) -> None:
    """Groups behind the number are none of it."""
    assert held == card(text)


def test_the_other_checks_tell_the_same() -> None:
    """Groups behind an account or a telephone number are none of it."""
    assert 22 == iban(b"DE89370400440532013000 AND MORE")
    assert 7 == ip_address(b"8.8.8.8")
    assert 12 == telephone()(b"+12125550123 17 30")
    assert 0 == telephone()(b"+0")


@confirms("ADR-0037.R10")
@pytest.mark.parametrize(("name", "text"), [("phone", "+999 123 456 789, "), ("card", "4111 1111 1111 1112, ")])
def test_after_so_many_checks_candidates_count_as_they_are(name: str, text: str) -> None:
    """A check is asked a bounded number of times; what it was not asked about is found."""
    patience = DETECTORS[name].patience
    passed = text * patience

    assert passed == masked(guard(detectors=(name,)), passed)
    assert passed + f"[{name.upper()}], " == masked(guard(detectors=(name,)), passed + text)
