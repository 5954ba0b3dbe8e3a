"""The catalogue in the settings file: what it declares, and that what is wrong is named by its dotted path."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import attrs
import pytest
from gateway_conformance.rules import confirms

from catalogue_file import WHOLE
from dragoman.declaration import Declaration
from dragoman.model import Guardrail, Prices, Provider, Timeouts
from dragoman.settings import Known, SettingsError, read_file
from stores import CATALOGUE

KNOWN: Final = Known(dialects={}, operations={}, forwarding=())
NAMED: Final = "1 to 64 letters, digits, dots, hyphens and underscores"
TITLED: Final = "characters in one line, without spaces around them"
PRICED: Final = "dollars for a million tokens, from 0 to 10000, with at most 6 decimals"
HOST: Final = "it must be http:// or https:// and a host, without a user, a query or a fragment"
REFERRED: Final = "it must be env:NAME or file:PATH"

Write = Callable[[str], Path]


def declared(path: Path, known: Known = KNOWN) -> Declaration:
    """Return the catalogue in the file at *path*."""
    return read_file(path, known).catalogue


def refused(path: Path, known: Known = KNOWN) -> str:
    """Return what is said of the file at *path*, without its name."""
    with pytest.raises(SettingsError) as caught:
        read_file(path, known)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def provider(**members: str) -> str:
    """Return a provider in TOML, whose *members* are in TOML too."""
    stated = {"name": "'a'", "kind": "'openai'", "base_url": "'https://llm.example'"} | members
    return "\n".join(["[[provider]]", *(f"{name} = {value}" for name, value in stated.items() if value)])


def guardrail(**members: str) -> str:
    """Return a guardrail in TOML."""
    stated = {"key": "'a'", "action": "'block'", "keywords": "['x']"} | members
    return "\n".join(["[[guardrail]]", *(f"{name} = {value}" for name, value in stated.items() if value)])


def alias(**members: str) -> str:
    """Return an alias in TOML."""
    stated = {"id": "'a'"} | members
    return "\n".join(["[[alias]]", *(f"{name} = {value}" for name, value in stated.items() if value)])


def target(**members: str) -> str:
    """Return a provider, and an alias with a target of it, in TOML."""
    stated = ", ".join(f"{name} = {value}" for name, value in ({"provider": "'a'"} | members).items() if value)
    return f"{provider()}\n{alias(target=f'[{{{stated}}}]')}"


def test_everything_can_be_declared(write: Write) -> None:
    """Organisations with agents, providers, guardrails and aliases with targets are taken to the last member."""
    assert CATALOGUE == declared(write(WHOLE))


def test_what_is_not_said_is_as_usual(write: Write) -> None:
    """A thing needs little more than its name; an alias is shown by its id, as far as it can be shown."""
    [one, other] = declared(write(f"{alias()}\n{alias(id=repr('b' * 256))}")).aliases

    assert ("a", "", "llm", None, None, None, (), Prices(), ()) == (
        one.display_name,
        one.description,
        one.category,
        one.visible_to,
        one.rate,
        one.token_rate,
        one.targets,
        one.prices,
        one.guardrails,
    )
    assert "b" * 128 == other.display_name
    [asked] = declared(write(target())).aliases[0].targets
    assert (None, 1, 0, Timeouts()) == (asked.model, asked.weight, asked.order, asked.timeouts)
    assert Declaration() == declared(write(""))


# --- What is wrong is named by its dotted path ------------------------------------------------------------------------


@confirms("ADR-0040.R13", "ADR-0025.R1")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[providers]]", "providers: unknown setting 'providers'; did you mean provider?"),
        ("[[organisation]]", "organisation: unknown setting 'organisation'; did you mean organization?"),
        (provider(capacty="1"), "provider[0].capacty: unknown setting 'capacty'; did you mean capacity?"),
        (provider(kind="'opnai'"), "provider[0].kind: unknown kind 'opnai'; did you mean openai?"),
        (guardrail(acton="''"), "guardrail[0].acton: unknown setting 'acton'; did you mean action?"),
        (guardrail(action="'blok'"), "guardrail[0].action: unknown action 'blok'; did you mean block?"),
        (guardrail(stages="['inpt']"), "guardrail[0].stages[0]: unknown stage 'inpt'; did you mean input?"),
        (alias(categry="'llm'"), "alias[0].categry: unknown setting 'categry'; did you mean category?"),
        (alias(prices="{ inpt = 1 }"), "alias[0].prices.inpt: unknown setting 'inpt'; did you mean input?"),
        (target(wieght="1"), "alias[0].target[0].wieght: unknown setting 'wieght'; did you mean weight?"),
        (
            target(timeouts="{ conect = 1 }"),
            "alias[0].target[0].timeouts.conect: unknown setting 'conect'; did you mean connect?",
        ),
        (
            "[[organization]]\nname = 'a'\n[[organization.agnt]]",
            "organization[0].agnt: unknown setting 'agnt'; did you mean agent?",
        ),
        (
            "[[organization]]\nname = 'a'\n[[organization.agent]]\nnam = 'b'",
            "organization[0].agent[0].nam: unknown setting 'nam'; did you mean name?",
        ),
    ],
)
def test_what_is_not_known_is_refused_with_the_nearest(write: Write, text: str, said: str) -> None:
    """A misspelt table, member or choice is named by its path, with the one that was probably meant."""
    assert said == refused(write(text))


@confirms("ADR-0040.R13")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (target(provider="'b'"), "alias[0].target[0].provider: unknown provider 'b'; known: a"),
        (
            f"{target()}\n[[alias]]\nid = 'b'\n[[alias.target]]\nprovider = 'a'\n[[alias.target]]\nprovider = 'aa'",
            "alias[1].target[1].provider: unknown provider 'aa'; did you mean a?",
        ),
        (
            alias(target="[{provider = 'echo'}]"),
            "alias[0].target[0].provider: unknown provider 'echo'; the file has none; write [[provider]]",
        ),
        (
            f"{guardrail(key=repr('pii'))}\n{alias(guardrails=repr(['pii', 'pi']))}",
            "alias[0].guardrails[1]: unknown guardrail 'pi'; did you mean pii?",
        ),
        (
            "[[organization]]\nname = 'a'\nguardrails = ['pii']",
            "organization[0].guardrails[0]: unknown guardrail 'pii'; the file has none; write [[guardrail]]",
        ),
    ],
)
def test_what_names_what_is_not_there_is_refused(write: Write, text: str, said: str) -> None:
    """A provider or guardrail that the file does not have is refused where it is named, with the nearest there is."""
    assert said == refused(write(text))


@confirms("ADR-0040.R13")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{provider()}\n{provider()}", "provider[1].name: 'a' is there twice"),
        (f"{guardrail()}\n{guardrail()}", "guardrail[1].key: 'a' is there twice"),
        (f"{alias()}\n{alias()}", "alias[1].id: 'a' is there twice"),
        ("[[organization]]\nname = 'a'\n[[organization]]\nname = 'a'", "organization[1].name: 'a' is there twice"),
        (
            "[[organization]]\nname = 'a'\n[[organization.agent]]\nname = 'b'\n[[organization.agent]]\nname = 'b'",
            "organization[0].agent[1]: it is there twice",
        ),
        (f"{guardrail()}\n{alias(guardrails=repr(['a', 'a']))}", "alias[0].guardrails[1]: it is there twice"),
        (alias(visible_to="['o', 'o']"), "alias[0].visible_to[1]: it is there twice"),
        (provider(quirks="['x', 'x']"), "provider[0].quirks[1]: it is there twice"),
    ],
)
def test_what_is_there_twice_is_refused(write: Write, text: str, said: str) -> None:
    """No name and no item of a list stands twice."""
    assert said == refused(write(text))


@confirms("ADR-0040.R13")
@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        (provider(name=""), "provider[0].name", "it is missing; it must be a text"),
        (provider(name="1"), "provider[0].name", "1 is not accepted; it must be a text"),
        (provider(name="'a b'"), "provider[0].name", f"'a b' is not accepted; it must be {NAMED}"),
        (provider(name=f"'{'a' * 65}'"), "provider[0].name", f"'{'a' * 65}' is not accepted; it must be {NAMED}"),
        (provider(kind=""), "provider[0].kind", "it is missing; it must be a text"),
        (
            provider(base_url=""),
            "provider[0].base_url",
            "it is missing, and a provider of the kind openai needs one",
        ),
        (provider(kind="'echo'"), "provider[0].base_url", "a provider of the kind echo has none"),
        (provider(private="'no'"), "provider[0].private", "'no' is not accepted; it must be true or false"),
        (provider(private="0"), "provider[0].private", "0 is not accepted; it must be true or false"),
        (
            provider(capacity="0"),
            "provider[0].capacity",
            "0 is not accepted; it must be a whole number from 1 to 100000",
        ),
        (provider(capacity="true"), "provider[0].capacity", "True is not accepted; it must be a whole number"),
        (provider(capacity="1.0"), "provider[0].capacity", "1.0 is not accepted; it must be a whole number"),
        (provider(quirks="'x'"), "provider[0].quirks", "a text is not accepted; it must be a list"),
        (provider(quirks="['X']"), "provider[0].quirks[0]", "'X' is not accepted; it must be a word in lower case"),
        (provider(headers="[]"), "provider[0].headers", "a list is not accepted; it must be a table"),
        (
            provider(headers="{ 'X Team' = 'a' }"),
            "provider[0].headers",
            "'X Team' is not accepted; it must be the name of a header",
        ),
        (provider(headers="{ Host = 'a' }"), "provider[0].headers.Host", "the connection sets it itself"),
        (guardrail(key=""), "guardrail[0].key", "it is missing; it must be a text"),
        (guardrail(action=""), "guardrail[0].action", "it is missing; it must be a text"),
        (guardrail(stages="[]"), "guardrail[0].stages", "a list is not accepted; it must be a list that is not empty"),
        (
            guardrail(keywords=""),
            "guardrail[0].detectors",
            "it looks for nothing; give detectors, patterns, keywords, max_chars or a webhook",
        ),
        (
            guardrail(keywords="['']"),
            "guardrail[0].keywords[0]",
            "'' is not accepted; it must be 1 to 4096 characters in one line",
        ),
        (
            guardrail(patterns="{ 'a b' = 'x' }"),
            "guardrail[0].patterns",
            f"'a b' is not accepted; it must be {NAMED}",
        ),
        (guardrail(patterns="{ a = 1 }"), "guardrail[0].patterns.a", "1 is not accepted; it must be a text"),
        (
            guardrail(max_chars="0"),
            "guardrail[0].max_chars",
            "0 is not accepted; it must be a whole number from 1 to 100000000",
        ),
        (alias(id="'a b'"), "alias[0].id", "'a b' is not accepted; it must be 1 to 256 visible ASCII characters"),
        (
            alias(display_name="' a'"),
            "alias[0].display_name",
            f"' a' is not accepted; it must be 1 to 128 {TITLED}",
        ),
        (
            alias(display_name=f"'{'a' * 129}'"),
            "alias[0].display_name",
            f"'{'a' * 129}' is not accepted; it must be 1 to 128 {TITLED}",
        ),
        (
            alias(description='"a\\nb"'),
            "alias[0].description",
            "'a\\nb' is not accepted; it must be one line of text",
        ),
        (alias(limit="1"), "alias[0].limit", "1 is not accepted; it must be a text"),
        (
            alias(limit="'600'"),
            "alias[0].limit",
            "'600' is not accepted; a rate is written as 600/m or 20/s burst 40, with the units s, m, h and d",
        ),
        (
            alias(token_limit="'off'"),
            "alias[0].token_limit",
            "'off' is not accepted; a rate is written as 600/m or 20/s burst 40, with the units s, m, h and d",
        ),
        (alias(target="{}"), "alias[0].target", "a table is not accepted; it must be a list"),
        (target(provider=""), "alias[0].target[0].provider", "it is missing; it must be a text"),
        (
            target(model="''"),
            "alias[0].target[0].model",
            f"'' is not accepted; it must be 1 to 256 {TITLED}",
        ),
        (
            target(weight="0"),
            "alias[0].target[0].weight",
            "0 is not accepted; it must be a whole number from 1 to 1000000",
        ),
        (
            target(order="1001"),
            "alias[0].target[0].order",
            "1001 is not accepted; it must be a whole number from 0 to 1000",
        ),
        *(
            (
                target(timeouts=f"{{ idle = {text} }}"),
                "alias[0].target[0].timeouts.idle",
                f"{shown} is not accepted; it must be a number of seconds, more than 0 and at most 86400",
            )
            for text, shown in (
                ("0", "0"),
                ("-1.5", "-1.5"),
                ("86400.5", "86400.5"),
                ("nan", "NaN"),
                ("inf", "Infinity"),
                ("true", "True"),
                ("'5s'", "'5s'"),
            )
        ),
        (
            "[[organization]]\nname = '018f3a5e-7b1c-7d20-9c41-5b2e8a6f0d11'",
            "organization[0].name",
            (f"'018f3a5e-7b1c-7d20-9c41-5b2e8a6f0d11' is not accepted; it must be 1 to 128 {TITLED}, and no uuid"),
        ),
        (
            "[[organization]]\nname = 'a'\n[[organization.agent]]\nname = '018F3A5E7B1C7D209C415B2E8A6F0D11'",
            "organization[0].agent[0].name",
            f"'018F3A5E7B1C7D209C415B2E8A6F0D11' is not accepted; it must be {NAMED}, and no uuid",
        ),
        ("organization = [1]", "organization[0]", "1 is not accepted; it must be a table"),
    ],
)
def test_a_value_that_cannot_stand_there_is_refused(write: Write, text: str, path: str, said: str) -> None:
    """A value of another kind, out of range, or that breaks a rule is named by its path, with what can stand there."""
    assert f"{path}: {said}" == refused(write(text))


# --- Secrets ----------------------------------------------------------------------------------------------------------


@confirms("ADR-0040.R5")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        *(
            (provider(key=text), f"provider[0].key: {REFERRED}, which say where the secret is")
            for text in ("'sesame'", "'env:'", "'env:SE-SAME'", "'file:'", "'env: sesame'", "['sesame']", "1")
        ),
        *(
            (
                provider(headers=f"{{ {name} = 'Bearer sesame' }}"),
                f"provider[0].headers.{name}: {REFERRED}; a secret never",
            )
            for name in ("Authorization", "x-api-key", "X-Auth-Token", "Cookie", "My-Secret", "PASSWORD")
        ),
        (
            provider(headers='{ X-Team = "sesame\\n" }'),
            "provider[0].headers.X-Team: it must be a reference, or visible ASCII characters",
        ),
        (provider(headers="{ X-Team = ['sesame'] }"), "provider[0].headers.X-Team: it must be a reference, or visible"),
        *(
            (provider(base_url=f"'{text}'"), f"provider[0].base_url: {HOST}")
            for text in (
                "https://user:sesame@llm.example",
                "https://llm.example/?key=sesame",
                "https://llm.example/#sesame",
                "ftp://sesame.example",
                "sesame",
                "https://",
                "https://llm.example/a b",
            )
        ),
        (guardrail(webhook="'https://watch.example/ask?token=sesame'"), f"guardrail[0].webhook: {HOST}"),
    ],
)
def test_what_may_be_a_secret_is_refused_without_being_shown(write: Write, text: str, said: str) -> None:
    """A key, a header that may hold a secret, and an address with one in it are refused, and not repeated."""
    told = refused(write(text))

    assert told.startswith(said)
    assert "sesame" not in told


@confirms("ADR-0040.R5")
def test_a_header_may_refer_to_a_secret(write: Write) -> None:
    """A reference may stand in every header, a literal text in one whose name says nothing of a secret."""
    [one] = declared(write(provider(headers="{ Authorization = 'env:A', OpenAI-Organization = 'org-1' }"))).providers

    assert {"Authorization": "env:A", "OpenAI-Organization": "org-1"} == one.headers
    assert "org-1" not in repr(one)


# --- Prices -----------------------------------------------------------------------------------------------------------


@confirms("ADR-0040.R12")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1", 1_000_000),
        ("2.50", 2_500_000),
        ("'2.50'", 2_500_000),
        ("0.1", 100_000),
        ("'0.000001'", 1),
        ("1e-6", 1),
        ("0.3", 300_000),
        ("10000", 10_000_000_000),
        ("'10000.0'", 10_000_000_000),
    ],
)
def test_a_price_is_kept_to_the_last_digit(write: Write, text: str, expected: int) -> None:
    """A price is a number or a text, and becomes a whole number of picodollars for a token."""
    [one] = declared(write(alias(prices=f"{{ input = {text} }}"))).aliases

    assert Prices(input=expected) == one.prices


@confirms("ADR-0040.R12")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("-1", "-1"),
        ("0.0000001", "1E-7"),
        ("'0.0000001'", "'0.0000001'"),
        ("'2,50'", "'2,50'"),
        ("'1e3'", "'1e3'"),
        ("''", "''"),
        ("'-1'", "'-1'"),
        ("10000.000001", "10000.000001"),
        ("'10000.1'", "'10000.1'"),
        ("nan", "NaN"),
        ("-inf", "-Infinity"),
        ("true", "True"),
        ("[1]", "a list"),
    ],
)
def test_a_price_that_cannot_be_kept_is_refused(write: Write, text: str, shown: str) -> None:
    """A price that is negative, too high, too fine or no number is refused rather than rounded."""
    said = refused(write(alias(prices=f"{{ output = {text} }}")))

    assert f"alias[0].prices.output: {shown} is not accepted; it must be {PRICED}" == said


# --- Checks of others -------------------------------------------------------------------------------------------------


@confirms("ADR-0040.R13")
def test_who_works_with_a_thing_may_refuse_it(write: Write) -> None:
    """What the upstreams say of a provider, and the guardrails of a guardrail, is told with its place in the file."""

    def of_provider(one: Provider) -> Iterable[str]:
        return (f"quirks: unknown quirk {quirk!r}" for quirk in one.quirks)

    def of_guardrail(one: Guardrail) -> Iterable[str]:
        return (f"detectors: unknown detector {detector!r}" for detector in one.detectors if detector == "emial")

    known = attrs.evolve(KNOWN, check_provider=of_provider, check_guardrail=of_guardrail)

    assert "provider[0]: quirks: unknown quirk 'x'" == refused(write(provider(quirks="['x']")), known)
    text = f"{provider()}\n{guardrail()}\n{guardrail(key=repr('b'), detectors=repr(['email', 'emial']))}"
    assert "guardrail[1]: detectors: unknown detector 'emial'" == refused(write(text), known)
    assert (
        CATALOGUE.guardrails == declared(write(WHOLE.replace('quirks = ["no_stream_options"]', "")), known).guardrails
    )
