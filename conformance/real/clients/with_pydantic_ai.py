"""A program that uses pydantic-ai: `with_pydantic_ai.py BASE_URL KEY`.

Laws of this file:
- Each case is a run as anybody would write it, with the defaults of pydantic-ai; `telling` prints what came of it.
"""

import asyncio
import sys
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, ToolOutput
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from telling import TEXT, Heard, tell


class Weather(BaseModel):
    """The weather of a city."""

    city: str


class Answer(BaseModel):
    """What the model is to answer, as an object."""

    answer: int
    sure: bool


WEATHER = ToolOutput(Weather, name="get_weather")


class Program:
    """The runs of the program, in one loop, as the connections belong to it."""

    def __init__(self, base_url: str, key: str) -> None:
        """Talk to *base_url* with *key*."""
        self._provider = OpenAIProvider(base_url=base_url, api_key=key)
        self._stranger = OpenAIProvider(base_url=base_url, api_key="no-such-key")
        self._run = asyncio.Runner().run

    def whole(self, _: Heard) -> object:
        """Return a chat completion."""
        result = self._run(self._agent("general").run(TEXT))
        used = {"input": result.usage.input_tokens, "output": result.usage.output_tokens}
        return {"text": result.output, "model": result.response.model_name, **used}

    def streamed(self, heard: Heard) -> object:
        """Return what is told at the end of a chat completion that comes in pieces."""
        return self._run(self._stream(heard, "general"))

    def called(self, _: Heard) -> object:
        """Return an object as whose maker the model calls a tool."""
        return _told(self._run(self._agent("tools", WEATHER).run(TEXT)).output)

    def called_in_pieces(self, heard: Heard) -> object:
        """Return an object whose call of a tool comes in pieces."""

        async def run() -> object:
            async with self._agent("tools", WEATHER).run_stream(TEXT) as result:
                async for weather in result.stream_output(debounce_by=None):
                    heard.append(weather.city)
                return _told(await result.get_output())

        return self._run(run())

    def typed(self, _: Heard) -> object:
        """Return an object that the model writes as JSON."""
        return self._run(self._agent("json", NativeOutput(Answer)).run(TEXT)).output.model_dump()

    def models(self, _: Heard) -> object:
        """Return the models, of which the client within the provider knows."""

        async def run() -> object:
            return sorted([model.id async for model in self._provider.client.models.list()])

        return self._run(run())

    def wrong_key(self, _: Heard) -> object:
        """Call with a key that is none."""
        return self._run(Agent(OpenAIChatModel("general", provider=self._stranger)).run(TEXT)).output

    def unknown_model(self, _: Heard) -> object:
        """Ask a model that is none."""
        return self._run(self._agent("nobody").run(TEXT)).output

    def limited(self, _: Heard) -> object:
        """Ask a model that is over its limit."""
        return self._run(self._agent("limited").run(TEXT)).output

    def down(self, _: Heard) -> object:
        """Ask a model whose provider is down."""
        return self._run(self._agent("down").run(TEXT)).output

    def cut(self, heard: Heard) -> object:
        """Hear a model whose stream is cut."""
        return self._run(self._stream(heard, "cut"))

    def _agent(self, model: str, output: Any = str) -> Any:  # noqa: ANN401 - types are not where mypy runs
        return Agent(OpenAIChatModel(model, provider=self._provider), output_type=output)

    async def _stream(self, heard: Heard, model: str) -> object:
        async with self._agent(model).run_stream(TEXT) as result:
            async for text in result.stream_text(delta=True, debounce_by=None):
                heard.append(text)
            used = {"input": result.usage.input_tokens, "output": result.usage.output_tokens}
            return {"model": result.response.model_name, **used}


def _told(weather: Weather) -> dict[str, object]:
    return {"name": "get_weather", "arguments": weather.model_dump()}


if __name__ == "__main__":
    tell(Program(*sys.argv[1:]))
