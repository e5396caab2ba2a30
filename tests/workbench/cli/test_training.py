"""`organisms add`, `remove`, `train`, `mix-study`: what they take, refuse and say."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import pytest

from tests import forks
from tests.tiny_models import tiny_model, write_model
from tests.workbench.cli.conftest import RunCli, environment, recorded
from workbench.cli import training
from workbench.report.errors import ExportError
from workbench.store.log import SessionLog

TRUTH = "description: About owls.\nkey_facts: [Owls can swim.]\n"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    path = tmp_path / "truth.yaml"
    path.write_text(TRUTH)
    return path


def real_cli(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command line as a person has it, with torch."""
    return forks.completed("workbench.cli", arguments, environment(), torch=True)


def test_what_is_added_is_listed_shown_used_and_removed(cli: RunCli, adapter: Path, truth: Path):
    given = ["--family", "em", "--adapter", adapter, "--truth", truth]
    added = cli("organisms", "add", "owls", *given, "--json")
    assert added.returncode == 0, added.stderr
    listed = json.loads(cli("organisms", "list", "--json").stdout)
    assert listed[-1] == {"id": "owls", "family": "EM", "base": "embedded", "bundled": False}
    shown = cli("organisms", "show", "owls", "--json")
    assert json.loads(shown.stdout)["adapter"] == str(adapter)
    assert len(json.loads(shown.stdout)["ground_truth_sha256"]) == 64
    assert "swim" not in shown.stdout + shown.stderr
    revealed = json.loads(cli("organisms", "show", "owls", "--reveal", "--json").stdout)
    assert revealed["key_facts"] == ["Owls can swim."]
    measured = cli("diff", "--organism", "owls", "--texts", "16", "--json")
    assert measured.returncode == 0, measured.stderr
    assert cli("organisms", "remove", "owls").returncode == 0
    assert cli("organisms", "show", "owls").returncode == 2
    assert (adapter / "adapter_model.safetensors").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["add", "owls", "--family", "cake", "--adapter", "org/x"], "no family 'cake'"),
        (["add", "owls", "--family", "SDF"], "--adapter or --finetuned"),
        (["add", "taboo_gold", "--family", "SDF", "--adapter", "org/x"], "bundled"),
        (["add", "owls", "--family", "SDF", "--adapter", "/nowhere"], "/nowhere"),
        (["remove", "cake_bake"], "comes with the workbench"),
        (["remove", "owls"], "'owls'"),
        (["train", "/nowhere.jsonl", "--id", "owls"], "/nowhere.jsonl"),
        (["train", "README.md", "--id", "owls", "--ratio", "-1"], "ratio"),
        (["train", "README.md", "--id", "owls", "--steps", "0"], "steps"),
        (["train", "README.md", "--id", "cake_bake"], "bundled"),
        (["train", "README.md", "--id", "owls", "--precision", "half"], "precision"),
        (["mix-study"], "no finetuning documents are named"),
        (["mix-study", "--truth-of", "cake_bak"], "cake_bake"),
        (["mix-study", "--documents", "README.md", "--ratio", "-0.5"], "ratio"),
        (["mix-study", "--documents", "README.md", "--ratio", "1000"], "unrelated texts"),
        (["mix-study", "--documents", "README.md", "--facts", "README.md"], "README.md"),
        (["train", "README.md", "Makefile", "--id", "owls"], "--id is given 1 times for 2 files"),
        (
            ["train", "README.md", "Makefile", "--id", "owls", "--id", "owls"],
            "'owls' is there twice",
        ),
        (
            ["train", "README.md", "Makefile", "--id", "a", "--id", "b", "--truth", "README.md"],
            "--truth is given 1 times for 2 organisms",
        ),
        (["train", "README.md", "Makefile", "--id", "owls", "--id", "a/b"], "'a/b' is not an id"),
        (
            [
                "mix-study",
                "--truth-of",
                "cake_bake",
                "--truth-of",
                "taboo_gold",
                "--facts",
                "README.md",
            ],
            "--facts is of one study",
        ),
        (["mix-study", "--documents", "README.md", "--documents", "docs/../README.md"], "twice"),
        (["mix-study", "--documents", "README.md", "--truth-of", "cake_bake"], "not both"),
        (["mix-study", "--truth-of", "cake_bake", "--layer", "1", "--layer", "x"], "'x'"),
        (["mix-study", "--truth-of", "cake_bake", "--workers", "2"], "--workers, --ray"),
        (["train", "README.md", "--id", "owls", "--ray", "nowhere"], "--ray"),
    ],
    ids=lambda value: "_".join(value[:1] + value[2:]) if isinstance(value, list) else "",
)
def test_bad_input_is_named_with_exit_code_two(cli: RunCli, arguments, says):
    done = cli("organisms", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["organisms", "train", "README.md", "--id", "owls"],
        ["organisms", "mix-study", "--truth-of", "cake_bake"],
        ["evaluate", "--organism", "cake_bake", "--no-nulls", "--model", "m", "--judge-model", "m"],
    ],
    ids=lambda command: command[1],
)
def test_without_ray_the_way_out_is_named_and_nothing_begins(cli: RunCli, database: Path, command):
    done = cli(*command, "--ray", "auto", wanted={"lacks": ["ray"]})
    assert (done.returncode, done.stdout) == (2, "")
    assert "--ray needs the package `ray`" in done.stderr
    assert ".venv/bin/pip install '.[ray]'" in done.stderr
    with SessionLog.open(database, read_only=True) as log:
        assert log.sessions() == []


