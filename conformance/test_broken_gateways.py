"""The suite against gateways with one defect each: it must fail them, by the rule that they break (ADR-0016.R5)."""

from collections.abc import Callable

import attrs
import pytest
from gateway_conformance.answers import require_bytes
from gateway_conformance.checks import CHECKS, Check, callers, chat, documents, headers, order
from gateway_conformance.engine import judge
from gateway_conformance.exchange import Asgi, Request, Response, in_process
from gateway_conformance.rules import RuleBroken, confirmed_by, confirms
from gateway_conformance.target import Target, connect

from broken import answers, contracts, identities, orders
from broken.slips import SLIPS
from gateways import CALLERS, Parts, real_parts

JUDGED = {"/": "dragoman", "/ibex": "ibex"}
"""What the broken gateways serve: defects are made in these documents."""


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
    """A broken gateway, the check that must fail it, and the rule that the failure must name."""

    build: Callable[[Parts], Asgi]
    check: Check
    rule: str


DEFECTS = [
    Defect(identities.any_token, callers.only_the_exact_token_passes, "ADR-0009.R2"),
    Defect(identities.any_prefix, callers.only_the_exact_token_passes, "ADR-0009.R2"),
    Defect(identities.foreign_agent, callers.another_agent_is_refused_whether_it_exists_or_not, "ADR-0009.R5"),
    Defect(identities.every_scope, callers.a_key_without_the_scope_is_refused, "ADR-0009.R3"),
    Defect(contracts.validation_off, generated, "ADR-0007.R1"),
    Defect(contracts.off_by_one, generated, "ADR-0007.R1"),
    Defect(contracts.off_by_one, chat.a_model_name_has_1_to_256_characters, "ADR-0013.R4"),
    Defect(contracts.other_phase, documents.the_document_shows_the_live_phase, "ADR-0003.R1"),
    Defect(orders.content_before_credential, order.credential_before_everything_else, "ADR-0008.R2"),
    Defect(orders.content_before_scope, order.scope_before_organization_before_agent_before_content, "ADR-0008.R4"),
    Defect(orders.body_before_credential, order.credential_before_the_body_arrives, "ADR-0008.R2"),
    Defect(orders.body_before_credential, order.credential_before_everything_else, "ADR-0008.R2"),
    Defect(answers.always_501, generated, "ADR-0007.R1"),
    Defect(answers.wrong_envelope, generated, "ADR-0004.R4"),
    Defect(answers.missing_header, headers.every_answer_is_traceable, "ADR-0013.R1"),
    Defect(answers.retried, chat.a_valid_request_ends_phase_one, "ADR-0014.R1"),
]


@pytest.fixture(scope="module")
def passed(root: Target) -> Callable[[Check], None]:
    """A function that lets the real gateway pass a check, once."""
    done: set[str] = set()

    def run_once(check: Check) -> None:
        if check.__name__ not in done:
            check(root)
            done.add(check.__name__)

    return run_once


@confirms("ADR-0016.R5")
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: f"{defect.build.__name__}-{defect.check.__name__}")
def test_a_defect_is_found_and_named(defect: Defect, passed: Callable[[Check], None]) -> None:
    """The real gateway passes the check, the broken one does not, and the failure names the rule it breaks."""
    passed(defect.check)
    with in_process(defect.build(real_parts(JUDGED))) as line:
        target = connect(line, mount="/", callers=CALLERS, outermost=True)
        with pytest.raises(RuleBroken) as raised:
            defect.check(target)

    assert defect.rule == raised.value.rule
    assert str(raised.value).startswith(f"{defect.rule}\n")
    assert "curl " in str(raised.value)


ONLY_OVER_A_SOCKET = {"the_answer_to_no_http_is_traceable_too"}
"""Checks that ask no ASGI app; `test_no_http_is_judged_too` shows that they can fail."""


@confirms("ADR-0016.R5")
def test_every_check_has_a_slip() -> None:
    """No check is without a gateway that it fails."""
    assert {check.__name__ for check in CHECKS} == SLIPS.keys() | ONLY_OVER_A_SOCKET


@confirms("ADR-0016.R5")
@pytest.mark.parametrize("check", [one for one in CHECKS if one.__name__ in SLIPS], ids=lambda check: check.__name__)
def test_every_check_can_fail(check: Check) -> None:
    """A gateway with the slip that the check is there for is failed by it, and the failure names one of its rules."""
    with in_process(SLIPS[check.__name__](real_parts(JUDGED))) as line:
        target = connect(line, mount="/", callers=CALLERS, outermost=True)
        with pytest.raises(RuleBroken) as raised:
            check(target)

    assert raised.value.rule in confirmed_by(check)


@attrs.frozen
class Wordy:
    """A socket behind which a server answers malformed HTTP in its own words."""

    origin: str = "http://gateway.test"
    app: None = None

    def exchange(self, request: Request) -> Response:
        """Answer nothing else."""
        raise NotImplementedError(request)

    def exchange_bytes(self, sent: bytes) -> Response:
        """Answer as uvicorn does."""
        assert sent
        headers = (("content-type", "text/plain; charset=utf-8"), ("connection", "close"))
        return Response(status=400, headers=headers, body=b"Invalid HTTP request received.")


@confirms("ADR-0016.R5")
def test_no_http_is_judged_too(root: Target) -> None:
    """A server's own words for malformed HTTP are failed by the probe and by the check, each with its rule."""
    wordy = attrs.evolve(root, transport=Wordy())

    with pytest.raises(RuleBroken, match=r"\AADR-0004\.R4\n"):
        require_bytes(wordy, b"NOT HTTP\r\n\r\n", "malformed_http")
    with pytest.raises(RuleBroken, match=r"\AADR-0013\.R1\n"):
        headers.the_answer_to_no_http_is_traceable_too(wordy)
