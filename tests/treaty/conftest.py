"""The documents that the tests of treaty start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import treaty

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def small() -> treaty.Document:
    """Return a fresh copy of the small contract, to be changed at will."""
    return treaty.load(Path(__file__).with_name("small.yaml"))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that puts a text into a file and says where."""

    def written(text: str) -> Path:
        path = tmp_path / "file.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return written
