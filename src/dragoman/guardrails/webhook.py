"""Guardrails that ask somebody else: what is asked, and what an answer means (ADR-0037).

Laws of this file:
- A webhook says what it has found; what follows from that, the guardrail's action says.
- It is asked last, about texts in which everything else is masked already.
- Whatever is no answer closes what blocks and what masks; what only flags says that it could not look.
- No word of an answer is told but the categories, which have the form of names.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import attrs

from dragoman.guardrails.check import is_category
from dragoman.guardrails.document import Screened
from dragoman.guardrails.screen import Screen
from dragoman.guardrails.stream import StreamScreen
from dragoman.guardrails.texts import Place, changed, texts_of
from dragoman.guardrails.verdict import UNAVAILABLE, Blocked, Verdict
from dragoman.model import Finding, Guardrail

MOST: Final = 100
"""Findings that an answer may have."""

_FOUND: Final = "Content not allowed"


class WebhookUnavailableError(Exception):
    """A webhook has not answered, or not with JSON."""


class Webhook(Protocol):
    """Asks addresses that an operator has configured. It gives up by itself, soon."""

    async def ask(self, url: str, question: Mapping[str, Any]) -> object:
        """Return the JSON that is answered to *question*.

        Raises:
            WebhookUnavailableError: for whatever else happens.
        """


@attrs.frozen(kw_only=True)
class _Answer:
    """What was found, and, if that is said, the texts as they may go on."""

    findings: tuple[Finding, ...]
    texts: Sequence[str] | None = attrs.field(default=None, repr=False)


async def ask_webhooks(screen: Screen, screened: Screened, webhook: Webhook) -> Screened:
    """Return *screened* as the webhooks of *screen* leave it, each asked in its turn.

    Raises:
        Blocked: by the first that blocks.
    """
    groups = [[place] for place in texts_of(screened.document).places]
    return await _ask_all(screen, screened, groups, webhook)


async def end_stream(stream: StreamScreen, webhook: Webhook) -> Screened:
    """Return the chunks that a *stream* which webhooks watch has left to send, as a list, with all that was found.

    They are asked about whole texts; one that was changed stands in the place of its first piece.

    Raises:
        Blocked: see `ask_webhooks`.
    """
    rest = stream.end()
    chunks = [*stream.seen, *rest]
    groups: dict[tuple[object, ...], list[Place]] = {}
    for chunk in chunks:
        for choice in chunk.get("choices") or ():
            for place, path in _pieces(choice.get("delta") or {}):
                groups.setdefault((choice.get("index", 0), *path), []).append(place)
    screened = Screened(document=chunks, verdicts=stream.verdicts, not_scanned=stream.not_scanned)
    asked = await _ask_all(stream.screen, screened, list(groups.values()), webhook)
    return asked if stream.screen.holds else attrs.evolve(asked, document=rest)


def _pieces(delta: Mapping[str, Any]) -> Iterator[tuple[Place, tuple[object, ...]]]:
    """Yield the texts of *delta*, each with what tells whose piece it is."""
    for place in texts_of(delta).places:
        if place.container is delta:
            yield place, (place.key,)
    for number, call in enumerate(delta.get("tool_calls") or ()):
        for place in texts_of(call).places:
            yield place, ("tool_calls", call.get("index", number), place.key)
    for member, value in delta.items():
        if member != "tool_calls" and type(value) in {dict, list}:
            for place in texts_of(value).places:
                yield place, (member, place.key)


async def _ask_all(screen: Screen, screened: Screened, groups: Sequence[Sequence[Place]], webhook: Webhook) -> Screened:
    """Return *screened* after all questions about its texts, each of which is a group of pieces."""
    before = ["".join(place.text for place in group) for group in groups]
    texts: Sequence[str] = before
    verdicts = list(screened.verdicts)
    for guardrail in screen.webhooks if before else ():
        answer = await _ask(guardrail, screen.stage, texts, webhook)
        if not answer.findings:
            continue
        if guardrail.action == "block" or (guardrail.action == "mask" and answer.texts is None):
            raise Blocked(guardrail.key, answer.findings)
        if guardrail.action == "mask" and answer.texts is not None:
            texts = answer.texts
        verdicts.append(Verdict(guardrail_key=guardrail.key, action=guardrail.action, findings=answer.findings))
    changes = [
        attrs.evolve(place, text="" if number else after)
        for group, text, after in zip(groups, before, texts, strict=True)
        if text != after
        for number, place in enumerate(group)
    ]
    document = changed(screened.document, changes)
    return attrs.evolve(screened, document=document, verdicts=_merged(verdicts))


async def _ask(guardrail: Guardrail, stage: str, texts: Sequence[str], webhook: Webhook) -> _Answer:
    """Return what the webhook of *guardrail* says of *texts*; that it could not look, where it says nothing."""
    question = {"guardrail": guardrail.key, "stage": stage, "texts": texts}
    try:
        said = await webhook.ask(guardrail.webhook or "", question)
    except WebhookUnavailableError:
        said = None
    return _understood(said, len(texts)) or _Answer(findings=(UNAVAILABLE,))


def _understood(said: object, count: int) -> _Answer | None:
    """Return what was *said* of so many texts, or None where it is no answer."""
    match said:
        case {"findings": list(found), **others} if len(found) <= MOST:
            texts: Any = others.get("texts")
            named = [finding["category"] for finding in found if _is_finding(finding)]
            if len(named) < len(found) or not (texts is None or _are_texts(texts, count)):
                return None
            findings = tuple(Finding(category=category, message=_FOUND) for category in dict.fromkeys(named))
            return _Answer(findings=findings, texts=texts)
        case _:
            return None


def _is_finding(said: object) -> bool:
    category = said.get("category") if isinstance(said, dict) else None
    return isinstance(category, str) and is_category(category)


def _are_texts(said: object, count: int) -> bool:
    return isinstance(said, list) and len(said) == count and all(isinstance(text, str) for text in said)


def _merged(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """Return *verdicts* with those of one guardrail as one."""
    merged: dict[str, Verdict] = {}
    for verdict in verdicts:
        before = merged.get(verdict.guardrail_key)
        findings = verdict.findings if before is None else (*before.findings, *verdict.findings)
        merged[verdict.guardrail_key] = attrs.evolve(verdict, findings=tuple(dict.fromkeys(findings)))
    return tuple(merged.values())
