"""Hypotheses with their history, verdict and linked evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from workbench.store.events import (
    Actor,
    Bearing,
    Event,
    EvidenceLinked,
    EvidenceUnmarked,
    HypothesisJudged,
    HypothesisRevised,
    HypothesisStated,
    Verdict,
)
from workbench.store.recorded import Recorded
from workbench.store.slices.slice import Items, on, recorded


@dataclass(frozen=True)
class HypothesisState:
    """A hypothesis; ``history`` is every event that changed it, from its first.

    ``evidence`` has the bearing of each linked mark, for or against, by the mark's id.
    """

    id: str
    text: str
    confidence: float | None
    history: tuple[Recorded[Any], ...]
    verdict: Verdict = "open"
    evidence: Mapping[str, Bearing] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def actor(self) -> Actor:
        """The actor that added it."""
        return self.history[0].actor

    @property
    def grounds(self) -> str:
        """The ground of its verdict: a test, a person, none (``without test``)."""
        judged = self._judged()
        return judged.grounds if judged else ""

    @property
    def rests_on(self) -> str:
        """The experiment that its verdict rests on; empty for none, and where a person decided."""
        judged = self._judged()
        return judged.experiment if judged and not judged.overruled else ""

    def _judged(self) -> HypothesisJudged | None:
        for change in reversed(self.history):
            if isinstance(change.body, HypothesisJudged):
                return change.body
        return None

    @property
    def status(self) -> str:
        """The verdict with its ground, as ``confirmed (by test X1)``."""
        return f"{self.verdict} ({self.grounds})" if self.grounds else self.verdict


class Hypotheses(Items[str, HypothesisState]):
    """The hypotheses by id, in the order they were added."""

    @on(HypothesisStated)
    def _state(self, event: Event) -> None:
        body: Any = event.body
        history = (recorded(event),)
        added = HypothesisState(body.hypothesis_id, body.text, body.confidence, history)
        self.put(body.hypothesis_id, added)

    @on(HypothesisRevised)
    def _revise(self, event: Event) -> None:
        body: Any = event.body
        self._change(event, text=body.text, confidence=body.confidence)

    @on(HypothesisJudged)
    def _judge(self, event: Event) -> None:
        body: Any = event.body
        self._change(event, verdict=body.verdict)

    @on(EvidenceLinked)
    def _link(self, event: Event) -> None:
        body: Any = event.body
        hypothesis = self.items.get(body.hypothesis_id)
        if hypothesis is not None:
            links = dict(hypothesis.evidence)
            links.pop(body.evidence_id, None)
            if body.bearing != "none":
                links[body.evidence_id] = body.bearing
            self._change(event, evidence=MappingProxyType(links))

    @on(EvidenceUnmarked)
    def _unmark(self, event: Event) -> None:
        body: Any = event.body
        for hypothesis in list(self.items.values()):
            if body.evidence_id in hypothesis.evidence:
                links = dict(hypothesis.evidence)
                del links[body.evidence_id]
                self.put(hypothesis.id, replace(hypothesis, evidence=MappingProxyType(links)))

    def _change(self, event: Event, **changes: Any) -> None:
        body: Any = event.body
        hypothesis = self.items.get(body.hypothesis_id)
        if hypothesis is not None:
            history = (*hypothesis.history, recorded(event))
            self.put(hypothesis.id, replace(hypothesis, history=history, **changes))
