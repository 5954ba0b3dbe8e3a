"""A gateway and an identity service, each a process of its own: what callers are told while the service fails."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import attrs
import grpc
import psutil
import pytest
import trustme
from gateway_conformance.rules import confirms
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from dragoman.adapters.identity._pb.identity_pb2 import ValidateTokenRequest
from dragoman.adapters.identity._pb.identity_pb2_grpc import IdentityServiceStub
from dragoman.cli import main
from dragoman.identity_cli import beside
from dragoman.model import IssuedKey
from dragoman.settings import SettingsError
from faults import Proxy, proxy_of_its_own
from process import LOOPBACK, PATIENCE, Answer, Outcome, Served, ask, environment, free_port, run, served
from stores import administer, furnish

MODELS: Final = "GET /v1/models HTTP/1.1"
RECOVERY: Final = 5.0
"""Seconds within which requests pass when the service is back (ADR-0031.R4)."""

PROMPT: Final = 0.5
"""Seconds within which a request is refused while the service is down (ADR-0031.R1)."""


@attrs.frozen
class Service:
    """An identity service in a process of its own, and what it printed."""

    process: subprocess.Popen[str]
    printed: str

    @property
    def address(self) -> str:
        """Where it listens."""
        found = re.fullmatch(r"# identity is served at (\S+) .+\n", self.printed)
        assert found is not None
        return found[1]

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.address.rpartition(":")[2])

    def health(self) -> int:
        """Return its status, by the standard health service."""
        with grpc.insecure_channel(f"{LOOPBACK}:{self.port}") as channel:
            reply: HealthCheckResponse = HealthStub(channel).Check(HealthCheckRequest(), timeout=PATIENCE)  # type: ignore[attr-defined]
            return reply.status

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)


@contextmanager
def serving(store: Path, *arguments: str, port: int = 0) -> Iterator[Service]:
    """Serve the identity of *store* until the end of the block, however it is then."""
    command = [sys.executable, "-m", "dragoman", "identity-service", "--store", str(store), "--port", str(port)]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, env=environment(), text=True)
    assert process.stdout is not None
    with process, process.stdout:
        try:
            yield Service(process, process.stdout.readline())
        finally:
            process.kill()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store for what changes nothing in it, with one key."""
    return tmp_path_factory.mktemp("store") / "store.db"


@pytest.fixture(scope="module")
def key(store: Path) -> IssuedKey:
    """Return the key of that store."""
    return furnish(store)


@contextmanager
def asking(address: str, folder: Path, **variables: str) -> Iterator[Served]:
    """Serve a gateway that asks the service at *address*, and has a store of its own in *folder*, without a key."""
    stated = {
        "DRAGOMAN_IDENTITY": "service",
        "DRAGOMAN_IDENTITY_ADDRESS": address,
        "DRAGOMAN_STORE": str(folder / "empty.db"),
        "DRAGOMAN_LIMIT_FAILED_LOGINS": "off",
    }
    with served(folder / "log", "serve", "--port", "0", **(stated | variables)) as gateway:
        yield gateway


def call(gateway: Served, token: str) -> Answer:
    """Return the answer to a request with *token*."""
    return ask(gateway.port, MODELS, Authorization=f"Bearer {token}")


def becomes(status: int, asked: Callable[[], Answer], within: float) -> float:
    """Return after how many seconds what is *asked* again and again has the *status*; fail when it takes longer."""
    began = time.monotonic()
    while asked().status != status:
        assert time.monotonic() - began < within
    return time.monotonic() - began


# --- A service that fails ---------------------------------------------------------------------------------------------


