"""The judge on the bench: floors, probes, rules and matrix, shown what they must not let pass."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Final

import attrs
import pytest
from gateway_conformance.checks import CHECKS, Check, forwarding, limits, streams
from gateway_conformance.engine import Observation, Run, has_rounded_integer
from gateway_conformance.expectations import checks, plans
from gateway_conformance.floors import missed, unjudged
from gateway_conformance.lines import NO_ANSWER, Line
from gateway_conformance.matrix import complaints, main, proofs, render
from gateway_conformance.probes import UNPROVOKED, Outcome, Unjudged, provoke
from gateway_conformance.promises import Operation, read_promises
from gateway_conformance.rules import (
    NotApplicable,
    NotJudged,
    Rule,
    RuleBroken,
    confirmed_by,
    confirms,
    read_rules,
    require_none,
)
from gateway_conformance.streams import streaming
from gateway_conformance.target import Staged, Stated, Target

from courts import Court

CHAT: Final = "POST /v1/chat/completions"


@attrs.frozen
class Witness:
    """A target, and a run of it that is just enough."""

    target: Target
    run: Run
    provoked: list[Outcome]

    def without(self, left_out: Callable[[Observation], bool]) -> "Witness":
        """Return the witness of a run that did not see these."""
        kept = tuple(one for one in self.run.observations if not left_out(one))
        return attrs.evolve(self, run=attrs.evolve(self.run, observations=kept))

    def unseen(self, where: str, kind: str) -> list[Outcome]:
        """Return what was provoked but for this *kind*."""
        return [one for one in self.provoked if (one.where, one.kind) != (where, kind)]

    def rules(self) -> list[str]:
        """Return the rules of the floors that are missed."""
        return [broken.rule for broken in missed(self.target, self.run, self.provoked)]


def observations(operation: Operation) -> list[Observation]:
    """Return 20 positive cases of *operation* and, where it has a body, 20 negative ones, as they should be."""
    good = Observation(
        operation=operation.label,
        phase="coverage",
        mode="positive",
        description="",
        declared=True,
        negative_body=False,
        status=min(operation.success),
        path=operation.path,
        kinds=frozenset(),
    )
    bad = attrs.evolve(good, mode="negative", negative_body=True, status=400, kinds=frozenset({"invalid_request"}))
    return [good] * 20 + [bad] * (20 if operation.schema is not None else 0)


@pytest.fixture(scope="module")
def enough(root: Target) -> Witness:
    """A run with exactly what the floors ask for."""
    seen = [one for operation in root.promises.operations for one in observations(operation)]
    return Witness(root, Run(observations=tuple(seen), failures=()), list(provoke(root)))


def first_of(enough: Witness, mode: str) -> Callable[[Observation], bool]:
    """Return what picks one case of the chat operation."""
    chosen = next(one for one in enough.run.observations if one.operation == CHAT and one.mode == mode)
    waiting = [chosen]
    return lambda one: one == chosen and bool(waiting and waiting.pop())


def test_enough_is_enough(enough: Witness) -> None:
    """A run with exactly what the floors ask for misses none."""
    assert [] == enough.rules()


@confirms("ADR-0016.R1")
def test_a_status_that_was_never_seen_is_missed(enough: Witness) -> None:
    """A documented status that neither a case nor a probe saw fails the run."""
    blind = attrs.evolve(enough, provoked=enough.unseen(CHAT, "body_too_large"))

    assert ["ADR-0016.R1", "ADR-0016.R4"] == blind.rules()


@confirms("ADR-0016.R2")
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_nineteen_cases_are_too_few(enough: Witness, mode: str) -> None:
    """One case below the floor fails the run."""
    assert ["ADR-0016.R2"] == enough.without(first_of(enough, mode)).rules()


@pytest.fixture(scope="module")
def forwarded(forwarding_root: Target) -> Witness:
    """A run in Phase 2 with exactly what the floors ask for."""
    seen = [one for operation in forwarding_root.promises.operations for one in observations(operation)]
    return Witness(forwarding_root, Run(observations=tuple(seen), failures=()), list(provoke(forwarding_root)))


@confirms("ADR-0045.R17")
def test_models_that_are_unknown_count_for_nothing(forwarded: Witness) -> None:
    """In Phase 2 too just enough is enough; a case that named a model which may be unknown is none of the 20."""
    chosen = first_of(forwarded, "positive")
    seen = [attrs.evolve(one, known_model=not chosen(one)) for one in forwarded.run.observations]
    blind = attrs.evolve(forwarded, run=attrs.evolve(forwarded.run, observations=tuple(seen)))

    assert [] == forwarded.rules()
    assert ["ADR-0016.R2"] == blind.rules()


@confirms("ADR-0016.R2")
def test_a_refusal_by_another_check_does_not_count(enough: Witness) -> None:
    """A negative body that was refused for its media type proves nothing about the schema check."""
    other = [attrs.evolve(one, kinds=frozenset({"unsupported_media_type"})) for one in enough.run.observations]
    blind = attrs.evolve(enough, run=attrs.evolve(enough.run, observations=tuple(other)))

    assert {"ADR-0016.R2"} == set(blind.rules())


@confirms("ADR-0016.R3")
def test_a_request_outside_the_mount_is_missed(enough: Witness) -> None:
    """A request that left the mount fails the run."""
    mounted = attrs.evolve(enough, target=attrs.evolve(enough.target, mount="/v1"))

    assert {"ADR-0016.R3"} == set(mounted.rules())


@confirms("ADR-0016.R4")
@pytest.mark.parametrize(("where", "kind"), [(CHAT, "invalid_json"), ("outside any operation", "unknown_url")])
def test_a_kind_that_was_never_provoked_is_missed(enough: Witness, where: str, kind: str) -> None:
    """A documented kind that no probe provoked fails the run, in an operation and outside."""
    blind = attrs.evolve(enough, provoked=enough.unseen(where, kind))

    assert ["ADR-0016.R4"] == blind.rules()


@confirms("ADR-0004.R7")
def test_a_fault_of_the_gateway_is_missed(enough: Witness) -> None:
    """A kind that nothing may provoke must be documented outside the operations, and fails the run when it is seen."""
    faulty = attrs.evolve(enough.run.observations[0], status=500)
    seen = attrs.evolve(enough, run=attrs.evolve(enough.run, observations=(*enough.run.observations, faulty)))
    documented = {name for answer in enough.target.promises.anywhere for name in answer.kinds}

    assert documented >= UNPROVOKED
    assert ["ADR-0004.R7"] == seen.rules()


@confirms("ADR-0016.R4")
def test_a_documented_kind_without_a_probe_fails(root: Target) -> None:
    """A contract that documents a kind which the suite cannot provoke is not proved by what it can."""
    document = json.loads(json.dumps(root.promises.document))
    document["components"]["examples"]["quota_exceeded"] = document["components"]["examples"]["insufficient_scope"]
    listed = document["components"]["responses"]["Forbidden"]["content"]["application/json"]["examples"]
    listed["quota_exceeded"] = {"$ref": "#/components/examples/quota_exceeded"}

    with pytest.raises(RuleBroken, match=r"\AADR-0016\.R4\n.*'quota_exceeded'"):
        list(provoke(attrs.evolve(root, promises=read_promises(document))))


UNSTATED_KINDS: Final = {
    "address_limited",
    "caller_limited",
    "expectation_failed",
    "headers_too_large",
    "identity_unavailable",
    "invalid_host",
    "malformed_http",
    "not_ready",
    "overloaded",
    "rate_limited",
    "request_timeout",
    "too_many_failed_logins",
}
"""The kinds that stand for a state of the gateway, or that only bytes lead to."""


@pytest.fixture
def unknown(root: Target) -> Target:
    """A gateway of which its operator has stated nothing but whom it knows, and which has no socket."""
    return attrs.evolve(root, stated=Stated(), callers=attrs.evolve(root.callers, uncheckable_token=None))


@confirms("ADR-0016.R1", "ADR-0016.R4")
def test_what_nobody_has_stated_is_listed_by_name(unknown: Target, enough: Witness) -> None:
    """Of a gateway of which little is known the rest is judged, and what is not is listed, each with its reason."""
    provoked = list(provoke(unknown))
    listed = unjudged(provoked)

    assert {one.kind for one in listed} == UNSTATED_KINDS
    assert all(one.reason for one in listed)
    assert [] == attrs.evolve(enough, target=unknown, provoked=provoked).rules()


STAGED_KINDS: Final = {
    "circuit_open",
    "guardrail_block",
    "model_not_embedding",
    "model_not_llm",
    "upstream_timeout",
    "upstream_unavailable",
}
"""The kinds that an operator has to set up a model for."""


@confirms("ADR-0016.R4")
def test_what_is_behind_no_model_is_listed_by_name(forwarding_root: Target, forwarded: Witness) -> None:
    """Of a gateway whose operator has set up no models the kinds behind them are listed, and nothing is missed."""
    plain = attrs.evolve(forwarding_root, stated=attrs.evolve(forwarding_root.stated, staged=None, secrets=frozenset()))
    provoked = list(provoke(plain))

    assert STAGED_KINDS == {one.kind for one in unjudged(provoked)} - UNSTATED_KINDS
    assert [] == attrs.evolve(forwarded, target=plain, provoked=provoked).rules()
    for check in (streams.a_cut_answer_never_looks_finished, forwarding.nobody_learns_who_answers):
        with pytest.raises(NotJudged):
            check(plain)


def test_models_that_are_used_up_are_asked_for(forwarding_root: Target) -> None:
    """When no name is left behind which something can be brought about, the judge asks for more."""
    [operation, *_] = streaming(forwarding_root)
    used_up = Staged(models={"cut": iter(())}, embedding_models={}, blocked_text="")
    poor = attrs.evolve(forwarding_root, stated=attrs.evolve(forwarding_root.stated, staged=used_up))

    with pytest.raises(RuntimeError, match="more models that bring about cut"):
        poor.staged("cut", operation)
    with pytest.raises(NotJudged, match="a model that brings about tool_call"):
        poor.staged("tool_call", operation)


@confirms("ADR-0016.R4")
def test_what_is_not_judged_of_one_operation_is_judged_of_the_others(enough: Witness) -> None:
    """A kind that is missing fails the run, unless it is listed as not judged for the same operation."""
    listed = Unjudged(where="POST /v1/responses", kind="invalid_json", reason="none")
    blind = attrs.evolve(enough, provoked=[*enough.unseen(CHAT, "invalid_json"), listed])

    assert ["ADR-0016.R4"] == blind.rules()
    assert [] == attrs.evolve(blind, provoked=[*blind.provoked, attrs.evolve(listed, where=CHAT)]).rules()


def module_of(check: Check) -> str:
    """Return the name of the module that *check* stands in."""
    return check.__module__.rsplit(".", 1)[-1]


@confirms("ADR-0016.R4")
def test_a_check_that_cannot_be_made_says_so(unknown: Target) -> None:
    """A check that needs what nobody has stated passes in no case: it says what it needs."""
    silent = {check.__name__ for check in CHECKS if module_of(check) in {"room", "events", "wire"}}
    said = {}
    for check in CHECKS:
        if module_of(check) not in {"room", "events", "wire", "limits", "identities", "headers"}:
            continue  # what a request alone can show
        try:
            check(unknown)
        except NotJudged as lacking:
            said[check.__name__] = str(lacking)
        except NotApplicable:
            pass

    assert silent <= said.keys()
    assert said.keys() - silent == {
        "a_confirmed_identity_ends_within_a_minute",
        "a_key_gets_what_is_stated_and_no_more",
        "a_revoked_key_is_refused_soon",
        "an_address_gets_what_is_stated_and_no_more",
        "an_address_is_limited_before_its_path_is_looked_at",
        "an_alias_gets_what_is_stated_and_no_more",
        "an_organization_gets_what_is_stated_and_no_more",
        "an_outage_lets_nobody_in_and_shuts_nobody_out",
        "failed_logins_end_at_their_number",
        "headers_agree_with_the_counter",
        "no_header_changes_whose_limit_counts",
        "states_are_answered_in_their_place",
        "the_answer_to_no_http_is_traceable_too",
        "what_is_used_up_comes_back",
        "who_cannot_be_checked_is_asked_to_come_back",
        "who_has_used_up_a_limit_is_told_when_to_come_back",
    }
    assert all(said.values())


def test_newcomers_that_are_used_up_are_asked_for(root: Target) -> None:
    """When no caller is left who has used up nothing, the judge asks for more, and does not take an old one."""
    poor = attrs.evolve(root, stated=attrs.evolve(root.stated, tight=attrs.evolve(root.tight, newcomers=iter(()))))

    with pytest.raises(RuntimeError, match="more newcomers are needed"):
        poor.newcomer()


@pytest.mark.parametrize(
    ("body", "rounded"),
    [
        (b'{"a": [{"b": 18446744073709551616}]}', True),
        (b'{"a": -9223372036854775809}', True),
        (b'{"a": [18446744073709551615, -9223372036854775808]}', False),
        (b'{"a": 1e400, "b": 18446744073709551616.5, "c": "18446744073709551616"}', False),
        (b"{", False),
        (b"", False),
    ],
)
def test_an_integer_that_64_bits_do_not_hold_is_known(body: bytes, rounded: bool) -> None:  # noqa: FBT001
    """Valid data that a reader would round is told from other data, at any depth."""
    assert rounded is has_rounded_integer(body)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("12ms", 0.012), ("0ms", 0), ("1s", 1), ("8.64s", 8.64), ("6m0s", 360), ("24h0m0.5s", 86400.5), ("1m", None)],
)
def test_durations_are_read_as_openai_writes_them(text: str, seconds: float | None) -> None:
    """Hours, minutes, seconds with a fraction, or milliseconds; anything else is none."""
    assert seconds == limits.seconds_of(text)


@pytest.fixture
def ends() -> Iterator[tuple[Line, socket.socket]]:
    """A connection, and its other end."""
    near, far = socket.socketpair()
    with near, far:
        yield Line(near), far


def test_answers_are_read_one_by_one(ends: tuple[Line, socket.socket]) -> None:
    """Interim answers, answers without a body and those with one are told apart, whatever the pieces they come in."""
    line, far = ends
    for piece in (b"HTTP/1.1 100 Continue\r\n\r", b"\nHTTP/1.1 204 No Content\r\nA: b\r\n\r\nHTTP/1.1 400 Bad\r\n"):
        far.sendall(piece)
    interim, empty = line.answer(patience=1), line.answer(patience=1)
    far.sendall(b"Content-Length: 5\r\n\r\nhelloHTTP/1.0 200 OK\r\n\r\nto the end")
    far.shutdown(socket.SHUT_WR)
    refused, last = line.answer(patience=1), line.answer(patience=1)

    assert [100, 204, 400, 200] == [one.status for one in (interim, empty, refused, last)]
    assert ("b", b"", b"hello", b"to the end") == (empty.header("a"), empty.body, refused.body, last.body)
    assert NO_ANSWER is line.answer(patience=1)
    assert line.ended


def test_what_is_no_answer_is_none(ends: tuple[Line, socket.socket]) -> None:
    """Silence, and bytes that are no HTTP, are no answer; neither is an end of the connection."""
    line, far = ends

    assert (NO_ANSWER, False) == (line.answer(patience=0.01), line.ended)
    far.sendall(b"HELLO\r\n\r\n")
    assert (NO_ANSWER, False) == (line.answer(patience=1), line.ended)


def test_positive_data_may_miss_only_where_a_name_is_free(root: Target) -> None:
    """404 is expected of a path parameter that names a thing and is left free, and 401, 403 and 429 of nothing."""
    pinned, free = plans(root)
    accepted = {
        (plan.name, operation.id): checks(operation, free=plan.free)["positive_data_acceptance"]["expected-statuses"]
        for plan in (pinned, free)
        for operation in plan.operations
    }

    assert ["501"] == accepted["pinned", "createChatCompletion"]
    assert ["200"] == accepted["pinned", "retrieveModel"]
    assert ["200", "404"] == accepted["free", "retrieveModel"]
    assert {"200", "404", "501"} == {status for statuses in accepted.values() for status in statuses}


@confirms("ADR-0045.R17")
def test_a_valid_body_may_name_an_unknown_model_where_there_is_one(
    forwarding_root: Target, forwarding_inside: Court
) -> None:
    """In Phase 2 the documented 404 is expected of valid bodies, but where every model is passed on."""
    accepted = {
        target.mount: checks(operation, free=False)["positive_data_acceptance"]["expected-statuses"]
        for target in (forwarding_root, forwarding_inside.target("/relay"))
        for operation in target.promises.operations
        if operation.path == "/v1/chat/completions"
    }

    assert {"/": ["200", "404"], "/relay": ["200"]} == accepted


def test_negative_data_is_never_a_server_error(root: Target) -> None:
    """No 5xx is accepted of negative data, and of all data only the documented 501."""
    for operation in root.promises.operations:
        settings = checks(operation, free=False)
        statuses = settings["negative_data_rejection"]["expected-statuses"]

        assert {"400", "415"} >= set(statuses)
        assert {"2xx", "3xx", "4xx"} | ({"501"} if operation.phase else set()) == set(
            settings["not_a_server_error"]["expected-statuses"]
        )


FIRST: Final = f"ADR-{42:04}"
SECOND: Final = f"ADR-{43:04}"
"""Records that are made up: no mention of them may look like one of a real record."""

RECORD: Final = dedent(
    f"""\
    ---
    id: {FIRST}
    status: accepted
    ---
    # A title

    ## Decision
    - R9. This MUST not be read: it is no rule.

    ## Rules
    - R1. The first MUST be
      read to its end.
    - R2. The second SHOULD be read.
    - R3. The third says neither.
    """
)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one record, one proposed record, and one test beside what is none."""
    for folder in ("adr", "tests", "conformance"):
        (tmp_path / folder).mkdir()
    (tmp_path / "adr/0042-a-title.md").write_text(RECORD)
    proposed = RECORD.replace("accepted", "proposed").replace("0042", "0043")
    (tmp_path / "adr/0043-another.md").write_text(proposed)
    (tmp_path / "adr/README.md").write_text("- R1. No record MUST be read here.")
    marked = f'@confirms("{FIRST}.R1")\n'
    (tmp_path / "tests/test_it.py").write_text(f"{marked}def test_it(): ...\n\n{marked}def helper(): ...\n")
    return tmp_path


