"""A dialect is one file: an invented one is added beside the others, and served."""

import json
import shutil
from pathlib import Path
from typing import Final

import pytest
from gateway_conformance.rules import confirms

from dragoman.app import build_gateway, known_settings
from dragoman.cli import main
from dragoman.contract.source import PACKAGED, Source
from dragoman.settings import Development, read_settings
from dragoman.web.gateway import Gateway
from fakes import AGENT, OWN, TOKEN
from wire import CHAT, VALID, post

OVERLAY: Final = """\
overlay: 1.1.0
info: {title: Dialect quay, version: 0.1.0}
actions:
  - target: $.info
    update: {title: Quay}
  - target: $.paths
    update:
      /quay/talk: {}
  - target: $.paths['/quay/talk']
    copy: $.paths['/v1/chat/completions']
  - target: $.paths['/v1/chat/completions', '/proxy/v1/chat/completions', '/v1/orgs/{org_id}/chat/completions']
    remove: true
  - target: $.paths['/quay/talk'].post
    update: {operationId: talk}
  - target: $.components.parameters.AgentId
    update: {name: X-Quay-Hand}
  - target: $['x-dragoman'].agent
    remove: true
  - target: $['x-dragoman']
    update: {agent: {from: [{header: X-Quay-Hand}]}}
  - target: $.components.schemas.Error
    remove: true
  - target: $.components.schemas
    update:
      Error:
        type: object
        required: [fault]
        properties: {fault: {type: string}, ticket: {type: string}}
        additionalProperties: false
  - target: $.components.examples[?@['x-fill']].value
    update: {fault: It cannot be done., ticket: one}
  - target: $.components.examples[?@['x-fill']].value.error
    remove: true
  - target: $.components.examples[?@['x-fill']]['x-fill'].*
    remove: true
  - target: $.components.examples[?@['x-fill']]['x-fill']
    update: {ticket: request_id}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a copy of the packaged contract with one file more."""
    copied = Path(shutil.copytree(PACKAGED, tmp_path / "openapi"))
    (copied / "overlays" / "quay.yaml").write_text(OVERLAY)
    return copied


@pytest.fixture
def quay(folder: Path) -> Gateway:
    """Return a gateway that serves the invented dialect at its own prefix."""
    source = Source(folder=folder)
    variables = {
        "DRAGOMAN_MOUNTS": "/=dragoman,/quay=quay",
        "DRAGOMAN_DEV_TOKEN": TOKEN,
        "DRAGOMAN_DEV_AGENT_ID": AGENT,
        "DRAGOMAN_DEV_ORG_ID": OWN,
    }
    settings = read_settings(variables, known_settings(source))
    assert Development(token=TOKEN, organization=OWN, agents={"main": AGENT}) == settings.development
    return build_gateway(source, settings)


@confirms("ADR-0002.R4")
@pytest.mark.parametrize(
    ("agent", "token", "status"), [(AGENT, TOKEN, 501), ("nobody", TOKEN, 400), (OWN, TOKEN, 403), (AGENT, None, 401)]
)
def test_an_invented_dialect_is_served(quay: Gateway, agent: str, token: str | None, status: int) -> None:
    """Its own path, its own agent header and its own error members are served from one file."""
    answer = post(
        quay,
        VALID,
        path="/quay/quay/talk",
        token=token,
        headers={"x-quay-hand": agent, "x-request-id": "mine"},
    )

    assert (status, {"fault": "It cannot be done.", "ticket": "mine"}) == (answer.status, answer.json())


@confirms("ADR-0002.R4")
def test_other_dialects_do_not_notice_it(quay: Gateway) -> None:
    """What the invented dialect removed is unknown at its mount, and served at the canonical one."""
    answers = [post(quay, VALID, path=f"{mount}{CHAT}").status for mount in ("/quay", "")]

    assert [404, 501] == answers


@confirms("ADR-0002.R4")
def test_an_invented_dialect_passes_the_check(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """The commands know the dialect by the name of its file."""
    main(["contract", "check", "--contract", str(folder)])
    checked = capsys.readouterr()
    main(["contract", "show", "--contract", str(folder), "--dialect", "quay"])
    shown = json.loads(capsys.readouterr().out)

    assert ("", True) == (checked.out, "quay.phase1: ok" in checked.err)
    assert "/quay/talk" in shown["paths"]
