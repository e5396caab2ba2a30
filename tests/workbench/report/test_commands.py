"""The commands on finished sessions, as typer runs them: output, exit code, files."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from click.testing import Result
from inspect_ai.log import read_eval_log
from jsonschema import Draft202012Validator
from safetensors.numpy import load_file
from typer.testing import CliRunner

from adl.artifacts import ArrayCache
from tests.planted import PlantedPair
from tests.workbench.replay.audits import Audit
from tests.workbench.report.hostile import record_hostile
from workbench.cli import replay as replaying
from workbench.cli import report as reporting
from workbench.cli.output import EXIT_FAILURE, EXIT_USAGE
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.pair import LOAD, PairArguments
from workbench.operations.running import Session, run
from workbench.report import example
from workbench.report.errors import ExportError
from workbench.report.jsonl import export_jsonl
from workbench.store.agent_events import GradeGiven
from workbench.store.events import HUMAN
from workbench.store.log import SessionLog
from workbench.store.state import fold

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
app.command()(replaying.replay)
app.command()(reporting.report)
app.command()(reporting.compare)
app.command()(reporting.coverage)
app.command()(reporting.branch)
app.add_typer(reporting.exports, name="export")
app.command("import")(reporting.import_file)

Cli = Callable[..., Result]


@pytest.fixture
def cli(log: SessionLog) -> Cli:
    """Run a command on the test's own session file."""

    def run_command(*arguments: Any) -> Result:
        words = [str(one) for one in arguments]
        return CliRunner().invoke(
            app, [*words, "--database", str(log.path)], catch_exceptions=False
        )

    return run_command


