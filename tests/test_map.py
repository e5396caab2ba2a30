"""The map for developers: each path and name that it mentions exists, each room has its row."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ARCHITECTURE, CONTRIBUTING = PAGES = (ROOT / "docs" / "architecture.md", ROOT / "CONTRIBUTING.md")
ROOMS = ("adl", "workbench", "tests", "docs", "sessions")

_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)#:]+)\)")
_INDENTED = re.compile(r"^ {4}.*$", re.MULTILINE)
_PATH = re.compile(r"(?:[\w.-]+/)+[\w.-]*|\w+\.(?:py|md|toml)\b")
_NAME = re.compile(r"[A-Za-z_]\w*")


def paths_of(text: str) -> Iterator[str]:
    """Every path of a page: in code, in the drawing, and behind links."""
    yield from _LINK.findall(text)
    for part in (*_CODE.findall(text), *_INDENTED.findall(text)):
        yield from _PATH.findall(part)


def names_of(text: str) -> Iterator[str]:
    """Every word of code that is no part of a path."""
    for part in _CODE.findall(text):
        yield from _NAME.findall(_PATH.sub(" ", part))


@cache
def files() -> tuple[str, ...]:
    """Every file and folder, folders with a slash, as a path that begins with a slash."""
    below = [path for room in ROOMS for path in (ROOT / room).rglob("*") if path.name[0] != "_"]
    below += [path for room in ROOMS for path in (ROOT / room).rglob("__init__.py")]
    below += [path for path in ROOT.iterdir() if path.is_file() or path.name in (*ROOMS, ".ci")]
    below += list((ROOT / ".ci").iterdir())
    return tuple(f"/{path.relative_to(ROOT).as_posix()}{'/' * path.is_dir()}" for path in below)


@cache
def words() -> frozenset[str]:
    """Every name in our code, and every target of make."""
    code = [path.read_text("utf-8") for room in ROOMS[:3] for path in (ROOT / room).rglob("*.py")]
    code.append((ROOT / "Makefile").read_text("utf-8"))
    return frozenset(name for text in code for name in _NAME.findall(text))


def exists(path: str, page: Path) -> bool:
    """True if a path leads somewhere from the root or the page, or ends that of one file.

    NAME stands for any name; a module may go without its suffix.
    """
    if (ROOT / path).exists() or (page.parent / path).exists():
        return True
    wanted = re.escape("/" + path.rstrip("/")).replace("NAME", r"\w+") + r"(/|\.py)?"
    return any(re.search(f"{wanted}$", found) for found in files())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_and_name_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    paths, names = set(paths_of(text)), set(names_of(text))
    assert paths
    assert names
    assert sorted(path for path in paths if not exists(path, page)) == []
    assert sorted(names - words()) == []


def test_what_does_not_exist_is_found() -> None:
    text = (
        "`workbench/nowhere.py`, `nothing.py`, [a page](docs/none.md) and `no_such_func" + "tion()`"
    )
    assert {path for path in paths_of(text) if not exists(path, CONTRIBUTING)} == {
        "workbench/nowhere.py",
        "nothing.py",
        "docs/none.md",
    }
    assert set(names_of(text)) - words() == {"no_such_func" + "tion"}


def test_rooms_stand_in_the_order_in_which_they_may_import() -> None:
    """The rows of the map and the line in CONTRIBUTING.md are the layers of the contract."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layers = next(
        contract["layers"]
        for contract in contracts["tool"]["importlinter"]["contracts"]
        if "(workbench.cli)" in contract.get("layers", ())
    )
    rooms = [re.findall(r"workbench\.(\w+)", layer) for layer in layers]
    rows = re.findall(r"^\| `workbench/(\w+)` \|", ARCHITECTURE.read_text("utf-8"), re.MULTILINE)
    assert rows == [room for layer in rooms for room in layer]
    (line,) = re.findall(r"^ +(cli > .*)$", CONTRIBUTING.read_text("utf-8"), re.MULTILINE)
    assert line.split(" > ") == [*(" | ".join(layer) for layer in rooms[:-1]), "adl"]


def test_every_package_of_adl_has_a_row() -> None:
    rows = "\n".join(re.findall(r"^\|.*$", ARCHITECTURE.read_text("utf-8"), re.MULTILINE))
    packages = {path.parent.name for path in (ROOT / "adl").glob("*/__init__.py")}
    assert packages
    assert {name for name in packages if f"`adl/{name}`" not in rows} == set()