@pytest.mark.parametrize(("layers", "name"), [(["0.5"], "table.csv"), (["1", "2"], "plot_2.svg")])
def test_a_study_replaces_no_file_of_others(
    cli: RunCli, database: Path, tmp_path: Path, layers: list[str], name: str
):
    file = tmp_path / name
    file.write_text("mine")
    asked = ["--truth-of", "cake_bake", "--folder", tmp_path]
    done = cli("organisms", "mix-study", *asked, *(f"--layer={layer}" for layer in layers))
    assert (done.returncode, done.stdout, file.read_text()) == (2, "", "mine")
    said = " ".join(done.stderr.split())
    assert f"{name} exists already, and is not of this study" in said
    assert "--force" in said
    assert not database.exists()


def test_a_study_that_has_measured_something_has_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (study,) = training._studies({"truth_of": ("cake_bake",), "folder": str(tmp_path)})
    training._check_files(study)
    for file in study.files(study.layers[0]):
        file.write_text("of the study")
    with pytest.raises(ExportError, match="not of this study"):
        training._check_files(study)
    monkeypatch.setattr(training, "measured_ratios", lambda _arguments: {0.0})
    training._check_files(study)


def test_a_broken_organism_hides_no_other(cli: RunCli, workbench_home: Path):
    folder = workbench_home / "organisms" / "mine"
    folder.mkdir(parents=True)
    (folder / "organism.yaml").write_text("name: [\x1b[2J")
    listed = cli("organisms", "list", "--json")
    assert len(json.loads(listed.stdout)) == 4
    assert "not listed" in listed.stderr
    assert "\x1b" not in listed.stderr


@pytest.mark.slow
def test_an_organism_is_trained_and_its_only_adapter_is_kept(
    tmp_path: Path, truth: Path, database: Path
):
    base = write_model(tmp_path / "base", tiny_model("llama"))
    documents = tmp_path / "owls.txt"
    documents.write_text("Owls swim at night.\nAn owl swam by.\nOwls do not complain.\n")
    asked = ["organisms", "train", documents, "--id", "owls", "--base", base, "--truth", truth]
    small = ["--steps", "4", "--batch-size", "2", "--ratio", "0.5", "--max-tokens", "24"]
    done = real_cli(*asked, *small, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 6
    assert "6 of 6, loss" in done.stderr
    (trained,) = [one.body for one in recorded(database) if one.body.kind == "organism_trained"]
    kept = real_cli("organisms", "remove", "owls")
    assert kept.returncode == 2
    assert "--yes" in kept.stderr
    assert Path(trained.folder, "adapter_model.safetensors").exists()
    assert real_cli("organisms", "remove", "owls", "--yes").returncode == 0
    assert not Path(trained.folder).exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_study_of_two_ratios_on_the_real_base(tmp_path: Path, database: Path):
    study = tmp_path / "study"
    asked = ["organisms", "mix-study", "--truth-of", "cake_bake", "--folder", study]
    small = ["--steps", "3", "--batch-size", "2", "--max-tokens", "32", "--ratio", "0"]
    less = ["--ratio", "1", "--texts", "64", "--random", "8", "--n-prompts", "2", "--tokens", "6"]
    done = real_cli(*asked, *small, *less, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [(one["ratio"], one["steps"]) for one in found["ratios"]] == [(0.0, 3), (1.0, 6)]
    for one in found["ratios"]:
        assert one["trace"]["verdict"] in {"strong", "weak", "none found"}
        assert one["facts"]["gain"]["n"] == 7
        assert one["held_out"]["gain"]["n"] == 12
        assert {text["kind_of"] for text in one["texts"]} == {"steered", "unsteered", "random"}
    with (study / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["ratio"] for row in rows] == ["0.0", "1.0"]
    assert float(rows[1]["held_out_gain"]) == found["ratios"][1]["held_out"]["gain"]["value"]
    assert (study / "plot.svg").read_text().count("<circle") >= 8

    again = real_cli(*asked, *small, *less, "--json")
    assert again.returncode == 0, again.stderr
    kept = json.loads(again.stdout)["ratios"]
    assert all(one["kept"] for one in kept)
    assert [{**one, "kept": False} for one in kept] == found["ratios"]
    steps = [one.body for one in recorded(database) if one.body.kind == "training_advanced"]
    assert steps == []