@attrs.define
class Scene:
    """A service that serves *store*, and a *way* to it that can be slow; *stack* ends what is started."""

    store: Path
    service: Service
    way: Proxy
    stack: ExitStack

    def kill(self) -> None:
        """Kill the service."""
        self.service.tell(signal.SIGKILL)
        self.service.process.wait(PATIENCE)

    def restart(self) -> None:
        """Start the service again, where it was."""
        self.service = self.stack.enter_context(serving(self.store, port=self.service.port))

    def stop(self) -> None:
        """Stop the service: its connections stay."""
        self.service.tell(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let the service go on."""
        self.service.tell(signal.SIGCONT)

    def slow_down(self) -> None:
        """Let everything take longer than a question may."""
        self.way.delay = 0.3

    def speed_up(self) -> None:
        """Let nothing take any longer."""
        self.way.delay = 0.0


@pytest.fixture
def scene(store: Path, key: IssuedKey) -> Iterator[Scene]:
    """Return a service that works."""
    assert key.token
    with ExitStack() as stack:
        service = stack.enter_context(serving(store))
        yield Scene(store, service, stack.enter_context(proxy_of_its_own(service.port)), stack)


@confirms("ADR-0031.R1", "ADR-0031.R4")
@pytest.mark.parametrize(
    ("fail", "heal"),
    [(Scene.kill, Scene.restart), (Scene.stop, Scene.go_on), (Scene.slow_down, Scene.speed_up)],
    ids=["killed", "stopped", "slow"],
)
def test_a_service_that_fails_lets_nobody_pass(
    scene: Scene, key: IssuedKey, tmp_path: Path, fail: Callable[[Scene], None], heal: Callable[[Scene], None]
) -> None:
    """While the service is killed, stopped or slow, whoever is unknown gets 503 in time; then all is as before.

    Unknown is also a key that is good, as long as nobody has confirmed it.
    """
    with asking(f"{LOOPBACK}:{scene.way.port}", tmp_path) as gateway:
        assert 401 == call(gateway, "nobody's").status

        fail(scene)
        answers = []
        for number in range(10):
            for token in (f"guess-{number}", key.token):
                began = time.monotonic()
                answers.append(call(gateway, token))
                assert time.monotonic() - began < PROMPT
        heal(scene)
        becomes(200, lambda: call(gateway, key.token), RECOVERY)
        assert 401 == call(gateway, "nobody's again").status
        events = gateway.events()

    assert {(503, "1")} == {(answer.status, answer.headers["retry-after"]) for answer in answers}
    states = [(event["part"], event["state"]) for event in events if event["event"] == "state"]
    assert (("identity", "bad"), ("identity", "good")) == (states[0], states[-1])


@confirms("ADR-0031.R2")
def test_a_key_that_was_confirmed_passes_while_the_service_is_gone(store: Path, key: IssuedKey, tmp_path: Path) -> None:
    """Who was let in before the service died still is, without delay but once a second; nobody else is."""
    with serving(store) as service, asking(service.address, tmp_path) as gateway:
        assert 200 == call(gateway, key.token).status
        service.tell(signal.SIGSTOP)
        time.sleep(1.1)  # its answer has to be asked for again
        answers = []
        for _ in range(20):
            began = time.monotonic()
            answers.append((call(gateway, key.token).status, time.monotonic() - began))
        stranger = call(gateway, key.token[:-1]).status

    assert ([200] * 20, 503) == ([status for status, _ in answers], stranger)
    assert 1 == len([took for _, took in answers if took >= 0.2])


@confirms("ADR-0029.R1", "ADR-0030.R4")
def test_what_changes_in_the_store_of_a_service_is_obeyed_within_two_seconds(tmp_path: Path) -> None:
    """A key that is made passes within 2 s, though it was nobody's before; what is revoked is refused within 2 s."""
    path = tmp_path / "store.db"
    key = furnish(path)
    with serving(path) as service, asking(service.address, tmp_path) as gateway:
        issued = administer(path, lambda one: one.create_key("acme", scopes=frozenset({"models"})))
        becomes(200, lambda: call(gateway, issued.token), 2.0)

        assert 200 == call(gateway, key.token).status
        revoked = run("keys", "revoke", key.entry.noun.id, "--store", str(path))
        becomes(401, lambda: call(gateway, key.token), 2.0)
        others = [call(gateway, token).status for token in (issued.token, issued.token[:-1])]

    assert (0, [200, 401]) == (revoked.code, others)


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Return paths of an authority's certificate, and of those of a service and a gateway with their keys."""
    folder, authority = tmp_path_factory.mktemp("pems"), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca")
    for name, host in (("service", LOOPBACK), ("gateway", "gateway.test")):
        made = authority.issue_cert(host)
        made.private_key_pem.write_to_path(folder / f"{name}_key")
        made.cert_chain_pems[0].write_to_path(folder / name)
    return {path.name: str(path) for path in folder.iterdir()}


@confirms("ADR-0031.R7")
@pytest.mark.parametrize("mutual", [False, True], ids=["TLS", "mutual TLS"])
def test_a_gateway_asks_over_tls(
    store: Path,
    key: IssuedKey,
    tmp_path: Path,
    pems: Mapping[str, str],
    mutual: bool,  # noqa: FBT001 - a case
) -> None:
    """By settings alone a gateway proves the service and, if it wants that, itself; who does not is let nobody in."""
    arguments = ["--tls-certificate", pems["service"], "--tls-key", pems["service_key"]]
    own = {"DRAGOMAN_IDENTITY_CERTIFICATE": pems["gateway"], "DRAGOMAN_IDENTITY_KEY": pems["gateway_key"]}
    proofs = {"DRAGOMAN_IDENTITY_CA": pems["ca"], **(own if mutual else {})}
    with serving(store, *arguments, *(["--caller-ca", pems["ca"]] if mutual else [])) as service:
        with asking(service.address, tmp_path, **proofs) as gateway:
            becomes(200, lambda: call(gateway, key.token), RECOVERY)
        other = {"DRAGOMAN_IDENTITY_CA": pems["ca"]} if mutual else {}
        with asking(service.address, tmp_path, **other) as gateway:
            assert [503] * 5 == [call(gateway, key.token).status for _ in range(5)]

    assert f"# identity is served at {service.address} with {'mutual ' if mutual else ''}TLS\n" == service.printed


# --- The command ------------------------------------------------------------------------------------------------------


@confirms("ADR-0031.R6")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_service_well(store: Path, key: IssuedKey, sent: signal.Signals) -> None:
    """A service says where it is, is healthy by the standard check, and ends with exit code 0 when it is told to."""
    assert key.token
    with serving(store) as service:
        status = service.health()
        service.tell(sent)
        code = service.process.wait(PATIENCE)

    assert (HealthCheckResponse.SERVING, 0) == (status, code)
    assert f"# identity is served at {LOOPBACK}:{service.port} in the clear\n" == service.printed


FROM_AFAR: Final = (
    "--host: tokens would come to 0.0.0.0 in the clear; give --tls-certificate and --tls-key, or accept it with "
    "--plaintext"
)


@confirms("ADR-0018.R1", "ADR-0031.R7")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--host 0.0.0.0", FROM_AFAR),
        ("--host= --plaintext", "--host: an address must not be empty; use 127.0.0.1, or 0.0.0.0 for every interface"),
        ("--tls-key x", "--tls-key needs --tls-certificate beside it"),
        ("--tls-certificate x", "--tls-certificate needs --tls-key beside it"),
        (
            "--tls-certificate /nowhere --tls-key x",
            "--tls-certificate: cannot read /nowhere: No such file or directory",
        ),
        ("--caller-ca {ca}", "--caller-ca needs --tls-certificate and --tls-key beside it"),
        (
            "--tls-certificate {service} --tls-key {service_key} --plaintext",
            "--plaintext beside --tls-certificate: say one of them",
        ),
        (
            "--tls-certificate {service} --tls-key {gateway_key}",
            "--tls-certificate: {service} is no certificate, or {gateway_key} is not its key, in PEM and in the clear",
        ),
        (
            "--host 192.0.2.1 --plaintext",
            "cannot listen on 192.0.2.1 port 50051: Cannot assign requested address; choose another --port or --host",
        ),
    ],
)
def test_bad_usage_ends_with_2_and_one_line(
    capsys: pytest.CaptureFixture[str], store: Path, pems: Mapping[str, str], arguments: str, said: str
) -> None:
    """What cannot be served, or would take tokens in the clear from afar, ends the command with one line."""
    with pytest.raises(SystemExit) as ended:
        main(["identity-service", "--store", str(store), *arguments.format(**pems).split()])

    printed = capsys.readouterr()
    outcome = Outcome(code=ended.value.code, out=printed.out, err=printed.err)
    assert Outcome(code=2, out="", err=f"dragoman: {said.format(**pems)}\n") == outcome


