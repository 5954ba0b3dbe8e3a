"""Small effective contracts for the tests of the compiler, and moves on documents.

Laws of this file:
- Every call gives a new document, which a test may change as it likes.
"""

from typing import Any

from treaty import Document


def error(sentence: str = "No.", **fill: str) -> Document:
    """Return an example that is a kind: a body with *sentence*, filled with the request's id and *fill*."""
    return {
        "value": {"error": {"message": sentence, "request_id": "one"}},
        "x-fill": {"error.request_id": "request_id"} | {f"error.{name}": text for name, text in fill.items()},
    }


def response(**kinds: Document) -> Document:
    """Return a response that carries *kinds*."""
    return {"description": "An answer.", "content": {"application/json": {"schema": {}, "examples": kinds}}}


def tiny(path: str = "/things", /, **stated: Any) -> Document:  # noqa: ANN401 - members of an operation
    """Return an effective contract with one operation, a POST of *path*; *stated* are members of it."""
    operation = {
        "operationId": "makeThing",
        "x-operation": "thing",
        "x-adr": ["ADR-0001"],
        "responses": {"200": {"description": "Made.", "content": {"application/json": {"schema": {}}}}},
    }
    return {
        "openapi": "3.2.0",
        "info": {"title": "Things", "version": "1"},
        "servers": [{"url": "/"}],
        "paths": {path: {"post": operation | stated}},
        "components": {"securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}, "basic": {"type": "http"}}},
    }
