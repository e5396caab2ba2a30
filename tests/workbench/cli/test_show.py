"""What people are shown of a session: the lists that were chosen last, layer by layer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from tests.planted_cli import HOSTILE
from tests.workbench.cli.conftest import DEMO, SMALL, RunCli, running
from tests.workbench.cli.test_untrusted import assert_shown
from workbench.cli import show
from workbench.store.events import HUMAN, Event, EventBody, ReadingTaken, ReadToken, SessionStarted
from workbench.store.log import SessionLog
from workbench.store.state import SessionState, fold


def reading(word: str, *, scale: float, chosen: bool = True, **changed) -> ReadingTaken:
    fields = {"reading": "consensus", "source": "difference", "side": "base", "layer": 2}
    return ReadingTaken(
        **fields | {"position": "1-4"} | changed,
        scale=scale,
        chosen=chosen,
        tokens=(ReadToken(id=1, text=word, score=1.0),),
    )


@pytest.fixture
def state_of(tmp_path):
    def make(*bodies: EventBody) -> SessionState:
        with SessionLog.open(tmp_path / "sessions.db") as log:
            session = log.start_session("s")
            for body in bodies:
                log.append(session, body, actor=HUMAN)
            events: list[Event] = list(log.events(session))
        assert isinstance(events[0].body, SessionStarted)
        return fold(events)

    return make


def words(lists: list[ReadingTaken]) -> list[str]:
    return [token.text for body in lists for token in body.tokens]


def test_of_two_choices_the_later_one_is_shown(state_of):
    state = state_of(
        reading("first", scale=0.2),
        reading("null", scale=0.2, source="random"),
        reading("second", scale=0.3),
        reading("unchosen", scale=0.4, chosen=False),
    )
    assert words(show.lists_at(state, "consensus", 2)) == ["second", "null"]


def test_a_choice_taken_back_to_an_earlier_scale_is_shown(state_of):
    state = state_of(
        reading("early", scale=0.2), reading("late", scale=0.3), reading("again", scale=0.2)
    )
    assert words(show.lists_at(state, "consensus", 2)) == ["again"]


def test_the_difference_comes_first_and_an_unknown_source_last(state_of):
    state = state_of(
        reading("later", scale=0.2, source="of a later version"),
        reading("control", scale=0.2, source="random"),
        reading("found", scale=0.2),
    )
    assert words(show.lists_at(state, "consensus", 2)) == ["found", "control", "later"]


def test_sites_are_not_mixed(state_of):
    state = state_of(
        reading("here", scale=0.2),
        reading("elsewhere", scale=0.3, layer=3),
        reading("there", scale=0.4, position="2"),
    )
    assert words(show.lists_at(state, "consensus", 2)) == ["here"]
    assert words(show.lists_at(state, "consensus", 3)) == ["elsewhere"]
    assert words(show.lists_at(state, "consensus", 2, "2")) == ["there"]
    data = show.reading_data(state, [3, 2], ["consensus"])
    assert [(one["layer"], one["tokens"][0]["text"]) for one in data] == [
        (3, "elsewhere"),
        (2, "here"),
    ]


def test_what_was_not_read_is_said_not_to_be_computed(state_of, capsys: pytest.CaptureFixture[str]):
    show.readings(state_of(reading("here", scale=0.2)), [2])
    printed = capsys.readouterr().out
    assert printed.count(show.NOT_COMPUTED) == 6
    assert "here" in printed


def test_a_hostile_token_of_a_list_is_shown_clean(state_of, capsys: pytest.CaptureFixture[str]):
    state = state_of(reading(HOSTILE, scale=0.2, source="random"), reading("\x1b", scale=0.1))
    show.readings(state, [2])
    assert_shown(capsys.readouterr().out)


@pytest.mark.slow
def test_layers_are_read_once_and_shown_apart(cli: RunCli):
    layers = ["--layer", "1", "--layer", "0.5", "--layer", "2"]
    human = cli("read", "logit_lens", *DEMO, *layers)
    assert human.returncode == 0, human.stderr
    assert [line for line in human.stdout.splitlines() if line.startswith("# ")] == [
        "# layer 1, position 1-4",
        "# layer 2, position 1-4",
    ]
    data = json.loads(cli("read", "logit-lens", *DEMO, *layers, "--json").stdout)
    assert [one["layer"] for one in data["readings"] if one["source"] == "difference"] == [1, 2]


@pytest.mark.slow
def test_an_audit_of_all_layers_measures_them_in_one_pass(database: Path):
    """As many uses of the models as for one layer; each layer is read.

    Which of them reads best is shown: tests/workbench/test_against_nulls.py.
    """
    passes = {}
    for named in ("1", "all"):
        with running(["audit", *SMALL, "--layers", named, "--name", named]) as work:
            passes[named] = work.read_to_end().count("use residual_sums")
            out, errors = work.process.communicate()
            assert work.process.wait() == 0, errors
    assert passes["1"] == passes["all"] > 0
    with SessionLog.open(database, read_only=True) as log:
        state = fold(log.events(log.find_session("all").id))
    (measured,) = state.differences.values()
    every = (0, 1, 2, 3, 4, 5)
    assert measured.body.layers == every
    taken = {(key.reading, key.layer) for key in state.readings if key.source == "difference"}
    # The planted finetuning begins above the first layer.
    assert {layer for reading, layer in taken if reading == "shift_lens"} == set(every[1:])
    assert all(f"# layer {layer}, position 1-4" in out for layer in every)
    steered = {text.start.body.layer for text in state.texts.values() if text.start.body.alpha}
    assert steered
    assert steered <= set(every[1:])


def test_prompts_are_headings_of_their_own(cli: RunCli):
    done = cli("ask", "--demo", "Say hello.", "--tokens", "2")
    lines = done.stdout.splitlines()
    assert lines[:3] == ["", "Say hello.", "  [base]"]
    assert "␊" not in done.stdout
    (parting,) = [line for line in lines if line.startswith("answers part ")]
    assert parting.endswith("(on unrelated text: not measured)")
    assert "`differ` measures it on unrelated text, to compare with." in lines
    assert done.stderr.startswith("load ...\nask base ...\nask finetuned ...\ncompare ...\n")


@pytest.mark.parametrize("side", ["base", "finetuned"])
def test_a_difference_is_shown_by_site(cli: RunCli, side):
    data = json.loads(cli("diff", *DEMO, "--positions", "3", "--json").stdout)["difference"]
    assert [(site["layer"], site["position"]) for site in data["sites"]] == [
        (2, "0"),
        (2, "1"),
        (2, "2"),
    ]
    # The attention sink at position 0 is larger than what follows, on either side.
    assert data["sites"][0][f"{side}_norm"] > 10 * data["sites"][1][f"{side}_norm"]


def test_rows_are_printed_as_they_come(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Console(highlight=False, force_terminal=True, color_system=None, width=80)
    monkeypatch.setattr(show, "stdout", terminal)

    def rows():
        for number in range(5):
            yield (
                str(number),
                "a very long name",
                "words " * 40 if number == 2 else "\x1b[31m\u6f22",
            )
            printed.append(capsys.readouterr().out)

    printed: list[str] = []
    show.stream(("n", "who", "what"), (3, 6), rows())
    assert all(
        f"{number}   \u2502 a very long name \u2502 " in printed[number] for number in range(5)
    )
    assert "\x1b" not in "".join(printed)
    assert max(map(len, "".join(printed).splitlines())) <= show.stdout.width + len("very long ")


def test_a_session_is_printed_event_by_event(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from workbench.cli import sessions
    from workbench.store.events import NoteWritten
    from workbench.store.rows import Entry

    path = tmp_path / "s.db"
    with SessionLog.open(path) as log:
        log.start_session("s", then=[Entry(NoteWritten(text=f"note {n}")) for n in range(2, 9)])
    events, before = SessionLog.events, []

    def watched(self, *arguments, **options):
        for event in events(self, *arguments, **options):
            yield event
            before.append(capsys.readouterr().out)

    monkeypatch.setattr(SessionLog, "events", watched)
    for json_wanted in (False, True):
        before.clear()
        sessions.show_session("last", path, None, json_wanted)
        whole = [*before, capsys.readouterr().out]
        assert all(f"note {number}" in whole[number - 1] for number in range(2, 9))
        if json_wanted:
            assert [one["seq"] for one in json.loads("".join(whole))["event_list"]] == [
                *range(1, 9)
            ]


NORMS = [
    (f"{at}", "finetuned less base", f"{at * 1234.5678:.4f}", "2026-03-14 15:09") for at in range(9)
]


@pytest.mark.parametrize("width", [200, 80, 60, 50, 40, 30, 12])
def test_numbers_and_times_are_never_broken(capsys, monkeypatch, width: int):
    terminal = Console(highlight=False, force_terminal=True, color_system=None, width=width)
    monkeypatch.setattr(show, "stdout", terminal)
    show.table(("position", "what was measured", "norm of the difference", "taken"), NORMS)
    printed = capsys.readouterr().out
    for position, _words, norm, taken in NORMS:
        (line,) = (
            line
            for line in printed.splitlines()
            if f"{norm}" in line.replace("│", " ").split() or f"\t{norm}\t" in line
        )
        assert taken in line
        assert position in line
    # As a table wherever the numbers leave room for words.
    assert ("│" in printed) == (width >= 60)
    assert "\t" in printed or max(map(len, printed.splitlines())) <= width
