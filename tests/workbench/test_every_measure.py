"""Every operation that finds something: recorded, replayed in three ways, shown, exported, commanded.

One session on the planted pair runs them all, as small as they may be. The operations are those of
the registry, so a new one is here by itself; what it has to be given stands in `SMALL`, by the name
of the field.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from adl.artifacts import ArrayCache
from tests.planted import DOMAIN, FILLER
from tests.workbench.cli.test_derived import COMMANDS, parameters_of
from tests.workbench.store.samples import text_started
from tests.workbench.tui.conftest import PLANTED, plant_models
from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.test_commands_palette import offered as palette
from tests.workbench.tui.test_flows import quit_it
from tests.workbench.tui.waiting import until
from workbench.cli import measure_commands, show
from workbench.cli.derived import NAMES
from workbench.locations import HOME_VARIABLE
from workbench.operations import OPERATIONS
from workbench.operations.difference import MeasureArguments
from workbench.operations.pair import LOAD, environment
from workbench.operations.running import Operation, Session, run
from workbench.replay.drift import drift
from workbench.replay.player import Player
from workbench.replay.recompute import DriftReport, recompute
from workbench.replay.recorder import CassetteReport, replay_cassette
from workbench.report.content import build_report
from workbench.report.html import report_html
from workbench.report.inspect_log import inspect_log
from workbench.report.jsonl import export_jsonl, import_jsonl
from workbench.report.markdown import report_markdown
from workbench.report.records import MeasureSection
from workbench.store.events import HUMAN, Event, TextFinished, TextStarted
from workbench.store.log import SessionLog
from workbench.store.state import fold
from workbench.tui.app import WorkbenchApp
from workbench.tui.measure_render import look
from workbench.tui.startup import Startup

#: Operations with findings that this session does without, each with the reason.
ELSEWHERE = {
    "train_organism": "trains with torch; tests/workbench/operations/test_training.py",
    "mix_study": "trains with torch; tests/workbench/operations/test_training.py",
}
#: Their findings are no measures but parts of the state, in panes and sections of the report.
PARTS = {
    "load_pair": "pair",
    "measure_difference": "differences",
    "read_tokens": "readings",
    "steer": "texts",
    "ask": "texts",
}
#: Asked for in a pane alone: the pane's key, and the words in the palette. A pair is loaded from the
#: start screen, before there is a palette of a session.
IN_PANES = {"steer": ("3", "Steer"), "ask": ("4", "Ask")}
#: Not computed again, with the reason: what it made stands in a file of the user.
NOT_AGAIN = {"style_bank"}

#: By the name of a field, whatever the operation: what it has to be given, and what keeps it small.
SMALL: dict[str, Any] = {
    **dict.fromkeys(("n_samples", "n_null"), 2),
    **dict.fromkeys(("n_passages", "n_unprompted", "n_random", "top"), 8),
    "max_new_tokens": 3,
    "alpha": 1.0,
    "alphas": (0.2,),
    "strengths": (2.0,),
    "rounds": 0,
    "n_texts": 48,
    "max_tokens": 24,
    "n_words": 20,
    "topics": 2,
    "layer": "3",
    "layers": ("3",),
    "readings": ("output_difference", "logit_lens"),
    "label": "planted",
    "starts": ("user_turn",),
    "prefixes": (" the oven",),
    "prompt": "What is in the garden?",
    "prompts": ("the river", "a window", "music in winter"),
    "neutral": ("the captain", "a letter", "the bridge"),
    "hypothesis": 'It bakes "cake".',
}


def finding_operations() -> list[Operation[Any]]:
    found = [each for each in OPERATIONS.values() if each.uses_models or each.finds is not None]
    assert {each.name for each in found} >= {*ELSEWHERE, *PARTS, *NOT_AGAIN}
    in_panes = {each.name for each in found if each.place == "pane"}
    assert in_panes == {*IN_PANES, LOAD.name}
    return [each for each in found if each.name not in ELSEWHERE]


FINDING = finding_operations()
every_operation = pytest.mark.parametrize("operation", FINDING, ids=lambda each: each.name)


def in_order() -> list[Operation[Any]]:
    """What others need comes first: the difference, then its lists, then the models' texts."""
    return sorted(FINDING, key=lambda each: "texts" in each.needs or "readings" in each.needs)


def given(operation: Operation[Any], documents: str) -> dict[str, Any]:
    if operation is LOAD:
        return PLANTED.model_dump(exclude_unset=True)
    values = {**SMALL, "documents": documents}
    return {name: values[name] for name in operation.arguments.model_fields if name in values}


