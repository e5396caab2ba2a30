"""From a lead of a measure to a hypothesis and its test, by keys."""

from __future__ import annotations

import json

import pytest

from tests.workbench.tui.every_screen import CATALOGUE, ShownApp
from tests.workbench.tui.leads_sample import SCANNED, WORDS
from tests.workbench.tui.test_app import on_audit
from tests.workbench.tui.test_flows import quit_it
from tests.workbench.tui.test_measures_screen import loaded
from tests.workbench.tui.waiting import screen_text, until
from workbench.blinding.aliases import blinding_from
from workbench.blinding.seal import seal
from workbench.tui.dialogs.leads import LeadsDialog
from workbench.tui.panes.hypotheses.drafts import Drafts
from workbench.tui.panes.hypotheses.form import HypothesisForm
from workbench.tui.panes.hypotheses.pane import HypothesesPane
from workbench.tui.screens.measures import MeasuresScreen
from workbench.tui.screens.operation_form import OperationForm
from workbench.tui.widgets.menu import Menu


async def on_leads(pilot, finding) -> None:
    """The leads of a finding that was just recorded, by keys."""
    app = pilot.app
    await loaded(pilot)
    app.opened.session.record(finding)
    pane = app.screen.query_one(HypothesesPane)
    await until(pilot, lambda: pane.state.measures, "the finding")
    await pilot.press("f6")
    await until(pilot, lambda: isinstance(app.screen, MeasuresScreen), "the measures")
    await until(pilot, lambda: "o hypothesis" in screen_text(app), "the key")
    await pilot.press("o")
    await until(pilot, lambda: isinstance(app.screen, LeadsDialog), "the leads")
    await until(pilot, lambda: app.screen.query_one(Menu).has_focus, "the list")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("finding", "downs", "excerpt"),
    [(SCANNED, 0, "options, leverage, all of it"), (WORDS, 2, "soap")],
    ids=["cluster", "word"],
)
async def test_a_lead_becomes_a_hypothesis_that_the_next_key_tests(
    workbench, finding, downs, excerpt
):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await on_leads(pilot, finding)
        await pilot.press(*["down"] * downs)
        claim = finding.leads()[downs].claim
        await until(pilot, lambda: finding.leads()[downs].label in screen_text(app), "the lead")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, HypothesisForm), "the form")
        # The text of the lead, to be changed before it is added.
        await pilot.press(*" always", "ctrl+j")
        await until(pilot, lambda: app.opened.state.hypotheses, "the hypothesis")
        await until(pilot, lambda: on_audit(app), "the panes")
        hypothesis = app.opened.state.hypotheses["H1"]
        assert hypothesis.text == f"{claim} always"
        assert dict(hypothesis.evidence) == {"E1": "for"}
        mark = app.opened.state.evidence["E1"].body
        assert (mark.excerpt, mark.of_seq) == (excerpt, app.opened.state.measures[0].seq)
        pane = app.screen.query_one(HypothesesPane)
        await until(pilot, lambda: pane.selected == "H1", "the selection")
        await until(pilot, lambda: pane.has_class("-current"), "the pane")
        await pilot.press("%")
        await until(pilot, lambda: isinstance(app.screen, OperationForm), "the test")
        assert app.screen.typed()["hypothesis"] == "H1"
        await pilot.press("escape")
        await quit_it(pilot)


@pytest.mark.slow
async def test_a_lead_that_is_left_states_nothing_and_its_words_are_kept(workbench):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await on_leads(pilot, SCANNED)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, HypothesisForm), "the form")
        await pilot.press(*" and gold", "escape")
        await until(pilot, lambda: on_audit(app), "the panes")
        await pilot.press("f6")
        await until(pilot, lambda: "o hypothesis" in screen_text(app), "the measures")
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, LeadsDialog), "the leads")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, MeasuresScreen), "the measures again")
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, LeadsDialog), "the leads")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, HypothesisForm), "the form")
        await until(pilot, lambda: "and gold" in screen_text(app), "what was written")
        # As when the session is left while the form is open.
        pane = app.screen_stack[-2].query_one(HypothesesPane)
        view = json.loads(json.dumps(pane.view()))
        pane._drafts = Drafts()
        pane.restore(view)
        assert pane.view()["drafts"] == view["drafts"] != {}
        await pilot.press("escape")
        await until(pilot, lambda: on_audit(app), "the panes")
        assert not app.opened.state.hypotheses
        assert not app.opened.state.evidence
        await quit_it(pilot)


@pytest.mark.slow
async def test_a_measure_without_leads_says_so(workbench):
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot)
        app.opened.session.record(SCANNED.model_copy(update={"clusters": ()}))
        pane = app.screen.query_one(HypothesesPane)
        await until(pilot, lambda: pane.state.measures, "the finding")
        await pilot.press("f6")
        await until(pilot, lambda: "No three of the answers" in screen_text(app), "the measures")
        assert "o hypothesis" not in screen_text(app)
        await pilot.press("o")
        said = lambda: [note.message for note in app._notifications]  # noqa: E731
        await until(pilot, lambda: any("has no leads" in word for word in said()), "the word")
        assert isinstance(app.screen, MeasuresScreen)
        await pilot.press("escape")
        await quit_it(pilot)


@pytest.mark.slow
async def test_in_a_blind_session_the_mark_has_the_words_as_they_were_written(workbench):
    """What is shown has aliases; what is recorded has the names, as every mark does."""
    app = workbench()
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot)
        seal(app.opened.session, blind=True)
        aliases = app.opened.state.seal.body.aliases
        blinding = blinding_from(aliases)
        name = next(iter(aliases))
        cluster = SCANNED.clusters[0].model_copy(update={"phrases": (name, "cake")})
        app.opened.session.record(SCANNED.model_copy(update={"clusters": (cluster,)}))
        pane = app.screen.query_one(HypothesesPane)
        await until(pilot, lambda: pane.state.measures, "the finding")
        await pilot.press("f6")
        await until(pilot, lambda: "o hypothesis" in screen_text(app), "the measures")
        await pilot.press("o")
        await until(pilot, lambda: isinstance(app.screen, LeadsDialog), "the leads")
        await until(pilot, lambda: blinding.hide(name) in screen_text(app), "the alias")
        assert name not in screen_text(app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, HypothesisForm), "the form")
        await pilot.press("ctrl+j")
        await until(pilot, lambda: app.opened.state.hypotheses, "the hypothesis")
        # One of the names that the alias stands for.
        excerpt = app.opened.state.evidence["E1"].body.excerpt
        assert excerpt.removesuffix(", cake") in aliases
        await quit_it(pilot)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_picture_of_leads(snap_compare, size):
    assert snap_compare(ShownApp(CATALOGUE["LeadsDialog"]), terminal_size=size)