def test_a_port_in_use_ends_with_2_and_one_line(store: Path) -> None:
    """A second service on a port says so, in one line of its own."""
    with serving(store) as service:
        outcome = run("identity-service", "--port", str(service.port), "--store", str(store))

    said = f"cannot listen on {LOOPBACK} port {service.port}: Address already in use; choose another --port or --host"
    assert Outcome(code=2, out="", err=f"dragoman: {said}\n") == outcome


def serve_here(arguments: Sequence[str], host: str, port: int) -> None:
    """Run the command in this process, until it is told to end, which it is as soon as it listens."""

    def end_it() -> None:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            while probe.connect_ex((host, port)) != 0:
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda *_: None)
    ending = threading.Thread(target=end_it)
    ending.start()
    try:
        main(["identity-service", "--port", str(port), *arguments])
    finally:
        ending.join(PATIENCE)
        signal.signal(signal.SIGTERM, before)


OVER_TLS: Final = "--tls-certificate {service} --tls-key {service_key}"


@pytest.mark.parametrize(
    ("arguments", "host", "told"),
    [
        ("", LOOPBACK, f"{LOOPBACK}:PORT in the clear"),
        ("--host ::1", "::1", "[::1]:PORT in the clear"),
        ("--host 0.0.0.0 --plaintext", LOOPBACK, "0.0.0.0:PORT in the clear"),
        (OVER_TLS, LOOPBACK, f"{LOOPBACK}:PORT with TLS"),
        (f"{OVER_TLS} --caller-ca {{ca}}", LOOPBACK, f"{LOOPBACK}:PORT with mutual TLS"),
    ],
)
def test_the_command_says_how_it_serves(  # noqa: PLR0913, PLR0917 - three fixtures and a case
    capfd: pytest.CaptureFixture[str], store: Path, pems: Mapping[str, str], arguments: str, host: str, told: str
) -> None:
    """One line says where tokens may be sent, and whether they come in the clear."""
    port = free_port()

    serve_here(["--store", str(store), *arguments.format(**pems).split()], host, port)

    assert f"# identity is served at {told.replace('PORT', str(port))}\n" == capfd.readouterr().out


