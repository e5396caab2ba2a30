"""Every option of every command, as typer knows them, with the values that nobody should give it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.forks import Ended
from tests.workbench.cli.forked import ForkedCli
from workbench.cli.output import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_USAGE
from workbench.cli.tree import app
from workbench.display import clean_line
from workbench.faults import REPORT_BUG

CODES = {0, EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED}
NUMBERS = ("-1", str(2**63), str(-(2**63) - 1), str(10**12), "9" * 5000, "nan", "1.5", "", "x")
FLOATS = ("nan", "inf", "-inf", "-1", "1e308", "1e-320", "", "x")
TEXTS = (
    *("", " ", "-", "nan", "-1", str(2**63), "[", "(?P<", "{{ 7 * '7' }}", "\udcff\udce9"),
    *("\x1b[2J\x07", "x" * 100_000, "http://[", "http://x:99999/", "ftp://x", "https://"),
    *("~nobody-here/x", "/dev/null", "/dev/zero", "/dev/full", "/" + "a/" * 3_000, "x" * 300),
)
#: Made in a folder of the test's own; the value is the path.
FILES = ("folder", "binary", "empty", "pipe", "blank.jsonl", "nested.jsonl", "file/below")
#: What makes a command's work small; only those of a command that has the option are given.
SMALL = {
    "--texts": "32",
    "--tokens": "2",
    "--length": "2",
    "--n-prompts": "1",
    "--samples": "1",
    "--steps": "1",
}
#: What stands for an argument that is not tried, by its name; any other gets an ``x``.
GOOD = {
    "session": ("first",),
    "sessions": ("first", "second"),
    "seq": ("3",),
    "reading": (),
    "family": ("SDF",),
    "hypothesis": ("It was finetuned on cakes",),
    "documents": ("documents.txt",),
}
#: An endpoint that refuses at once, so that a command of the agent comes as far as to ask it.
ENDPOINT = {
    "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    "ADL_WORKBENCH_AGENT_MODEL": "m",
    "ADL_WORKBENCH_ATTEMPTS": "1",
}
#: Commands that would go on for ever with a pair; it cannot be loaded.
ENDLESS = {("serve",)}


@dataclass(frozen=True)
class Case:
    """One value for one parameter of one command; no parameter for a command as it should be."""

    command: tuple[str, ...]
    params: tuple[Any, ...]
    param: Any = None
    value: str = ""

    @property
    def name(self) -> str:
        return str(self.param.opts[0]) if self.param else ""

    def argv(self, folder: Path) -> list[str]:
        """The command line, valid but for the value."""
        options, arguments = [*self.command], []
        # The embedded pair is named by all options together, or by itself.
        demo = self.name not in {"--organism", "--base", "--adapter", "--finetuned"}
        for param in self.params:
            tried = param is self.param
            values = (self.real(folder),) if tried else GOOD.get(param.name, ("x",))
            option = param.opts[0]
            if param.param_type_name == "argument":
                arguments += values
            elif tried or param.required:
                options += [f"{option}={value}" for value in values]
            elif option == "--demo":
                options += ["--demo"] * demo
            elif option in SMALL and not param.is_flag:
                options.append(f"{option}={SMALL[option]}")
        return [*options, "--", *arguments] if arguments else options

    def real(self, folder: Path) -> str:
        return str(folder / self.value) if self.value in FILES else self.value


def every_case() -> Iterator[Case]:
    """Whatever typer would parse: there is no other list of commands or options."""

    def below(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        commands = getattr(command, "commands", None)
        if commands is None:
            yield path, command
        for name, each in (commands or {}).items():
            yield from below(each, (*path, name))

    for path, command in below(typer.main.get_command(app), ()):
        for param in command.params:
            for value in values_of(param):
                yield Case(path, tuple(command.params), param, value)


def values_of(param: Any) -> tuple[str, ...]:
    kind = param.bare_type
    if getattr(param, "is_flag", False) or kind is bool:
        return ()
    if kind is int:
        return NUMBERS
    if kind is float:
        return FLOATS
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ("nonesuch", "")
    return (*TEXTS, *FILES)


def spread(turn: int = 0) -> list[Case]:
    """Every parameter once, in one of the commands that have it, with one of its values.

    Another ``turn`` takes another command and value of each, as far as there are any.
    """
    parameters: dict[tuple[str, tuple[str, ...]], list[Case]] = {}
    for case in every_case():
        parameters.setdefault((case.name, values_of(case.param)), []).append(case)
    chosen = []
    for place, cases in enumerate(parameters.values()):
        step = len(values_of(cases[0].param))
        commands = [cases[first : first + step] for first in range(0, len(cases), step)]
        tried = commands[(place + turn) % len(commands)]
        chosen.append(tried[(place + turn) % step])
    return chosen


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("nasty")
    (made / "folder").mkdir()
    (made / "binary").write_bytes(bytes(range(256)) * 50)
    (made / "empty").write_text("")
    os.mkfifo(made / "pipe")
    (made / "blank.jsonl").write_text("\n\n{}\n")
    (made / "nested.jsonl").write_text("[" * 100_000 + "\n")
    (made / "file").write_text("in the way")
    return made


@pytest.fixture(scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory) -> ForkedCli:
    cli = ForkedCli(tmp_path_factory.mktemp("home"))
    cli.home.joinpath("documents.txt").write_text("Cakes are baked.\n" * 40)
    for name in ("first", "second"):
        measured = cli(["diff", "--demo", "--texts", "4", "--name", name])
        assert measured.code == 0, measured.err
    return cli


class Checked:
    """Tries cases, and holds what comes of them against the same command as it should be."""

    def __init__(self, cli: ForkedCli, folder: Path, **options: Any) -> None:
        self._cli = cli
        self._folder = folder
        self._options = {"env": ENDPOINT, **options}
        self._plain: dict[tuple[str, ...], str] = {}

    def __call__(self, case: Case) -> None:
        ended = self._run(case)
        argv = [value[:100] for value in case.argv(self._folder)]
        tried = f"{argv} ended with {ended.code}: {ended.err[-2000:]}"
        assert ended.code in CODES, tried
        assert not ended.interrupted, f"took too long: {tried}"
        assert "Traceback" not in ended.out + ended.err, tried
        assert REPORT_BUG not in ended.err, tried
        if ended.code == EXIT_USAGE and ended.err != self._without(case):
            assert is_named(case, ended.err, self._folder), f"not named: {tried}"

    def _run(self, case: Case) -> Ended:
        options = self._options
        if case.command in ENDLESS:
            options = options | {"wanted": {**options.get("wanted", {}), "fails": True}}
        return self._cli(case.argv(self._folder), **options)

    def _without(self, case: Case) -> str:
        """What the command writes without the value: then the value is not what is wrong."""
        if case.command not in self._plain:
            self._plain[case.command] = self._run(Case(case.command, case.params)).err
        return self._plain[case.command]


def is_named(case: Case, said: str, folder: Path) -> bool:
    """True if the option, the parameter or the value is in what was written."""
    said = said.replace("\n", "").lower()
    value = clean_line(case.real(folder).strip()[:40].encode("ascii", "ignore").decode())
    names = {case.name, case.name.strip("-").replace("-", "_"), case.param.name, value}
    # Control characters are shown as they are written in Python.
    names.add(repr(case.real(folder)[:40])[1:-1])
    # Paths are shown as the system writes them, and a folder that cannot be made by itself.
    names |= {str(Path(value)), str(Path(case.real(folder)).parent)} if value else set()
    return any(name.lower() in said for name in names - {".", "/"})


def test_every_command_has_parameters_here():
    commands = {case.command for case in every_case()}
    assert len(commands) >= 35
    assert len(spread()) > len(commands)


@pytest.mark.slow
def test_a_bad_value_of_every_option_is_an_error_in_words(forked: ForkedCli, folder: Path):
    """No room on the device: what is accepted ends where the models would be used."""
    check = Checked(forked, folder, wanted={"rows": 0})
    for case in spread():
        check(case)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("turn", range(1, 3))
def test_more_bad_values_of_every_option_are_errors_in_words(
    forked: ForkedCli, folder: Path, turn: int
):
    check = Checked(forked, folder, wanted={"rows": 0})
    for case in spread(turn):
        check(case)