@dataclass(frozen=True)
class Whole:
    """The session with every finding, and what the three replays and the exports made of it."""

    log: SessionLog
    session_id: str
    documents: str
    found: dict[str, list[Event]]
    "By operation: the events it recorded, but for its start and its end."
    tape: CassetteReport
    again: DriftReport
    sections: tuple[MeasureSection, ...]
    markdown: str
    html: str
    inspect: str
    jsonl: Path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    folder = tmp_path_factory.mktemp("whole")
    documents = folder / "documents.txt"
    documents.write_text("\n".join(f"the{word} and{''.join(DOMAIN)}" for word in FILLER[:6]))
    with (
        pytest.MonkeyPatch.context() as patch,
        SessionLog.open(folder / "sessions.db") as log,
    ):
        patch.setenv(HOME_VARIABLE, str(folder))
        plant_models(patch)
        session_id = log.start_session("every measure", environment(), HUMAN)
        session = Session(log, session_id, ArrayCache(folder / "arrays"))
        names = {}
        for operation in in_order():
            arguments = operation.arguments(**given(operation, str(documents)))
            done = run(session, operation, arguments, actor=HUMAN)
            names[done.operation_id] = operation.name
        assert log.verify().ok
        assert fold(log.events(session_id)).digest() == session.state.digest()
        found: dict[str, list[Event]] = {}
        for event in log.events(session_id):
            if not event.body.kind.startswith("operation_") and event.operation_id is not None:
                found.setdefault(names[event.operation_id], []).append(event)
        report = build_report(log, session_id)
        events = list(log.events(session_id))
        made = Whole(
            log,
            session_id,
            str(documents),
            found,
            replay_cassette(log, session_id),
            recompute(log, session_id),
            report.measures,
            report_markdown(report),
            report_html(report),
            inspect_log(session.state, events).model_dump_json(),
            export_jsonl(log, session_id, folder / "session.jsonl"),
        )
        patch.undo()  # before the first test is done: nothing of it may last
        yield made


def measure_of(whole: Whole, operation: Operation[Any]) -> Event:
    """The one finding of an operation that declares what it finds."""
    assert operation.finds is not None
    (event,) = [each for each in whole.found[operation.name] if type(each.body) is operation.finds]
    return event


@every_operation
def test_it_is_recorded_and_replayed_by_eye(whole: Whole, operation: Operation[Any]) -> None:
    player = Player.open(whole.log, whole.session_id)
    if (part := PARTS.get(operation.name)) is not None:
        seqs = [event.seq for event in whole.found[operation.name]]
        before, after = (getattr(player.seek(seq), part) for seq in (seqs[0] - 1, seqs[-1]))
        assert len(after) > len(before or ())
        return
    event = measure_of(whole, operation)
    assert event.body.describe()
    assert event.seq not in {each.seq for each in player.seek(event.seq - 1).measures}
    assert player.seek(event.seq).measures[-1].body == event.body


@every_operation
def test_the_tape_answers_it(whole: Whole, operation: Operation[Any]) -> None:
    assert whole.tape.left is None
    assert whole.tape.differs == ()
    assert whole.tape.answered == sum(each.uses_models for each in FINDING)
    ran = fold(whole.log.events(whole.tape.session)).operations.values()
    assert [each.status for each in ran if each.name == operation.name] == ["finished"]


