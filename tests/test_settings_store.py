"""Where the store is: for who serves it, and for who changes it."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from dragoman.settings import Dialect, Known, SettingsError, read_settings, read_store_path

KNOWN = Known(dialects={"dragoman": Dialect(switches={}, off=frozenset())}, operations={}, forwarding=())
HOME = {"HOME": "/home/u"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a settings file that says where the store is, and other things that nobody else knows."""
    path = tmp_path / "dragoman.toml"
    path.write_text('store = "/from/file.db"\nport = 9000\n')
    return path


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        (HOME, "/home/u/.local/share/dragoman/dragoman.db"),
        (HOME | {"XDG_DATA_HOME": "/xdg"}, "/xdg/dragoman/dragoman.db"),
        (HOME | {"XDG_DATA_HOME": ""}, "/home/u/.local/share/dragoman/dragoman.db"),
        (HOME | {"XDG_DATA_HOME": "relative"}, "/home/u/.local/share/dragoman/dragoman.db"),
        (HOME | {"XDG_DATA_HOME": "/xdg", "DRAGOMAN_STORE": "s.db"}, "s.db"),
        (HOME | {"DRAGOMAN_STORE": "/s.db"}, "/s.db"),
        (HOME | {"DRAGOMAN_STORE": "~/s.db"}, "/home/u/s.db"),
        ({}, str(Path.home() / ".local/share/dragoman/dragoman.db")),
    ],
)
def test_the_store_has_a_place(environment: Mapping[str, str], path: str) -> None:
    """The variable says where the store is, else it is among the user's own files; both readers agree."""
    assert Path(path) == read_store_path(environment)
    assert Path(path) == read_settings(environment, KNOWN).store


def test_the_file_says_where_the_store_is(file: Path) -> None:
    """The file says it, named by a variable or an option; the variable of the store wins, and `--store` over all."""
    named = {"DRAGOMAN_CONFIG": str(file)}

    assert Path("/from/file.db") == read_store_path(named)
    assert Path("/from/file.db") == read_store_path({}, config=file)
    assert Path("/v.db") == read_store_path({**named, "DRAGOMAN_STORE": "/v.db"})
    assert Path("/said.db") == read_store_path({**named, "DRAGOMAN_STORE": "/v.db"}, said="/said.db")


def test_a_file_may_say_nothing_of_the_store(tmp_path: Path) -> None:
    """A file without the key leaves the store where it is."""
    path = tmp_path / "dragoman.toml"
    path.write_text("port = 9000\n")

    assert Path("/home/u/.local/share/dragoman/dragoman.db") == read_store_path(HOME, config=path)


@pytest.mark.parametrize("text", ["", ":memory:", "sqlite:///s.db", "postgresql://u:sesame@h/d", "a\0b"])
def test_only_a_file_holds_a_store(tmp_path: Path, text: str) -> None:
    """The address of another database is refused, and not told, for there may be a password in it."""
    path = tmp_path / "dragoman.toml"
    path.write_text(f'store = "{text}"\n'.replace("\0", "\\u0000"))
    told = []
    for environment, said, config in (({"DRAGOMAN_STORE": text}, None, None), ({}, text, None), ({}, None, path)):
        with pytest.raises(SettingsError) as caught:
            read_store_path(environment, said=said, config=config)
        told.append(str(caught.value))

    wanted = "is no path of a file; only a file holds a store"
    assert [f"DRAGOMAN_STORE {wanted}", f"--store {wanted}", f"{path}: store {wanted}"] == told


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("store = 1", "store: it must be a text"),
        ('stroe = "s.db"', "stroe: unknown setting 'stroe'; did you mean store?"),
        ("store", "cannot be read: "),
    ],
)
def test_a_file_that_cannot_say_it_is_refused(tmp_path: Path, text: str, said: str) -> None:
    """What is misspelt, or no text, is refused by its path."""
    path = tmp_path / "dragoman.toml"
    path.write_text(text)

    for read in (lambda: read_store_path({}, config=path), lambda: read_settings({}, KNOWN, config=path)):
        with pytest.raises(SettingsError) as caught:
            read()
        assert str(caught.value).startswith(f"{path}: {said}")


@pytest.mark.parametrize(
    ("name", "meant"), [("DRAGOMAN_STOER", "DRAGOMAN_STORE"), ("DRAGOMAN_CONFG", "DRAGOMAN_CONFIG")]
)
def test_a_misspelt_variable_is_not_overlooked(name: str, meant: str) -> None:
    """Who means the store of a variable must not change another one."""
    with pytest.raises(SettingsError) as caught:
        read_store_path({name: "/s.db"})

    assert f"unknown variable {name}; did you mean {meant}?" == str(caught.value)


def test_other_variables_are_no_matter_of_the_store() -> None:
    """What only a server minds is judged by the server."""
    others = {"DRAGOMAN_HOST": "", "DRAGOMAN_API_PHASE": "3", "STOER": "x", "DRAGOMAN_STORE": "/s.db"}

    assert Path("/s.db") == read_store_path(others)


def test_without_a_home_the_place_must_be_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no home directory, the refusal names the variable that says the place."""

    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", homeless)

    with pytest.raises(SettingsError) as caught:
        read_store_path({})

    assert "there is no home directory for the store; say with DRAGOMAN_STORE where it is" == str(caught.value)
    assert Path("/s.db") == read_store_path({"DRAGOMAN_STORE": "/s.db"})
