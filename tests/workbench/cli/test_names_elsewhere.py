"""Names of a pair given by a file or the environment: arguments are seen by whoever runs ps."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from workbench.cli.options import named_elsewhere, pair_arguments
from workbench.cli.tree import app


@pytest.mark.parametrize("option", ["organism", "base", "adapter", "finetuned"])
def test_a_name_from_a_file_or_the_environment(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "name").write_text("me/cake_bake@main\n")
    monkeypatch.setenv("SUBJECT", "me/cake_bake@main")
    other = {"base": "some/base"} if option in {"adapter", "finetuned"} else {}
    if option == "base":
        other = {"adapter": "some/adapter"}
    for given in (f"@{tmp_path / 'name'}", "env:SUBJECT"):
        options = inspect.signature(pair_arguments).parameters.values()
        values = {one.name: None if one.default is one.empty else one.default for one in options}
        made = pair_arguments(**values | {option: given} | other)
        assert getattr(made, option) == "me/cake_bake@main"


@pytest.mark.parametrize("given", ["me/cake_bake@main", "/data/cake_bake", "embedded", "C:/models"])
def test_any_other_value_is_the_name(given: str):
    assert named_elsewhere(given, "--base") == given


def test_what_cannot_be_read_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EMPTY", " ")
    monkeypatch.delenv("MISSING", raising=False)
    (tmp_path / "two").write_text("one\ntwo\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    for given in (
        f"@{tmp_path}/none",
        f"@{tmp_path}",
        f"@{tmp_path}/two",
        f"@{tmp_path}/bytes",
        "env:EMPTY",
        "env:MISSING",
        "env:",
        "@",
    ):
        with pytest.raises(typer.BadParameter, match="--base: "):
            named_elsewhere(given, "--base")


def test_help_says_so():
    said = CliRunner().invoke(app, ["audit", "--help"], env={"COLUMNS": "200"})
    assert said.output.count("env:NAME") == 4