def data(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


# --- replay ---------------------------------------------------------------------------------


def test_replay_says_how_a_session_stood(cli: Cli, recorded: Audit) -> None:
    seq = sorted(recorded.digests)[len(recorded.digests) // 2]
    found = data(cli("replay", recorded.session_id, "--from", seq, "--json"))
    assert (found["seq"], found["digest"]) == (seq, recorded.digests[seq])
    last = data(cli("replay", "--json"))
    assert last["seq"] == last["events"] == max(recorded.digests)
    assert [one["id"] for one in last["hypotheses"]] == ["H1", "H2", "H3"]


def test_replay_by_eye_goes_through_the_one_hook(
    cli: Cli, recorded: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = cli("replay")
    assert shown.exit_code == EXIT_USAGE
    assert "needs a terminal" in shown.stderr
    opened = []
    monkeypatch.setattr(
        replaying,
        "open_player",
        lambda log, session, seq, lasting: opened.append((session, seq, lasting)),
    )
    cli("replay", "cakes", "--from", "7")
    assert opened == [(recorded.session_id, 7, True)]


@pytest.mark.slow
def test_replay_by_tape(cli: Cli, log: SessionLog, recorded: Audit) -> None:
    found = data(cli("replay", "--tape", "--json"))
    assert (found["same"], found["answered"], found["left"]) == (True, 4, None)
    assert found["parent"] == recorded.session_id
    table = cli("replay", recorded.session_id, "--tape")
    assert "4 operations" in table.stdout
    assert len(log.sessions()) == 3


@pytest.mark.slow
def test_a_tape_that_was_left_is_a_failure(
    cli: Cli, log: SessionLog, recorded: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workbench.operations import OPERATIONS

    monkeypatch.delitem(OPERATIONS, "ask")
    done = cli("replay", "--tape")
    assert done.exit_code == EXIT_FAILURE
    assert "this program has no such operation" in " ".join(done.stdout.split())


def test_replay_by_recomputation(
    cli: Cli, log: SessionLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pairs are loaded again as they were recorded to be, or in another dtype."""
    asked: list[str] = []

    class Loading:
        @staticmethod
        def load(spec: Any, hashes: Any) -> PlantedPair:
            asked.append(spec.dtype)
            return PlantedPair()

    pair, demo = ModuleType("adl.pair.nnsight.pair"), ModuleType("adl.pair.nnsight.demo")
    vars(pair)["NnsightPair"] = Loading
    vars(demo)["prepared_base"] = lambda _cache, _say: Path("planted-base")
    monkeypatch.setitem(sys.modules, "adl.pair.nnsight.pair", pair)
    monkeypatch.setitem(sys.modules, "adl.pair.nnsight.demo", demo)
    session = Session(log, log.start_session("loaded"), ArrayCache(tmp_path / "cache"))
    run(session, LOAD, PairArguments(organism="cake_bake", dtype="float32"), actor=HUMAN)
    run(session, MEASURE, MeasureArguments(n_texts=8, layers=("2",)), actor=HUMAN)
    found = data(cli("replay", session.id, "--recompute", "--json"))
    assert found["verdict"] == "no drift in 2 operations"
    table = cli("replay", session.id, "--recompute", "--dtype", "bfloat16")
    assert table.exit_code == 0
    assert "no drift in 2 operations" in table.stderr
    assert asked == ["float32", "float32", "bfloat16"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tape", "--recompute"], "--tape, --recompute: give one of them"),
        (["last", "--example"], "leave out the other one"),
        (["--tape", "--from", "3"], "replay the branch"),
        (["--dtype", "float16"], "--dtype, --recompute: only what is recomputed is loaded"),
        (["--json", "--from", "5000"], "has no event 5000"),
        (["nonesuch"], "nonesuch"),
    ],
)
def test_replays_that_make_no_sense_are_refused(cli: Cli, arguments: list[str], said: str) -> None:
    done = cli("replay", *arguments)
    assert done.exit_code == EXIT_USAGE
    assert said in " ".join(done.stderr.replace("\u2502", " ").split())
    assert done.stdout == ""


@pytest.mark.slow
def test_the_example_is_replayed_from_its_file(
    cli: Cli, log: SessionLog, recorded: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "checkout"
    package = checkout / "workbench"
    with pytest.raises(Exception, match="example is not here"):
        example.example_file(package)
    file = checkout / "sessions" / "examples" / example.EXAMPLE
    export_jsonl(log, recorded.session_id, file)
    assert example.example_file(package) == file
    installed = tmp_path / "site-packages" / "workbench" / "examples" / example.EXAMPLE
    export_jsonl(log, recorded.session_id, installed)
    assert example.example_file(installed.parents[1]) == installed
    monkeypatch.setattr(example, "example_file", lambda: file)
    log.delete_session(recorded.session_id, confirm="cakes")
    found = data(cli("replay", "--example", "--json"))
    assert found["digest"] == recorded.digests[max(recorded.digests)]
    assert data(cli("replay", "--example", "--tape", "--json"))["same"] is True
    # It is nobody's session: nothing of it stays.
    assert log.sessions() == []


def test_an_example_that_was_changed_is_refused(
    log: SessionLog, recorded: Audit, tmp_path: Path
) -> None:
    file = export_jsonl(log, recorded.session_id, tmp_path / "a.jsonl")
    file.write_text(file.read_text().replace("baking cake", "mining gold"))
    with pytest.raises(ExportError, match="does not verify"), example.opened_example(file):
        pass


# --- reports --------------------------------------------------------------------------------


@pytest.mark.slow
def test_report_writes_two_files(cli: Cli, recorded: Audit, tmp_path: Path) -> None:
    found = data(cli("report", "--to", tmp_path / "out", "--json"))
    assert found["verified"] is True
    files = {name: Path(found[name]) for name in ("markdown", "html")}
    assert files["markdown"].name == f"{recorded.session_id}.md"
    assert files["markdown"].read_text().startswith("# cakes\n")
    assert files["html"].read_text().startswith("<!DOCTYPE html>")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        f"{recorded.session_id}.html",
        f"{recorded.session_id}.md",
    ]
    again = cli("report", "--to", tmp_path / "out")
    assert again.exit_code == EXIT_USAGE
    assert "exists already. Replace it with --force." in again.stderr
    files["html"].write_text("old")
    assert cli("report", "--to", tmp_path / "out", "--force").exit_code == 0
    assert files["html"].read_text().startswith("<!DOCTYPE html>")


def test_compare_prints_a_column_for_each_session(
    cli: Cli, log: SessionLog, recorded: Audit
) -> None:
    other = log.start_session("another")
    found = data(cli("compare", recorded.session_id, "another", "--json"))
    assert [one["id"] for one in found["sessions"]] == [recorded.session_id, other]
    table = cli("compare", "cakes", other).stdout
    assert "texts generated" in table
    assert "grades" not in table
    log.append(
        other,
        GradeGiven(
            grade_id="G1",
            grader="report",
            subject="report:r",
            score=None,
            reason="",
            rubric="r",
            rubric_version="1",
        ),
    )
    table = cli("compare", "cakes", other).stdout
    assert "unscored" in table
    assert "not graded" in table
    assert cli("compare", "cakes").exit_code == EXIT_USAGE


def test_coverage_names_what_was_left(cli: Cli) -> None:
    found = data(cli("coverage", "--json"))
    assert "load_pair" in found["operations_unused"]
    assert found["dropped"][0]["id"] == "H3"
    table = cli("coverage").stdout
    assert "batter" in table
    assert "patchscope_contrast" in table
    assert "left open" in table


def test_nothing_untrusted_reaches_the_terminal_raw(cli: Cli, log: SessionLog) -> None:
    session = record_hostile(log)
    for arguments in (
        ["compare", session, session],
        ["coverage", session],
        ["replay", session, "--json"],
        ["replay", session, "--tape"],
    ):
        done = cli(*arguments)
        assert done.exit_code in {0, EXIT_FAILURE}
        for text in (done.stdout, done.stderr):
            assert not set("\x1b\x07\x9b\x9d\u202e\u200b") & set(text), arguments


# --- branches, exports ----------------------------------------------------------------------


def test_branch_starts_a_session_from_an_event(cli: Cli, log: SessionLog, recorded: Audit) -> None:
    found = data(cli("branch", "cakes", "20", "--name", "otherwise", "--json"))
    state = fold(log.events(found["session"]))
    assert (state.parent, state.name) == ((recorded.session_id, 20), "otherwise")
    refused = cli("branch", "cakes", "5000")
    assert refused.exit_code == EXIT_USAGE
    assert "has no event 5000" in refused.stderr


@pytest.mark.slow
def test_exports_and_import(cli: Cli, log: SessionLog, recorded: Audit, tmp_path: Path) -> None:
    lines = data(cli("export", "jsonl", "last", tmp_path / "a.jsonl.gz", "--json"))["file"]
    log_file = data(cli("export", "inspect", "last", tmp_path / "a.eval", "--json"))["file"]
    vectors = data(cli("export", "vectors", "last", tmp_path / "a.safetensors", "--json"))["file"]
    assert read_eval_log(log_file).status == "success"
    assert len(load_file(vectors)) == 9
    database = log.export_session(recorded.session_id, tmp_path / "a.db")
    for source in (lines, database):
        refused = cli("import", source)
        assert refused.exit_code == EXIT_USAGE
        assert "already" in refused.stderr
        log.delete_session(recorded.session_id, confirm="cakes")
        assert data(cli("import", source, "--json"))["session"] == recorded.session_id
        assert log.verify().ok
    assert cli("import", tmp_path / "missing.jsonl").exit_code == EXIT_FAILURE
    (tmp_path / "text.txt").write_text("hello")
    assert cli("import", tmp_path / "text.txt").exit_code == EXIT_USAGE
    assert cli("import", lines, "--session", "x").exit_code == EXIT_USAGE


def test_the_schema_is_printed() -> None:
    printed = CliRunner().invoke(app, ["export", "schema"])
    assert printed.exit_code == 0
    Draft202012Validator.check_schema(json.loads(printed.stdout))
