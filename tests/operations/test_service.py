"""The gateway about itself."""

import json
from typing import Final

import attrs
import pytest
from gateway_conformance.rules import confirms

from dragoman.adapters.metrics import MemoryMeter
from dragoman.app import read_pages
from dragoman.contract.source import Source
from dragoman.model import KeyId, Principal, Usage
from fakes import KEYS, OWN, TOKEN, FakeIdentity, House, build_forwarding, build_house, effective
from wire import get


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
def test_the_gateway_says_that_it_is_well(house: House, path: str) -> None:
    """The three probes answer anybody with the contract's body."""
    answer = get(house.app, path, token=None)

    assert (200, {"status": "ok"}) == (answer.status, answer.json())


OPERATOR: Final = Principal(organization=OWN, key=KeyId("operator"), scopes=frozenset({"metrics"}))


def counting() -> House:
    """Return a gateway that has counted something, and knows a key that may see it."""
    meter = MemoryMeter()
    meter.spent("general", Usage(input_tokens=3, output_tokens=4))
    return build_house(
        forwarding=attrs.evolve(build_forwarding(), meter=meter),
        identity=FakeIdentity(keys={**KEYS, "operator": OPERATOR}),
    )


def test_the_metrics_are_told_in_prometheus_format() -> None:
    """A key with the scope gets what was counted, as Prometheus reads it."""
    answer = get(counting().app, "/metrics", token="operator")

    assert (200, "text/plain; version=0.0.4; charset=utf-8") == (answer.status, answer.header("content-type"))
    assert b'\ndragoman_tokens_total{alias="general",direction="output"} 4.0\n' in answer.body


@confirms("ADR-0042.R2")
@pytest.mark.parametrize(
    ("token", "status", "code"),
    [(None, 401, "missing_credential"), ("nobody", 401, "invalid_credential"), (TOKEN, 403, "insufficient_scope")],
)
def test_nobody_else_sees_the_metrics(token: str | None, status: int, code: str) -> None:
    """Without a key, and with one that has every other scope, they are refused; what was counted is in no refusal."""
    house = counting()

    answer = get(house.app, "/metrics", token=token)

    assert (status, code) == (answer.status, house.log.event["refusal"])
    assert b"dragoman_" not in answer.body


@confirms("ADR-0042.R2")
@pytest.mark.parametrize("dialect", sorted(set(Source().dialects) - {"dragoman"}))
def test_no_dialect_has_metrics(dialect: str) -> None:
    """They are of the canonical contract, and of no other."""
    assert "/metrics" not in Source().dialect(dialect)["paths"]


@confirms("ADR-0001.R4")
@pytest.mark.parametrize(("mount", "dialect"), [("/", "dragoman"), ("/ibex", "ibex")])
def test_a_mount_publishes_its_effective_contract(house: House, mount: str, dialect: str) -> None:
    """The document that a mount serves is the one that it was made from, member by member in the same order."""
    answer = get(house.app, f"{mount.rstrip('/')}/openapi.json", token=None)

    assert json.dumps(effective(dialect, mount=mount)) == json.dumps(answer.json())


@confirms("ADR-0027.R3")
@pytest.mark.parametrize("mount", ["", "/ibex"])
def test_the_docs_page_allows_its_own_host_only(house: House, mount: str) -> None:
    """The page is HTML, and its policy lets it load from its own host alone; all that it names is relative."""
    answer = get(house.app, f"{mount}/docs", token=None)

    assert (200, "text/html; charset=utf-8") == (answer.status, answer.header("content-type"))
    assert "default-src 'self'; img-src 'self' data:" == answer.header("content-security-policy")
    assert b"://" not in answer.body


@pytest.mark.parametrize(
    ("asset", "media_type"),
    [
        ("swagger-ui.css", "text/css; charset=utf-8"),
        ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("swagger-initializer.js", "text/javascript; charset=utf-8"),
    ],
)
def test_what_the_docs_page_loads_is_there(house: House, asset: str, media_type: str) -> None:
    """Every file that the page names is served as what it is, and as it stands in the package."""
    page = get(house.app, "/docs", token=None).body.decode()
    answer = get(house.app, f"/docs/{asset}", token=None)

    assert f'"docs/{asset}"' in page
    assert (200, media_type) == (answer.status, answer.header("content-type"))
    assert read_pages()[asset].content == answer.body


@pytest.mark.parametrize("asset", ["index.html", "LICENSE", "..", "nothing.js"])
def test_nothing_else_is_served_beside_the_docs_page(house: House, asset: str) -> None:
    """A file that the contract does not list is refused, whether it is in the package or not."""
    answer = get(house.app, f"/docs/{asset}", token=None)

    assert (400, "asset") == (answer.status, answer.json()["error"]["param"])
