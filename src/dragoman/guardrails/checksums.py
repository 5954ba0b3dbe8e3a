"""What tells a number of a kind from any other: checksums, registered lengths, and what a network or a plan allows.

Laws of this file:
- A check is given what a pattern matched, in bytes, and returns how many of them, from the first, are what was looked
  for; 0 where nothing is.
- It takes a bounded number of steps, whatever it is given.
"""

import ipaddress
from collections.abc import Callable, Iterator
from typing import Final

import attrs

Check = Callable[[bytes], int]
"""Returns how many bytes of a candidate hold."""

_DIGITS: Final = b"0123456789"


def _ends(candidate: bytes, wanted: bytes, at_most: int) -> Iterator[int]:
    """Yield the ends of *candidate* and of what is left without its last groups, longest first.

    A group is a run of *wanted* bytes; a number is often followed by another one, as a card's is by its year.
    """
    end = len(candidate)
    for _ in range(at_most):
        yield end
        while end and candidate[end - 1] in wanted:
            end -= 1
        while end and candidate[end - 1] not in wanted:
            end -= 1
        if not end:
            return


# --- Cards ------------------------------------------------------------------------------------------------------------


@attrs.frozen
class _Brand:
    """Card numbers that begin with *first* to *last*, which have as many digits, are so long."""

    first: int
    last: int
    lengths: frozenset[int]


_SIXTEEN: Final = frozenset({16})
_TO_NINETEEN: Final = frozenset({16, 17, 18, 19})
_BRANDS: Final = (
    _Brand(4, 4, frozenset({13, 16, 19})),  # Visa
    _Brand(51, 55, _SIXTEEN),  # Mastercard
    _Brand(2221, 2720, _SIXTEEN),
    _Brand(34, 34, frozenset({15})),  # American Express
    _Brand(37, 37, frozenset({15})),
    _Brand(6011, 6011, _TO_NINETEEN),  # Discover
    _Brand(644, 659, _TO_NINETEEN),
    _Brand(3528, 3589, _TO_NINETEEN),  # JCB
    _Brand(300, 305, frozenset({14, 16, 17, 18, 19})),  # Diners Club
    _Brand(36, 36, frozenset({14, 16, 17, 18, 19})),
    _Brand(38, 39, _TO_NINETEEN),
    _Brand(62, 62, _TO_NINETEEN),  # UnionPay
    _Brand(50, 50, _TO_NINETEEN),  # Maestro
    _Brand(56, 58, _TO_NINETEEN),
    _Brand(60, 69, _TO_NINETEEN),
)
"""Issuer ranges of ISO/IEC 7812, as the brands publish them."""


def card(candidate: bytes) -> int:
    """Check a card number: its brand, that brand's lengths, and Luhn's digit."""
    for end in _ends(candidate, _DIGITS, 7):
        digits = candidate[:end].translate(None, b" -")
        if _is_branded(digits) and luhn(digits):
            return end
    return 0


def _is_branded(digits: bytes) -> bool:
    return any(
        brand.first <= int(digits[: len(str(brand.first))]) <= brand.last and len(digits) in brand.lengths
        for brand in _BRANDS
    )


_DOUBLED: Final = bytes.maketrans(_DIGITS, b"0246813579")
"""The cross sum of twice a digit."""


def luhn(digits: bytes) -> bool:
    """Whether the last of *digits* is the check digit of the others (ISO/IEC 7812-1)."""
    total = sum(digits[-1::-2]) + sum(digits[-2::-2].translate(_DOUBLED)) - _DIGITS[0] * len(digits)
    return total % 10 == 0


# --- Accounts ---------------------------------------------------------------------------------------------------------

_IBAN_LENGTHS: Final = {
    country: length
    for length, countries in {
        15: "NO",
        16: "BE",
        18: "DK FI FK FO GL NL SD",
        19: "MK SI",
        20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV",
        22: "BG BH CR DE GB GE IE ME RS VA",
        23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG",
        25: "LY PT ST",
        26: "IS TR",
        27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HN HU LB NI PL SV",
        29: "BR EG PS QA UA",
        30: "JO KW MU YE",
        31: "MT SC",
        32: "LC",
        33: "RU",
    }.items()
    for country in countries.encode().split()
}
"""Country -> characters of its account numbers, from the registry of ISO 13616."""

_SEPARATORS: Final = b" -"


def iban(candidate: bytes) -> int:
    """Check an account number: the length that its country has, and ISO 7064's remainder of 97."""
    length = _IBAN_LENGTHS.get(candidate[:2].upper())
    if length is None:
        return 0
    end = 0
    for _ in range(length):
        while candidate[end : end + 1] in {b" ", b"-"}:
            end += 1
        end += 1
    if end > len(candidate) or candidate[end : end + 1].isalnum():
        return 0
    compact = candidate[:end].translate(None, _SEPARATORS).decode()
    digits = "".join(str(int(character, 36)) for character in compact[4:] + compact[:4])
    return end if int(digits) % 97 == 1 else 0


# --- Networks ---------------------------------------------------------------------------------------------------------


def ip_address(candidate: bytes) -> int:
    """Check an address of either version; this machine's own, or none at all, tells nobody's.

    Words that are hexadecimal occur with colons, as in `face::add`: an address has a digit.
    """
    text = candidate.decode()
    if not any(character.isdigit() for character in text):
        return 0
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return 0
    return 0 if address.is_loopback or address.is_unspecified else len(candidate)


# --- Telephones -------------------------------------------------------------------------------------------------------


def telephone() -> Check:
    """Return the check of telephone numbers, which knows the numbering plans of the world."""
    import phonenumbers  # noqa: PLC0415 - 150 ms and 7 MB, for those only who look for them

    def check(candidate: bytes) -> int:
        region = None if candidate.startswith((b"+", b"00")) else "US"
        for end in _ends(candidate, _DIGITS, 3):
            digits = bytes(byte for byte in candidate[:end] if byte in _DIGITS).decode()
            written = digits if region else "+" + digits.removeprefix("00")
            try:
                number = phonenumbers.parse(written, region)
            except phonenumbers.NumberParseException:
                continue
            if phonenumbers.is_valid_number(number):
                return end
        return 0

    return check
