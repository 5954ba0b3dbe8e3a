"""The JSON Schema of the settings file: it accepts and refuses what the reader does."""

import copy
import itertools
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import pytest
from gateway_conformance.rules import confirms

import test_settings_catalogue as catalogue
import test_settings_file as general
from catalogue_file import WHOLE
from dragoman.app import known_settings
from dragoman.contract.source import Source
from dragoman.settings import Known, SettingsError, settings_schema
from dragoman.settings.file import TOP, read_document
from test_settings_file import KNOWN

README: Final = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SCHEMA: Final = jsonschema_rs.validator_for(settings_schema(KNOWN))
EVERYTHING: Final = f"""
host = "::1"
port = 0
store = "our.db"
phase = 2
workers = 1
max_in_flight = 10
trusted_hops = 0
drain_delay = 0
grace = 0
allow_divergent_limits = true
phases = {{ chat = 2, embed-text = 1 }}
endpoints = {{ chat = "off", models = "on" }}
limits = {{ key = "20/s burst 40", address = "off" }}
identity_service = {{ address = "[::1]:50051", plaintext = true }}
[mounts.dragoman]
identity = "token"
secret = "env:SESAME"
phase = 1
phases = {{ chat = 1 }}
endpoints = {{ chat = "on" }}
[mounts.shy.gate.http]
chat.enabled = true
models.enabled = false
[mounts.own]
prefix = "/own"
dialect = "shy"
gate.http.chat.enabled = false
[mounts.shy2]
dialect = "dragoman"
{WHOLE}
"""

OUTSIDE: Final = re.compile(
    r"unknown (provider|guardrail) '|is there twice|is mounted twice|cannot forward|cannot read |"
    r"is no (port|address|mount)|kind echo has none|looks for nothing"
)
"""What the reader says of what one part says of another, of what is outside the file, or of what follows from it."""


def accepts(document: Any, validator: Any = SCHEMA) -> bool:  # noqa: ANN401 - any JSON value
    """Whether the schema accepts *document*, as an editor reads it."""
    told: bool = validator.is_valid(json.loads(json.dumps(document, default=str)))
    return told


def refusal(document: Mapping[str, Any], known: Known = KNOWN) -> str | None:
    """Return what the reader says of *document*, None where it accepts it."""
    try:
        read_document(document, "f", known)
    except SettingsError as error:
        return str(error)
    return None


def exact(document: Any) -> Any:  # noqa: ANN401 - any value
    """Return *document* with its numbers as the reader gets them."""
    match document:
        case float():
            return Decimal(repr(document))
        case dict():
            return {name: exact(one) for name, one in document.items()}
        case list():
            return [exact(one) for one in document]
        case _:
            return document


def cases(test: Callable[..., object]) -> Iterator[str]:
    """Yield the texts of the table that *test* is given."""
    for mark in test.pytestmark:  # type: ignore[attr-defined] # pytest puts it there
        if mark.name == "parametrize" and mark.args[0][0] == "text":
            yield from (case[0] for case in mark.args[1])


def test_it_is_a_schema() -> None:
    """It is a valid schema of draft 2020-12, for the packaged contract too, and names every part of the file."""
    packaged = settings_schema(known_settings(Source()))

    for schema in (packaged, settings_schema(KNOWN)):
        jsonschema_rs.meta.validate(schema)
        assert "https://json-schema.org/draft/2020-12/schema" == schema["$schema"]
        assert set(TOP) == set(schema["properties"])
        assert json.loads(json.dumps(schema)) == schema


@confirms("ADR-0040.R8")
def test_it_accepts_the_files_that_there_are() -> None:
    """The README's example and the embedded catalogue are accepted by the schema and the reader of the contract."""
    known = known_settings(Source())
    validator = jsonschema_rs.validator_for(settings_schema(known))
    embedded = (files("dragoman.settings") / "embedded.toml").read_text(encoding="utf-8")
    examples = [*re.findall(r"```toml\n(.*?)```", README, re.DOTALL), embedded]

    assert len(examples) > 1
    for text in examples:
        assert accepts(tomllib.loads(text), validator), text
        assert None is refusal(tomllib.loads(text, parse_float=Decimal), known)