def test_rules_are_read_with_level_and_status(repository: Path) -> None:
    """Rules are the numbered lines of the last section, wrapped or not, with the level that their text has."""
    first, *others = read_rules(repository / "adr")

    assert Rule(id=f"{FIRST}.R1", level="MUST", text="The first MUST be read to its end.", accepted=True) == first
    assert [
        (f"{FIRST}.R2", "SHOULD", True),
        (f"{FIRST}.R3", "INFO", True),
        (f"{SECOND}.R1", "MUST", False),
        (f"{SECOND}.R2", "SHOULD", False),
        (f"{SECOND}.R3", "INFO", False),
    ] == [(rule.id, rule.level, rule.accepted) for rule in others]


@confirms("ADR-0016.R6")
def test_a_must_without_a_test_is_an_error(repository: Path) -> None:
    """A MUST of an accepted record that no test confirms is complained about; other rules are not."""
    rules = list(read_rules(repository / "adr"))

    assert [f"{FIRST}.R1: no test confirms: The first MUST be read to its end."] == list(complaints(rules, {}))
    assert [] == list(complaints(rules, {f"{FIRST}.R1": ["a test"]}))


@confirms("ADR-0016.R6")
def test_a_test_of_no_rule_is_an_error(repository: Path) -> None:
    """A test that confirms a rule that is not there is complained about."""
    rules = list(read_rules(repository / "adr"))
    confirmed = {f"{FIRST}.R1": ["a test"], f"{FIRST}.R7": ["another"]}

    assert [f"{FIRST}.R7: no such rule, but another confirms it"] == list(complaints(rules, confirmed))


