"""The suite against gateways with one defect each: it must fail them, by the rule that they break (ADR-0016.R5)."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import attrs
import pytest
from gateway_conformance.answers import require_bytes
from gateway_conformance.checks import (
    CHECKS,
    Check,
    callers,
    chat,
    documents,
    events,
    headers,
    limits,
    methods,
    order,
)
from gateway_conformance.checks import forwarding as forwarded
from gateway_conformance.checks import streams as streamed
from gateway_conformance.checks.identities import a_confirmed_identity_ends_within_a_minute
from gateway_conformance.engine import judge
from gateway_conformance.exchange import Asgi
from gateway_conformance.rules import RuleBroken, confirmed_by, confirms
from gateway_conformance.target import Target

import courts
from broken import answers, contracts, identities, logs, orders, streams
from broken.limits import failed_logins_unlimited, forwarded_for_trusted, limits_told_of_nothing, never_biting
from broken.slips import SLIPS, Slip
from broken.wires import WIRE_SLIPS, Between, in_own_words, standing_before
from courts import Court
from gateways import Parts


def judged(dialect: str) -> dict[str, str]:
    """Return what the broken gateways serve: a defect is made in the first document, and seen beside a second."""
    return {"/": dialect, "/ibex": "ibex"}


def uses_spares(check: Check) -> bool:
    """Whether *check* uses more than one gateway; one that did in secret would not be judged, and its test fail."""
    return check.__module__.rsplit(".", 1)[-1] in {"limits", "room", "identities"}


def phase_of(check: Check) -> int:
    """Return the phase in which *check* asks anything: what is forwarded is in the second."""
    return 2 if check.__module__.rsplit(".", 1)[-1] in {"streams", "forwarding"} else 1


def judging(build: Callable[[Parts], Asgi], dialect: str, check: Check, phase: int) -> AbstractContextManager[Court]:
    """Run the broken gateway that *build* makes, as far as *check* needs it."""
    return courts.inside(build, judged(dialect), phase=phase, spare=uses_spares(check))


def generated(target: Target) -> None:
    """Let Schemathesis cover one operation; this is a part of what `test_contract.py` runs.

    Raises:
        RuleBroken: the first failure.
    """
    run = judge(target, operations={"createChatCompletion"}, phases=("examples", "coverage"))
    for failure in run.failures:
        raise failure.broken


@attrs.frozen
class Defect:
    """A broken gateway of a *family*, the check that must fail it, and the rule that the failure must name."""

    family: str
    build: Callable[[Parts], Asgi]
    check: Check
    rule: str
    dialect: str = "dragoman"
    forwards: bool | None = None

    @property
    def phase(self) -> int:
        """The phase in which it is judged: that of its check, unless something else is said."""
        return phase_of(self.check) if self.forwards is None else 1 + self.forwards


DEFECTS = [
    Defect("any token", identities.any_token, callers.only_the_exact_token_passes, "ADR-0009.R2"),
    Defect("any token", identities.any_prefix, callers.only_the_exact_token_passes, "ADR-0009.R2"),
    Defect("any token", identities.every_scope, callers.a_key_without_the_scope_is_refused, "ADR-0009.R3"),
    Defect(
        "foreign agent",
        identities.foreign_agent,
        callers.another_agent_is_refused_whether_it_exists_or_not,
        "ADR-0009.R5",
    ),
    Defect("validation off", contracts.validation_off, generated, "ADR-0007.R1"),
    Defect("validation off", answers.always_501, generated, "ADR-0007.R1"),
    Defect("off by one", contracts.off_by_one, generated, "ADR-0007.R1"),
    Defect("off by one", contracts.off_by_one, chat.a_model_name_has_1_to_256_characters, "ADR-0013.R4"),
    Defect("other phase", contracts.other_phase, documents.the_document_shows_the_live_phase, "ADR-0003.R1"),
    Defect("checks swapped", orders.content_before_credential, order.credential_before_everything_else, "ADR-0008.R2"),
    Defect(
        "checks swapped",
        orders.content_before_scope,
        order.scope_before_organization_before_agent_before_content,
        "ADR-0008.R4",
    ),
    Defect(
        "body before credential", orders.body_before_credential, order.credential_before_the_body_arrives, "ADR-0008.R2"
    ),
    Defect(
        "body before credential", orders.body_before_credential, order.credential_before_everything_else, "ADR-0008.R2"
    ),
    Defect("wrong envelope", answers.wrong_envelope, generated, "ADR-0004.R4"),
    Defect("missing header", answers.missing_header, headers.every_answer_is_traceable, "ADR-0013.R1"),
    Defect("501 retried", answers.retried, chat.a_valid_request_ends_phase_one, "ADR-0014.R1"),
    Defect("limits that never bite", never_biting, limits.an_address_gets_what_is_stated_and_no_more, "ADR-0032.R1"),
    Defect("limits that never bite", never_biting, limits.a_key_gets_what_is_stated_and_no_more, "ADR-0032.R1"),
    Defect("limits that never bite", never_biting, limits.states_are_answered_in_their_place, "ADR-0032.R3"),
    Defect("failed logins unlimited", failed_logins_unlimited, limits.failed_logins_end_at_their_number, "ADR-0032.R5"),
    Defect(
        "failed logins unlimited",
        failed_logins_unlimited,
        limits.failed_logins_end_at_their_number,
        "ADR-0032.R5",
        dialect="fased",
    ),
    Defect(
        "X-Forwarded-For trusted", forwarded_for_trusted, limits.no_header_changes_whose_limit_counts, "ADR-0032.R4"
    ),
    Defect(
        "stale identity for ever",
        identities.stale_for_ever,
        a_confirmed_identity_ends_within_a_minute,
        "ADR-0031.R2",
    ),
    Defect("content in the log", logs.content_logged, events.no_content_is_logged, "ADR-0015.R3"),
    Defect("key in the log", logs.key_logged, events.no_credential_is_logged, "ADR-0015.R3"),
    Defect("undocumented status", answers.undocumented_status, headers.every_status_is_documented, "ADR-0001.R1"),
    Defect("foreign Allow", answers.foreign_allow, methods.allow_names_the_methods_of_its_own_path, "ADR-0011.R3"),
    Defect("foreign Allow", answers.foreign_allow, methods.options_names_the_methods_to_anybody, "ADR-0011.R2"),
    Defect("no [DONE]", streams.without_done, streamed.a_stream_ends_with_one_done, "ADR-0045.R2"),
    Defect("no [DONE]", streams.without_done, streamed.a_stream_ends_with_one_done, "ADR-0045.R2", dialect="client"),
    Defect(
        "cut stream that looks finished",
        streams.finished_where_it_was_cut,
        streamed.a_cut_answer_never_looks_finished,
        "ADR-0045.R9",
    ),
    Defect(
        "cut stream that looks finished",
        streams.finished_where_it_was_cut,
        streamed.a_cut_answer_never_looks_finished,
        "ADR-0045.R9",
        dialect="client",
    ),
    Defect("id: field", streams.with_ids, streamed.a_stream_is_data_and_comments, "ADR-0045.R1"),
    Defect(
        "usage that nobody asked for", streams.always_counting, streamed.usage_comes_when_it_is_asked_for, "ADR-0045.R6"
    ),
    Defect(
        "usage that nobody asked for",
        streams.always_counting,
        streamed.usage_comes_when_it_is_asked_for,
        "ADR-0045.R6",
        dialect="tenant",
    ),
    Defect("provider disclosed", streams.disclosing, forwarded.nobody_learns_who_answers, "ADR-0045.R12"),
    Defect("role missing", streams.without_role, streamed.the_first_delta_says_who_speaks, "ADR-0045.R3"),
    Defect("role missing", streams.without_role, generated, "ADR-0045.R3", forwards=True),
    Defect("models forgotten", contracts.forgetful, generated, "ADR-0045.R17", forwards=True),
]

FAMILIES = {
    "any token",
    "foreign agent",
    "validation off",
    "off by one",
    "other phase",
    "checks swapped",
    "body before credential",
    "wrong envelope",
    "missing header",
    "501 retried",
    "limits that never bite",
    "failed logins unlimited",
    "X-Forwarded-For trusted",
    "stale identity for ever",
    "content in the log",
    "key in the log",
    "undocumented status",
    "foreign Allow",
    "no [DONE]",
    "cut stream that looks finished",
    "id: field",
    "usage that nobody asked for",
    "provider disclosed",
    "role missing",
    "models forgotten",
}
"""What goes wrong with gateways, each of which is made here at least once."""


@confirms("ADR-0016.R5")
def test_every_family_of_broken_gateways_is_made() -> None:
    """Each family has a defect, and each defect is of a family."""
    assert 25 == len(FAMILIES)
    assert {defect.family for defect in DEFECTS} == FAMILIES


@pytest.fixture(scope="module")
def passed(inside: Court, forwarding_inside: Court) -> Callable[[Defect], None]:
    """A function that lets the real gateway pass a check, once in each dialect."""
    done: set[tuple[str, str]] = set()

    def run_once(defect: Defect) -> None:
        asked = (defect.dialect, f"{defect.check.__name__} {defect.phase}")
        if asked not in done:
            court = inside if defect.phase == 1 else forwarding_inside
            mount = next(mount for mount, dialect in court.mounts.items() if dialect == defect.dialect)
            defect.check(court.target(mount))
            done.add(asked)

    return run_once


@confirms("ADR-0016.R5")
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: f"{defect.build.__name__}-{defect.check.__name__}")
def test_a_defect_is_found_and_named(defect: Defect, passed: Callable[[Defect], None]) -> None:
    """The real gateway passes the check, the broken one does not, and the failure names the rule it breaks."""
    passed(defect)
    with judging(defect.build, defect.dialect, defect.check, defect.phase) as court:
        target = court.target("/")
        with pytest.raises(RuleBroken) as raised:
            defect.check(target)

    assert defect.rule == raised.value.rule
    assert str(raised.value).startswith(f"{defect.rule}\n")
    assert "curl " in str(raised.value)


@confirms("ADR-0016.R5")
def test_every_check_has_a_slip() -> None:
    """No check is without a gateway that it fails, in this process or behind a socket."""
    names = [check.__name__ for check in CHECKS]

    assert len(names) == len(set(names))
    assert sorted(names) == sorted([*SLIPS, *WIRE_SLIPS])


IN_PROCESS = [(check, SLIPS[check.__name__], "dragoman") for check in CHECKS if check.__name__ in SLIPS] + [
    (limits.headers_tell_of_limits_that_were_met_only, limits_told_of_nothing, "tenant"),
    (limits.headers_tell_of_limits_that_were_met_only, limits_told_of_nothing, "fased"),
]
"""The checks with their slips, and again in a dialect in which a check asks something else."""


@confirms("ADR-0016.R5")
@pytest.mark.parametrize(
    ("check", "slip", "dialect"), IN_PROCESS, ids=[f"{check.__name__}-{dialect}" for check, _, dialect in IN_PROCESS]
)
def test_every_check_can_fail(check: Check, slip: Slip, dialect: str) -> None:
    """A gateway with the slip that the check is there for is failed by it, and the failure names one of its rules."""
    with judging(slip, dialect, check, phase_of(check)) as court:
        target = court.target("/")
        with pytest.raises(RuleBroken) as raised:
            check(target)

    assert raised.value.rule in confirmed_by(check)


@confirms("ADR-0016.R5")
@pytest.mark.parametrize(
    "check", [one for one in CHECKS if one.__name__ in WIRE_SLIPS], ids=lambda check: check.__name__
)
def test_every_check_over_a_socket_can_fail(check: Check, outside: Court) -> None:
    """What reads the bytes otherwise than the gateway does is failed, by one of the rules of the check."""
    target = outside.target("/")
    between = WIRE_SLIPS[check.__name__]
    with standing_before(target.transport.origin, between) as line, pytest.raises(RuleBroken) as raised:
        check(attrs.evolve(target, transport=line))

    assert raised.value.rule in confirmed_by(check)


@confirms("ADR-0016.R5")
def test_a_servers_own_words_are_failed(outside: Court) -> None:
    """A server's own words for malformed HTTP are failed by the probe and by the check, each with its rule."""
    target = outside.target("/")
    with standing_before(target.transport.origin, Between(back=in_own_words)) as line:
        wordy = attrs.evolve(target, transport=line)
        with pytest.raises(RuleBroken, match=r"\AADR-0004\.R4\n"):
            require_bytes(wordy, b"NOT HTTP\r\n\r\n", "malformed_http")
        with pytest.raises(RuleBroken, match=r"\AADR-0013\.R1\n"):
            headers.the_answer_to_no_http_is_traceable_too(wordy)
