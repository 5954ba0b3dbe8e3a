"""Who may pass is decided for the path that is served, whatever Host, target and other headers say (ADR-0034.R9)."""

from typing import Final

import pytest
from gateway_conformance.rules import confirms

from fakes import TOKEN
from lines import BODY, Line, request

JSON: Final = {"Content_Type": "application/json", "Connection": "close"}

SERVED: Final = (
    "/v1/models",
    "/v1/models?path=/livez",
    "/v1/models?",
    "/v1/models/general",
    "/v1/models/vendor%2flarge",
    "/v1/models/vendor/large",
    "/v1%2fmodels",
    "/%76%31/models",
    "/v1/%6dodels",
    "http://gateway/v1/models",
    "http://another.example/v1/models",
    "HTTPS://livez/v1/models",
    "http://livez:80/v1/models?a=b",
    "http://user:secret@gateway/v1/models",
    "/ibex/v1/chat/completions",
    "/ibex%2fv1/chat/completions",
    "/v1/chat/completions",
    "/v1/chat%2Fcompletions",
)
"""Targets of paths that ask for a credential, however they are written."""

UNKNOWN: Final = (
    "//v1/models",
    "/v1//models",
    "/v1/models/",
    "/v1/models;a=b",
    "/v1/models%3fa=b",
    "/v1/models%20",
    "/v1/models%00",
    "/v1/models%23",
    "/V1/models",
    "/v1/./models",
    "/v1/../v1/models",
    "/livez/../v1/models",
    "/livez/..%2fv1/models",
    "/livez/%2e%2e/v1/models",
    "/livez;/../v1/models",
    "/livez/v1/models",
    "/livez%00/v1/models",
    "/%2e/v1/models",
    "/%2f/v1/models",
    "/%252f/v1/models",
    "/v1%252fmodels",
    "/v1%c0%afmodels",
    "/v1%5cmodels",
    "/ibex/../v1/models",
    "/ibex//v1/models",
    "/ibex;/v1/chat/completions",
    "http://gateway//v1/models",
    "http://gateway",
    "http://v1/models",
)
"""Targets of paths that nobody serves: no step of them is taken."""


def statuses(line: Line, target: str, **headers: str | None) -> tuple[int, int]:
    """Return the statuses of a GET and a POST of *target*."""
    usual: dict[str, str | None] = {**JSON, **headers}
    got = line.say(request("GET", target, Connection="close", **headers)).status
    return got, line.say(request("POST", target, BODY, **usual)).status


@confirms("ADR-0034.R9")
@pytest.mark.parametrize("target", SERVED)
def test_a_path_asks_for_its_credential_however_it_is_written(line: Line, target: str) -> None:
    """Whatever is served with a key is refused without one."""
    with_key, without = (statuses(line, target, Authorization=key) for key in (f"Bearer {TOKEN}", None))

    assert set(with_key) & {200, 400, 501}, "nothing is served here, so that nothing is shown"
    assert {401, 405} >= set(without) >= {401}


@confirms("ADR-0034.R9")
@pytest.mark.parametrize("target", UNKNOWN)
def test_a_path_that_is_not_served_stays_one(line: Line, target: str) -> None:
    """No step, slash or parameter is taken out of a path, with a key or without one."""
    for key in (f"Bearer {TOKEN}", None):
        got, posted = statuses(line, target, Authorization=key)
        assert 404 == got
        assert posted in (404, 405)  # where the last slash ends a path that has a parameter behind it


@confirms("ADR-0034.R9")
@pytest.mark.parametrize("host", ["livez", "livez:80", "127.0.0.1", "localhost", "healthz"])
@pytest.mark.parametrize("path", ["/v1/models", "/ibex/v1/chat/completions"])
def test_a_host_opens_nothing(line: Line, host: str, path: str) -> None:
    """Whatever host is asked for, a path asks for its credential."""
    assert {401, 405} >= set(statuses(line, path, Host=host)) >= {401}


@confirms("ADR-0034.R9")
@pytest.mark.parametrize("host", ["x/?", "x/livez?", "gateway/livez", "x#", "x\\livez", "x@livez"])
def test_a_host_with_a_path_is_none(line: Line, host: str) -> None:
    """A Host that could be read as a part of another URL is refused."""
    assert (400, 400) == statuses(line, "/v1/models", Host=host)


@confirms("ADR-0034.R9")
@pytest.mark.parametrize(
    "name",
    ["X_Forwarded_Host", "X_Forwarded_Prefix", "X_Forwarded_Uri", "X_Original_URL", "X_Rewrite_URL", "Forwarded"],
)
def test_a_header_is_no_path(line: Line, name: str) -> None:
    """What proxies say of another path is not listened to, and neither is what they say of another method."""
    assert {401, 405} >= set(statuses(line, "/v1/models", **{name: "/livez"})) >= {401}
    assert 405 == line.say(request("POST", "/livez", **{name: "/livez", "X_HTTP_Method_Override": "GET"})).status
