"""Tokens: their form, and what is kept of them."""

import hashlib
import hmac
import re
import secrets

import pytest
from gateway_conformance.rules import confirms
from hypothesis import given
from hypothesis import strategies as st

from dragoman.adapters.tokens import digest_of, index_of, is_prefix, make_key_id, make_token

FORM = re.compile(r"[A-Za-z0-9]{1,16}_[a-z2-7]{12}_[A-Za-z0-9_-]{43}")


@given(st.binary(min_size=8, max_size=8), st.binary(min_size=32, max_size=32))
def test_a_token_has_its_form_and_is_found_by_its_id(identity: bytes, secret: bytes) -> None:
    """Whatever the random bytes are, a token has the three parts, and its id is what it is found under."""
    key = make_key_id(lambda _: identity)
    token = make_token("cgt", key, lambda _: secret)

    assert FORM.fullmatch(token)
    assert key == index_of(token, digest_of(token, b"pepper"))


def test_a_token_uses_as_much_randomness_as_it_says() -> None:
    """A secret is made of 32 bytes and an id of at least 60 bits, and none comes twice."""
    asked: list[int] = []

    def random(count: int) -> bytes:
        asked.append(count)
        return secrets.token_bytes(count)

    made = {make_token("cgt", make_key_id(random), random) for _ in range(100)}

    assert (100, {8, 32}) == (len(made), set(asked))
    assert 100 == len({token.split("_")[1] for token in made})


@pytest.mark.parametrize("text", ["", "made up", "cgt_aaaaaaaaaaaa_short", "cgt_AAAAAAAAAAAA_" + "A" * 43, "é" * 70])
def test_a_token_of_another_form_is_found_by_its_whole_digest(text: str) -> None:
    """What has not the form of a token is found under its digest, which no id is like."""
    digest = digest_of(text, b"pepper")

    assert digest.hex() == index_of(text, digest)


@confirms("ADR-0030.R1")
@given(st.text(st.characters()), st.binary(max_size=64))
def test_what_is_kept_is_a_keyed_hash_of_the_whole(text: str, pepper: bytes) -> None:
    """The digest is HMAC-SHA-256 under the pepper, of any text at all."""
    expected = hmac.new(pepper, text.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()

    assert expected == digest_of(text, pepper)


@pytest.mark.parametrize(
    ("prefix", "good"),
    [("cgt", True), ("A1", True), ("a" * 16, True), ("", False), ("a" * 17, False), ("a_b", False), ("é", False)],
)
def test_a_prefix_is_letters_and_digits(prefix: str, good: bool) -> None:  # noqa: FBT001 - an expectation
    """A prefix is 1 to 16 letters and digits."""
    assert good is is_prefix(prefix)
