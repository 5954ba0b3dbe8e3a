"""A program that uses LangChain: `with_langchain.py BASE_URL KEY`.

Laws of this file:
- Each case is a call as anybody would write it, with LangChain's defaults; `telling` prints what came of it.
"""

import sys
from functools import reduce
from operator import add
from typing import Any

from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel
from telling import TEXT, Heard, tell


class get_weather(BaseModel):  # noqa: N801 - LangChain calls the tool as the class is called
    """Tell the weather of a city."""

    city: str


class Answer(BaseModel):
    """What the model is to answer, as an object."""

    answer: int
    sure: bool


class Program:
    """The calls of the program."""

    def __init__(self, base_url: str, key: str) -> None:
        """Talk to *base_url* with *key*."""
        self._base_url = base_url
        self._key = key

    def whole(self, _: Heard) -> object:
        """Return a chat completion."""
        message = self._model("general").invoke(TEXT)
        return {"text": message.text, **_told(message)}

    def streamed(self, heard: Heard) -> object:
        """Return what is told at the end of a chat completion that comes in pieces."""
        return _told(self._heard(heard, "general"))

    def called(self, _: Heard) -> object:
        """Return the call of a tool."""
        return _call(self._model("tools").bind_tools([get_weather]).invoke(TEXT))

    def called_in_pieces(self, _: Heard) -> object:
        """Return the call of a tool that comes in pieces, as they are put together."""
        return _call(reduce(add, self._model("tools").bind_tools([get_weather]).stream(TEXT)))

    def typed(self, _: Heard) -> object:
        """Return an object of a class of the program."""
        return self._model("json").with_structured_output(Answer).invoke(TEXT).model_dump()

    def embedded(self, _: Heard) -> object:
        """Return how long a vector is."""
        vectors = OpenAIEmbeddings(
            model="vectors",
            base_url=self._base_url,
            api_key=self._key,
            check_embedding_ctx_length=False,  # it would download a vocabulary, to count tokens
        )
        return len(vectors.embed_query(TEXT))

    def models(self, _: Heard) -> object:
        """Return the models, of which the client within LangChain's knows."""
        return sorted(model.id for model in self._model("general").root_client.models.list())

    def wrong_key(self, _: Heard) -> object:
        """Call with a key that is none."""
        return ChatOpenAI(model="general", base_url=self._base_url, api_key="no-such-key").invoke(TEXT).text

    def unknown_model(self, _: Heard) -> object:
        """Ask a model that is none."""
        return self._model("nobody").invoke(TEXT).text

    def limited(self, _: Heard) -> object:
        """Ask a model that is over its limit."""
        return self._model("limited").invoke(TEXT).text

    def down(self, _: Heard) -> object:
        """Ask a model whose provider is down."""
        return self._model("down").invoke(TEXT).text

    def cut(self, heard: Heard) -> object:
        """Hear a model whose stream is cut."""
        return _told(self._heard(heard, "cut"))

    def _model(self, model: str) -> Any:  # noqa: ANN401 - types are not where mypy runs
        return ChatOpenAI(model=model, base_url=self._base_url, api_key=self._key, stream_usage=True)

    def _heard(self, heard: Heard, model: str) -> Any:  # noqa: ANN401
        chunks = []
        for chunk in self._model(model).stream(TEXT):
            chunks.append(chunk)
            heard += [chunk.text] if chunk.text else []
        return reduce(add, chunks)


def _told(message: Any) -> dict[str, Any]:  # noqa: ANN401
    usage = message.usage_metadata or {}
    told = {"input": usage.get("input_tokens"), "output": usage.get("output_tokens")}
    return {"model": message.response_metadata.get("model_name"), **told}


def _call(message: Any) -> dict[str, Any]:  # noqa: ANN401
    [call] = message.tool_calls
    return {"name": call["name"], "arguments": call["args"]}


if __name__ == "__main__":
    tell(Program(*sys.argv[1:]))
