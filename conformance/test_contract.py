"""The contract against the gateway, on every mount, in process and over a socket: generated cases, probes, floors."""

from gateway_conformance.engine import Run
from gateway_conformance.floors import missed, unjudged
from gateway_conformance.probes import Outcome, Seen
from gateway_conformance.rules import confirms, require_none
from gateway_conformance.target import Target

from courts import kinds_not_judged
from gateways import DIALECTS, served_document


@confirms("ADR-0001.R1", "ADR-0004.R4", "ADR-0007.R1", "ADR-0007.R3", "ADR-0012.R2", "ADR-0013.R1")
def test_generated_cases_are_answered_as_documented(run: Run) -> None:
    """Positive cases reach the success of the phase, negative ones are refused, and each answer is a documented one."""
    require_none(failure.broken for failure in run.failures)


@confirms("ADR-0004.R1", "ADR-0004.R4", "ADR-0006.R2", "ADR-0016.R4")
def test_every_documented_answer_is_provoked(target: Target, provoked: list[Outcome]) -> None:
    """Each kind of refusal and each success is provoked on each operation, and equals the contract's example."""
    documented = {kind for operation in target.promises.operations for kind in operation.kinds}

    assert documented <= {seen.kind for seen in provoked if isinstance(seen, Seen)}


@confirms("ADR-0016.R4")
def test_what_is_not_judged_is_known_by_name(target: Target, provoked: list[Outcome]) -> None:
    """Of all that is documented, only what needs a socket, and the outermost mount on it, is not judged elsewhere."""
    assert kinds_not_judged(target) == {one.kind for one in unjudged(provoked)}


@confirms("ADR-0016.R1", "ADR-0016.R2", "ADR-0016.R3", "ADR-0016.R4", "ADR-0004.R7")
def test_the_run_reached_its_floors(target: Target, run: Run, provoked: list[Outcome]) -> None:
    """Enough was seen of every operation, everything documented was seen, and nothing left the mount."""
    require_none(missed(target, run, provoked))


@confirms("ADR-0001.R4")
def test_the_published_document_is_the_effective_contract(target: Target) -> None:
    """What a mount publishes is the contract of its dialect, made effective in its phase at this mount."""
    forwards = any(operation.phase == 2 for operation in target.promises.operations)
    expected = served_document(DIALECTS[target.mount], mount=target.mount, phase=2 if forwards else 1)

    assert expected == target.promises.document
