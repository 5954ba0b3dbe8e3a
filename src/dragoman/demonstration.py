"""What `dragoman demo` stands on: a store of its own with one organisation in it, and the service that is asked for it.

Laws of this file:
- What is made here ends with the block that it is made for: the files, and the process.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import attrs

from dragoman.app import open_administration
from dragoman.identity_cli import beside
from dragoman.settings import Development

AGENTS: Final = ("main", "beta")
SCOPES: Final = frozenset({"chat", "models"})


@attrs.frozen(kw_only=True)
class Ground:
    """The file *store* holds what is *known*; *address* is that of the service that knows it too, if there is one."""

    store: Path
    known: Development
    address: str | None


@contextmanager
def ground(*, asked: bool) -> Iterator[Ground]:
    """Give a fresh store, and a service over it where one is *asked*, until the end of the block."""
    with ExitStack() as standing:
        # Its mode is 0700 (tempfile), and the pepper of its keys lies in it.
        folder = standing.enter_context(tempfile.TemporaryDirectory(prefix="dragoman-demo-"))
        store = Path(folder) / "demo.db"
        begin = standing.enter_context(beside(store)) if asked else None
        known = asyncio.run(_furnish(store))
        yield Ground(store=store, known=known, address=None if begin is None else begin())


async def _furnish(store: Path) -> Development:
    async with open_administration(store) as administration:
        organization = (await administration.create_organization("demo")).noun
        agents = {name: (await administration.create_agent(organization.id, name)).noun.id for name in AGENTS}
        issued = await administration.create_key(organization.id, scopes=SCOPES, name="demo")
    return Development(token=issued.token, organization=organization.id, agents=agents)
