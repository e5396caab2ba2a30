"""Text of models, files and people is shown clean: nothing of it drives the terminal."""

from __future__ import annotations

import json
import os
import pty
import re
from pathlib import Path

import pytest

from tests.planted_cli import HOSTILE
from tests.workbench.cli.conftest import DEMO, RunCli, recorded, running
from workbench.cli import show
from workbench.store.events import HUMAN, NoteWritten, OperationFailed, SessionRenamed
from workbench.store.log import SessionLog

# C0 but the line feed and the tab (which parts columns), DEL, C1, bidi and invisible characters.
DRIVES = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
HOSTILE_MODEL = {"hostile": True}


def assert_clean(text: str) -> None:
    found = DRIVES.search(text)
    assert found is None, repr(text[max(0, found.start() - 40) : found.end() + 40])


def assert_shown(text: str) -> None:
    """The escapes are gone, and there are marks where they were."""
    assert_clean(text)
    said = re.sub(r"[│\s]", "", text)  # a mark may be broken over two lines of a cell
    assert "␛" in said
    assert "⟨U+009B⟩" in said


@pytest.fixture
def hostile_session(cli: RunCli, database: Path) -> str:
    """What a hostile model, a hostile corpus and a hostile person leave in a file."""
    done = cli(
        *("ask", "--demo", HOSTILE.replace("\x00", ""), "--tokens", "3", "--json"),
        wanted=HOSTILE_MODEL,
    )
    assert done.returncode == 0, done.stderr
    session: str = json.loads(done.stdout)["session"]
    with SessionLog.open(database) as log:
        log.append(session, NoteWritten(text=HOSTILE + "note"), actor=HUMAN)
        log.append(session, OperationFailed(error="E", message=HOSTILE, seconds=1.0))
        log.append(session, SessionRenamed(name=HOSTILE))
    return session


def test_the_log_keeps_what_was_said_as_it_was(hostile_session: str, database: Path):
    texts = [event.body.text for event in recorded(database) if event.body.kind == "text_finished"]
    assert all(text.startswith(HOSTILE) for text in texts)


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["show"], ["show", "--kind", "text_finished"], ["search", "owned"]],
    ids=" ".join,
)
def test_a_hostile_session_is_shown_clean(cli: RunCli, hostile_session: str, arguments):
    done = cli("sessions", *arguments)
    assert done.returncode == 0, done.stderr
    assert_clean(done.stdout)
    assert done.stderr == ""
    # Markup is text: it is there to be read and was not acted on.
    assert "[@click=app.quit]" in re.sub(r"[│\s]", "", done.stdout)
    if arguments[0] != "search":  # whose index holds no escapes to begin with
        assert "␛" in done.stdout


@pytest.mark.parametrize("arguments", [["list"], ["show"], ["search", "owned"]], ids=" ".join)
def test_hostile_data_is_ascii_and_whole(cli: RunCli, hostile_session: str, arguments):
    done = cli("sessions", *arguments, "--json")
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert_clean(done.stdout)
    if arguments[0] == "show":
        assert HOSTILE in {
            event["body"].get("name") for event in json.loads(done.stdout)["event_list"]
        }


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["ask", "--demo", "Hi", "--tokens", "3"],
        ["ask", "--demo", "--raw", HOSTILE, "--tokens", "3"],
        ["steer", *DEMO, "--n-prompts", "1", "--tokens", "3"],
        ["steer", *DEMO, "--prompt", HOSTILE, "--tokens", "3"],
        ["read", "consensus", "logit_lens", *DEMO],
        ["audit", *DEMO, "--n-prompts", "1", "--tokens", "3"],
    ],
    ids=["ask", "ask raw", "steer", "steer prompt", "read", "audit"],
)
def test_what_a_hostile_model_says_is_shown_clean_as_it_comes(cli: RunCli, arguments):
    done = cli(*arguments, wanted=HOSTILE_MODEL)
    assert done.returncode == 0, done.stderr
    if arguments[0] == "read":  # its lists are of words, which hostile tokens are not
        assert_clean(done.stdout)
    else:
        assert_shown(done.stdout)
    assert_clean(done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ["sessions", "show", HOSTILE],
        ["organisms", "show", HOSTILE],
        ["diff", "--organism", HOSTILE],
        ["diff", "--demo", "--layer", HOSTILE],
        ["diff", "--demo", "--corpus", f"/nowhere/{HOSTILE}"],
        ["diff", "--demo", "--positions", HOSTILE],
        ["sessions", "list", "--database", f"/nowhere/{HOSTILE}"],
        ["sessions", "export", "last", f"/proc/{HOSTILE}/x"],
    ],
    ids=lambda arguments: " ".join(arguments[:-1]),
)
def test_errors_quote_hostile_text_clean(cli: RunCli, two_sessions, arguments):
    done = cli(*arguments)
    assert done.returncode in {1, 2}
    assert "Traceback" not in done.stderr
    assert_clean(done.stderr)
    assert_clean(done.stdout)


@pytest.mark.slow
def test_on_a_terminal_only_colours_are_added(hostile_session: str):
    main, terminal = pty.openpty()
    env = {"TERM": "xterm-256color", "COLUMNS": "100"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in env.items():
            patch.setenv(name, value)
        with running(["sessions", "show"], stdout=terminal, stderr=terminal) as work:
            os.close(terminal)
            said = b""
            while chunk := _read(main):
                said += chunk
            assert work.process.wait() == 0
    os.close(main)
    text = said.decode().replace("\r\n", "\n")
    assert COLOUR.search(text)
    assert_shown(COLOUR.sub("", text))


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so where others say that there is no more
        return b""


@pytest.mark.parametrize("word", ["\x1b[31m", "\x9b2J", "\u202e", "[bold]", "[/", "\ud800", "\t"])
def test_every_printer_cleans_what_it_is_given(capsys: pytest.CaptureFixture[str], word):
    show.table((word,), [(word, word), (None, 3)], title=word)
    show.paragraph(word)
    show.heading(word)
    show.pairs(word, {word: [word, word]})
    assert_clean(capsys.readouterr().out)
