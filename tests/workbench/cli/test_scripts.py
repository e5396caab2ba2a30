"""What scripts lean on: a session's own pair, prompts from stdin, plain text and tables on stdout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.workbench.cli.conftest import RunCli, recorded
from tests.workbench.cli.test_bad_input import assert_refused
from workbench.operations.pair import LOAD

ASK = ["ask", "Hi", "--tokens", "2", "--json"]


def loads(database: Path, session: str) -> list[dict]:
    return [
        event.body.arguments
        for event in recorded(database, session)
        if event.body.kind == "operation_started" and event.body.operation == LOAD.name
    ]


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
