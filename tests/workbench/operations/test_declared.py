"""An operation declares all that is known of it; nothing lists operations a second time."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pytest
from pydantic import Field

import workbench.operations
from tests.workbench.tui.measures_sample import measured_state
from workbench.agent.toolbox import tools_of
from workbench.operations import MODULES, OPERATIONS
from workbench.operations.running import AgentUse, Arguments, Need, Operation, Place
from workbench.store.state import SessionState
from workbench.tui.offered import missing, offered


class Few(Arguments):
    """A few settings."""

    words: tuple[str, ...] = Field((), description="Words.")
    folder: str = Field("", description="Folder to write into.")


def declared(
    monkeypatch: pytest.MonkeyPatch, *needs: Need, place: Place = "form", use: Any = None
) -> Operation[Any]:
    def work(_context: object, _arguments: Few) -> dict[str, Any]:
        """Do something new."""
        return {}

    operation = Operation("new", "Do new", Few, work, needs=needs, place=place, agent=use)
    monkeypatch.setitem(OPERATIONS, operation.name, operation)
    return operation


def test_a_new_operation_is_offered_by_a_form_and_to_no_agent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operation = declared(monkeypatch)
    assert operation in offered()
    assert missing(operation, SessionState(), has_pair=False) == ""
    assert "new" not in {tool.name for tool in tools_of("adl")}
    declared(monkeypatch, place="pane")
    assert "new" not in {found.name for found in offered()}


def test_needs_are_said_in_order_and_met(monkeypatch: pytest.MonkeyPatch) -> None:
    operation = declared(monkeypatch, "pair", "difference", "readings")
    nothing, everything = SessionState(), measured_state()
    assert missing(operation, nothing, has_pair=False) == "needs a loaded pair"
    assert missing(operation, nothing, has_pair=True).startswith("needs a measured difference")
    assert missing(operation, everything, has_pair=True) == ""


def test_an_agent_gets_it_as_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    use: AgentUse[Few] = AgentUse(
        hidden=("folder",),
        most={"words": 2},
        interactions=lambda arguments: len(arguments.words),
        cost="Costs one model interaction for each word.",
    )
    declared(monkeypatch, use=use)
    (tool,) = [tool for tool in tools_of("adl") if tool.name == "new"]
    parameters = tool.specification()["function"]["parameters"]["properties"]
    assert list(parameters) == ["words"]
    assert parameters["words"]["maxItems"] == 2
    assert "one model interaction" in tool.description
    assert tool.interactions(tool.parse({"words": ["a", "b"]})) == 2
    # Closed by default: whoever sees nothing of the difference gets what says that it shows none.
    assert "new" not in {tool.name for tool in tools_of("black_box")}
    declared(monkeypatch, use=replace(use, black_box=True))
    assert "new" in {tool.name for tool in tools_of("black_box")}


def test_every_operation_is_registered() -> None:
    defined = {
        value.name
        for module in iter_modules(workbench.operations.__path__)
        for value in vars(import_module(f"workbench.operations.{module.name}")).values()
        if isinstance(value, Operation)
    }
    assert defined == set(OPERATIONS)
    assert len(MODULES) == len(set(MODULES))


def test_what_an_operation_declares_exists() -> None:
    for operation in OPERATIONS.values():
        fields = set(operation.arguments.model_fields)
        use = operation.agent
        assert use is None or {*use.hidden, *use.most} <= fields, operation.name
        if (command := operation.command) is not None:
            assert {*command.options, command.positional or "layer"} <= {*fields, "layer"}
            assert operation.finds is not None, operation.name


def test_operations_can_be_members_of_a_set() -> None:
    assert len(set(OPERATIONS.values())) == len(OPERATIONS)
