"""`--judge`: an LLM chooses scales, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.workbench.agent.scripted import KEY, Say, serving
from tests.workbench.cli.conftest import DEMO, RunCli, recorded

READ = ["read", "patchscope", *DEMO, "--position", "1-4", "--json"]


@pytest.mark.slow
def test_a_judge_chooses_the_scale_of_a_reading(cli: RunCli, database: Path):
    script = lambda _: Say("", [("choose_list", {"number": 4, "topic": "kitchens"})])  # noqa: E731
    with serving(script) as server:
        env = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": KEY}
        done = cli(*READ, "--judge", "clever", env=env)
        assert done.returncode == 0, done.stderr
        set_judge = env | {"ADL_WORKBENCH_JUDGE_MODEL": "from the settings"}
        again = cli(*READ, "--judge", "set", env=set_judge)
        assert again.returncode == 0, again.stderr
    models = {asked.body["model"] for asked in server.asked}
    assert models == {"clever", "from the settings"}
    chosen = {
        one["chosen_by"]
        for one in json.loads(done.stdout)["readings"]
        if one["source"] == "difference"
    }
    assert chosen == {"judge"}
    judged = [event.body for event in recorded(database) if event.body.kind == "scale_judged"]
    assert judged
    assert all(one.scale == one.scales[3] for one in judged)
    assert KEY.encode() not in database.read_bytes()


def test_a_judge_without_a_key_is_refused_before_anything_is_loaded(cli: RunCli, database: Path):
    done = cli(*READ, "--judge", "clever")
    assert done.returncode == 2
    assert "OPENAI_API_KEY" in done.stderr
    done = cli(*READ, "--judge", "set", env={"OPENAI_API_KEY": KEY})
    assert done.returncode == 2
    assert "ADL_WORKBENCH_JUDGE_MODEL" in done.stderr
    assert not database.exists()


@pytest.mark.slow
def test_a_judge_reads_steered_texts_and_both_verdicts_stand(cli: RunCli, database: Path):
    def script(asked):
        if asked.tools != ["judge_text", "read_material"]:
            return None
        # What it is shown is a prompt and a text inside the fence, and no alpha.
        assert "alpha" not in asked.results[0]
        return Say("", [("judge_text", {"coherent": "cake" not in asked.results[0]})])

    with serving(script) as server:
        env = {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": KEY}
        wanted = ["--rounds", "0", "--alpha", "0.2", "--n-prompts", "5", "--tokens", "4", "--json"]
        done = cli("coherent-alpha", *DEMO, *wanted, "--judge", "clever", env=env)
        assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["judge"] == "clever"
    assert {one["llm"] for one in found["texts"]} <= {True, False}
    assert found["agreement"]["n"] == len(found["texts"]) == 20
    # Each text is asked about once, however often it was written.
    said = {text.body.text for text in recorded(database) if text.body.kind == "text_finished"}
    assert len(said) <= len(server.asked) <= len(found["texts"])