# --- The one beside a demo --------------------------------------------------------------------------------------------


def service_of(demo: Served) -> psutil.Process:
    """Return the identity service of *demo*."""
    [beside] = psutil.Process(demo.process.pid).children()
    return beside


def chat(demo: Served, dialect: str) -> int:
    """Return the status of the first request that *demo* prints for a *dialect*, sent as it is."""
    [line] = [line for line in demo.printed if f"${{{dialect}_DEV_TOKEN}}" in line]
    exports = [line for line in demo.printed if line.startswith("export ")]
    request = line.removeprefix("#").strip().replace("curl -s", "curl -s -o /dev/null -w '%{http_code}'", 1)
    return int(subprocess.check_output(["bash", "-c", "\n".join([*exports, request])]))


def test_a_demo_asks_over_grpc_where_the_dialect_says_so(tmp_path: Path) -> None:
    """The mount whose dialect has a service asked knows nobody when that is killed; the others go on."""
    with served(tmp_path / "log", "demo", "--port", "0") as demo:
        [said] = [line for line in demo.printed if "asks over gRPC who is calling" in line]
        before = [chat(demo, dialect) for dialect in ("IBEX", "DRAGOMAN")]
        service_of(demo).kill()
        answers = [
            ask(demo.port, f"POST {path} HTTP/1.1", Authorization="Bearer x", X_IBEX_Agent_ID="x").status
            for path in ("/ibex/v1/chat/completions", "/v1/chat/completions")
        ]

    assert ("# ibex ", [501, 501], [503, 401]) == (said[:7], before, answers)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_what_a_demo_makes_ends_with_it(tmp_path: Path, sent: signal.Signals) -> None:
    """The service of a demo ends with it, also when it is killed; its store is its owner's only, and is removed."""
    with served(tmp_path / "log", "demo", "--port", "0") as demo:
        [line] = [line for line in demo.printed if line.startswith("# the store is ")]
        folder = Path(line.removeprefix("# the store is ")).parent
        mode, beside = folder.stat().st_mode, service_of(demo)
        demo.process.send_signal(sent)
        code = demo.process.wait(PATIENCE)
        _, alive = psutil.wait_procs([beside], timeout=PATIENCE)

    killed = sent is signal.SIGKILL
    assert (0o700, [], -signal.SIGKILL if killed else 0) == (mode & 0o777, alive, code)
    assert killed is folder.exists()
    shutil.rmtree(folder, ignore_errors=True)  # of what was killed, nobody else removes it


def test_a_service_beside_this_process_begins_when_it_is_let(store: Path, key: IssuedKey) -> None:
    """It answers when it has been let, and is gone when the block has ended."""
    others = set(psutil.Process().children())
    with beside(store) as begin:
        begun = set(psutil.Process().children()) - others
        address = begin()
        with grpc.insecure_channel(address) as channel:
            reply = IdentityServiceStub(channel).ValidateToken(ValidateTokenRequest(token=key.token), timeout=PATIENCE)

    left = set(psutil.Process().children()) - others
    assert (True, 1, set()) == (reply.valid, len(begun), left)


def test_a_service_that_cannot_begin_is_an_error(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """When there is no store to serve, whoever lets the service begin is told so, and the service says why."""
    (tmp_path / "store.db").write_text("of no consequence, but long enough to be looked at as if it were a database")
    with (
        pytest.raises(SettingsError, match="the identity service beside this process did not start"),
        beside(tmp_path / "store.db") as begin,
    ):
        begin()

    assert "is no store" in capfd.readouterr().err


@pytest.mark.parametrize(("line", "served_at"), [("\n", 1), ("", 0)])
def test_a_service_that_is_held_ends_with_its_standard_input(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, store: Path, line: str, served_at: int
) -> None:
    """It serves when a line has come, and until there is nothing more to come; without a line it does not."""
    reader, writer = os.pipe()
    os.write(writer, line.encode())
    os.close(writer)
    with os.fdopen(reader) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)

        main(["identity-service", "--port", "0", "--store", str(store), "--held"])

    assert served_at == len(capfd.readouterr().out.splitlines())
