"""Calibration: what OpenAI itself sends passes as it is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import orjson
import pytest
import yaml
from chunk_laws import ENVELOPE, broken_laws, form_errors
from gateway_conformance.rules import confirms

from dragoman.translate.chat import ChatStream
from dragoman.translate.completion import completion
from dragoman.translate.sse import END, EventReader, frame

Document = dict[str, Any]

BESIDE: Final = Path("shared") / "reference" / "openai-cassettes"
"""Where the recordings are, beside the repository or one of the folders that it is in."""
OURS: Final = {"id", "created", "model", "system_fingerprint"}
"""What is ours on every answer, and the fingerprint, which is never told."""


def recordings() -> Iterator[tuple[str, str]]:
    """Yield name and body of every chat answer that OpenAI gave with 200."""
    folders = [folder / BESIDE for folder in Path(__file__).parents if (folder / BESIDE).is_dir()]
    for path in sorted(folders[0].glob("chat-*.yaml") if folders else ()):
        for exchange in yaml.safe_load(path.read_text())["interactions"]:
            if exchange["response"]["code"] == 200:
                yield path.stem, exchange["response"]["body"]


WHOLE: Final = [pytest.param(body, id=name) for name, body in recordings() if body.startswith("{")]
STREAMS: Final = [pytest.param(body, id=name) for name, body in recordings() if body.startswith("data:")]
ABSENT: Final = [pytest.param("", marks=pytest.mark.skip(reason=f"there are no recordings in {BESIDE}"))]


def but_for_ours(document: Document) -> Document:
    """Return what is left of *document*; a service tier that is null is as good as none."""
    return {
        name: value for name, value in document.items() if name not in OURS and (name, value) != ("service_tier", None)
    }


@confirms("ADR-0036.R11")
@pytest.mark.parametrize("body", WHOLE or ABSENT)
def test_whole_answers_pass_as_they_are(body: str) -> None:
    """Every member but id, time, model and fingerprint, to the letter."""
    theirs = orjson.loads(body)
    ours = completion(theirs, **ENVELOPE).document

    assert but_for_ours(theirs) == but_for_ours(ours)
    assert ENVELOPE.items() <= ours.items()
    assert [] == form_errors(ours, "ChatCompletion")


@confirms("ADR-0036.R11")
@pytest.mark.parametrize("body", STREAMS or ABSENT)
def test_streams_pass_as_they_are(body: str) -> None:
    """Every chunk, to the letter but for the same members, and the padding of the usage, which is ours."""
    events = [event.data for event in EventReader().feed(body.encode())]
    assert END == events.pop()
    theirs = [orjson.loads(data) for data in events]
    include_usage = "usage" in theirs[0]

    chat = ChatStream(**ENVELOPE, include_usage=include_usage)
    ours = [chunk for one in theirs if (chunk := chat.feed(one)) is not None]
    last = chat.end()
    if last is not None:
        ours.append(last)
        for name in ("obfuscation", "service_tier"):
            del theirs[-1][name]

    assert [but_for_ours(one) for one in theirs] == [but_for_ours(one) for one in ours]
    assert [] == broken_laws(ours, include_usage=include_usage)
    assert EventReader().feed(b"".join(map(frame, ours)))
