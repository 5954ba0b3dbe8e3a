"""S1 to S3 over the whole gateway: nobody but the configuration says where a request goes."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from gateway_conformance.rules import confirms

from lanes import CHAT, CLIENT, KEY, FaultyHouse, Lane, Yard, gateway, yard
from process import LOOPBACK, read_answer, run
from sink import Sink, sinking, whole

HEADERS: Final = (
    "Forwarded",
    "X-Forwarded-Host",
    "X-Forwarded-Server",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Host",
    "X-Portkey-Custom-Host",
    "X-Portkey-Config",
    "X-Portkey-Provider",
    "X-LiteLLM-API-Base",
    "X-Base-URL",
    "X-Upstream",
    "X-Target-URL",
    "Helicone-Target-URL",
    "Helicone-OpenAI-Api-Base",
    "CF-AIG-Endpoint",
    "OpenAI-Base-URL",
    "Proxy",
    "Referer",
    "Origin",
    "Location",
    "Destination",
)
"""What other gateways, or servers in general, have been told a destination by."""

MEMBERS: Final = (
    "api_base",
    "base_url",
    "api_host",
    "host",
    "endpoint",
    "url",
    "custom_host",
    "azure_endpoint",
    "custom_llm_provider",
    "provider",
    "proxy",
    "webhook",
    "callback_url",
    "model_list",
    "fallbacks",
    "extra_headers",
)


@pytest.fixture
def elsewhere(faulty: FaultyHouse) -> Iterator[Sink]:
    """Return a sink that no setting names; its address is what callers try to bring in."""
    made = sinking()
    sink = faulty.yard.run(made.__aenter__())
    yield sink
    faulty.yard.run(made.__aexit__(None, None, None))


# --- S1: what callers say ---------------------------------------------------------------------------------------------


@confirms("ADR-0038.R1")
@pytest.mark.parametrize("path", [CHAT, CLIENT])
def test_no_header_leads_elsewhere(faulty: FaultyHouse, lane: Lane, elsewhere: Sink, path: str) -> None:
    """Each header that names a destination is passed over, in each spelling, and does not reach the upstream."""
    for name in HEADERS:
        for value in (elsewhere.url(), f"{LOOPBACK}:{elsewhere.port}", f"host={LOOPBACK}:{elsewhere.port}"):
            assert 200 == faulty.gateway.ask(lane.calm, path=path, headers={name: value}).status

    assert (0, 3 * len(HEADERS)) == (elsewhere.connections, lane.asked)
    assert [] == [one for one in lane.sink.requests if str(elsewhere.port).encode() in one.raw]


@confirms("ADR-0038.R1")
@pytest.mark.parametrize("path", [CHAT, CLIENT])
def test_no_member_leads_elsewhere(faulty: FaultyHouse, lane: Lane, elsewhere: Sink, path: str) -> None:
    """Members of the body that name a destination are refused, dropped or passed on as text; none is followed."""
    url = elsewhere.url()
    stated: list[dict[str, Any]] = [{name: value} for name in MEMBERS for value in (url, {"url": url}, [url])]
    stated += [{"metadata": {"base_url": url, "host": url}}, {"user": url}, {"stop": [url]}]
    for members in stated:
        assert faulty.gateway.ask(lane.calm, path=path, **members).status in {200, 400, 422}

    assert 0 == elsewhere.connections
    assert lane.asked >= 1


@confirms("ADR-0038.R1")
def test_no_content_is_fetched(faulty: FaultyHouse, lane: Lane, elsewhere: Sink) -> None:
    """Addresses of images, audio and files in a message are for the provider, and the gateway fetches none."""
    url = elsewhere.url("/canary.png")
    parts: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "input_audio", "input_audio": {"data": url, "format": "wav"}},
        {"type": "file", "file": {"file_id": url, "file_data": url}},
        {"type": "text", "text": f"![]({url})"},
    ]
    for part in parts:
        message = {"role": "user", "content": [{"type": "text", "text": "look"}, part]}
        assert faulty.gateway.ask(lane.calm, messages=[message]).status in {200, 400, 422}

    assert 0 == elsewhere.connections
    assert lane.asked >= 2


@confirms("ADR-0038.R1")
def test_no_model_leads_elsewhere(faulty: FaultyHouse, lane: Lane, elsewhere: Sink) -> None:
    """A model is an alias or nothing: no address and no path is one."""
    url, before = elsewhere.url(), [one.asked for one in faulty.lanes]
    models = [url, f"openai/{url}", f"{lane.quick}@{url}", f"{lane.quick}#{url}", f"../../{LOOPBACK}:{elsewhere.port}/"]
    models += ["*", f"{lane.quick}/", f"{lane.number}"]
    statuses = {}
    for model in models:
        statuses[model] = faulty.gateway.ask(model).status

    assert {404} <= set(statuses.values()) <= {400, 404, 422}
    assert (0, before) == (elsewhere.connections, [one.asked for one in faulty.lanes])


@confirms("ADR-0038.R1")
def test_no_target_or_host_leads_elsewhere(faulty: FaultyHouse, lane: Lane, elsewhere: Sink) -> None:
    """A request in absolute form, one with another `Host`, and `CONNECT` make the gateway no proxy."""
    there = f"{LOOPBACK}:{elsewhere.port}"
    body = json.dumps({"model": lane.quick, "messages": [{"role": "user", "content": "hello"}]})
    heads = [
        f"POST {elsewhere.url('')}{CHAT} HTTP/1.1\r\nHost: {there}",
        f"POST {CHAT} HTTP/1.1\r\nHost: {there}",
        f"CONNECT {there} HTTP/1.1\r\nHost: {there}",
        f"GET {elsewhere.url()} HTTP/1.1\r\nHost: {there}",
        f"POST //{there}{CHAT} HTTP/1.1\r\nHost: {LOOPBACK}",
    ]
    statuses = []
    for first in heads:
        request = [
            first,
            f"Authorization: Bearer {faulty.gateway.token}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        with faulty.gateway.served.connect() as line:
            line.sendall("\r\n".join([*request, "", body]).encode())
            statuses.append(read_answer(line).status)

    assert 0 == elsewhere.connections
    assert [] == [status for status in statuses if status >= 500]
    assert [] == [one for one in lane.sink.requests if there.encode() in one.raw]


# --- S2: what the configuration may say -------------------------------------------------------------------------------

SETTINGS: Final = """
[[provider]]
name = "vendor"
kind = "openai"
base_url = "{url}"
[[alias]]
id = "general"
target = [{{ provider = "vendor", model = "m" }}]
"""


@pytest.mark.parametrize(
    ("command", "code"), [(("config", "check"), 1), (("serve", "--port", "0", "--config"), 2)], ids=["check", "serve"]
)
def test_a_private_address_is_refused_when_it_is_read(tmp_path: Path, command: Sequence[str], code: int) -> None:
    """It is named with its place in the file, in one line, and the address itself is not shown."""
    path = tmp_path / "dragoman.toml"
    path.write_text(SETTINGS.format(url="http://169.254.169.254/canary"))

    outcome = run(*command, str(path), DRAGOMAN_STORE=str(tmp_path / "store.db"))

    said = outcome.out + outcome.err
    assert (code, 1) == (outcome.code, said.count("\n"))
    assert "provider[0]: base_url is an address that is not public" in said
    assert "canary" not in said


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(faulty: FaultyHouse, lane: Lane, elsewhere: Sink, status: int) -> None:
    """An upstream that leads elsewhere has failed; it is asked once, and elsewhere nobody is."""
    lane.sink.tell(whole(b"", status, location=elsewhere.url("/v1/chat/completions")))

    answer = faulty.gateway.ask(lane.quick)

    assert (502, 1, 0) == (answer.status, lane.asked, elsewhere.connections)
    assert "location" not in answer.headers


# --- S3: what the environment says ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other_yard() -> Iterator[Yard]:
    """Return where the upstreams of another gateway live."""
    with yard() as made:
        yield made


def test_the_environment_leads_nowhere(other_yard: Yard, tmp_path: Path) -> None:
    """Proxies, credentials and authorities of the environment change nothing of what the upstream gets."""
    lane, claude, trap = other_yard.lane(), other_yard.lane(kind="anthropic"), other_yard.lane()
    proxy = f"http://user:secret@{LOOPBACK}:{trap.proxy.port}"
    (tmp_path / ".netrc").write_text(f"machine {LOOPBACK} login canary password netrc-canary\n")
    (tmp_path / ".netrc").chmod(0o600)
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("")
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
    variables = dict.fromkeys(names, proxy) | {
        "HOME": str(tmp_path),
        "NETRC": str(tmp_path / ".netrc"),
        "NO_PROXY": "",
        "no_proxy": "",
        "SSL_CERT_FILE": str(nothing),
        "SSL_CERT_DIR": str(tmp_path / "none"),
        "REQUESTS_CA_BUNDLE": str(nothing),
        "OPENAI_BASE_URL": trap.sink.url(),
        "OPENAI_API_BASE": trap.sink.url(),
        "OPENAI_ORG_ID": "org-canary",
        "ANTHROPIC_BASE_URL": trap.sink.url(),
        "ANTHROPIC_AUTH_TOKEN": "org-canary",
    }

    with gateway(tmp_path, [lane, claude], **variables) as served:
        statuses = [
            served.ask(one.quick, stream=stream, max_tokens=10).status
            for one in (lane, claude)
            for stream in (False, True)
        ]
        # What nobody is told is no way in for who knows it: an upstream's own names are no models.
        guessed = [served.ask(name).status for name in (lane.model, lane.provider, f"{lane.provider}/{lane.model}")]

    assert ([200] * 4, [404] * 3, 2, 2) == (statuses, guessed, lane.asked, claude.asked)
    assert (0, 0) == (trap.proxy.connections, trap.sink.connections)
    assert {f"Bearer {KEY}"} == {received.headers["authorization"] for received in lane.sink.requests}
    assert {KEY} == {received.headers["x-api-key"] for received in claude.sink.requests}
    for received in (*lane.sink.requests, *claude.sink.requests):
        assert [] == [word for word in (b"secret", b"netrc-canary", b"org-canary", b"http://") if word in received.raw]
