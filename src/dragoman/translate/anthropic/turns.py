"""The messages of a chat request -> the system prompt and the turns of the Messages API.

Laws of this file:
- Turns alternate: what one side says in several messages becomes one turn. Results of tools are the user's.
- Texts without a visible character are left out, because the other side refuses them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from dragoman.translate.grammar import refuse
from dragoman.translate.shapes import Document

_IMAGES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
_PDF: Final = "application/pdf"

_ID: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
"""What ids of tool calls are made of; other upstreams use more."""

_UNREAD: Final = "arguments"
"""The member of the input that holds what a model wrote as arguments, where that is no JSON object."""

_DEPTH: Final = 200
"""How deep arguments may be and are sure to be written again: orjson reads 1024 levels, and writes 254."""


def conversation(messages: Sequence[Mapping[str, Any]]) -> tuple[list[Document], list[Document]]:
    """Return the blocks of the system prompt, wherever they stood, and the turns of *messages*.

    Raises:
        UntranslatableError: naming what there is no word for.
    """
    system: list[Document] = []
    turns: list[Document] = []
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        match message["role"]:
            case "system" | "developer":
                system += _texts(message["content"], where=where)
            case "user":
                _say(turns, "user", _texts(message["content"], where=where))
            case "assistant":
                _say(turns, "assistant", _answer(message, where=where))
            case "tool":
                _say(turns, "user", [_result(message, where=where)])
            case _:
                refuse(f"{where}.role")
    if turns and turns[-1]["role"] == "assistant" and turns[-1]["content"][-1]["type"] == "text":
        last = turns[-1]["content"][-1]  # the other side goes on behind it, and refuses white space there
        last["text"] = last["text"].rstrip()
    return system, turns


def _say(turns: list[Document], role: str, blocks: Iterable[Document]) -> None:
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    elif blocks:
        turns.append({"role": role, "content": blocks})


def _texts(content: str | Sequence[Mapping[str, Any]] | None, *, where: str) -> list[Document]:
    """Return the blocks of *content*: a text, or parts."""
    if content is None or isinstance(content, str):
        return _text(content)
    blocks: list[Document] = []
    for place, part in enumerate(content):
        blocks += _part(part, where=f"{where}.content[{place}]")
    return blocks


def _text(text: str | None) -> list[Document]:
    return [{"type": "text", "text": text}] if text and not text.isspace() else []


def _part(part: Mapping[str, Any], *, where: str) -> list[Document]:
    match part["type"]:
        case "text":
            return _text(part["text"])
        case "refusal":
            return _text(part["refusal"])
        case "image_url":
            return [_image(part["image_url"]["url"], where=f"{where}.image_url.url")]
        case "file":
            return [_file(part["file"], where=f"{where}.file")]
        case _:
            return refuse(f"{where}.type")


def _image(url: str, *, where: str) -> Document:
    embedded = _embedded(url)
    if embedded is not None and embedded["media_type"] in _IMAGES:
        return {"type": "image", "source": embedded}
    if url.partition(":")[0].lower() in {"http", "https"}:
        return {"type": "image", "source": {"type": "url", "url": url}}
    return refuse(where)


def _file(file: Mapping[str, Any], *, where: str) -> Document:
    embedded = _embedded(file.get("file_data", ""))
    if embedded is None or embedded["media_type"] != _PDF:
        refuse(where)
    document = {"type": "document", "source": embedded}
    if file.get("filename"):
        document["title"] = file["filename"]
    return document


def _embedded(url: str) -> Document | None:
    """Return what a data URL holds (RFC 2397), if it is one, and in base64."""
    scheme, _, rest = url.partition(":")
    head, _, text = rest.partition(",")
    media_type, *parameters = head.split(";")
    if scheme.lower() != "data" or not parameters or parameters[-1].lower() != "base64":
        return None
    return {"type": "base64", "media_type": media_type.lower(), "data": text}


def _answer(message: Mapping[str, Any], *, where: str) -> list[Document]:
    for name in ("audio", "function_call"):
        if message.get(name) is not None:
            refuse(f"{where}.{name}", code="unsupported_parameter")
    blocks = _texts(message.get("content"), where=where) + _text(message.get("refusal"))
    for place, call in enumerate(message.get("tool_calls", ())):
        if call["type"] != "function":
            refuse(f"{where}.tool_calls[{place}].type")
        function = call["function"]
        blocks.append(
            {
                "type": "tool_use",
                "id": _tool_use_id(call["id"]),
                "name": function["name"],
                "input": _input(function["arguments"]),
            }
        )
    return blocks


def _result(message: Mapping[str, Any], *, where: str) -> Document:
    result: Document = {"type": "tool_result", "tool_use_id": _tool_use_id(message["tool_call_id"])}
    content = _texts(message["content"], where=where)
    return result | {"content": content} if content else result


def _tool_use_id(id_: str) -> str:
    return "".join(letter if letter in _ID else "_" for letter in id_) or "_"


def _input(arguments: str) -> Document:
    """Return *arguments* as an object, or in one: models write what they like, and histories are sent back as they are.

    What could be read but not be written again counts as unread.
    """
    try:
        read = orjson.loads(arguments.strip() or "{}")
        if arguments.count("{") + arguments.count("[") > _DEPTH:
            orjson.dumps([[[[[[read]]]]]])  # as deep as it stands in the request
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        read = None
    return read if isinstance(read, dict) else {_UNREAD: arguments}
