"""Traits are a closed vocabulary, and the operation's own win."""

from typing import Any

import pytest
from gateway_conformance.rules import confirms

from documents import tiny
from dragoman.contract.compiler import compile_contract
from dragoman.contract.traits import Traits, read_traits
from treaty import TreatyError

PATH_PARAMETER = {"name": "org_id", "in": "path", "required": True, "schema": {"type": "string"}}
HEADER = {"name": "X-Agent", "in": "header", "schema": {"type": "string"}}


def read(document: dict[str, Any], operation: dict[str, Any] | None = None) -> Traits:
    """Return the traits of an operation that states *operation* in a document that states *document*."""
    return read_traits({"x-dragoman": document}, {"x-dragoman": operation or {}}, where="POST /things")


def test_every_trait_is_read() -> None:
    """Each word of the vocabulary sets the one field that the gateway reads."""
    stated = {
        "agent": {"from": [{"header": "X-First"}, {"header": "X-Second"}, {"model": ["a:", "b/"]}], "default": "main"},
        "request-id": {"prefix": "req_", "body-member": "request_id"},
        "non-text": "drop",
        "default-model": "general",
        "switch": "chat.enabled",
        "default-off": True,
        "organization": {"path": "org_id"},
        "unknown-keys": "drop",
        "unknown-model": "pass",
        "usage": "zero",
        "body-limit": 1,
        "identity": "service",
        "limits-by": ["address", "key"],
    }
    expected = Traits(
        agent_headers=("X-First", "X-Second"),
        agent_prefixes=("a:", "b/"),
        default_agent="main",
        id_prefix="req_",
        correlation_member="request_id",
        keep_non_text=False,
        default_model="general",
        switch="chat.enabled",
        default_off=True,
        organization_parameter="org_id",
        forward_unknown_keys=False,
        pass_unknown_model=True,
        zero_usage=True,
        body_limit=1,
        asks_service=True,
        limits_by=frozenset({"address", "key"}),
    )

    assert expected == read(stated)


def test_a_contract_without_traits_has_the_defaults() -> None:
    """Where nothing is stated nobody is named or limited, unknown keys are forwarded, and a body may have 8 MiB."""
    expected = Traits(
        agent_headers=(),
        agent_prefixes=(),
        default_agent=None,
        id_prefix="",
        correlation_member=None,
        keep_non_text=True,
        default_model=None,
        switch=None,
        default_off=False,
        organization_parameter=None,
        forward_unknown_keys=True,
        pass_unknown_model=False,
        zero_usage=False,
        body_limit=8388608,
        asks_service=False,
        limits_by=frozenset(),
    )

    assert expected == read_traits({}, {}, where="POST /things")


@confirms("ADR-0005.R3")
def test_an_operations_own_trait_wins_member_by_member() -> None:
    """What the operation states replaces the document's, and what it does not state stays the document's."""
    traits = read({"unknown-keys": "drop", "body-limit": 10}, {"body-limit": 20})

    assert (False, 20) == (traits.forward_unknown_keys, traits.body_limit)


@confirms("ADR-0005.R1")
def test_a_trait_of_documents_is_none_of_an_operation() -> None:
    """Who is asked is said for a whole mount; an operation that says it is refused by its place."""
    with pytest.raises(TreatyError) as caught:
        read({"identity": "service"}, {"identity": "service"})

    assert "POST /things: the trait 'identity' is one of documents, and not of an operation" == str(caught.value)


KNOWN = (
    "agent, body-limit, default-model, default-off, identity, limits-by, non-text, organization, request-id, switch, "
    "unknown-keys, unknown-model, usage"
)


@confirms("ADR-0005.R1")
@pytest.mark.parametrize(
    ("name", "hint"),
    [("body_limit", "; did you mean 'body-limit'?"), ("zzz", "")],
)
def test_an_unknown_trait_is_refused(name: str, hint: str) -> None:
    """An unknown trait is refused with its place, its name, all known ones, and the nearest when one is near."""
    with pytest.raises(TreatyError) as caught:
        read({}, {name: 1})

    expected = f"POST /things: unknown trait {name!r}; known are {KNOWN}{hint}"
    assert expected == str(caught.value)


AGENT_FORM = "{from: [{header: NAME}, ..., {model: [PREFIX, ...]}], default: NAME}"
ID_FORM = "{prefix: TEXT, body-member: NAME}"
ORGANIZATION_FORM = "{path: PARAMETER}"
KEYS_FORM = "forward or drop"
LIMIT_FORM = "a number of bytes, at least 1"
SCOPES_FORM = "a list of address, failed-logins, organization, key, alias"


