"""Contracts as data: load, overlay, filter, fill and check an OpenAPI document.

Nothing here knows a framework, a gateway or a dialect; the gateway and the suite that judges it
read their documents through this package (ADR-0017).
"""

from treaty.check import problems
from treaty.document import Document
from treaty.effective import effective
from treaty.errors import TreatyError
from treaty.fill import Template
from treaty.load import load
from treaty.narrowing import narrowings
from treaty.overlay import Action, Overlay, apply, load_overlay
from treaty.reference import Route, operations, referred, resolve
from treaty.sdk import sdk

__all__ = [
    "Action",
    "Document",
    "Overlay",
    "Route",
    "Template",
    "TreatyError",
    "apply",
    "effective",
    "load",
    "load_overlay",
    "narrowings",
    "operations",
    "problems",
    "referred",
    "resolve",
    "sdk",
]
