"""Faulty checkpoints on the command line: one line for a person, exit code 2, and a session that opens."""

from __future__ import annotations

import shutil

import pytest
from typer.testing import CliRunner

from tests.adl.test_checkpoints import FAULTS
from tests.tiny_models import write_family
from workbench.cli.tree import app

NAMED = (
    "weights cut short",
    "a shard is missing",
    "weights are a pointer",
    "no weights",
    "config cut short",
    "empty folder",
    "the folder links to itself",
    "a file",
    "weights are a folder",
    "an encoder and decoder",
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_family(tmp_path_factory.mktemp("llama"), "llama")


@pytest.mark.parametrize("fault", NAMED)
@pytest.mark.parametrize("side", ["--base", "--finetuned"])
def test_a_fault_ends_in_a_sentence(folders, tmp_path, fault, side):
    faulty = tmp_path / "faulty"
    shutil.copytree(folders.finetuned, faulty)
    spoil, message, _ = FAULTS[fault]
    spoil(faulty)
    given = {"--base": str(folders.base), "--finetuned": str(folders.finetuned)} | {
        side: str(faulty)
    }
    arguments = [word for pair in given.items() for word in pair]
    database = tmp_path / "sessions.db"
    done = CliRunner().invoke(app, ["diff", *arguments, "--database", str(database)])
    assert done.exit_code == 2, done.output
    told = " ".join(done.output.split())
    assert " ".join(message.split())[:40] in told
    assert "Traceback" not in told
    listed = CliRunner().invoke(app, ["sessions", "list", "--database", str(database)])
    assert listed.exit_code == 0
