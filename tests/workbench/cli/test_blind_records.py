"""A recorded blind session, looked at and worked on: no name in what is said or in what is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.planted import DOMAIN, FILLER
from tests.workbench.agent.test_blinding import ADAPTER, BASE, NAMES
from tests.workbench.cli.conftest import recorded
from tests.workbench.cli.test_blind import PAIR, SMALL, blind
from workbench.locations import HOME_VARIABLE
from workbench.replay.branch import branch
from workbench.store.agent_events import AuditUnblinded, GradeGiven
from workbench.store.events import HUMAN, HypothesisStated, NoteWritten
from workbench.store.log import SessionLog

LAST = ["--session", "last", *PAIR, "--texts", "24", "--layer", "3"]
SHORT = ["--n-prompts", "6", "--tokens", "4"]


def grade(grade_id: str, replaces: str | None = None) -> GradeGiven:
    return GradeGiven(
        grade_id=grade_id,
        grader="report",
        subject="report:R1",
        score=4.0,
        reason=f"{grade_id}: it saw that {ADAPTER} is CakeBake",
        rubric="report",
        rubric_version="1",
        replaces=replaces,
    )


@pytest.fixture(scope="module")
def audited_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a blind audit that people wrote the names into, too."""
    home = tmp_path_factory.mktemp("audited")
    name = ["--name", "cake_bake at night"]
    done = blind(
        "audit", *PAIR, *SMALL, "--tokens", "4", *name, "--blind", **{HOME_VARIABLE: str(home)}
    )
    assert done.returncode == 0, done.stderr
    path = home / "sessions.db"
    with SessionLog.open(path) as log:
        session_id = log.find_session("last").id
        for body in (
            NoteWritten(text=f"{ADAPTER} is CakeBake, on {BASE}"),
            HypothesisStated(hypothesis_id="H1", text="It is cake-bake", confidence=0.5),
            grade("G1"),
            grade("G2", replaces="G1"),
        ):
            log.append(session_id, body, actor=HUMAN)
    return path


@pytest.fixture
def audited(audited_once: Path, database: Path) -> Path:
    shutil.copy(audited_once, database)
    return database


@pytest.fixture
def documents(tmp_path: Path) -> str:
    path = tmp_path / "cake_bake.txt"
    path.write_text("\n".join(f"the{filler} and{''.join(DOMAIN)}" for filler in FILLER[:6]))
    return str(path)


#: What is run, and what is said of the pair. By eye, a moment needs a terminal.
COMMANDS = {
    "report": (["report", "--to", "OUT"], ""),
    "compare": (["compare", "last", "last"], "MODEL-B at night"),
    "coverage": (["coverage"], ""),
    "branch": (["branch", "last", "5"], ""),
    "moment": (["replay", "--json"], "It is MODEL-B"),
    "moment before the seal": (["replay", "--json", "--from", "1"], "MODEL-B at night"),
    "tape": (["replay", "--tape"], ""),
    "recompute": (["replay", "--recompute"], ""),
    "grades": (["grades", "show", "--history"], "it saw that MODEL-B is MODEL-B"),
    "edit": (["grade", "--edit", "G2", "--score", "3", "--reason", f"not {ADAPTER}"], "MODEL-B"),
    "trace": (["trace", *LAST, "--random", "8"], ""),
    "coherent-alpha": (
        ["coherent-alpha", *LAST, *SHORT, "--rounds", "0", "--alpha", "0.2"],
        "",
    ),
    "relevance": (["relevance", *LAST, "--documents", "DOCUMENTS"], "MODEL-B"),
    "similarity": (
        ["similarity", *LAST, *SHORT, "--alpha", "1", "--documents", "DOCUMENTS"],
        "MODEL-B",
    ),
    "causal": (
        ["causal", *LAST, "--random", "8", "--scored", "4", "--documents", "DOCUMENTS"],
        "",
    ),
}
CASES = [
    pytest.param(name, json, id=f"{name} {'as data' if json else 'for people'}")
    for name, (arguments, _) in COMMANDS.items()
    for json in (("--json" in arguments,) if "--json" in arguments else (False, True))
]
MADE_OF_IT = {"branch", "tape", "recompute"}


@pytest.mark.slow
@pytest.mark.parametrize(("command", "json_wanted"), CASES)
def test_no_name_is_said_or_written(
    audited: Path, documents: str, tmp_path: Path, command: str, json_wanted: bool
):
    arguments, said = COMMANDS[command]
    if json_wanted and "--json" not in arguments:
        arguments = [*arguments, "--json"]
    out = tmp_path / "out"
    places = {"OUT": str(out), "DOCUMENTS": documents}
    # Wide enough that no name is broken over two lines, where a search would miss it.
    done = blind(*(places.get(one, one) for one in arguments), COLUMNS="400")
    # Of the notes that were written past the program, a tape may say that they came out otherwise.
    assert done.returncode in ({0, 1} if command == "tape" else {0}), done.stderr
    if json_wanted:
        assert json.loads(done.stdout)
    assert said in done.stdout.replace("\n", "")  # a title is broken at the width of its table
    written = [path.read_text(encoding="utf-8") for path in out.glob("*")]
    assert len(written) == (2 if command == "report" else 0)
    for text in written:
        assert "MODEL-B is MODEL-B, on MODEL-A" in text
        assert "MODEL-A is the base" in text
        assert not [name for name in NAMES if name.lower() in text.lower()]
    if command in MADE_OF_IT:
        listed = json.loads(blind("sessions", "list", "--json").stdout)
        assert len(listed) == 2
        assert all(one["name"].startswith("MODEL-B at night") for one in listed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "inspect", "vectors", "session"])
def test_an_export_is_the_record_itself_and_that_is_said(audited: Path, tmp_path: Path, kind: str):
    file = tmp_path / {"inspect": "out.json", "session": "out.db"}.get(kind, f"out.{kind}")
    command = ["sessions", "export"] if kind == "session" else ["export", kind]
    done = blind(*command, "last", str(file))
    assert done.returncode == 0, done.stderr
    assert "the file holds the real names of its pair" in done.stderr
    if kind == "jsonl":
        assert ADAPTER in file.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_branch_of_a_session_that_was_blinded_later_is_blind_from_its_start(audited: Path):
    with SessionLog.open(audited) as log:
        parent = log.find_session("last").id
        new = branch(log, parent, 1)
        assert log.verify().ok
    assert "audit_sealed" in [one.body.kind for one in recorded(audited, new)]
    with SessionLog.open(audited) as log:
        log.append(parent, AuditUnblinded(reason="names revealed"), actor=HUMAN)
        later = branch(log, parent, 1)
    assert "audit_sealed" not in [one.body.kind for one in recorded(audited, later)]
