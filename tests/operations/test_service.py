"""The gateway about itself."""

import json

import pytest
from gateway_conformance.rules import confirms

from dragoman.app import read_pages
from fakes import House, effective
from wire import get


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
def test_the_gateway_says_that_it_is_well(house: House, path: str) -> None:
    """The three probes answer anybody with the contract's body."""
    answer = get(house.app, path, token=None)

    assert (200, {"status": "ok"}) == (answer.status, answer.json())


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
