"""A list of embeddings, read from what an upstream sent (ADR-0036).

Laws of this file:
- What goes out is made here: nothing of an upstream's own names is in it.
"""

from typing import Any

from dragoman.translate.grammar import reject
from dragoman.translate.shapes import Document, array_of, object_of
from dragoman.translate.usage import usage_of
from dragoman.translate.vocabulary import require_no_error


def embedding_list(document: object, *, model: str) -> Document:
    """Return what goes out for the *document* of an upstream; `usage` is there where it was stated.

    Raises:
        GrammarError: for what is no list of embeddings.
    """
    document = object_of(document, "embeddings")
    require_no_error(document)
    read = [_embedding(one) for one in array_of(document.get("data"), "data")]
    made: Document = {"object": "list", "data": read, "model": model}
    usage = usage_of(_with_output(document.get("usage")))
    if usage is not None:
        made["usage"] = {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens}
    return made


def _embedding(stated: object) -> Document:
    stated = object_of(stated, "embedding")
    vector, index = stated.get("embedding"), stated.get("index")
    if type(vector) not in (list, str) or type(index) is not int:
        reject("embedding")
    return {"object": "embedding", "index": index, "embedding": vector}


def _with_output(usage: Any) -> Any:  # noqa: ANN401 - untrusted
    """Return a stated *usage* with what embeddings do not put out."""
    return {"completion_tokens": 0, **usage} if type(usage) is dict else usage
