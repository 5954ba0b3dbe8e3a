"""The pepper: 32 random bytes in a file beside the store, without which its digests prove nothing (ADR-0030).

Laws of this file:
- There is no default: a pepper is read from its file, or made once, at random.
- A file that anybody but its owner can read is refused, and one that is there is never written over.
"""

import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from dragoman.ports import StoreError

LENGTH: Final = 32
"""In bytes."""


def pepper_path(store: Path) -> Path:
    """Return where the pepper of *store* is."""
    return store.with_name(f"{store.name}.pepper")


def read_pepper(store: Path) -> bytes | None:
    """Return the pepper of *store*, None where there is no file.

    Raises:
        StoreError: others may read it, or it is no pepper.
    """
    path = pepper_path(store)
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(LENGTH + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"the pepper {path} cannot be read: {error.strerror}"
        raise StoreError(message) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        message = f"the pepper {path} may be read by others; run `chmod 600` on it, and rotate the keys if others did"
        raise StoreError(message)
    if len(content) != LENGTH:
        message = f"the pepper {path} is not {LENGTH} bytes long; put back the one that the keys were made with"
        raise StoreError(message)
    return content


def require_pepper(store: Path) -> bytes:
    """Return the pepper of *store*, which has keys.

    Raises:
        StoreError: there is none, or it cannot be used.
    """
    pepper = read_pepper(store)
    if pepper is None:
        message = f"the store {store} has keys, but its pepper {pepper_path(store)} is missing; put it back"
        raise StoreError(message)
    return pepper


def make_pepper(store: Path, random: Callable[[int], bytes]) -> bytes:
    """Return the pepper of *store*, made now unless there is one: two processes that make it get the same.

    Raises:
        StoreError: it cannot be written, or the one that is there cannot be used.
    """
    path = pepper_path(store)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(random(LENGTH))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(name, path)
        finally:
            Path(name).unlink()
        _sync(path.parent)
    except OSError as error:
        message = f"the pepper {path} cannot be made: {error.strerror}"
        raise StoreError(message) from None
    return require_pepper(store)


def _sync(folder: Path) -> None:
    """Make the names in *folder* durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
