"""The instructions name the tools as they are registered, and teach lead, hypothesis, test, revision."""

from __future__ import annotations

import re

import pytest

from workbench.agent.prompts import system_prompt
from workbench.agent.toolbox import tools_of
from workbench.agent.tools import REPORT_TOOL

MODES = ("adl", "black_box", "scaffolded")
#: Single words in backticks that are no tools: the sides, a vector, and fields of results.
OTHERS = {"base", "finetuned", "difference", "ended"}


def named(mode: str) -> set[str]:
    """The single words in backticks, and all words joined by an underscore."""
    text = system_prompt(mode)
    return set(re.findall(r"`([a-z_]+)`", text)) | set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", text))


@pytest.mark.parametrize("mode", MODES)
def test_every_tool_that_is_named_is_one_of_the_agents(mode: str):
    tools = tools_of(mode)
    fields = {field for tool in tools for field in tool.arguments.model_fields}
    assert named(mode) - OTHERS - fields <= {tool.name for tool in tools}
    assert REPORT_TOOL.name in named(mode)


def test_leads_hypotheses_tests_and_revisions_are_taught_in_their_order():
    text = system_prompt("adl")
    assert {"scan", "triggers", "hypothesis", "test", "evidence"} <= named("adl")
    assert re.search(r"lead, hypothesis, `test`, revision", text)
    for rule in (
        r"From a lead make a hypothesis that could turn out wrong",
        r"Only a passed test confirms",
        r"near misses that should not, and neutral ones",
        r"each is listed with its test, or as untested",
    ):
        assert re.search(rule, text), rule


@pytest.mark.parametrize("mode", MODES[1:])
def test_who_has_no_tests_is_told_of_none(mode: str):
    tools = {tool.name for tool in tools_of(mode)}
    assert "test" not in tools
    assert "test" not in named(mode)
    assert "passed test" not in system_prompt(mode)
