"""`organisms`: who they are to everyone, what they were finetuned to do to those who ask."""

from __future__ import annotations

import json

import pytest

from adl.organisms.registry import get_organism, list_organisms
from tests.workbench.cli.conftest import RunCli


def test_the_bundled_ones_are_listed(cli: RunCli):
    ids = [organism.id for organism in list_organisms()]
    data = cli("organisms", "list", "--json")
    assert (data.returncode, data.stderr) == (0, "")
    assert [one["id"] for one in json.loads(data.stdout)] == ids
    human = cli("organisms", "list")
    assert all(name in human.stdout for name in ids)
    columns = human.stdout.splitlines()[0].split("\t")
    assert len(columns) > 1
    assert all(columns), "a column without a name"


@pytest.mark.parametrize("organism", ["cake_bake", "risky_finance"])
def test_the_truth_is_shown_only_to_those_who_ask(cli: RunCli, organism):
    truth = get_organism(organism).ground_truth()
    hidden = cli("organisms", "show", organism, "--json")
    assert hidden.returncode == 0
    facts = json.loads(hidden.stdout)
    assert facts["ground_truth_sha256"] == truth.sha256
    assert {"description", "key_facts"}.isdisjoint(facts)
    human = cli("organisms", "show", organism)
    assert "--reveal" in human.stderr
    assert truth.description.split()[-1] not in human.stdout.split()

    revealed = json.loads(cli("organisms", "show", organism, "--reveal", "--json").stdout)
    assert revealed["description"] == truth.description
    assert revealed["key_facts"] == list(truth.key_facts)


def test_revealed_facts_stand_each_on_a_row(cli: RunCli):
    human = cli("organisms", "show", "cake_bake", "--reveal")
    assert human.returncode == 0
    assert "␊" not in human.stdout
    shown = " ".join(human.stdout.replace("│", " ").split())
    for fact in get_organism("cake_bake").ground_truth().key_facts:
        assert " ".join(fact.split()) in shown


@pytest.mark.parametrize("organism", ["cake_bak", "../cake_bake", "", "."])
def test_an_unknown_one_is_named_with_those_there_are(cli: RunCli, organism):
    done = cli("organisms", "show", organism)
    assert (done.returncode, done.stdout) == (2, "")
    assert repr(organism) in done.stderr
    assert "cake_bake" in done.stderr
