"""The catalogue in the settings file: organisations, providers, guardrails, aliases (ADR-0040).

Laws of this file:
- What may be said is a table of members, from which the reading and the JSON Schema both follow.
- What one part names of another must be there, in the same file; organisations may also be those of the store.
- A secret is a reference. What stands in its place is never shown, whatever it is.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from dragoman.declaration import (
    ACTIONS,
    ALIAS_NAME,
    CATEGORIES,
    DECIMALS,
    HEADER_NAME,
    HEADER_VALUE,
    MODEL_LENGTH,
    MOST_CAPACITY,
    MOST_CHARS,
    MOST_DOLLARS,
    MOST_ORDER,
    MOST_SECONDS,
    MOST_WEIGHT,
    NAME,
    PROVIDER_KINDS,
    QUIRK,
    REFERENCE,
    REMOTE_KINDS,
    SECRET_WORDS,
    STAGES,
    TITLE,
    TITLE_LENGTH,
    URL,
    Declaration,
    DeclaredAlias,
    DeclaredOrganization,
    complaints_of_guardrail,
    complaints_of_provider,
    is_agent_name,
    is_model,
    is_organization_name,
    is_reference,
    price_of,
)
from dragoman.model import Guardrail, Prices, Provider, Target, Timeouts
from dragoman.settings.errors import SettingsError, nearest
from dragoman.settings.kinds import (
    LINE_TEXT,
    RATE,
    SWITCH,
    TITLE_TEXT,
    Kind,
    Member,
    Place,
    Schema,
    entries,
    listing,
    matching,
    number_at,
    one_of,
    seconds,
    table,
    whole,
)
from dragoman.settings.known import Known

NAME_TEXT: Final = matching(NAME, "1 to 64 letters, digits, dots, hyphens and underscores")
AGENT_TEXT: Final = matching(
    NAME, "1 to 64 letters, digits, dots, hyphens and underscores, and no uuid", accept=is_agent_name
)
ORGANIZATION_TEXT: Final = matching(
    TITLE,
    f"1 to {TITLE_LENGTH} characters in one line, without spaces around them, and no uuid",
    accept=is_organization_name,
    longest=TITLE_LENGTH,
)
MODEL_TEXT: Final = matching(
    TITLE,
    f"1 to {MODEL_LENGTH} characters in one line, without spaces around them",
    accept=is_model,
    longest=MODEL_LENGTH,
)
REFERENCE_TEXT: Final = matching(
    REFERENCE, "env:NAME or file:PATH, which say where the secret is", accept=is_reference, hide=True
)
URL_TEXT: Final = matching(URL, "http:// or https:// and a host, without a user, a query or a fragment", hide=True)
PIECE: Final = matching(r"[^\r\n]{1,4096}", "1 to 4096 characters in one line")


# --- Providers --------------------------------------------------------------------------------------------------------


def _any_case(word: str) -> str:
    """Return a pattern that finds *word* in either case, without a flag, which JSON Schema has not."""
    return "".join(f"[{letter.upper()}{letter}]" for letter in word)


def _headers() -> Kind:
    """Return the kind of headers: a literal text or a reference each, and a reference where a secret would stand."""
    names = matching(HEADER_NAME, "the name of a header")
    values = matching(
        f"{REFERENCE}|{HEADER_VALUE}", "a reference, or visible ASCII characters", accept=_is_value, hide=True
    )
    kind = entries(names, values)
    secret = "|".join(map(_any_case, SECRET_WORDS))
    return Kind(read=kind.read, schema={**kind.schema, "patternProperties": {secret: REFERENCE_TEXT.schema}})


def _is_value(text: str) -> bool:
    return is_reference(text) or re.fullmatch(HEADER_VALUE, text, re.ASCII) is not None


_REMOTE_ONLY: Final = ("base_url", "key", "headers")
PROVIDER: Final = table(
    {
        "name": Member(kind=NAME_TEXT, says="What targets call it.", required=True),
        "kind": Member(
            kind=one_of("kind", PROVIDER_KINDS),
            says="What it speaks: openai (any compatible server), anthropic, or a part of the gateway.",
            required=True,
        ),
        "base_url": Member(kind=URL_TEXT, says="Where it is, such as https://api.openai.com/v1."),
        "key": Member(kind=REFERENCE_TEXT, says="Where its key is: env:NAME or file:PATH."),
        "headers": Member(kind=_headers(), says="More headers: texts, or references where a secret is in them."),
        "quirks": Member(
            kind=listing(matching(QUIRK, "a word in lower case"), into=frozenset),
            says="Where the server differs from its kind.",
        ),
        "private": Member(kind=SWITCH, says="Whether its address may be one of a private network.", usual=False),
        "capacity": Member(
            kind=whole(1, MOST_CAPACITY), says="How many requests it gets at once from one process.", usual=256
        ),
    },
    Provider,
    complain=complaints_of_provider,
    says="A server that answers, or a part of the gateway that stands for one.",
    rule={
        "if": {"properties": {"kind": {"enum": list(REMOTE_KINDS)}}},
        "then": {"required": ["base_url"]},
        "else": {"properties": {name: {"maxProperties": 0, "type": "object"} for name in _REMOTE_ONLY}},
    },
)


# --- Guardrails -------------------------------------------------------------------------------------------------------

_SOUGHT: Final = ("detectors", "patterns", "keywords", "max_chars", "webhook")
GUARDRAIL: Final = table(
    {
        "key": Member(kind=NAME_TEXT, says="What it is called; callers are told it when it blocks.", required=True),
        "action": Member(kind=one_of("action", ACTIONS), says="What happens when it finds something.", required=True),
        "stages": Member(
            kind=listing(one_of("stage", STAGES), least=1, into=frozenset),
            says="Which texts it looks at.",
            usual=list(STAGES),
        ),
        "detectors": Member(kind=listing(NAME_TEXT, least=1), says="What is looked for, by name, such as email."),
        "patterns": Member(kind=entries(NAME_TEXT, PIECE), says='What is looked for: category = "RE2 pattern".'),
        "keywords": Member(kind=listing(PIECE, least=1), says="What is looked for, word by word."),
        "max_chars": Member(kind=whole(1, MOST_CHARS), says="How long a text may be."),
        "webhook": Member(kind=URL_TEXT, says="Who is asked."),
    },
    Guardrail,
    complain=complaints_of_guardrail,
    says="What is looked for in texts, and what happens when it is found.",
    rule={"anyOf": [{"required": [name]} for name in _SOUGHT]},
)


# --- Aliases ----------------------------------------------------------------------------------------------------------


def _price(value: object, place: Place) -> int:
    number = _decimal(value) if isinstance(value, str) else number_at(value)
    wanted = f"dollars for a million tokens, from 0 to {MOST_DOLLARS}, with at most {DECIMALS} decimals"
    try:
        if number is not None:
            return price_of(number)
    except ValueError:
        pass
    raise place.refusal(value, wanted)


_FRACTION: Final = rf"\.[0-9]{{1,{DECIMALS}}}"
_PRICE_TEXT: Final = rf"(0|[1-9][0-9]{{0,3}})({_FRACTION})?|{MOST_DOLLARS}(\.0{{1,{DECIMALS}}})?"


def _decimal(text: str) -> Decimal | None:
    return Decimal(text) if re.fullmatch(_PRICE_TEXT, text, re.ASCII) else None


PRICE: Final = Kind(
    read=_price,
    schema={
        "anyOf": [
            {"type": "number", "minimum": 0, "maximum": MOST_DOLLARS},
            {"type": "string", "pattern": f"^({_PRICE_TEXT})$"},
        ]
    },
)
PRICES: Final = table(
    {
        "input": Member(kind=PRICE, says="Of input tokens.", usual="0"),
        "output": Member(kind=PRICE, says="Of output tokens.", usual="0"),
        "cached_input": Member(
            kind=PRICE, says="Of input tokens that the provider had in its cache; else that of any."
        ),
    },
    Prices,
    says="What it costs, in dollars for a million tokens.",
)
_SECONDS: Final = seconds(MOST_SECONDS)
_USUAL: Final = Timeouts()
TIMEOUTS: Final = table(
    {
        "connect": Member(kind=_SECONDS, says="Until there is a connection.", usual=_USUAL.connect),
        "first_byte": Member(kind=_SECONDS, says="From then until the answer begins.", usual=_USUAL.first_byte),
        "idle": Member(kind=_SECONDS, says="Between two pieces of the answer.", usual=_USUAL.idle),
        "total": Member(kind=_SECONDS, says="For all of it.", usual=_USUAL.total),
    },
    Timeouts,
    says="How long it may take, in seconds.",
)
TARGET: Final = table(
    {
        "provider": Member(kind=NAME_TEXT, says="The name of a provider.", required=True),
        "model": Member(kind=MODEL_TEXT, says="What the provider calls it; without it, what the caller sent."),
        "weight": Member(kind=whole(1, MOST_WEIGHT), says="How often it is chosen, beside the others.", usual=1),
        "order": Member(kind=whole(0, MOST_ORDER), says="Those of the lowest order are tried first.", usual=0),
        "timeouts": Member(kind=TIMEOUTS, says="How long it may take, in seconds."),
    },
    Target,
    says="One provider and one of its models.",
)


def _alias(**members: Any) -> DeclaredAlias:  # noqa: ANN401 - the members of an alias
    return DeclaredAlias(**{"display_name": members["id"][:TITLE_LENGTH], **members})


ALIAS: Final = table(
    {
        "id": Member(
            kind=matching(ALIAS_NAME, "1 to 256 visible ASCII characters"),
            says="What callers write for `model`; * stands for every name that is no alias.",
            required=True,
        ),
        "display_name": Member(kind=TITLE_TEXT, says="What people see of it; the id unless it is said."),
        "description": Member(kind=LINE_TEXT, says="What it is good for.", usual=""),
        "category": Member(kind=one_of("category", CATEGORIES), says="What it can do.", usual=CATEGORIES[0]),
        "visible_to": Member(
            kind=listing(TITLE_TEXT, into=frozenset), says="Names or ids of the organisations that see it; else all do."
        ),
        "prices": Member(kind=PRICES, says="What it costs, in dollars for a million tokens."),
        "limit": Member(kind=RATE, says="How much each organisation may ask of it, such as 600/m.", into="rate"),
        "token_limit": Member(
            kind=RATE, says="How many tokens each organisation may use of it, such as 100000/m.", into="token_rate"
        ),
        "guardrails": Member(kind=listing(NAME_TEXT), says="The keys of guardrails that watch it."),
        "target": Member(kind=listing(TARGET), says="Who answers.", into="targets"),
    },
    _alias,
    says="A model that callers name.",
)


# --- Organisations ----------------------------------------------------------------------------------------------------

AGENT: Final = table(
    {"name": Member(kind=AGENT_TEXT, says="Its name, which no other agent of the organisation has.", required=True)},
    lambda name: name,
    says="Who acts for a key of the organisation.",
)
ORGANIZATION: Final = table(
    {
        "name": Member(kind=ORGANIZATION_TEXT, says="Its name, which no other organisation has.", required=True),
        "limit": Member(kind=RATE, says="How much all its keys may together, such as 6000/m.", into="rate"),
        "token_limit": Member(kind=RATE, says="How many tokens all its keys may use together.", into="token_rate"),
        "guardrails": Member(kind=listing(NAME_TEXT), says="The keys of guardrails that watch all it sends and gets."),
        "agent": Member(kind=listing(AGENT), says="Its agents.", into="agents"),
    },
    DeclaredOrganization,
    says="Who keys and agents belong to.",
)

PARTS: Final[Mapping[str, Kind]] = {
    "organization": ORGANIZATION,
    "provider": PROVIDER,
    "guardrail": GUARDRAIL,
    "alias": ALIAS,
}
"""The lists of tables at the top of the file, by their names there."""


def catalogue_schema() -> dict[str, Schema]:
    """Return the schemas of the parts of the catalogue, by their names at the top of the file."""
    return {name: {"type": "array", "items": kind.schema} for name, kind in PARTS.items()}


def read_catalogue(document: Mapping[str, Any], file: Place, known: Known) -> Declaration:
    """Return the catalogue that *document* declares, which is that of *file*.

    Raises:
        SettingsError: naming the dotted path, and what can stand there.
    """
    found = {name: _part(document, name, file) for name in PARTS}
    declared = Declaration(
        organizations=found["organization"],
        providers=found["provider"],
        guardrails=found["guardrail"],
        aliases=found["alias"],
    )
    for place, complaint in _complaints(declared, file, known):
        message = f"{place}: {complaint}"
        raise SettingsError(message)
    return declared


def _part(document: Mapping[str, Any], name: str, file: Place) -> tuple[Any, ...]:
    place, stated = file.member(name), document.get(name, [])
    if not isinstance(stated, list):
        raise place.refusal_of_content(stated, f"a list; write [[{name}]]")
    return tuple(PARTS[name].read(one, place.item(index)) for index, one in enumerate(stated))


def _complaints(declared: Declaration, file: Place, known: Known) -> Iterator[tuple[Place, str]]:
    """Yield what does not fit together, and where it stands."""
    organizations, aliases = declared.organizations, declared.aliases
    yield from _repeated([one.name for one in organizations], file, "organization", "name")
    yield from _repeated([one.name for one in declared.providers], file, "provider", "name")
    yield from _repeated([one.key for one in declared.guardrails], file, "guardrail", "key")
    yield from _repeated([one.id for one in aliases], file, "alias", "id")
    guardrails = {one.key for one in declared.guardrails}
    yield from _unwatched([one.guardrails for one in organizations], guardrails, file.member("organization"))
    yield from _unwatched([one.guardrails for one in aliases], guardrails, file.member("alias"))
    yield from _unanswered(declared, file.member("alias"))
    for index, provider in enumerate(declared.providers):
        yield from ((file.member("provider").item(index), told) for told in known.check_provider(provider))
    for index, guardrail in enumerate(declared.guardrails):
        yield from ((file.member("guardrail").item(index), told) for told in known.check_guardrail(guardrail))


def _repeated(names: Sequence[str], file: Place, part: str, member: str) -> Iterator[tuple[Place, str]]:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield file.member(part).item(index).member(member), f"{name!r} is there twice"
        seen.add(name)


def _unwatched(
    watched: Sequence[Sequence[str]], guardrails: Collection[str], part: Place
) -> Iterator[tuple[Place, str]]:
    """Yield which of the keys that each is *watched* by is that of no guardrail."""
    for index, keys in enumerate(watched):
        for number, key in enumerate(keys):
            if key not in guardrails:
                yield part.item(index).member("guardrails").item(number), _unknown("guardrail", key, guardrails)


def _unanswered(declared: Declaration, part: Place) -> Iterator[tuple[Place, str]]:
    """Yield which target of which alias is no provider's."""
    providers = {one.name for one in declared.providers}
    for index, alias in enumerate(declared.aliases):
        for number, target in enumerate(alias.targets):
            if target.provider not in providers:
                place = part.item(index).member("target").item(number).member("provider")
                yield place, _unknown("provider", target.provider, providers)


def _unknown(part: str, name: str, there: Collection[str]) -> str:
    known = f"known: {', '.join(sorted(there))}" if there else f"the file has none; write [[{part}]]"
    return f"unknown {part} {name!r}; {nearest(name, there) or known}"
