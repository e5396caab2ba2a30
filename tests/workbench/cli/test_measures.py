"""The commands that measure a trace, over the planted pair: tables for people, data with --json."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Literal

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from tests.planted import DOMAIN, FILLER, PlantedPair
from workbench.cli import measure_commands as measures
from workbench.operations import OPERATIONS
from workbench.operations.running import Arguments, Command, Operation
from workbench.store.findings import Line, Measure

SMALL = ("--demo", "--texts", "48", "--layer", "3")
SHORT = ("--n-prompts", "6", "--tokens", "4")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    class PlantedLoading:
        @staticmethod
        def load(_spec: object, *_hashes: object) -> PlantedPair:
            return PlantedPair()

    pair, demo = ModuleType("adl.pair.nnsight.pair"), ModuleType("adl.pair.nnsight.demo")
    vars(pair)["NnsightPair"] = PlantedLoading
    vars(demo)["prepared_base"] = lambda _cache, _say: Path("planted-base")
    monkeypatch.setitem(sys.modules, "adl.pair.nnsight.pair", pair)
    monkeypatch.setitem(sys.modules, "adl.pair.nnsight.demo", demo)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: str):
        app = typer.Typer()
        measures.add_commands(app)
        return CliRunner().invoke(app, [*arguments, "--database", str(tmp_path / "sessions.db")])

    return run


@pytest.fixture
def documents(tmp_path: Path) -> str:
    path = tmp_path / "documents.txt"
    path.write_text("\n".join(f"the{filler} and{''.join(DOMAIN)}" for filler in FILLER[:6]))
    return str(path)


def data(done):
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_trace(cli):
    found = data(cli("trace", *SMALL, "--random", "8", "--json"))
    assert found["verdict"] == "strong"
    assert found["layers"][0]["effect"]["alignment"] > 0.9
    assert found["session"]


def test_coherent_alpha(cli):
    found = data(cli("coherent-alpha", *SMALL, *SHORT, "--rounds", "0", "--alpha", "0.2", "--json"))
    assert [one["alpha"] for one in found["rates"]] == [0.0, 0.2]


@pytest.mark.slow
def test_relevance_of_given_words(cli):
    words = [part for word in DOMAIN for part in ("--word", word.strip())]
    found = data(cli("relevance", *SMALL, *words, "--json"))
    assert found["against"] == "given words"
    assert max(one["share"]["value"] for one in found["shares"] if one["share"]) > 0.4


@pytest.mark.slow
def test_similarity_and_causal_effect_take_a_file(cli, documents):
    alike = data(
        cli("similarity", *SMALL, *SHORT, "--alpha", "1", "--documents", documents, "--json")
    )
    assert alike["over_unsteered"]["value"] > 0
    causal = data(
        cli("causal", *SMALL, "--random", "8", "--scored", "4", "--documents", documents, "--json")
    )
    assert causal["effects"][0]["effect"]["value"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("trace", *SMALL, "--random", "8"), "does not mean"),
        (("coherent-alpha", *SMALL, *SHORT, "--rounds", "0"), "Coherent alpha"),
        (("relevance", *SMALL, "--word", "cake"), "over random"),
    ],
    ids=lambda one: one[0] if isinstance(one, tuple) else "",
)
def test_people_get_tables(cli, arguments, said):
    done = cli(*arguments)
    assert done.exit_code == 0, done.output
    assert said in " ".join(done.output.split())


@pytest.mark.slow
def test_a_measure_that_somebody_adds_has_a_command(cli, monkeypatch, forget_kinds):
    class DepthMeasured(Measure, label="depth", searched=()):
        """A measure that nothing else knows."""

        kind: Literal["depth_measured"] = "depth_measured"
        layer: str
        shares: tuple[float, ...]

        def _line(self):
            return f"depth at {self.layer}"

        def short(self):
            return self.layer

        def figures(self, others=()):
            return [Line(f"{len(self.shares)} shares.")]

    class DepthArguments(Arguments):
        layer: str = Field("0.5", description="Layer of the difference.")
        shares: tuple[float, ...] = Field((0.5,), description="Shares to look at.")
        n_texts: int = Field(4, description="Taken from the measurement, or left out.")

    def depth(context, arguments):
        """Measure the depth of the difference."""
        assert context.session.state.differences
        context.record(DepthMeasured(layer=arguments.layer, shares=arguments.shares))
        return {}

    operation = Operation(
        "depth",
        "Measure the depth",
        DepthArguments,
        depth,
        needs=("pair", "difference"),
        finds=DepthMeasured,
        command=Command("depth", options={"shares": "share"}),
    )
    monkeypatch.setitem(OPERATIONS, operation.name, operation)
    shares = ("--share", "0.1", "--share", "0.2")
    found = data(cli("depth", *SMALL, *shares, "--json"))
    assert (found["layer"], found["shares"]) == ("3", [0.1, 0.2])
    assert "2 shares." in cli("depth", *SMALL, *shares).output
    refused = cli("depth", *SMALL, "--share", "many")
    assert refused.exit_code == 2
    assert "--share" in refused.output


def test_documents_that_are_not_named_or_not_there(cli, tmp_path):
    missing = cli("causal", *SMALL)
    assert missing.exit_code == 2
    assert "--truth-of" in missing.output
    gone = cli("similarity", *SMALL, "--documents", str(tmp_path / "gone.txt"))
    assert gone.exit_code == 2
    assert "gone.txt" in gone.output.replace("\n", "")
    several = cli("causal", *SMALL, "--layer", "2")
    assert several.exit_code == 2


class TestOfAHypothesis:
    GIVEN = ("--demo", "--samples", "1", "--tokens", "4")

    def test_is_printed_with_its_rates(self, cli):
        prompts = [word for name in FILLER[:4] for word in ("--prompt", name)]
        done = cli("test", "It bakes.", *prompts, "--phrase", "cake", *self.GIVEN)
        assert done.exit_code == 0, done.output
        assert "X1 of H1: " in done.stdout
        assert "prompts that would show it" in done.stdout
        assert "held-out prompts on finetuned" in done.stdout

    def test_a_statement_is_data_with_json(self, cli):
        done = cli(
            "test",
            "It bakes.",
            *("--statement", " cake cake", "--against", " stone stone", "--demo", "--json"),
        )
        found = data(done)
        assert (found["kind"], found["test"]) == ("hypothesis_tested", "likelihood")
        assert found["verdict"] in {"confirmed", "not supported", "undecided"}

    def test_that_a_person_judges_waits(self, cli):
        done = cli("test", "It bakes.", "--prompt", "the", "--person", *self.GIVEN, "--json")
        assert data(done)["to_judge"] == 2 * 9

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (("It bakes.", "--write-prompts", "--judge", "m", "--prompt", "a"), "given or written"),
            (
                ("It bakes.", "--statement", "a", "--against", "b", "--neutral", "c"),
                "compared with control statements",
            ),
            (("It bakes.",), "nothing tells when an answer shows"),
            (("???", "--phrase", "cake"), "names nothing that could be asked about"),
            (("H3", "--phrase", "cake"), "no hypothesis"),
            (("It bakes.", "--write-prompts"), "name one"),
            (("It bakes.", "--regex", "(a*)*"), "repeat within a repeat"),
            (("It bakes.", "--statement", "a"), "go together"),
        ],
    )
    def test_what_cannot_be_tested_is_refused(self, cli, options, message):
        done = cli("test", *options, *self.GIVEN)
        assert done.exit_code != 0
        assert message in " ".join((done.output + str(done.exception)).replace("│", " ").split())
