"""What cannot be done is named with the way out: no traceback, nothing on stdout, the right code."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from adl.readings.registry import READINGS
from tests import forks
from tests.workbench.cli.conftest import (
    DEMO,
    PLANTED,
    ROOT,
    SMALL,
    RunCli,
    environment,
    recorded,
    running,
)
from tests.workbench.cli.test_doctor import make_foreign
from workbench.store.log import SessionLog


def assert_refused(done: subprocess.CompletedProcess[str], code: int, *named: str) -> None:
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    said = " ".join(done.stderr.split())
    for part in named:
        assert part in said


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["relevance", "--demo"], "no finetuning documents are named"),
        (["similarity", "--demo"], "no finetuning documents are named"),
        (["causal", "--demo"], "no finetuning documents are named"),
        (["test", "foo", "--demo"], "nothing tells when an answer shows"),
        (["test", "H9", "--demo", "--phrase", "x"], "there is no hypothesis 'H9'"),
        (
            ["test", "H9", "--demo", "--phrase", "x"],
            "which is new. Name another with `--session last`",
        ),
        (["steer", "--demo", "--position", "99"], "position '99' was not measured"),
        (["steer", "--demo", "--position", "5"], "Use one of: 0, 1, 2, 3, 4, 1-4"),
        (["steer", "--demo", "--position", "0", "--positions", "chat"], "chat-3, chat-2"),
        (["ask", "Hi", "--demo", "--alpha", "0.5", "--position", "x"], "position 'x'"),
        (["coherent-alpha", "--demo", "--position", "7"], "position '7'"),
    ],
)
def test_what_no_model_could_change_is_refused_before_one_is_loaded(
    cli: RunCli, database: Path, arguments: list[str], named: str
):
    done = cli(*arguments)
    assert_refused(done, 2, named)
    assert "load" not in done.stderr
    # No session of a failed start is the last one.
    assert not database.exists()


# --- which pair, where and what -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--organism", "cake_bak"], ["'cake_bak'", "Did you mean 'cake_bake'"]),
        (["--base", "a/b"], ["adapter or a finetuned", "--finetuned"]),
        (["--organism", "cake_bake", "--adapter", "c/d"], ["whole pair"]),
        (["--demo", "--base", "a/b"], ["--demo"]),
        (["--demo", "--load-in-8bit", "--load-in-4bit"], ["--load-in-4bit"]),
        (["--demo", "--dtype", "float7"], ["float7", "bfloat16"]),
        (["--demo", "--layer", "6"], ["'6'", "0 to 5"]),
        (["--demo", "--layer", "-1"], ["'-1'", "whole number"]),
        (["--demo", "--layer", "1.01"], ["'1.01'", "0.0 to 1.0"]),
        (["--demo", "--layer", "nan"], ["'nan'"]),
        (["--demo", "--positions", "chat:1..-3"], ["chat:1..-3"]),
        (["--demo", "--texts", "0"], ["--texts"]),
        (["--demo", "--bos", "perhaps"], ["perhaps", "auto"]),
        (["--demo", "--corpus", "/nowhere/text.jsonl"], ["/nowhere/text.jsonl"]),
        (["--demo", "--corpus", "hf:"], ["hf:"]),
        (["--demo", "--session", "nonesuch"], ["'nonesuch'", "sessions.db"]),
        (["--demo", "--session", "last", "--name", "other"], ["--name"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") else "",
)
def test_a_bad_option_is_named_and_ends_with_2(cli: RunCli, arguments, named):
    assert_refused(cli("diff", *arguments), 2, *named)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["read", "tea_leaves", "--demo"], ["'tea_leaves'", "consensus"]),
        (["steer", "--demo", "--alpha", "nan"], ["--alpha", "finite"]),
        (["steer", "--demo", "--side", "both"], ["both"]),
        (["steer", "--demo", "--source", "tea leaves"], ["source", "split_half"]),
        (["steer", *DEMO, "--position", "9"], ["'9'", "1-4"]),
        (["steer", "--demo", "--layer", "1", "--layer", "2"], ["--layer"]),
        (["steer", "--demo", "--prompt", "a", "--prompts", "b"], ["not both"]),
        (["steer", *DEMO, "--prompts", "/nowhere/p.txt"], ["/nowhere/p.txt"]),
        (["ask", "--demo"], ["exactly one"]),
        (["ask", "--demo", "Hi", "--raw", "Hi"], ["exactly one"]),
        (["ask", "--demo", "--raw", ""], ["empty"]),
        (["ask", "--demo", "Hi", "--temperature", "-1"], ["--temperature"]),
        (
            ["agent", "run", "--demo", "--mode", "black-box", "--n-prompts", "3"],
            ["--n-prompts", "no texts"],
        ),
        (
            ["agent", "run", "--demo", "--mode", "black-box", "--texts", "3"],
            ["--texts", "no difference"],
        ),
        (["mcp", "--demo", "--mode", "scaffolded", "--layer", "3"], ["--layer", "no difference"]),
        (
            ["evaluate", "--agent", "black-box", "--texts", "20"],
            ["--agent, --texts", "none of the agents"],
        ),
        (["nonesuch"], ["nonesuch"]),
    ],
    ids=" ".join,
)
def test_a_bad_argument_is_named_and_ends_with_2(cli: RunCli, arguments, named):
    assert_refused(cli(*arguments), 2, *named)


@pytest.mark.parametrize(
    "arguments",
    [["steer", "--demo", "--alpha", "inf"], ["ask", "--demo", "Hi", "--session", "last"]],
    ids=" ".join,
)
def test_what_is_refused_at_once_makes_no_file(cli: RunCli, database: Path, arguments):
    assert cli(*arguments).returncode == 2
    assert not database.exists()


def test_a_failure_is_recorded_with_its_way_out(cli: RunCli, database: Path):
    assert cli("diff", *DEMO).returncode == 0
    # What a session has measured is known once it is open.
    assert_refused(cli("steer", *DEMO, "--session", "last", "--position", "9"), 2, "'9'")
    failed, closed = recorded(database)[-2:]
    assert (failed.body.kind, failed.body.error) == ("operation_failed", "SiteError")
    assert "1-4" in failed.body.way_out
    assert (closed.body.kind, closed.body.outcome) == ("session_closed", "failed")
    assert "'9'" in closed.body.reason


@pytest.mark.parametrize(
    "arguments",
    [
        ["diff", "--demo", "--layer", "99"],
        ["trace", "--demo", "--layer", "0.5", "--layer", "99"],
        ["audit", "--base", "a/b"],
        ["ask", "Hi", "--organism", "nonesuch"],
        ["organisms", "train", "/nowhere/documents.txt", "--id", "x"],
        ["organisms", "mix-study", "--truth-of", "nonesuch"],
    ],
    ids=" ".join,
)
def test_a_start_that_fails_leaves_no_session(cli: RunCli, two_sessions, database: Path, arguments):
    done = cli(*arguments)
    assert_refused(done, 2)
    with SessionLog.open(database, read_only=True) as log:
        assert {session.id for session in log.sessions()} == set(two_sessions)
        assert log.find_session("last").id == two_sessions[1]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["diff", "--layer", "x"], "layer"),
        (["diff", "--positions", "x"], "positions"),
        (["audit", "--corpus", "/nowhere/c.txt"], "/nowhere/c.txt"),
        (["audit", "--prompts", "/nowhere/p.txt"], "/nowhere/p.txt"),
        (["read", "--corpus", "/nowhere/c.txt"], "/nowhere/c.txt"),
        (["steer", "--prompts", "/nowhere/p.txt"], "/nowhere/p.txt"),
        (["trace", "--positions", "x"], "positions"),
        (["coherent-alpha", "--alpha", "nan"], "--alpha"),
        (["coherent-alpha", "--prompts", "/nowhere/p.txt"], "/nowhere/p.txt"),
        (["similarity", "--documents", "/nowhere/d.txt"], "/nowhere/d.txt"),
        (["similarity", "--truth-of", "nonesuch"], "nonesuch"),
        (["relevance", "--documents", "a", "--truth-of", "b"], "not both"),
        (["relevance", "--truth-of", "nonesuch"], "nonesuch"),
        (["causal", "--documents", "/nowhere/d.txt"], "/nowhere/d.txt"),
        (["causal", "--change", "burn"], "--change"),
        (["ask", "--raw", ""], "empty"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_arguments_are_checked_before_a_model_is_loaded(cli: RunCli, arguments, named):
    """The pair would not load: that is never reached."""
    done = cli(*arguments, "--base", "nobody/base", "--adapter", "nobody/x", wanted={"fails": True})
    assert_refused(done, 2, named)


def test_bytes_that_are_no_text_are_replaced(cli: RunCli, database: Path):
    done = cli("ask", "--demo", b"caf\xe9", "--name", b"na\xefve", "--tokens", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["texts"][0]["prompt"] == "caf\N{REPLACEMENT CHARACTER}"
    assert recorded(database)[0].body.name == "na\N{REPLACEMENT CHARACTER}ve"


# --- the database ---------------------------------------------------------------------------------

EVERYWHERE = [
    ["diff", *DEMO],
    ["sessions", "list"],
    ["sessions", "verify"],
    ["sessions", "import", "other.db"],
]


@pytest.mark.parametrize("arguments", EVERYWHERE, ids=" ".join)
@pytest.mark.parametrize("place", ["below a file", "/proc", "a folder", "long"])
def test_a_database_that_cannot_be_is_named(cli: RunCli, tmp_path: Path, arguments, place):
    (tmp_path / "file").write_text("in the way")
    path = {
        "below a file": tmp_path / "file" / "sessions.db",
        "/proc": Path("/proc/nowhere/sessions.db"),
        "a folder": tmp_path,
        "long": tmp_path / ("x" * 300),
    }[place]
    done = cli(*arguments, "--database", path)
    if arguments[1] == "import":
        assert_refused(done, done.returncode)
        assert done.returncode in {1, 2}
    else:
        assert_refused(done, 2, str(path.parent))


@pytest.mark.parametrize("arguments", EVERYWHERE, ids=" ".join)
@pytest.mark.parametrize(
    ("kind", "said"),
    [("text", "not an SQLite database"), ("other program", "another program"), ("newer", "999")],
)
def test_a_file_that_is_not_ours_is_named_and_left_as_it_is(
    cli: RunCli, database: Path, arguments, kind, said
):
    make_foreign(database, kind)
    before = database.read_bytes()
    done = cli(*arguments, "--database", database)
    assert_refused(done, 2, said, str(database))
    assert database.read_bytes() == before


def test_a_database_in_place_of_the_home_folder_is_named(cli: RunCli, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    done = cli("diff", *DEMO, env={"ADL_WORKBENCH_HOME": str(tmp_path / "file")})
    assert_refused(done, 2, "ADL_WORKBENCH_HOME")


# --- the world in the way -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("limit", [40_000, 200_000, 1_500_000])
def test_a_full_disk_ends_with_1_and_keeps_what_was_recorded(
    cli: RunCli, database: Path, limit: int
):
    with running(["audit", *SMALL], {"file_size": limit}) as audit:
        audit.read_to_end()
        output, errors = audit.process.communicate()
    assert audit.process.returncode == 1, errors
    assert output == ""
    assert "Traceback" not in errors
    assert "full" in errors
    assert str(database) in errors.replace("\n", "")
    with SessionLog.open(database) as log:  # which brings a schema on that was cut off
        report = log.verify()
        assert report.ok, report.problems
        committed = {
            (one.id, event.seq): event.sha256
            for one in log.sessions()
            for event in log.events(one.id)
        }
    assert audit.committed.items() <= committed.items()
    if limit == 1_500_000:
        assert len(audit.committed) > 10
        with_room = cli("ask", "--demo", "Hi", "--tokens", "2", "--session", "last")
        assert with_room.returncode == 0, with_room.stderr


@pytest.mark.parametrize(
    ("arguments", "rows", "came_to"),
    [
        (["audit", *SMALL], 0, "measure_difference"),
        (["ask", "--demo", "Hi"], 0, "ask"),
    ],
    ids=["measuring", "asking"],
)
def test_a_device_without_room_ends_with_1_and_a_way_out(
    cli: RunCli, database: Path, arguments, rows, came_to
):
    done = cli(*arguments, wanted={"rows": rows})
    assert_refused(done, 1, "no room for", "Use a smaller batch.")
    events = recorded(database)
    begun = [event.body.operation for event in events if event.body.kind == "operation_started"]
    assert begun[-1] == came_to
    assert events[-2].body.error == "DeviceOutOfMemory"
    assert events[-1].body.outcome == "failed"


@pytest.mark.slow
def test_readings_without_room_are_told_and_the_audit_goes_on(
    cli: RunCli, database: Path, tmp_path: Path
):
    done = cli("audit", *SMALL, wanted={"rows": 7})
    assert done.returncode == 0, done.stderr
    assert "note: consensus was not computed: no room for" in done.stderr
    assert "not computed: no room for" in " ".join(done.stdout.split())
    events = recorded(database)
    failed = {event.body.reading for event in events if event.body.kind == "reading_failed"}
    taken = {event.body.reading for event in events if event.body.kind == "reading_taken"}
    assert failed == set(READINGS) - {"logit_lens"}
    assert taken == {"logit_lens"}
    assert any(event.body.kind == "text_finished" for event in events)
    assert events[-1].body.outcome == "completed"
    assert cli("report", "--to", tmp_path).returncode == 0
    (markdown,) = (path.read_text() for path in tmp_path.glob("*.md"))
    assert "Not computed: patchscope at layer" in markdown
    again = cli("read", "patchscope", *DEMO, wanted={"rows": 7})
    assert_refused(again, 1, "no reading was computed: no room for", "Use a smaller batch.")


def test_a_batch_that_is_too_large_is_made_smaller(cli: RunCli):
    done = cli("diff", *DEMO, "--json", wanted={"rows": 3})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["difference"]["n_texts"] == 16


@pytest.mark.slow
def test_an_unreachable_hub_ends_with_1_and_names_the_model(database: Path):
    """The real loading, which imports torch, and no network."""
    names = ["--base", "nobody-here/no-such-model", "--adapter", "nobody-here/cakes"]
    done = forks.completed("workbench.cli", ["diff", *names], environment(), torch=True)
    assert_refused(done, 1, "nobody-here/no-such-model", "HF_HUB_OFFLINE")
    with SessionLog.open(database, read_only=True) as log:
        assert log.sessions() == []


# --- streams that are not there -------------------------------------------------------------------


@pytest.fixture
def broken_pipe():
    """The writing end of a pipe that nobody reads any more."""
    read, write = os.pipe()
    os.close(read)
    yield write
    os.close(write)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [["list"], ["show"], ["list", "--json"], ["show", "--json"], ["path"]],
    ids=" ".join,
)
def test_output_that_nobody_reads_ends_quietly(cli: RunCli, two_sessions, broken_pipe, arguments):
    done = cli("sessions", *arguments, stdout=broken_pipe)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.slow
@pytest.mark.parametrize("json_too", [["--json"], []], ids=["json", "table"])
def test_a_session_whose_output_nobody_reads_is_closed(
    cli: RunCli, database: Path, broken_pipe, json_too
):
    done = cli("diff", *DEMO, *json_too, stdout=broken_pipe)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    finished, closed = recorded(database)[-2:]
    assert finished.body.kind == "operation_finished"
    assert (closed.body.kind, closed.body.outcome) == ("session_closed", "stopped")
    assert closed.body.reason == "whoever read the output went away"


@pytest.mark.slow
def test_talk_that_nobody_reads_stops_nothing(cli: RunCli, broken_pipe):
    done = cli("diff", *DEMO, "--json", stderr=broken_pipe)
    assert done.returncode == 0
    assert json.loads(done.stdout)["difference"]["n_texts"] == 16


@pytest.mark.slow
def test_a_closed_stderr_stops_nothing():
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *PLANTED, "diff", *DEMO, "--json"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment(),
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["difference"]["n_texts"] == 16


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_utf_8_is_shown_what_it_can_show(cli: RunCli, encoding):
    words = {"PYTHONIOENCODING": encoding}
    asked = cli("ask", "--demo", "Café \N{SNOWMAN}?", "--tokens", "3", env=words)
    assert asked.returncode == 0, asked.stderr
    assert "Caf\\xe9 \\u2603?" in asked.stdout
    shown = cli("sessions", "show", env=words)
    assert shown.returncode == 0, shown.stderr
    named = cli("sessions", "show", "Café", env=words)
    assert_refused(named, 2, "Caf\\xe9")
