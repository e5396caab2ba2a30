"""A link of evidence that is changed: never in silence, and asked first where a verdict rests on it."""

from __future__ import annotations

from textual.content import Content

from workbench.display import clean_line
from workbench.operations.hypotheses import LINK, LinkArguments
from workbench.store.events import Bearing
from workbench.store.state import HypothesisState
from workbench.tui import keys
from workbench.tui.dialogs.confirm import Confirm
from workbench.tui.widgets.pane import Pane


def link_anew(pane: Pane, hypothesis: HypothesisState, evidence: str, bearing: Bearing) -> None:
    """Set how a mark bears on a hypothesis, and say what it was.

    A hypothesis that is confirmed or rejected is asked about first: its verdict may rest on the mark.
    """
    before = hypothesis.evidence.get(evidence, "none")
    if before == bearing:
        said = f"speaks {bearing} {hypothesis.id} already"
        if bearing == "none":
            said = f"does not bear on {hypothesis.id}"
        pane.notify(clean_line(f"{evidence} {said}."), markup=False)
        return
    now = f"speaks {bearing}" if bearing != "none" else "no longer bears on"
    change = clean_line(f"{evidence} {now} {hypothesis.id}")
    if before != "none" and bearing != "none":
        change += f", and not {before} it"

    def link(agreed: bool | None) -> None:
        if agreed:
            arguments = LinkArguments(hypothesis=hypothesis.id, evidence=evidence, bearing=bearing)
            pane.submit(LINK, arguments)
            if before != "none":
                pane.notify(f"{change}. {keys.shown('undo')} undoes it.", markup=False)

    if before == "none" or hypothesis.verdict == "open":
        link(True)
        return
    question = Content(f"{clean_line(hypothesis.id)} is {hypothesis.verdict}: {change}?")
    pane.app.push_screen(Confirm(question, "Change it", "Leave it"), link)
