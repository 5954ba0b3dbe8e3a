"""A program that uses instructor: `with_instructor.py BASE_URL KEY`.

Laws of this file:
- Each case is a call as anybody would write it, with instructor's defaults; `telling` prints what came of it.
"""

import logging
import sys
from typing import Any

import instructor
import openai
from pydantic import BaseModel
from telling import TEXT, Heard, tell

MESSAGES = [{"role": "user", "content": TEXT}]


class get_weather(BaseModel):  # noqa: N801 - instructor calls the tool as the class is called
    """Tell the weather of a city."""

    city: str


class Answer(BaseModel):
    """What the model is to answer, as an object."""

    answer: int
    sure: bool


class Program:
    """The calls of the program. *called* and what fails ask for an object, which is what instructor is for."""

    def __init__(self, base_url: str, key: str) -> None:
        """Talk to *base_url* with *key*."""
        self._sdk = openai.OpenAI(base_url=base_url, api_key=key)
        self._objects = instructor.from_openai(self._sdk).chat.completions
        self._json = instructor.from_openai(self._sdk, mode=instructor.Mode.JSON_SCHEMA).chat.completions
        stranger = openai.OpenAI(base_url=base_url, api_key="no-such-key")
        self._stranger = instructor.from_openai(stranger).chat.completions

    def whole(self, _: Heard) -> object:
        """Return a chat completion, as which it comes where no object is asked for."""
        made = self._objects.create(model="general", messages=MESSAGES, response_model=None)
        return {"text": made.choices[0].message.content, "model": made.model, **_used(made.usage)}

    def streamed(self, heard: Heard) -> object:
        """Return what is told at the end of a chat completion that comes in pieces."""
        return self._stream(heard, "general")

    def called(self, _: Heard) -> object:
        """Return an object as whose maker the model calls a tool."""
        return _told(self._objects.create(model="tools", messages=MESSAGES, response_model=get_weather))

    def called_in_pieces(self, heard: Heard) -> object:
        """Return an object that grows while the call of the tool comes in pieces."""
        weather = None
        for weather in self._objects.create_partial(model="tools", messages=MESSAGES, response_model=get_weather):
            heard.append(repr(weather.city))
        return None if weather is None else _told(weather)

    def typed(self, _: Heard) -> object:
        """Return an object that the model writes as JSON."""
        return self._json.create(model="json", messages=MESSAGES, response_model=Answer).model_dump()

    def models(self, _: Heard) -> object:
        """Return the models, of which the client within instructor's knows."""
        return sorted(model.id for model in self._sdk.models.list())

    def wrong_key(self, _: Heard) -> object:
        """Call with a key that is none."""
        return _told(self._stranger.create(model="tools", messages=MESSAGES, response_model=get_weather))

    def unknown_model(self, _: Heard) -> object:
        """Ask a model that is none."""
        return _told(self._objects.create(model="nobody", messages=MESSAGES, response_model=get_weather))

    def limited(self, _: Heard) -> object:
        """Ask a model that is over its limit."""
        return _told(self._objects.create(model="limited", messages=MESSAGES, response_model=get_weather))

    def down(self, _: Heard) -> object:
        """Ask a model whose provider is down."""
        return _told(self._objects.create(model="down", messages=MESSAGES, response_model=get_weather))

    def cut(self, heard: Heard) -> object:
        """Hear a model whose stream is cut."""
        return self._stream(heard, "cut")

    def cut_object(self, _: Heard) -> object:
        """Wait for an object from a model whose stream is cut."""
        return [
            _told(weather)
            for weather in self._objects.create_partial(model="cut", messages=MESSAGES, response_model=get_weather)
        ]

    def _stream(self, heard: Heard, model: str) -> object:
        named = usage = None
        options = {"stream": True, "stream_options": {"include_usage": True}}
        for chunk in self._objects.create(model=model, messages=MESSAGES, response_model=None, **options):
            named, usage = chunk.model, chunk.usage or usage
            heard += [choice.delta.content for choice in chunk.choices if choice.delta.content]
        return {"model": named, **_used(usage)}


def _used(usage: Any) -> dict[str, int]:  # noqa: ANN401 - types are not where mypy runs
    return {} if usage is None else {"input": usage.prompt_tokens, "output": usage.completion_tokens}


def _told(weather: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"name": type(weather).__name__.removeprefix("Partial"), "arguments": {"city": weather.city}}


if __name__ == "__main__":
    logging.disable()  # instructor logs what it raises
    tell(Program(*sys.argv[1:]))
