"""From an alias to one of its targets: choice, retry, fallback, and who is left alone for a while (ADR-0039)."""

from dragoman.routing.circuit import Change, State
from dragoman.routing.reactions import Failure, Policy, RoutingError
from dragoman.routing.router import Hold, Prospect, Routed, Router
from dragoman.routing.standing import Standing

__all__ = [
    "Change",
    "Failure",
    "Hold",
    "Policy",
    "Prospect",
    "Routed",
    "Router",
    "RoutingError",
    "Standing",
    "State",
]
