"""Whole documents, requests and answers, before a guardrail (ADR-0037).

Laws of this file:
- What is returned is what was looked at: a document in which nothing was masked is the same object.
- Texts are looked at each alone, and those of one message also as if they were one.
- Nearly every document has nothing in it, and is known for that by one look at all its texts.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs

from dragoman.guardrails.arguments import leaves, mask_arguments
from dragoman.guardrails.screen import EngineError, Screen
from dragoman.guardrails.texts import LOGPROBS, Place, Texts, changed, texts_of
from dragoman.guardrails.verdict import Blocked, Tally, Verdict
from dragoman.guardrails.window import Release, Search, Span, decoded, encoded, mask

MOST: Final = 10_000
"""Texts that a document may have, where each of them has to be looked at; they take some 100 ms."""


@attrs.frozen(kw_only=True)
class Screened:
    """A *document* that may go on, and what was found in it. *not_scanned* counts what was no text."""

    document: Any = attrs.field(repr=False)
    verdicts: tuple[Verdict, ...] = ()
    not_scanned: int = 0


def screen_input(screen: Screen, document: Any) -> Screened:  # noqa: ANN401 - a document of JSON
    """Return the request *document*, masked, with what was found in it.

    Raises:
        Blocked: by the first guardrail that blocks, with all that it has found.
    """
    tally = Tally()
    masked = mask_document(screen, document, tally)
    return Screened(document=masked, verdicts=screen.verdicts(tally), not_scanned=tally.not_scanned)


def screen_output(screen: Screen, document: Any) -> Screened:  # noqa: ANN401 - a document of JSON
    """Return the answer *document*, masked, with what was found in it.

    Raises:
        Blocked: see `screen_input`.
    """
    return screen_input(screen, without_logprobs(document) if screen.holds else document)


def without_logprobs(document: Any) -> Any:  # noqa: ANN401 - a document of JSON
    """Return an answer, or a chunk of one, that does not repeat its text token by token."""
    choices = document.get("choices")
    if type(choices) is not list or all(_is_without_logprobs(choice) for choice in choices):
        return document
    bare = [choice if _is_without_logprobs(choice) else {**choice, LOGPROBS: None} for choice in choices]
    return {**document, "choices": bare}


def _is_without_logprobs(choice: Any) -> bool:  # noqa: ANN401 - a document of JSON
    return type(choice) is not dict or choice.get(LOGPROBS) is None


def mask_document(screen: Screen, document: Any, tally: Tally) -> Any:  # noqa: ANN401 - a document of JSON
    """Return *document*, masked; what is found is added to *tally*.

    Raises:
        Blocked: see `screen_input`.
    """
    texts = texts_of(document)
    tally.not_scanned += texts.not_scanned
    if _is_clean(screen, texts):
        return document
    if len(texts.places) > MOST:
        screen.fail(tally)
        return document
    changes: list[Place] = []
    blocked: list[Blocked] = []
    for places in _read_together(texts):
        try:
            masked = _masked(screen, places, tally)
        except Blocked as verdict:
            blocked.append(verdict)
        else:
            changes += [
                Place(place.container, place.key, text)
                for place, text in zip(places, masked, strict=True)
                if text is not place.text
            ]
    if blocked:
        raise _first(blocked)
    return changed(document, changes)


def _is_clean(screen: Screen, texts: Texts) -> bool:
    """Whether one look at all *texts* shows that there is nothing in them."""
    if not texts.places:
        return True
    if screen.anchored:
        return False
    read = [*_as_read(texts)]
    if screen.limits and max(map(len, read)) > min(limit.most for limit in screen.limits):
        return False
    try:
        return not screen.candidates(encoded("\n".join(read)))
    except EngineError:
        return False


def _as_read(texts: Texts) -> Iterator[str]:
    """Yield *texts* so that whatever may be found in them is found in one of these."""
    for place in texts.places:
        said = leaves(encoded(place.text)) if place.is_json and "\\" in place.text else None
        if said is None:
            yield place.text
        else:
            yield from (leaf.text for leaf in said)
    for parts in texts.messages:
        yield "".join(part.text for part in parts)


def _read_together(texts: Texts) -> Iterator[Sequence[Place]]:
    """Yield each text once: alone, or with the others of its message."""
    joined = {(id(part.container), part.key) for parts in texts.messages for part in parts}
    for place in texts.places:
        if (id(place.container), place.key) not in joined:
            yield (place,)
    yield from texts.messages


def _masked(screen: Screen, places: Sequence[Place], tally: Tally) -> Sequence[str]:
    """Return the texts at *places*, which are read together, masked; what nothing is masked in is the same object."""
    if len(places) > 1:
        return _mask_message(screen, [place.text for place in places], tally)
    place = places[0]
    return [(mask_arguments if place.is_json else mask)(screen, place.text, tally)]


def _mask_message(screen: Screen, parts: Sequence[str], tally: Tally) -> Sequence[str]:
    """Return the *parts* of a message, in which what lies across several is masked in all of them."""
    message = encoded("".join(parts))
    spans: list[Span] = []
    ends: list[int] = []
    for part in parts:
        start = ends[-1] if ends else 0
        ends.append(start + len(encoded(part)))
        own = Search(screen, tally).add(part, final=True)
        spans += [attrs.evolve(span, start=start + span.start, end=min(start + span.end, ends[-1])) for span in own]
    spans += Search(screen, tally).add("".join(parts), final=True)
    if not spans:
        return parts
    release = Release(spans)
    return [decoded(release.up_to(end, message, 0)) for end in ends]


def _first(blocked: Sequence[Blocked]) -> Blocked:
    """Return the first of several verdicts, with all that its guardrail has found in the document."""
    key = blocked[0].guardrail_key
    alike = [verdict for verdict in blocked if verdict.guardrail_key == key]
    return Blocked(key, tuple(dict.fromkeys(finding for verdict in alike for finding in verdict.findings)))
