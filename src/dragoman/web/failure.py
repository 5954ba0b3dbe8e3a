"""What may be logged of a fault of ours: its type and the places in our code, never its text or locals (ADR-0015)."""

from types import TracebackType
from typing import Final

from dragoman.model import RequestEvent

_OURS: Final = ("dragoman", "treaty")


def failure_fields(error: BaseException, event: RequestEvent | None) -> dict[str, object]:
    """Return the fields of the log line for *error*: the ids of its request, its type, and where it passed through."""
    ids = {} if event is None else {"request_id": event.request_id, "trace_id": event.trace_id}
    return {
        **ids,
        "error": f"{type(error).__module__}.{type(error).__qualname__}",
        "places": list(_places(error.__traceback__)),
    }


def _places(traceback: TracebackType | None) -> list[str]:
    """Return `module:line` for the frames of our own packages, the innermost last."""
    places = []
    while traceback is not None:
        module = traceback.tb_frame.f_globals.get("__name__", "")
        if module.split(".")[0] in _OURS:
            places.append(f"{module}:{traceback.tb_lineno}")
        traceback = traceback.tb_next
    return places
