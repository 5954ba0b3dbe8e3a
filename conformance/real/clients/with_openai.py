"""A program that uses openai-python: `with_openai.py BASE_URL KEY`.

Laws of this file:
- Each case is a call as anybody would write it, with the defaults of the SDK; `telling` prints what came of it.
"""

import json
import sys

import openai
from openai.types.chat import ChatCompletionToolParam, ChatCompletionUserMessageParam
from openai.types.completion_usage import CompletionUsage
from pydantic import BaseModel
from telling import TEXT, Heard, tell

MESSAGES: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": TEXT}]
TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Answer(BaseModel):
    """What the model is to answer, as an object."""

    answer: int
    sure: bool


class Program:
    """The calls of the program."""

    def __init__(self, base_url: str, key: str) -> None:
        """Talk to *base_url* with *key*."""
        self._sdk = openai.OpenAI(base_url=base_url, api_key=key)
        self._stranger = openai.OpenAI(base_url=base_url, api_key="no-such-key")

    def whole(self, _: Heard) -> object:
        """Return a chat completion."""
        return self._answer(self._sdk, "general")

    def streamed(self, heard: Heard) -> object:
        """Return what is told at the end of a chat completion that comes in pieces."""
        return self._stream(heard, "general")

    def called(self, _: Heard) -> object:
        """Return the call of a tool."""
        made = self._sdk.chat.completions.create(model="tools", messages=MESSAGES, tools=[TOOL])
        [call] = made.choices[0].message.tool_calls or []
        assert call.type == "function"  # for the type
        return {"name": call.function.name, "arguments": json.loads(call.function.arguments)}

    def called_in_pieces(self, _: Heard) -> object:
        """Return the call of a tool that comes in pieces, as the SDK puts it together."""
        with self._sdk.chat.completions.stream(model="tools", messages=MESSAGES, tools=[TOOL]) as stream:
            [call] = stream.get_final_completion().choices[0].message.tool_calls or []
        return {"name": call.function.name, "arguments": json.loads(call.function.arguments)}

    def typed(self, _: Heard) -> object:
        """Return an object of a class of the program."""
        parsed = self._sdk.chat.completions.parse(model="json", messages=MESSAGES, response_format=Answer)
        answer = parsed.choices[0].message.parsed
        return None if answer is None else answer.model_dump()

    def embedded(self, _: Heard) -> object:
        """Return how long a vector is, which the SDK asks for in base64, and unpacks."""
        return len(self._sdk.embeddings.create(model="vectors", input=TEXT).data[0].embedding)

    def models(self, _: Heard) -> object:
        """Return the models."""
        return sorted(model.id for model in self._sdk.models.list())

    def wrong_key(self, _: Heard) -> object:
        """Call with a key that is none."""
        return self._answer(self._stranger, "general")

    def unknown_model(self, _: Heard) -> object:
        """Ask a model that is none."""
        return self._answer(self._sdk, "nobody")

    def limited(self, _: Heard) -> object:
        """Ask a model that is over its limit."""
        return self._answer(self._sdk, "limited")

    def down(self, _: Heard) -> object:
        """Ask a model whose provider is down."""
        return self._answer(self._sdk, "down")

    def cut(self, heard: Heard) -> object:
        """Hear a model whose stream is cut."""
        return self._stream(heard, "cut")

    def _answer(self, sdk: openai.OpenAI, model: str) -> object:
        made = sdk.chat.completions.create(model=model, messages=MESSAGES)
        return {"text": made.choices[0].message.content, "model": made.model, **_used(made.usage)}

    def _stream(self, heard: Heard, model: str) -> object:
        named = usage = None
        stream = self._sdk.chat.completions.create(
            model=model, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        for chunk in stream:
            named, usage = chunk.model, chunk.usage or usage
            heard += [choice.delta.content for choice in chunk.choices if choice.delta.content]
        return {"model": named, **_used(usage)}


def _used(usage: CompletionUsage | None) -> dict[str, int]:
    return {} if usage is None else {"input": usage.prompt_tokens, "output": usage.completion_tokens}


if __name__ == "__main__":
    tell(Program(*sys.argv[1:]))