def test_a_tape_names_what_is_counted_otherwise_now(
    whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.operations.phrases.phrases", lambda *_, **__: [])
    # Its summary, which stands with its operation, and its finding.
    assert replay_cassette(whole.log, whole.session_id).differs == ("operations", "measures")


@every_operation
def test_it_is_computed_again(whole: Whole, operation: Operation[Any]) -> None:
    (again,) = [each for each in whole.again.operations if each.name == operation.name]
    if operation.name in NOT_AGAIN:
        assert (again.now, again.why) == (
            "not run",
            "what it made is not in the session, but where it was put",
        )
        return
    assert (again.now, again.drifted, again.drift.lines) == ("finished", False, ())
    assert again.drift.compared >= 1 or operation is LOAD  # of a pair, `changed` says what differs
    assert whole.again.changed == ()


@every_operation
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_a_change_of_any_field_is_a_drift(whole: Whole, operation: Operation[Any]) -> None:
    seen = set[str]()
    for event in whole.found[operation.name]:
        body = event.body
        is_text = isinstance(body, (TextStarted, TextFinished))
        if body.kind in seen or not (body.group == "findings" or is_text):
            continue
        seen.add(body.kind)
        # A text is compared with what it was made with.
        beside = [text_started(body.text_id)] if isinstance(body, TextFinished) else []
        apart = {name for name, which in body.pointers.items() if which is True}
        for name in type(body).model_fields.keys() - apart - {"kind", "settings"}:
            other = body.model_copy(update={name: otherwise(getattr(body, name))})
            found = drift([*beside, body], [*beside, other], whole.log.array)
            assert not found.is_none, (body.kind, name)
        assert drift([*beside, body], [*beside, body], whole.log.array).is_none


def otherwise(value: Any) -> Any:
    """Something else than a value of a field; a number is missing."""
    if isinstance(value, float):
        return math.nan
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        return value + " other"
    if isinstance(value, dict):
        return dict(list(value.items())[:-1]) if value else {7: "other"}
    if isinstance(value, tuple):
        return value[:-1] if value else ("other",)
    return "other"


@every_operation
def test_it_is_in_the_report_and_the_exports(whole: Whole, operation: Operation[Any]) -> None:
    kinds = {event.body.kind for event in whole.found[operation.name]}
    exported = [json.loads(line) for line in whole.jsonl.read_text().splitlines()]
    assert kinds <= {line["body"]["kind"] for line in exported if line["line"] == "event"}
    if operation.name in PARTS:
        return  # its lists and texts are sections of their own: tests/workbench/report
    body = measure_of(whole, operation).body
    (section,) = [each for each in whole.sections if each.label == body.label]
    assert section.blocks
    for page in (whole.markdown, whole.html):
        assert body.label.casefold() in page.casefold()
    assert f'"kind":"{body.kind}"' in whole.inspect


def test_the_exported_session_is_read_again(whole: Whole, tmp_path: Path) -> None:
    with SessionLog.open(tmp_path / "sessions.db") as log:
        imported = import_jsonl(log, whole.jsonl)
        then, now = (fold(each.events(whole.session_id)) for each in (whole.log, log))
        assert imported == whole.session_id
        assert now.digest() == then.digest()


@every_operation
def test_the_screen_and_the_command_line_show_it(
    whole: Whole, operation: Operation[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    if operation.name in PARTS:
        return  # lists and texts: tests/workbench/tui/panes
    state = fold(whole.log.events(whole.session_id))
    event = measure_of(whole, operation)
    (recorded,) = [each for each in state.measures if each.seq == event.seq]
    assert recorded.body.short()
    for width in (48, 160):
        assert len(look(recorded, state, width).plain.split()) > 5
    show.finding(state, recorded.body)
    assert len(capsys.readouterr().out.split()) > 5


@pytest.fixture
def planted_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs that are loaded are planted ones, the demo's too."""
    plant_models(monkeypatch)
    demo = ModuleType("adl.pair.nnsight.demo")
    vars(demo)["prepared_base"] = lambda _cache, _show: Path("planted-base")
    monkeypatch.setitem(sys.modules, "adl.pair.nnsight.demo", demo)


async def test_the_palette_offers_each(whole: Whole, planted_demo: None, tmp_path: Path) -> None:
    database = whole.log.export_session(whole.session_id, tmp_path / "sessions.db")
    app = WorkbenchApp(Startup(database, session=whole.session_id, prepare=False))
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: on_audit(app) and app.opened.pair is not None, "the pair")
        await until(pilot, lambda: not app.screen._stoppable, "the end of the loading")
        titles = set(await palette(app))
        assert {f"{each.title} \u2026" for each in FINDING if each.place != "pane"} <= titles
        for key, title in IN_PANES.values():
            await pilot.press(key)
            assert title in await palette(app)
        await quit_it(pilot)


def test_each_has_a_command() -> None:
    commands = {COMMANDS[operation.name][0] for operation in FINDING}
    for command in commands:
        assert {"session", "database", "json"} <= parameters_of(command), command


@pytest.mark.parametrize(
    "operation", [each for each in FINDING if each.command], ids=lambda each: each.name
)
def test_its_command_prints_the_finding(
    whole: Whole, operation: Operation[Any], planted_demo: None, tmp_path: Path
) -> None:
    where = ("--database", str(tmp_path / "sessions.db"))
    app = typer.Typer()
    measure_commands.add_commands(app)
    if operation.needs == ("texts",):
        whole.log.export_session(whole.session_id, tmp_path / "sessions.db")
    done = CliRunner().invoke(app, [*words(operation, whole.documents), *where, "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert operation.finds is not None
    assert json.loads(done.stdout)["kind"] == operation.finds.model_fields["kind"].default


def words(operation: Operation[Any], documents: str) -> list[str]:
    """The command with its options, as a person would type them."""
    command = operation.command
    assert command is not None
    found, named = [command.name], {**NAMES, **command.options}
    measured: set[str] = set()
    if operation.needs != ("texts",):
        found.append("--demo")
    if {"difference", "readings"} & set(operation.needs):
        found += ["--texts", "48", "--layer", "3"]
        measured = {named.get(name, name) for name in MeasureArguments.model_fields}
    for name, value in given(operation, documents).items():
        option = named.get(name, name)
        values = value if isinstance(value, tuple) else (value,)
        if name == command.positional:
            found += map(str, values)
        elif option not in measured:
            for each in values:
                found += [f"--{option.replace('_', '-')}", str(each)]
    return found
