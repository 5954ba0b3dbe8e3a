"""Nothing that a caller sends comes back in a header, but for what has a form that can do no harm."""

import json
import re
from typing import Final

from gateway_conformance.rules import confirms
from hypothesis import example as with_example
from hypothesis import given, settings
from hypothesis import strategies as st

from dragoman.model import valid_request_id
from fakes import TOKEN, build_house, effective
from lines import Line, chat, read_answers, request
from wire import CHAT, Answer, ask

HOUSE: Final = build_house({"/": effective(), "/ibex": effective("ibex", mount="/ibex")})
CANARY: Final = "canary"
TRACE: Final = "0af7651916cd43dd8448eb211c80319c"

hostile = st.text("\r\n\0\t :;,\x7f\x80\xe9\xffa", max_size=6)
canaries = st.builds("{}{}{}".format, hostile, st.just(CANARY), hostile)
HEADERS: Final = (
    "x-request-id",
    "traceparent",
    "tracestate",
    "host",
    "origin",
    "cookie",
    "accept",
    "user-agent",
    "content-type",
    "authorization",
    "x-agent-id",
    "x-forwarded-for",
    "retry-after",
    "x-ratelimit-limit-requests",
)


def judge(answer: Answer, sent_id: str | None) -> None:
    """Assert that no header says what was sent, but for an id of the allowed form, and that all are plain text."""
    for name, value in answer.headers:
        assert re.fullmatch(r"[a-z0-9-]+", name)
        assert re.fullmatch(r"[\x20-\x7e]*", value)
        if not (name == "x-request-id" and value == valid_request_id(sent_id)):
            assert CANARY not in value


@confirms("ADR-0034.R8", "ADR-0013.R2", "ADR-0013.R3")
@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(HEADERS), canaries), canaries, canaries, st.sampled_from(["", "/ibex"]))
@with_example({"x-request-id": f"{CANARY}\r\nX-Injected: 1"}, CANARY, CANARY, "")
@with_example({"x-request-id": CANARY}, CANARY, CANARY, "")
@with_example({"traceparent": f"00-{TRACE}-b7ad6b7169203331-01\r\n{CANARY}"}, CANARY, CANARY, "")
def test_no_header_of_an_answer_says_what_was_sent(sent: dict[str, str], model: str, segment: str, mount: str) -> None:
    """Whatever stands in headers, model and path, the answer's headers do not say it, and split nothing."""
    usual = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    body = json.dumps({"model": model, "messages": [{"role": model, "content": model}]}).encode()

    for path in (f"{mount}{CHAT}", f"{mount}/v1/models/{segment}", f"/{segment}"):
        for method in ("POST", "GET"):
            answer = ask(HOUSE.app, method, path, headers=usual | sent, query=b"a=canary", body=body)
            judge(answer, sent.get("x-request-id"))

    assert [] == HOUSE.log.failures


@confirms("ADR-0034.R8")
def test_no_answer_is_split_on_the_wire(opened_line: Line) -> None:
    """On the wire, too, every request has one answer, and none of its headers says what was sent."""
    hostile_ones = (
        "canary",
        "canary\tcanary",
        "canary canary",
        "canary\xe9",
        "canary%0d%0aX-Injected: 1",
        "canary\\r\\n",
    )
    for value in hostile_ones:
        headers = {"X_Request_ID": value, "Traceparent": value, "User_Agent": value, "Connection": "close"}
        for sent in (
            request("GET", "/v1/models/canary%0d%0aX-Injected:%201", **headers),
            chat(json.dumps({"model": value, "messages": []}).encode(), **headers),
            request("GET", "/livez", **(headers | {"Host": value})),
        ):
            with opened_line.connect() as line:
                line.sendall(sent)
                [answer] = read_answers(line)
            said = {name: text for name, text in answer.headers.items() if CANARY in text}
            assert said in ({}, {"x-request-id": valid_request_id(value)})
            assert "x-injected" not in answer.headers
