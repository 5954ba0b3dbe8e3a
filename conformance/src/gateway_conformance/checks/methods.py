"""Methods (ADR-0011): HEAD, OPTIONS, `Allow`, and no word about other origins."""

from collections.abc import Iterator
from typing import Final

import attrs

from gateway_conformance.answers import PER_REQUEST, allow_of, mismatches, require
from gateway_conformance.calls import valid_request
from gateway_conformance.exchange import Request
from gateway_conformance.lines import Response
from gateway_conformance.probes import concrete_paths
from gateway_conformance.rules import RuleBroken, confirms
from gateway_conformance.target import Target

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY", "PROPFIND", "REPORT", "LINK")
"""Methods of RFC 9110 and of other RFCs, registered with IANA."""

UNREGISTERED: Final = "BREW"
"""A method of RFC 2324, which is malformed HTTP over a socket (ADR-0011), and 405 where no server stands before."""

ORIGIN: Final = ("Origin", "https://elsewhere.example")

NO_CONTENT: Final = 204


@confirms("ADR-0011.R1")
def head_answers_as_get_does(target: Target) -> None:
    """HEAD has GET's status and headers, and no body, also where GET is refused."""
    for operation in target.promises.operations:
        if operation.method != "GET":
            continue
        request = valid_request(target, operation)
        for get in (request, request.without("Authorization"), request.having("Authorization", "Bearer nobody")):
            head = attrs.evolve(get, method="HEAD")
            whole, headed = target.send(get), target.send(head)
            if (_comparable(whole), b"") != (_comparable(headed), headed.body):
                raise RuleBroken(
                    rule="ADR-0011.R1", expected=_comparable(whole), actual=_comparable(headed), curl=target.curl(head)
                )


def _comparable(response: Response) -> tuple[int, list[tuple[str, str]], list[str]]:
    """Return status, the headers that say the same in every answer, and the names of all."""
    headers = sorted(pair for pair in response.headers if pair[0] not in PER_REQUEST)
    return response.status, headers, sorted(name for name, _ in response.headers)


@confirms("ADR-0011.R2")
def options_names_the_methods_to_anybody(target: Target) -> None:
    """OPTIONS on every known path is 204 with `Allow` and no body, without a credential and with a wrong one."""
    documented = next((answer for answer in target.promises.anywhere if not answer.kinds), None)
    for template, path in concrete_paths(target):
        for headers in ((), (("Authorization", "Bearer nobody"),)):
            request = Request(method="OPTIONS", path=path, headers=headers)
            response = target.send(request)
            allow = allow_of(target, template)
            if (response.status, response.header("allow"), response.body) != (NO_CONTENT, allow, b""):
                raise RuleBroken(
                    rule="ADR-0011.R2",
                    expected=f"{NO_CONTENT} with Allow: {allow}",
                    actual=f"{response} with Allow: {response.header('allow')}",
                    curl=target.curl(request),
                )
            for one in mismatches(documented, None, response, {"allow": allow}) if documented else ():
                raise RuleBroken(rule=one.rule, expected=one.expected, actual=one.actual, curl=target.curl(request))


@confirms("ADR-0011.R3")
def undeclared_methods_are_405_with_the_same_allow(target: Target) -> None:
    """Every method that a path does not declare gets 405, with the `Allow` that OPTIONS gives, and the whole body."""
    for request, allow in undeclared(target):
        if request.method == "HEAD":
            response = target.send(request)
            if (response.status, response.header("allow")) != (405, allow):
                raise RuleBroken(
                    rule="ADR-0011.R3", expected=f"405, Allow: {allow}", actual=response, curl=target.curl(request)
                )
        else:
            require(target, request, "method_not_allowed", rule="ADR-0011.R3", known={"allow": allow})


def undeclared(target: Target) -> Iterator[tuple[Request, str]]:
    """Yield a request for every path and method that the document does not declare, and the `Allow` of the path."""
    for template, path in concrete_paths(target):
        allow = allow_of(target, template)
        for method in METHODS if target.transport.app is None else (*METHODS, UNREGISTERED):
            if method not in allow.split(", "):
                yield Request(method=method, path=path), allow


@confirms("ADR-0011.R2", "ADR-0011.R3")
def allow_names_the_methods_of_its_own_path(target: Target) -> None:
    """Whatever answer says what is allowed says what the document declares of this path, and of no other.

    That is said of OPTIONS and 405; an answer that need not say it may not say anything else either.
    """
    for template, path in concrete_paths(target):
        allow = allow_of(target, template)
        for method in (*METHODS, "OPTIONS"):
            request = Request(method=method, path=path)
            response = target.send(request)
            shown = [value for name, value in response.headers if name == "allow"]
            if shown not in ([allow], []) or (not shown and method not in allow.split(", ")):
                expected, curl = f"Allow: {allow} on {response.status}", target.curl(request)
                raise RuleBroken(rule="ADR-0011.R3", expected=expected, actual=shown, curl=curl)


@confirms("ADR-0011.R4")
def no_answer_speaks_of_other_origins(target: Target) -> None:
    """No `Access-Control-*` header, neither on a preflight nor on an answer, whatever the status."""
    for operation in target.promises.operations:
        valid = valid_request(target, operation)
        preflight = Request(
            method="OPTIONS",
            path=valid.path,
            headers=(ORIGIN, ("Access-Control-Request-Method", operation.method)),
        )
        foreign = attrs.evolve(valid, headers=(*valid.headers, ORIGIN))
        for request in (preflight, foreign, foreign.without("Authorization"), attrs.evolve(foreign, method="DELETE")):
            spoken = [pair for pair in target.send(request).headers if pair[0].startswith("access-control-")]
            if spoken:
                curl = target.curl(request)
                raise RuleBroken(rule="ADR-0011.R4", expected="no Access-Control-* header", actual=spoken, curl=curl)
