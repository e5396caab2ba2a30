"""What scripts lean on: a session's own pair, prompts from stdin, plain text and tables on stdout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workbench.cli.conftest import DEMO, PLANTED, ROOT, RunCli, environment, recorded
from tests.workbench.cli.test_bad_input import assert_refused
from workbench.operations.pair import LOAD

ASK = ["ask", "Hi", "--tokens", "2", "--json"]


def loads(database: Path, session: str) -> list[dict]:
    return [
        event.body.arguments
        for event in recorded(database, session)
        if event.body.kind == "operation_started" and event.body.operation == LOAD.name
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["ask", "Hi", "--tokens", "2"],
        ["read", "logit_lens", "--texts", "16"],
        ["steer", "--texts", "16", "--n-prompts", "1", "--tokens", "2"],
        ["diff", "--texts", "16"],
        ["audit", "--texts", "16", "--n-prompts", "1", "--tokens", "2"],
        ["trace", "--texts", "16"],
        ["coherent-alpha", "--texts", "16", "--n-prompts", "3", "--tokens", "2", "--rounds", "0"],
        ["relevance", "--texts", "16", "--word", "cake"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_session_has_its_pair_with_it(cli: RunCli, two_sessions, database: Path, arguments):
    done = cli(*arguments, "--session", "last", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["session"] == two_sessions[1]
    first, second = loads(database, two_sessions[1])
    assert second == first
    assert recorded(database)[-1].body.outcome == "completed"


def test_the_same_pair_may_be_named_and_loaded_otherwise(cli: RunCli, two_sessions, database: Path):
    done = cli(*ASK, "--session", "first", "--demo", "--dtype", "float32")
    assert done.returncode == 0, done.stderr
    first, second = loads(database, two_sessions[0])
    assert second == first | {"dtype": "float32"}


@pytest.mark.parametrize(
    ("named", "shown"),
    [
        (["--organism", "risky_finance"], "organism risky_finance is another"),
        (["--base", "a/b", "--adapter", "c/d"], "base a/b, adapter c/d is another"),
    ],
    ids=["organism", "adapter"],
)
def test_another_pair_is_refused_and_nothing_is_recorded(
    cli: RunCli, two_sessions, database: Path, named, shown
):
    before = recorded(database, two_sessions[0])
    done = cli(*ASK, "--session", "first", *named)
    assert_refused(done, 2, "organism cake_bake", shown, "leave out --session")
    assert recorded(database, two_sessions[0]) == before


def test_trust_is_not_taken_from_the_record(cli: RunCli, database: Path):
    began = json.loads(cli(*ASK, "--demo", "--trust-remote-code").stdout)["session"]
    assert cli(*ASK, "--session", "last").returncode == 0
    assert cli(*ASK, "--session", "last", "--trust-remote-code").returncode == 0
    assert [one["trust_remote_code"] for one in loads(database, began)] == [True, False, True]


def test_a_session_whose_layer_is_too_deep_records_nothing(
    cli: RunCli, two_sessions, database: Path
):
    before = recorded(database)
    assert_refused(cli("diff", "--session", "last", "--layer", "99"), 2, "'99'", "0 to 5")
    assert recorded(database) == before


# --- stdin ----------------------------------------------------------------------------------------


def prompts_of(done) -> list[str]:
    assert done.returncode == 0, done.stderr
    return list(dict.fromkeys(text["prompt"] for text in json.loads(done.stdout)["texts"]))


@pytest.mark.parametrize(
    ("arguments", "piped", "prompts"),
    [
        (["ask", "-"], "What is\nthis?\n", ["What is\nthis?"]),
        (["ask", "--raw", "-"], "Once", ["Once"]),
        (
            ["steer", "--texts", "16", "--prompt", "-", "--prompt", "Two?"],
            "One?\n",
            ["One?", "Two?"],
        ),
        (["steer", "--texts", "16", "--prompts", "-"], "One?\n\nTwo?\n", ["One?", "Two?"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_prompts_come_from_stdin_and_are_recorded(
    cli: RunCli, tmp_path: Path, arguments, piped, prompts
):
    file = tmp_path / "piped"
    file.write_text(piped)
    with file.open() as stdin:
        done = cli(*arguments, "--demo", "--tokens", "2", "--json", stdin=stdin.fileno())
    assert prompts_of(done) == prompts


@pytest.mark.parametrize(
    ("arguments", "piped", "shown"),
    [
        (["ask", "-"], b"", "holds no text"),
        (["ask", "-"], b"\xff\xfe", "UTF-8"),
        (["ask", "-", "--system", "-"], b"Hi", "once"),
        (["steer", "--prompts", "-"], b" \n", "holds no text"),
    ],
    ids=["empty", "binary", "twice", "blank"],
)
def test_what_stdin_cannot_give_is_refused(
    cli: RunCli, tmp_path: Path, database: Path, arguments, piped, shown
):
    file = tmp_path / "piped"
    file.write_bytes(piped)
    with file.open() as stdin:
        assert_refused(cli(*arguments, "--demo", stdin=stdin.fileno()), 2, shown)
    assert not database.exists()


@pytest.mark.slow
def test_a_pipe_of_the_shell_is_read_as_a_file(tmp_path: Path, database: Path):
    script = (
        'exec "$@" --prompts <(printf "One?\\nTwo?\\n")'
        ' --corpus <(seq -f "text number %g of many" 1 40)'
    )
    command = [*PLANTED, "steer", "--demo", "--texts", "16", "--tokens", "2", "--json"]
    done = subprocess.run(
        ["bash", "-c", script, "bash", *command],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=ROOT,
        env=environment(),
    )
    assert prompts_of(done) == ["One?", "Two?"]
    (measured,) = [e.body for e in recorded(database) if e.body.kind == "difference_measured"]
    assert measured.corpus["chosen"] == 16


# --- stdout ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_single_answer_is_printed_by_itself(cli: RunCli):
    asked = ["ask", "Hi", "--demo", "--side", "finetuned", "--tokens", "3", "--seed", "5"]
    text = json.loads(cli(*asked, "--json").stdout)["texts"][0]["text"]
    assert cli(*asked).stdout == f"{text}\n"
    steered = ["steer", *DEMO, "--prompt", "Hi", "--alpha", "0.3", "--tokens", "3"]
    text = json.loads(cli(*steered, "--json").stdout)["texts"][0]["text"]
    assert cli(*steered).stdout == f"{text}\n"


def rows(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines() if not line.startswith("# ")]


def test_tables_are_tab_separated_where_stdout_is_no_terminal(cli: RunCli, two_sessions):
    listed = rows(cli("sessions", "list").stdout)
    assert listed[0] == ["session", "name", "pair", "events", "last event", "outcome"]
    assert [row[0] for row in listed[1:]] == list(reversed(two_sessions))
    shown = rows(cli("sessions", "show", "second").stdout)
    assert {len(row) for row in shown} == {5}
    assert shown[0] == ["seq", "time", "who", "kind", "what"]
    measured = cli("diff", *DEMO).stdout
    assert measured.startswith("# difference over 16 texts")
    sites = rows(measured)
    assert sites[0][:3] == ["layer", "position", "norm"]
    assert [row[1] for row in sites[1:]] == ["0", "1", "2", "3", "4"]
    assert {len(row) for row in sites} == {7}
    organisms = rows(cli("organisms", "list").stdout)
    assert organisms[0] == ["organism", "family", "base", "origin"]
    assert {row[3] for row in organisms[1:]} == {"bundled"}


def test_a_cell_cannot_make_a_column(cli: RunCli):
    done = cli("ask", "a\tb", "--demo", "--tokens", "2", "--name", "tab\there\nand")
    assert done.returncode == 0, done.stderr
    (_, row) = rows(cli("sessions", "list").stdout)
    assert len(row) == 6
    assert row[1] == "tab␉here␊and"


LOADING = """
import logging, sys, warnings
from workbench.cli.guard import quieten_libraries
quieten_libraries()
def warned_in(module):
    exec("import warnings; warnings.warn('chatter of ' + __name__)", {"__name__": module})
warned_in("transformers.modeling_utils")
warned_in("torch.nn")
logging.basicConfig()
logging.getLogger("peft.tuners").warning("chatter of a logger")
from tqdm.auto import tqdm
list(tqdm(range(3), desc="chatter of a bar"))
warned_in("workbench.own")
"""


@pytest.mark.slow
def test_libraries_keep_their_remarks_to_themselves():
    done = subprocess.run(
        [sys.executable, "-c", LOADING],
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
        env=environment(TQDM_DISABLE=None),
    )
    assert "chatter of workbench.own" in done.stderr
    assert done.stderr.count("chatter") == 1, done.stderr
