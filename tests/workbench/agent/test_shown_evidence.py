"""What an agent with the lens is shown is computed alike for screen, command line and evaluation."""

from __future__ import annotations

from typing import Any

import pytest

from adl.errors import NotAvailable
from tests.planted import N_LAYERS
from workbench.agent.shown_evidence import STEERED_TOKENS, compute, missing_evidence
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.generation import STEER, SteerArguments
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.running import Arguments, Operation, Session, run
from workbench.operations.trace import TraceArguments
from workbench.operations.unprompted import UnpromptedArguments
from workbench.store.events import HUMAN
from workbench.store.state import SessionState

MIDDLE = str((N_LAYERS - 1) // 2)


def names(session: Session, measure: MeasureArguments | None = None) -> list[tuple[str, str]]:
    wanted = missing_evidence(session.state, N_LAYERS, measure)
    return [
        (operation.name, ",".join(getattr(asked, "layers", ())) or getattr(asked, "layer", ""))
        for operation, asked in wanted
    ]


def test_of_a_new_session_everything_is_missing(fresh: Session) -> None:
    assert names(fresh) == [
        ("measure_difference", "0.5"),
        ("read_tokens", MIDDLE),
        ("trace_strength", MIDDLE),
        ("steer", MIDDLE),
        ("steer", MIDDLE),
        ("unprompted", ""),
        ("phrases", ""),
    ]
    (_, measure), (_, read), (_, trace), (_, steer), (_, base), (_, texts), _ = missing_evidence(
        fresh.state,
        N_LAYERS,
        MeasureArguments(layers=("1",), corpus="own.txt", seed=7),
        n_prompts=3,
    )
    assert measure == MeasureArguments(layers=("1",), corpus="own.txt", seed=7)
    assert read == ReadArguments(layer="1", corpus="own.txt", seed=7)
    assert trace == TraceArguments(layers=("1",), corpus="own.txt", seed=7)
    assert steer == SteerArguments(
        layer="1", seed=7, n_prompts=3, alphas=(0.0, 0.1, 0.2), max_new_tokens=STEERED_TOKENS
    )
    assert base == steer.model_copy(update={"side": "base", "alphas": (0.0,)})
    assert isinstance(texts, UnpromptedArguments)
    assert texts.seed == 7


def test_of_a_computed_session_nothing_is_missing(session: Session) -> None:
    nothing = [("trace_strength", MIDDLE), ("unprompted", ""), ("phrases", "")]
    assert names(session) == nothing
    assert names(session, MeasureArguments(layers=("1",)))[:2] == [
        ("measure_difference", "1"),
        ("read_tokens", "1"),
    ]


def test_a_layer_measured_otherwise_is_read_and_steered_at(fresh: Session) -> None:
    run(fresh, MEASURE, MeasureArguments(layers=("1",), n_texts=8), actor=HUMAN)
    assert names(fresh)[:3] == [("read_tokens", "1"), ("trace_strength", "1"), ("steer", "1")]
    run(
        fresh,
        READ,
        ReadArguments(layer="1", n_texts=8, readings=("output_difference",)),
        actor=HUMAN,
    )
    run(fresh, STEER, SteerArguments(layer="1", n_prompts=1, max_new_tokens=2), actor=HUMAN)
    assert names(fresh) == [("trace_strength", "1"), ("unprompted", ""), ("phrases", "")]


def test_of_many_layers_the_first_is_not_steered_at_for_being_first(fresh: Session) -> None:
    """At layer 0 of the planted pair nothing differs: there is nothing to steer with."""
    asked = MeasureArguments(layers=("all",), n_texts=8)
    assert ("steer", str(N_LAYERS // 2)) in names(fresh, asked)
    assert ("trace_strength", str(N_LAYERS // 2)) in names(fresh, asked)


def test_what_an_overview_can_do_without_may_fail_and_the_rest_goes_on(fresh: Session) -> None:
    done: list[str] = []

    def failing(*names: str):
        def run_one(operation: Operation[Any], _arguments: Arguments) -> None:
            if operation.name in names:
                raise NotAvailable("not here", "Nothing to do.")
            done.append(operation.name)

        return run_one

    wanted = missing_evidence(fresh.state, N_LAYERS)
    compute(wanted, failing("trace_strength", "steer", "unprompted", "phrases"))
    assert done == ["measure_difference", "read_tokens"]
    with pytest.raises(NotAvailable):
        compute(wanted, failing("read_tokens"))


def test_before_a_pair_is_loaded_the_operations_are_known() -> None:
    wanted = missing_evidence(SessionState(), None)
    assert [operation.name for operation, _ in wanted] == [
        "measure_difference",
        "read_tokens",
        "trace_strength",
        "steer",
        "steer",
        "unprompted",
        "phrases",
    ]
