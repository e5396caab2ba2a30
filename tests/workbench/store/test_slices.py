"""A field of the state is declared once: its slice has what changes it and how it is redacted."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from pydantic import BaseModel

from workbench.blinding.redact import StateRedactor, redaction_of
from workbench.report.example import opened_example
from workbench.store.agent_events import EvaluationCell
from workbench.store.body import KINDS, EventBody
from workbench.store.events import (
    NoteWritten,
    SessionContinued,
    SessionRenamed,
    SessionStarted,
    ViewSaved,
)
from workbench.store.log import SessionLog
from workbench.store.recorded import Recorded
from workbench.store.slices.slice import (
    SLICE,
    Growing,
    Items,
    Latest,
    Redaction,
    Slice,
    on,
    part,
    slices_of,
)
from workbench.store.state import SLICES, Fold, SessionState, fold

NAME, ALIAS = "org/cakebakers-7b", "MODEL-B"
REDACTIONS = set(get_args(Redaction))
BODIES = tuple(KINDS.values())


# --- every field ----------------------------------------------------------------------------------


def test_every_field_of_the_state_has_a_slice_with_a_redaction() -> None:
    assert list(SLICES) == [field.name for field in dataclasses.fields(SessionState)]
    for field in dataclasses.fields(SessionState):
        assert isinstance(field.metadata.get(SLICE), Slice), field.name
        assert redaction_of(field) in REDACTIONS, field.name


def test_a_field_without_a_slice_is_refused() -> None:
    @dataclass(frozen=True)
    class Wrong(SessionState):
        brand_new: str = ""

    with pytest.raises(TypeError, match="brand_new has no slice"):
        slices_of(Wrong)


def test_a_slice_without_a_redaction_is_refused() -> None:
    with pytest.raises(TypeError, match="redaction"):
        Latest("", take={})  # type: ignore[call-arg]


def test_a_slice_of_records_is_as_closed_as_its_events() -> None:
    """Whoever adds the next field of records: no name that is a word is told without a word."""

    def key(event: Any) -> Any:
        return event.body.cell

    assert Growing(EvaluationCell).redaction == "naming"
    assert Growing(NoteWritten, EvaluationCell).redaction == "naming"
    assert Growing(EventBody).redaction == "naming"
    assert Growing(EvaluationCell).copy().redaction == "naming"
    assert Items(put={EvaluationCell: key}).redaction == "naming"
    assert Items(put={NoteWritten: key, EvaluationCell: key}).redaction == "naming"

    class Marked(Items[str, Any]):
        @on(EvaluationCell)
        def _cell(self, event: Any) -> None:
            self.put(event.body.cell, event.body)

    assert Marked().redaction == "naming"
    # Of what is taken away, and of kinds that tell no name, nothing stands there.
    assert Items(put={NoteWritten: key}, drop={EvaluationCell: key}).redaction == "items"
    assert Growing(NoteWritten).redaction == "list"
    assert Growing().redaction == "list"
    assert Items().redaction == "items"


def test_no_field_of_records_is_more_open_than_its_events() -> None:
    """Kinds of event that were defined after the slice count, too."""
    # They keep of the end of a session only that it came.
    told = {"operations", "texts", "agents"}
    for name, empty in SLICES.items():
        if empty.redaction in {"list", "items"} and name not in told:
            assert not [kind for kind in empty.kinds() if KINDS[kind].is_naming], name


@pytest.mark.parametrize("name", SLICES)
def test_only_plain_fields_pass_a_name(name: str) -> None:
    """``plain`` is for numbers, times, and words that the program chose."""
    hints = get_type_hints(SessionState)
    if SLICES[name].redaction == "plain":
        assert name in {"seq", "session_id", "started_at", "last_at", "outcome"}, hints[name]


@pytest.mark.parametrize("name", [name for name in SLICES if SLICES[name].redaction == "naming"])
def test_what_a_naming_field_is_made_of_is_naming_as_an_event_too(name: str) -> None:
    """A session shows its events beside its state: what one hides the other does not tell."""
    for kind in SLICES[name].kinds():
        assert KINDS[kind].is_naming, kind


@pytest.mark.parametrize(
    "body",
    [
        SessionContinued(environment={"command": ["adl-workbench", "--organism", "gold"]}),
        ViewSaved(view={"pair": {"draft": "gold"}}),
    ],
    ids=lambda body: body.kind,
)
def test_an_event_hides_a_name_that_is_a_word_where_its_state_does(
    log: SessionLog, body: EventBody
) -> None:
    session = log.start_session("first")
    log.append(session, body)
    shown = StateRedactor({"gold": "MODEL-B"}).event(list(log.events(session))[-1])
    assert "gold" not in shown.body.model_dump_json()
    assert "MODEL-B" in shown.body.model_dump_json()


def test_every_field_has_an_event_that_changes_it() -> None:
    for name, empty in SLICES.items():
        changing = [
            body for body in BODIES if any(issubclass(body, kind) for kind in empty.handlers)
        ]
        assert changing, name


# --- the records inside ---------------------------------------------------------------------------


def records() -> list[type]:
    """Every class of record that a state may hold, at any depth."""
    found: dict[type, None] = {}

    def look(hint: Any) -> None:
        for inner in get_args(hint):
            look(inner)
        kind = get_origin(hint) or hint
        if not isinstance(kind, type) or kind in found or kind is Recorded:
            return
        if dataclasses.is_dataclass(kind) or issubclass(kind, BaseModel):
            found[kind] = None
            for inner in get_type_hints(kind).values():
                look(inner)

    for hint in get_type_hints(SessionState).values():
        look(hint)
    for body in BODIES:
        look(body)
    return list(found)


def test_the_records_of_a_state_are_found() -> None:
    names = {kind.__name__ for kind in records()}
    assert {"OperationState", "TextState", "AgentState", "HypothesisState"} <= names
    assert {"ReadingTaken", "Usage", "Actor"} <= names


def filled(hint: Any) -> Any:
    """A value of the kind with the name wherever text may be, and no number where it may not."""
    options = [inner for inner in get_args(hint) if inner is not NoneType]
    origin = get_origin(hint)
    if origin in {typing.Union, UnionType, typing.Annotated}:
        return filled(options[0])
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return {NAME: filled(options[1])}
    if origin is not None and isinstance(origin, type) and issubclass(origin, Sequence):
        return (filled(options[0]),)
    return NAME


@pytest.mark.parametrize("kind", records(), ids=lambda kind: kind.__name__)
def test_every_text_of_every_record_is_redacted(kind: type) -> None:
    """Whoever adds the next field to a record: it is hidden without a word about it."""
    redactor = StateRedactor({NAME: ALIAS})
    hints = {
        name: hint
        for name, hint in get_type_hints(kind).items()
        if name in getattr(kind, "model_fields", getattr(kind, "__dataclass_fields__", {}))
    }
    values = {name: filled(hint) for name, hint in hints.items()}
    made: Any
    if issubclass(kind, BaseModel):
        made = kind.model_construct(**values)
    else:
        made = object.__new__(kind)
        for name, value in values.items():
            object.__setattr__(made, name, value)
    shown = redactor.record(made)
    for name in hints:
        assert NAME not in repr(getattr(shown, name)), name
        assert ALIAS in repr(getattr(shown, name)), name


# --- slices themselves ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Small:
    seq: int = part(Latest(0, "plain", {BaseModel: lambda event: event.seq}))
    name: str = part(Latest("", "naming", {SessionStarted: lambda event: event.body.name}))
    notes: Any = part(Growing(NoteWritten))


def test_a_slice_starts_empty_and_copies_go_their_own_way(log: SessionLog) -> None:
    session = log.start_session("first")
    log.append(session, NoteWritten(text="a"))
    events = list(log.events(session))
    assert (Small().seq, Small().name, list(Small().notes)) == (0, "", [])
    for name, empty in slices_of(Small).items():
        running = empty.copy()
        for event in events:
            running.take(event)
        assert empty.value() == getattr(Small(), name)
        twin = running.copy()
        before = running.value()
        twin.take(events[-1])
        assert running.value() is before
        assert len(running.value()) == 1 if name == "notes" else running.value() == before


def test_a_marked_method_takes_its_kinds() -> None:
    class Counted(Items[str, int]):
        @on(NoteWritten, SessionRenamed)
        def _count(self, event: Any) -> None:
            self.put("n", self.items.get("n", 0) + 1)

    assert {NoteWritten, SessionRenamed} == set(Counted().handlers)
    assert not Items().handlers


@pytest.fixture(scope="module")
def example() -> Iterator[tuple[SessionLog, str]]:
    with opened_example() as opened:
        yield opened


def test_a_state_shares_what_an_event_does_not_change(example: tuple[SessionLog, str]) -> None:
    log, session = example
    folding = Fold()
    first, *events = log.events(session)
    folding.apply(first)
    before = folding.state()
    for event in events:
        folding.apply(event)
        after = folding.state()
        for name, empty in SLICES.items():
            touched = any(isinstance(event.body, kind) for kind in empty.handlers)
            if not touched:
                assert getattr(after, name) is getattr(before, name), (event.body.kind, name)
        before = after


@pytest.mark.slow
def test_a_copy_folds_on_to_the_same_digest(example: tuple[SessionLog, str]) -> None:
    log, session = example
    events = list(log.events(session))
    whole = fold(events).digest()
    first = Fold()
    for event in events[: len(events) // 2]:
        first.apply(event)
    halfway = first.state().digest()
    twin = first.copy()
    twin.apply_all(events[len(events) // 2 :])
    assert twin.state().digest() == whole
    assert first.state().digest() == halfway
    first.apply_all(events[len(events) // 2 :])
    assert first.state().digest() == whole
