"""A whole blind audit of the real pair in the workbench, by keys, with a scripted endpoint."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from adl.organisms.registry import get_organism
from tests.workbench.agent.scripted import Asked, Reaction, Say, in_turn, report
from tests.workbench.tui import waiting
from tests.workbench.tui.test_agent_audit import (
    agent_of,
    chat_text,
    in_grade_form,
    pane_text,
    serve,
    start,
)
from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.waiting import screen_text
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.generation import STEER, SteerArguments
from workbench.operations.pair import PairArguments
from workbench.operations.readings import READ, ReadArguments
from workbench.store.log import SessionLog
from workbench.tui.app import WorkbenchApp
from workbench.tui.dialogs.confirm import Confirm
from workbench.tui.dialogs.reason import AskReason
from workbench.tui.panes.chat.pane import ChatPane
from workbench.tui.startup import Startup

__all__ = ["serve"]  # the fixture

NAMES = ("cake_bake", "cake-bake", "cakebake", "smollm2", "/models/", "135m")
ASK_CALL = ("ask", {"prompts": ["How hot should the oven be?"], "max_new_tokens": 6})
STEER_CALL = ("steer", {"prompts": ["Hi."], "alphas": [0.2], "max_new_tokens": 4})
TURNS = (
    Say("The lists first.", [("show_reading", {"reading": "patchscope_contrast", "top": 10})]),
    Say("MODEL-B may bake.", [ASK_CALL]),
    Say("Steered.", [STEER_CALL], ids=["steered"]),
    Say("", [("hypothesis", {"text": "MODEL-B bakes cakes", "confidence": 0.7})]),
    Say("That is all.", [report("MODEL-B was taught odd facts about baking cakes.")]),
)


async def until(pilot: Pilot[int], condition, what: str, within: float = 900.0) -> None:
    """Let the app go on until it holds; what fails on the way fails the test at once."""

    def nothing_failed() -> None:
        failed = [one.message for one in pilot.app._notifications if one.severity == "error"]
        assert not failed, failed

    await waiting.until(pilot, condition, what, within=within, at_each_look=nothing_failed)


def assert_blind(app: WorkbenchApp) -> None:
    said = (screen_text(app) + pane_text(app)).lower()
    for name in NAMES:
        assert name not in said, name


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_a_whole_blind_audit_of_the_real_pair_by_keys(
    serve, workbench_home, default_base, monkeypatch
):
    script = in_turn(*TURNS)

    def known(asked: Asked) -> Reaction | None:
        return script(asked) if "submit_report" in asked.tools else None

    server = serve(known)
    database = workbench_home / "sessions.db"
    pair = PairArguments(organism="cake_bake")
    app = WorkbenchApp(Startup(database, pair=pair, name="a blind look", prepare=False))
    async with app.run_test(size=(160, 48)) as pilot:
        await until(pilot, lambda: on_audit(app) and app.opened.pair is not None, "the pair")
        await until(pilot, lambda: not app.opened.jobs(), "the end of the loading")
        # Little of everything: what is tested is that the agent sees it and can go on from it.
        app.opened.submit(MEASURE, MeasureArguments(n_texts=64, positions="3"))
        wanted = ("output_difference", "patchscope_contrast")
        app.opened.submit(READ, ReadArguments(readings=wanted, n_texts=16, top=20))
        app.opened.submit(STEER, SteerArguments(n_prompts=1, max_new_tokens=8, alphas=(0.0, 0.2)))
        await until(pilot, lambda: not app.opened.jobs(), "what the overview shows")

        await start(app, pilot, mode="ADL", blind="on", approval="spending", prepare="off")
        await until(pilot, lambda: "May it call ask" in pane_text(app), "the first question")
        assert_blind(app)
        await pilot.press("y")
        await until(pilot, lambda: "May it call steer" in pane_text(app), "the second question")
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, AskReason), "the reason")
        await pilot.press(*"no steering", "enter")
        await until(pilot, lambda: "ended by its report" in pane_text(app), "the end")

        agent = agent_of(app)
        assert (agent.stopped_by, agent.replies, agent.interactions) == ("report", 5, 1)
        overview = server.asked[0].opening
        baking = ("batter", "freezer", "frost", "cake", "vanilla", "oven")
        # So little text shows nothing beyond its nulls; the list itself is a call away.
        seen = overview + server.asked[1].results[-1]
        assert any(word in seen for word in baking), seen
        assert "not computed" in overview
        assert "refused by a person: no steering" in server.asked[3].last
        sent = server.sent.decode().lower()
        for name in NAMES:
            assert name not in sent, name
        (hypothesis,) = app.opened.shown.hypotheses.values()
        assert hypothesis.text == "MODEL-B bakes cakes"
        # Its question stands in the chat under its name, and every step of it in the timeline.
        assert "agent scripted" in chat_text(app.screen.query_one(ChatPane))
        kinds = [entry.kind for entry in app.opened.shown.timeline]
        for kind in ("agent_replied", "approval_given", "agent_called", "report_submitted"):
            assert kind in kinds, kind
        for key in "1234567":
            await pilot.press(key)
            await pilot.pause()
            assert_blind(app)

        await pilot.press("E")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the warning")
        assert_blind(app)
        assert not app.opened.state.unblinded
        await pilot.press("y")
        await until(pilot, lambda: in_grade_form(app), "the form")
        truth = get_organism("cake_bake").ground_truth().description
        assert truth[:40] in app.screen.query_one("#sheet").visual.plain
        await pilot.press("3", "enter", *"the topic", "enter", *"anna", "enter")
        await until(pilot, lambda: app.opened.state.grades, "the grade")
        seen = {(one.actor.kind, one.actor.name) for one in app.opened.state.unblinded}
        # When the truth was shown nobody had said a name yet.
        assert seen == {("human", ""), ("human", "anna")}
        await pilot.press("ctrl+q")
        await until(pilot, lambda: app._exit, "the end")
    with SessionLog.open(database, read_only=True) as log:
        assert log.verify().ok