@confirms("ADR-0016.R6")
def test_the_matrix_is_written_and_checked(repository: Path) -> None:
    """The matrix lists each rule with its tests, and a matrix that is out of date fails the check."""
    arguments = ["--root", str(repository)]
    matrix = repository / "conformance/MATRIX.md"

    assert 1 == main(["--check", *arguments])
    assert 0 == main(arguments)
    assert 0 == main(["--check", *arguments])
    assert (
        f"| {FIRST}.R1 | MUST | The first MUST be read to its end. | `tests/test_it.py::test_it` |"
        in matrix.read_text()
    )
    (repository / "tests/test_it.py").write_text(f'@confirms("{FIRST}.R1")\nasync def test_other(): ...\n')
    assert ["tests/test_it.py::test_other"] == [proof.name for proof in proofs(repository)]
    assert 1 == main(["--check", *arguments])


def test_a_long_rule_is_cut_at_a_word() -> None:
    """The matrix shows the beginning of a long rule, and a bar in it does not break the table."""
    rule = Rule(id=f"{FIRST}.R1", level="MUST", text="a|b " + "word " * 40, accepted=True)

    assert "| a\\|b word" in render([rule], {})
    assert "word … |" in render([rule], {})


def test_marks_are_kept_on_the_function() -> None:
    """`confirms` marks a check or a test, and says nothing about others."""

    def check() -> None: ...

    confirms(f"{FIRST}.R1", f"{SECOND}.R1")(check)

    assert (f"{FIRST}.R1", f"{SECOND}.R1") == confirmed_by(check)
    assert () == confirmed_by(print)


def test_many_failures_are_shown_together() -> None:
    """One failure is raised as it is, several with the rule of the first and the texts of all."""
    first, second = (RuleBroken(rule=f"{FIRST}.R{n}", expected=n, actual=0, curl="curl") for n in (1, 2))

    require_none([])
    with pytest.raises(RuleBroken) as raised:
        require_none([first])
    assert raised.value is first
    with pytest.raises(RuleBroken, match=rf"(?s)\A{FIRST}\.R1\n.*2 failures.*{FIRST}\.R2") as raised:
        require_none([first, second])
    assert f"{FIRST}.R1" == raised.value.rule
