"""What a prompt alone does not tell stands wherever its text is shown: nothing is changed unseen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adl.artifacts import ArrayCache
from tests.planted import PlantedPair
from tests.workbench.tui.conftest import PaneApp
from tests.workbench.tui.waiting import screen_text
from workbench.cli import show
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.generation import ASK, STEER, AskArguments, SteerArguments
from workbench.operations.running import Session, run
from workbench.report.content import build_report
from workbench.report.html import report_html
from workbench.report.markdown import report_markdown
from workbench.store.events import HUMAN
from workbench.store.log import SessionLog
from workbench.tui.panes.chat.export import conversation_text
from workbench.tui.panes.chat.render import Look, turn_blocks
from workbench.tui.panes.chat.turns import Turns
from workbench.tui.panes.steering.pane import SteeringPane
from workbench.tui.panes.steering.texts import as_text

MOVED = "the system turn was moved"
ENDED = "the thought is ended"
WORDS = ("thinking off", MOVED, ENDED)


class ChangingPair(PlantedPair):
    """Changes the chat of both sides, and that of base in one way more."""

    def chat(self, side, messages, *, prefill="", thinking="auto"):
        asked = super().chat(side, messages, prefill=prefill)
        return replace(asked, notes=(MOVED, ENDED) if side == "base" else (MOVED,))


@pytest.fixture
def session(tmp_path: Path):
    with SessionLog.open(tmp_path / "sessions.db") as log:
        made = Session(log, log.start_session("an audit"), ArrayCache(tmp_path), ChangingPair())
        run(made, MEASURE, MeasureArguments(layers=("3",), n_texts=16), actor=HUMAN)
        short = {"max_new_tokens": 2, "thinking": "off"}
        run(made, ASK, AskArguments(prompt="Hi", **short), actor=HUMAN)
        steered = SteerArguments(n_prompts=1, alphas=(0.3,), layer="3", side="base", **short)
        run(made, STEER, steered, actor=HUMAN)
        yield made


def asked_and_steered(session: Session):
    texts = list(session.state.texts.values())
    return [
        [text for text in texts if text.start.body.purpose == purpose]
        for purpose in ("ask", "steer")
    ]


def test_in_a_turn_of_the_chat_with_the_side_that_it_is_of(session: Session):
    turns = Turns()
    turns.take(session.state)
    (turn,) = turns
    lines = "\n".join(map(str, turn_blocks(turn, Look(100)))).split("\n")
    for line in ("prompt: thinking off", f"prompt: {MOVED}", f"prompt of base: {ENDED}"):
        assert line in lines
    written = conversation_text("A chat", [(turn, None)], None)
    assert written.count(f"- {MOVED}") == 2
    assert written.count(f"- {ENDED}") == 1


async def test_above_a_steered_text(session: Session):
    app = PaneApp(SteeringPane, session.state)
    async with app.run_test(size=(120, 40)):
        shown = screen_text(app)
        assert all(words in shown for words in WORDS)


def test_in_copies_commands_and_reports(session: Session, capsys: pytest.CaptureFixture[str]):
    asked, steered = asked_and_steered(session)
    assert steered
    copied = as_text(steered)
    for text in asked:
        show.texts(session.state, [text.start.body.text_id])
    printed = " ".join(capsys.readouterr().out.split())
    report = build_report(session.log, session.id)
    for place in (copied, printed, report_markdown(report), report_html(report)):
        assert all(words in place for words in WORDS)