@confirms("ADR-0005.R1")
@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("agent", "X-Agent", AGENT_FORM),
        ("agent", {}, AGENT_FORM),
        ("agent", {"from": [{"header": "X"}], "required": True}, AGENT_FORM),
        ("agent", {"from": "X-Agent"}, AGENT_FORM),
        ("agent", {"from": []}, AGENT_FORM),
        ("agent", {"from": 1}, AGENT_FORM),
        ("agent", {"from": [{"header": "X"}], "default": 1}, AGENT_FORM),
        ("agent", {"from": [{"header": "X"}], "default": "main", "other": 1}, AGENT_FORM),
        ("agent", {"from": [], "default": "main"}, AGENT_FORM),
        ("agent", {"default": "main"}, AGENT_FORM),
        ("request-id", "req_", ID_FORM),
        ("request-id", {"prefix": "req_"}, ID_FORM),
        ("request-id", {"prefix": 1, "body-member": "id"}, ID_FORM),
        ("request-id", {"prefix": "req_", "body-member": None}, ID_FORM),
        ("request-id", {"prefix": "req_", "body-member": "id", "other": 1}, ID_FORM),
        ("non-text", "ignore", KEYS_FORM),
        ("default-model", "", "a text"),
        ("default-model", 1, "a text"),
        ("switch", "", "a text"),
        ("switch", ["a"], "a text"),
        ("default-off", "yes", "True"),
        ("default-off", False, "True"),
        ("default-off", [], "True"),
        ("organization", "org_id", ORGANIZATION_FORM),
        ("organization", {"path": 1}, ORGANIZATION_FORM),
        ("organization", {"query": "org_id"}, ORGANIZATION_FORM),
        ("unknown-keys", "ignore", KEYS_FORM),
        ("unknown-keys", True, KEYS_FORM),
        ("unknown-keys", [], KEYS_FORM),
        ("body-limit", 0, LIMIT_FORM),
        ("body-limit", True, LIMIT_FORM),
        ("body-limit", 1.5, LIMIT_FORM),
        ("body-limit", "8 MiB", LIMIT_FORM),
        ("identity", "store", "service"),
        ("limits-by", "address", SCOPES_FORM),
        ("limits-by", {"address": True}, SCOPES_FORM),
        ("limits-by", ["address", "adress"], SCOPES_FORM),
        ("limits-by", ["failed_logins"], SCOPES_FORM),
        ("limits-by", [["key"]], SCOPES_FORM),
        ("limits-by", [None], SCOPES_FORM),
    ],
)
def test_an_unknown_value_is_refused(name: str, value: object, accepted: str) -> None:
    """A value outside a trait's vocabulary is refused with the trait, the value and what is accepted."""
    with pytest.raises(TreatyError) as caught:
        read({name: value})

    assert f"POST /things: trait {name!r}: {value!r} is not accepted; it must be {accepted}" == str(caught.value)


@confirms("ADR-0005.R1")
@pytest.mark.parametrize(
    ("before", "source"),
    [
        ([], {"header": 1}),
        ([], {"header": "X", "model": ["p"]}),
        ([], {"query": "agent"}),
        ([], "X-Agent"),
        ([{"header": "X-Agent"}], {"model": "prefix"}),
        ([{"header": "X-Agent"}], {"model": []}),
        ([{"header": "X-Agent"}], {"model": ["p", 1]}),
        ([{"header": "X-Agent"}], {"model": ["p"], "header": "X"}),
        ([{"model": ["p"]}], {"header": "X-Agent"}),
    ],
)
def test_a_source_of_the_agent_that_is_none_is_refused(before: list[object], source: object) -> None:
    """What names no agent, or a header after the model, is refused, and the refusal shows that source."""
    with pytest.raises(TreatyError) as caught:
        read({"agent": {"from": [*before, source]}})

    accepted = f"one of the sources in {AGENT_FORM}"
    assert f"POST /things: trait 'agent': {source!r} is not accepted; it must be {accepted}" == str(caught.value)


@confirms("ADR-0005.R2")
def test_an_own_agent_header_must_be_declared() -> None:
    """An operation whose own trait names a header that is not its parameter is refused."""
    document = tiny(**{"x-dragoman": {"agent": {"from": [{"header": "X-Agent"}]}}})

    with pytest.raises(TreatyError) as caught:
        compile_contract(document)

    expected = "POST /things: trait 'agent' names the header 'X-Agent', which is no parameter of the operation"
    assert expected == str(caught.value)


@confirms("ADR-0005.R2")
@pytest.mark.parametrize("place", ["document", "operation"])
def test_an_organization_parameter_must_be_declared(place: str) -> None:
    """A trait that names a path parameter which the operation has not is refused, wherever it stands."""
    trait = {"organization": {"path": "org_id"}}
    document = tiny(**{"x-dragoman": trait}) if place == "operation" else tiny() | {"x-dragoman": trait}

    with pytest.raises(TreatyError) as caught:
        compile_contract(document)

    assert "POST /things: trait 'organization' names 'org_id', which is no path parameter" == str(caught.value)


def test_the_documents_agent_headers_apply_where_they_are_declared() -> None:
    """Of the headers that the document names, an operation looks at those it declares."""
    trait = {"x-dragoman": {"agent": {"from": [{"header": "X-Other"}, {"header": "X-Agent"}]}}}
    with_header = compile_contract(tiny(parameters=[HEADER]) | trait).operations[0]
    without = compile_contract(tiny() | trait).operations[0]

    assert (("X-Agent",), ()) == (with_header.traits.agent_headers, without.traits.agent_headers)


def test_declared_parameters_satisfy_the_traits() -> None:
    """An operation whose own traits name declared parameters is compiled with them."""
    stated = {"agent": {"from": [{"header": "X-Agent"}]}, "organization": {"path": "org_id"}}
    document = tiny("/orgs/{org_id}", parameters=[HEADER, PATH_PARAMETER], **{"x-dragoman": stated})

    traits = compile_contract(document).operations[0].traits

    assert (("X-Agent",), "org_id") == (traits.agent_headers, traits.organization_parameter)
