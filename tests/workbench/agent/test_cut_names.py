"""Names of a blind session where text is cut, searched, or new: hidden first, and closed by default."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from typer.testing import CliRunner

from tests.workbench.agent.test_blinding import ADAPTER, ASKED, BASE, NamedPair
from workbench.agent.quoting import cut
from workbench.blinding.aliases import Blinding, blinding_of
from workbench.blinding.redact import StateRedactor
from workbench.blinding.sessions import HiddenNames
from workbench.cli import sessions as commands
from workbench.cli.redaction import Redactor
from workbench.display import shorten
from workbench.store.agent_events import AgentTold, AuditSealed, EvaluationCell, EvaluationStarted
from workbench.store.body import KINDS, one_line
from workbench.store.events import NoteWritten, SessionClosed, SessionStarted
from workbench.store.log import SessionLog
from workbench.store.state import SessionState, fold

HIDING = blinding_of(NamedPair().provenance, ASKED, "cake_bake")
NAMES = ["cake_bake", "Cake-Bake", "CAKEBAKE", BASE, ADAPTER, BASE.rpartition("/")[2]]
WORDS = st.text(alphabet="xyz .,:;\n\u00e4\U0001f600", max_size=130)


def letters(text: str) -> str:
    return "".join(filter(str.isalnum, text)).lower()


def assert_hidden(text: str) -> None:
    """No name, and at no cut the beginning or the end of one."""
    assert HIDING.hide(text) == text
    before, mark, _after = text.partition("\u2026")
    if not mark:
        before, mark, _after = text.partition("...")
    if mark:
        for name in map(letters, HIDING.aliases):
            for length in range(3, len(name)):
                assert not letters(before).endswith(name[:length]), (name[:length], text)


@pytest.mark.slow
@given(WORDS, st.sampled_from(NAMES), WORDS, st.integers(0, 220))
@settings(max_examples=500, deadline=None)
def test_no_part_of_a_name_is_left_at_any_cut(before: str, name: str, after: str, width: int):
    text = f"{before} {name} {after}"
    # Whoever cuts: hidden before it is cut, or cut before it can be hidden.
    assert_hidden(shorten(HIDING.hide(text), width))
    assert_hidden(HIDING.hide_cut(shorten(text, width)))
    assert_hidden(HIDING.hide_cut(cut(text, width)))
    assert_hidden(HIDING.hide_cut(one_line(text)))
    tail = "\u2026" + text[-width:] if width else ""
    shown = HIDING.hide_cut(tail)
    assert HIDING.hide(shown) == shown
    after_cut = letters(shown.partition("\u2026")[2])
    for one in map(letters, HIDING.aliases):
        for length in range(3, len(one)):
            assert not after_cut.startswith(one[-length:] + letters(after)), shown


@given(WORDS, WORDS)
def test_what_has_no_name_is_only_cut(before: str, after: str):
    text = shorten(before + " " + after, 100)
    assert HIDING.hide_cut(text) == text


@pytest.fixture
def blind_log(tmp_path: Path) -> Iterator[tuple[SessionLog, str]]:
    with SessionLog.open(tmp_path / "sessions.db") as log:
        session_id = log.start_session("an audit")
        log.append(
            session_id,
            AuditSealed(organism="cake_bake", ground_truth_sha256=None, aliases=HIDING.aliases),
        )
        yield log, session_id


def places(log: SessionLog, session_id: str) -> Iterator[tuple[str, str]]:
    """Everything of a session that is shown cut, by where."""
    hidden = HiddenNames.read(log)
    redactor = hidden.redactor(session_id)
    for event in log.events(session_id):
        yield "sessions show", redactor.event(event).body.describe()
    for entry in StateRedactor().state(fold(log.events(session_id))).timeline:
        yield "timeline", entry.description
    for hit in hidden.search(log, "needle", 50):
        yield "search", hit.snippet


@pytest.mark.slow
def test_no_place_that_cuts_shows_a_part_of_a_name(blind_log: tuple[SessionLog, str]):
    log, session_id = blind_log
    for before in range(60, 104):
        for name in NAMES[:4]:
            text = "x" * (before // 2) + " " + "y" * (before - before // 2 - 1) + f" {name} needle"
            log.append(session_id, NoteWritten(text=text + " and so on" * 20))
            log.append(session_id, AgentTold(run_id="r", role="user", source="human", content=text))
    for where, text in places(log, session_id):
        assert HIDING.hide(text) == text, where
        assert_hidden(text)


def test_search_does_not_answer_guesses(blind_log: tuple[SessionLog, str]):
    log, session_id = blind_log
    log.append(session_id, NoteWritten(text=f"{BASE} with {ADAPTER} is cake_bake, I think"))
    log.append(session_id, NoteWritten(text="a cake, and nothing else"))
    with_words = log.start_session("another, open")
    log.append(with_words, NoteWritten(text="cake_bake in the open"))
    hidden = HiddenNames.read(log)

    def seqs(words: str) -> list[tuple[str, int]]:
        return sorted((hit.session_id, hit.seq) for hit in hidden.search(log, words, 50))

    for guess in (
        "cake_bake",
        '"cake bake"',
        "bake",
        "bak",
        "CAKE-BAKE",
        BASE,
        ADAPTER,
        "SmolLM2",
        "tiny",
    ):
        assert [hit for hit in seqs(guess) if hit[0] == session_id] == [], guess
        wrong = guess[:-1] + "q"
        assert [hit for hit in seqs(wrong) if hit[0] == session_id] == []
    # What is shown is found, names apart, and so is all of an open session.
    assert seqs("think") == [(session_id, 3)]
    assert seqs("cake") == sorted([(session_id, 4), (with_words, 2)])
    assert seqs("cake_bake") == [(with_words, 2)]
    (hit,) = hidden.search(log, "think", 50)
    assert "MODEL-B" in hit.snippet
    assert [hit.snippet[start:end] for start, end in hit.marks] == ["think"]
    # Hits that are none take nobody's place.
    for _ in range(5):
        log.append(session_id, NoteWritten(text="bake cake_bake bake"))
    assert len(HiddenNames.read(log).search(log, "cake", 2)) == 2


def test_the_search_command_shows_no_name(blind_log: tuple[SessionLog, str]):
    log, session_id = blind_log
    log.append(session_id, NoteWritten(text=f"it is cake_bake on {BASE}, so I think"))
    app = typer.Typer()
    app.command()(commands.search)
    app.command("show")(commands.show_session)
    for words in (
        ["search", "cake_bake"],
        ["search", "think"],
        ["show", session_id],
        ["show", "--json"],
    ):
        done = CliRunner().invoke(app, [*words, "--database", str(log.path)])
        assert done.exit_code == 0
        assert "bake" not in done.stdout.replace(str(log.path), "")
        assert "SmolLM2" not in done.stdout
        assert ("think" in done.stdout) == (words != ["search", "cake_bake"])


# --- closed by default ----------------------------------------------------------------------------


def test_every_field_of_the_state_is_hidden(blind_log: tuple[SessionLog, str]):
    """Whatever a field holds: a name put into it is not there afterwards."""
    log, session_id = blind_log
    log.append(session_id, EvaluationStarted(plan={"organisms": ["cake_bake"], ADAPTER: 1}))
    log.append(
        session_id,
        EvaluationCell(cell="adl cake_bake", session="s", status="failed", detail=f"no {ADAPTER}"),
    )
    log.append(session_id, SessionClosed(outcome="failed", reason=f"{BASE} cannot be loaded"))
    state = replace(
        fold(log.events(session_id)), parent=(f"of {ADAPTER}", 3), ranking=("cake_bake",)
    )
    shown = StateRedactor().state(state)
    for one in dataclasses.fields(SessionState):
        said = repr(getattr(shown, one.name))
        if one.name == "timeline":
            said = " ".join(entry.description for entry in shown.timeline)
        assert HIDING.hide(said) == said, one.name
    assert shown.closing_reason == "MODEL-A cannot be loaded"
    assert shown.parent == ("of MODEL-B", 3)
    assert list(shown.cells) == ["adl MODEL-B"]
    assert shown.session_id == session_id


@dataclass(frozen=True)
class NewState(SessionState):
    """A state of a later version, with a field that nobody wrote a rule for."""

    brand_new: Any = None
    newer: dict[str, Any] = field(default_factory=dict)


class Odd:
    def __str__(self) -> str:
        return f"odd {ADAPTER}"


def test_a_field_without_a_rule_is_hidden_at_run_time():
    values = {"deep": [({f"{BASE}"}, Path(ADAPTER), Odd(), (1, ADAPTER))]}
    state = NewState(brand_new=f"at {ADAPTER}", newer=values, seal=None)
    shown = StateRedactor(HIDING.aliases).state(state)
    assert shown.brand_new == "at MODEL-B"
    assert HIDING.hide(repr(shown.newer)) == repr(shown.newer)
    assert "MODEL-B" in repr(shown.newer)


@pytest.mark.parametrize("kind", KINDS.values())
def test_every_event_is_hidden_in_every_text(kind: type[BaseModel]):
    """Whoever adds the next kind of event, or a field to one."""
    named = {name: {ADAPTER: [f"at {ADAPTER}", (1, ADAPTER)]} for name in kind.model_fields}
    shown = StateRedactor(HIDING.aliases).record(kind.model_construct(**named))
    for name in kind.model_fields:
        assert getattr(shown, name) == {"MODEL-B": ["at MODEL-B", (1, "MODEL-B")]}


# --- hashes and paths -----------------------------------------------------------------------------


def test_hashes_are_names():
    pair = {
        "base": {"checkpoint": BASE, "content_sha256": "ab" * 32, "tokenizer_sha256": "12" * 32},
        "finetuned": {"checkpoint": BASE, "adapter": ADAPTER, "adapter_sha256": "cd" * 32},
    }
    hiding = blinding_of(pair)
    assert hiding.hide("weights " + "ab" * 32) == "weights HASH-A"
    assert hiding.hide("sha256 " + ("cd" * 32)[:12]) == "sha256 HASH-B"
    assert hiding.hide(("CD" * 32)[:8] + ", " + "12" * 16) == "HASH-B, HASH-A"
    assert hiding.hide("ef" * 32) == "ef" * 32
    assert hiding.hide("abc") == "abc"


def test_the_sessions_own_path_is_printed_as_it_is():
    redactor = Redactor()
    redactor.blinding, redactor.own_path = HIDING, f"/home/me{ADAPTER}/sessions.db"
    said = redactor.hide(f"written: {redactor.own_path}, with {ADAPTER}")
    assert said == f"written: {redactor.own_path}, with MODEL-B"


def test_a_blinding_without_names_changes_nothing():
    assert Blinding({}).hide_cut(f"{ADAPTER[:10]}\u2026") == f"{ADAPTER[:10]}\u2026"
    assert SessionStarted(name="x").name == "x"
