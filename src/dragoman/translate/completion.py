"""A whole chat completion: read from what an upstream sent, put together from chunks, taken apart into them (ADR-0036).

Laws of this file:
- What goes out is made here, as in `chat`: of what an upstream sends only what the contract declares is in it.
- An answer is the same whole and streamed: what `assemble` makes of the chunks that go out for it is what `completion`
  makes of it.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import attrs

from dragoman.model import Usage
from dragoman.translate.calls import TEXTS, whole_calls, whole_function
from dragoman.translate.chat import choice_index, service_tier
from dragoman.translate.grammar import reject
from dragoman.translate.shapes import Document, array_of, fitted, object_of
from dragoman.translate.usage import usage_document, usage_of
from dragoman.translate.vocabulary import LOGPROBS, MESSAGE, citations_of, finish_reason, require_no_error


@attrs.frozen(kw_only=True)
class Completion:
    """A whole answer: the *document* that goes out, the *usage* that was stated, None where none was.

    *text_length* counts its characters: texts, refusals, and what tools are called with.
    """

    document: Document
    usage: Usage | None
    text_length: int


def completion(document: object, *, id: str, created: int, model: str) -> Completion:  # noqa: A002 - as the member
    """Return what goes out for the *document* of an upstream, with *id*, *created* and *model* for its own.

    Raises:
        GrammarError: for what is no chat completion, or not the whole of one.
    """
    document = object_of(document, "completion")
    require_no_error(document)
    choices = array_of(document.get("choices"), "choices")
    read = [_read_choice(choice, place, id_=id) for place, choice in enumerate(choices)]
    if not read or len({choice["index"] for choice in read}) < len(read):
        reject("choices")
    made: Document = {"id": id, "object": "chat.completion", "created": created, "model": model, "choices": read}
    stated = document.get("usage")
    usage = usage_of(stated)
    if usage is not None:
        made["usage"] = usage_document(usage, stated)
    tier = service_tier(document)
    if tier is not None:
        made["service_tier"] = tier
    return Completion(document=made, usage=usage, text_length=sum(_text_length(one["message"]) for one in read))


def _read_choice(stated: object, place: int, *, id_: str) -> Document:
    stated = object_of(stated, "choice")
    index, reason = choice_index(stated, place), finish_reason(stated.get("finish_reason"))
    if reason is None:
        reject("a choice without a finish reason")
    read = {"index": index, "message": _read_message(stated.get("message"), index, id_=id_), "finish_reason": reason}
    if stated.get("logprobs") is not None:
        read["logprobs"] = fitted(stated["logprobs"], LOGPROBS, what="logprobs")
    return read


def _read_message(stated: object, choice: int, *, id_: str) -> Document:
    stated = object_of(stated, "message")
    message: Document = {"role": "assistant", **fitted(stated, MESSAGE, what="message")}
    citations = citations_of(stated.get("annotations"))
    if citations is not None:
        message["annotations"] = citations
    calls, function = stated.get("tool_calls"), stated.get("function_call")
    if calls is not None and calls != []:
        message["tool_calls"] = whole_calls(calls, id_=id_, choice=choice)
    if function is not None:
        message["function_call"] = whole_function(function)
    return message


def _text_length(message: Document) -> int:
    length = len(message["content"] or "") + len(message.get("refusal") or "")
    for call in message.get("tool_calls", ()):
        length += len(call[call["type"]][TEXTS[call["type"]]])
    return length + len(message.get("function_call", {}).get("arguments", ""))


def assemble(chunks: Iterable[Mapping[str, Any]]) -> Document:
    """Return the completion that whoever reads the *chunks*, which went out, puts together from them."""
    whole: Document = {}
    choices: dict[int, Document] = {}
    for chunk in chunks:
        if not whole:
            whole = {name: chunk[name] for name in ("id", "created", "model")} | {"object": "chat.completion"}
        for name in ("usage", "service_tier"):
            if chunk.get(name) is not None:
                whole[name] = chunk[name]
        for piece in chunk["choices"]:
            _add_choice(choices.setdefault(piece["index"], {"index": piece["index"], "message": {}}), piece)
    for choice in choices.values():
        choice["message"].setdefault("content", None)
    return whole | {"choices": [choices[index] for index in sorted(choices)]}


def _add_choice(choice: Document, piece: Mapping[str, Any]) -> None:
    _add_delta(choice["message"], piece["delta"])
    if piece["finish_reason"] is not None:
        choice["finish_reason"] = piece["finish_reason"]
    if piece.get("logprobs") is not None:
        told = choice.setdefault("logprobs", {})
        for name, tokens in piece["logprobs"].items():
            told[name] = tokens if told.get(name) is None else told[name] + (tokens or [])


def _add_delta(message: Document, delta: Mapping[str, Any]) -> None:
    for name, said in delta.items():
        match name:
            case "content" | "refusal":
                message[name] = said if message.get(name) is None else message[name] + (said or "")
            case "tool_calls":
                for fragment in said:
                    _add_fragment(message.setdefault(name, []), fragment)
            case "function_call":
                _add_texts(message.setdefault(name, {}), said, joined={"arguments"})
            case "audio":
                if said is not None:
                    message[name] = message.get(name) or {}
                    _add_texts(message[name], said, joined={"data", "transcript"})
                else:
                    message.setdefault(name, None)
            case "annotations":
                message[name] = message.get(name, []) + said
            case _:
                message[name] = said


def _add_fragment(calls: list[Document], fragment: Mapping[str, Any]) -> None:
    if fragment["index"] == len(calls):
        calls.append({"id": fragment["id"], "type": fragment["type"], fragment["type"]: {}})
    call = calls[fragment["index"]]
    _add_texts(call[call["type"]], fragment[call["type"]], joined=frozenset(TEXTS.values()))


def _add_texts(known: Document, said: Mapping[str, Any], *, joined: AbstractSet[str]) -> None:
    for name, value in said.items():
        known[name] = known[name] + value if name in joined and name in known else value


def replay(document: object) -> list[Document]:
    """Return the chunks in which an upstream could have streamed the completion that it has sent whole.

    It is for upstreams that do so although a stream was asked for. The chunks are as untrusted as the *document*.

    Raises:
        GrammarError: for what has not even the outline of a completion.
    """
    document = object_of(document, "completion")
    require_no_error(document)
    chunks: list[Document] = []
    for place, choice in enumerate(array_of(document.get("choices"), "choices")):
        stated = object_of(choice, "choice")
        delta = dict(object_of(stated.get("message"), "message"))
        if delta.get("tool_calls") is not None:
            calls = array_of(delta["tool_calls"], "tool calls")
            delta["tool_calls"] = [{**object_of(call, "tool call"), "index": at} for at, call in enumerate(calls)]
        piece = {**stated, "index": choice_index(stated, place), "delta": delta}
        chunks.append({"choices": [piece], "service_tier": document.get("service_tier")})
    return [*chunks, {"choices": [], "usage": document.get("usage")}]