@confirms("ADR-0040.R8")
@pytest.mark.parametrize(
    "text",
    [
        "",
        EVERYTHING,
        general.WHOLE,
        catalogue.provider(headers="{}", quirks="[]"),
        catalogue.provider(kind="'scripted'", base_url=""),
        catalogue.provider(base_url="'http://[::1]:8080/v1/'"),
        catalogue.target(timeouts="{ connect = 0.5, total = 86400 }"),
        *(catalogue.alias(prices=f"{{ input = {price} }}") for price in ("0", "'0.10'", "1.5", "10000", "'10000.000'")),
        catalogue.alias(display_name="'Größe 1'", description="''", visible_to="[]", guardrails="[]", target="[]"),
        catalogue.alias(id="'*'", limit="'20/s burst 40'"),
        "[[organization]]\nname = 'Acme & Söhne'\nagent = []",
    ],
)
def test_both_accept(text: str) -> None:
    """What may be said is accepted by both."""
    assert None is refusal(tomllib.loads(text, parse_float=Decimal))
    assert accepts(tomllib.loads(text)), [error.message for error in SCHEMA.iter_errors(tomllib.loads(text))]


@confirms("ADR-0040.R8")
@pytest.mark.parametrize(
    "text",
    [
        *cases(general.test_what_is_not_known_is_refused_by_its_path),
        *cases(general.test_a_value_of_another_kind_is_refused_by_its_path),
        *cases(general.test_what_holds_a_secret_is_not_shown),
        *cases(catalogue.test_what_is_not_known_is_refused_with_the_nearest),
        *(
            text
            for text in cases(catalogue.test_a_value_that_cannot_stand_there_is_refused)
            # A uuid and a header that frames a request are judged by the reader alone; 1.0 is an integer to a schema.
            if not re.search(r"name = '018[fF]|Host = | (nan|inf) |= 1\.0$", text)
        ),
        *cases(catalogue.test_what_may_be_a_secret_is_refused_without_being_shown),
        *(f"{catalogue.alias(prices=f'{{ input = {price} }}')}" for price in ("-1", "'2,50'", "'1e3'", "''", "true")),
        *(f"[limits]\nkey = {rate}" for rate in ("'600'", "'0/m'", "600", "'20/s burst'")),
        *(f"store = {path}" for path in ("''", "'sqlite://x'", "':memory:'", "1", '"a\\u0000b"')),
        *(
            f"identity_service = {table}"
            for table in ("{ address = 'x' }", "{ plaintext = 'on' }", "{ adress = 'x:1' }")
        ),
        *(f"mounts = {{ shy = {{ secret = {secret} }} }}" for secret in ("'sesame'", "1", "'env:'")),
        "workers = 0",
        "workers = 257",
        "phases = { embed-text = 2 }",
        "mounts.shy.prefix = 'shy'",
        "mounts.own = {}",
    ],
)
def test_both_refuse(text: str) -> None:
    """What the reader refuses the schema does: what is not known, another kind of value, what may be a secret."""
    assert None is not refusal(tomllib.loads(text, parse_float=Decimal))
    assert not accepts(tomllib.loads(text))


def places(document: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401 - any value
    """Yield the path of every member and item of *document*."""
    named = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for name, one in named:
        yield (*at, name)
        yield from places(one, (*at, name))


FOREIGN: Final[tuple[object, ...]] = (
    "", "x", "a b", "é", "\n", "env:A", "600/m", "echo", "openai", "input", "https://x.example", "on",
    0, 1, 2, -1, 10**12, 1.5, 0.25, True, False, [], ["x"], ["x", "x"], [1], [{}], {}, {"x": 1}, {"name": "x"}
)  # fmt: skip
"""What may stand anywhere, and mostly must not."""

BASE: Final = tomllib.loads(EVERYTHING)
PATHS: Final = list(places(BASE))


def changed(path: tuple[Any, ...], how: str, value: object) -> dict[str, Any]:
    """Return everything that can be said, with one thing changed."""
    document = copy.deepcopy(BASE)
    holder: Any = document
    for name in path[:-1]:
        holder = holder[name]
    if how == "replaced":
        holder[path[-1]] = value
    elif how == "renamed" and isinstance(holder, dict):
        holder[f"{path[-1]}x"] = holder.pop(path[-1])
    else:
        del holder[path[-1]]
    return document


@confirms("ADR-0040.R8")
@pytest.mark.parametrize(
    ("how", "values"), [("replaced", FOREIGN), ("renamed", (None,)), ("removed", (None,))], ids=lambda one: str(one)[:9]
)
def test_both_say_the_same_of_a_changed_file(how: str, values: tuple[object, ...]) -> None:
    """Whatever one thing is removed, renamed or replaced in a file, both accept it or both refuse it."""
    verdicts = []
    for path, value in itertools.product(PATHS, values):
        document = changed(path, how, value)
        said = refusal(exact(document))
        if said is None or OUTSIDE.search(said) is None:
            verdicts.append((said is None, accepts(document), path, value))

    assert {True, False} == {accepted for accepted, *_ in verdicts}
    assert [] == [verdict for verdict in verdicts if verdict[0] is not verdict[1]]
