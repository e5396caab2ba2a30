"""Experiments, as far as they have come."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from adl.records import SIDES
from workbench.store.events import Event, TextStarted
from workbench.store.experiment_events import (
    AnswerJudged,
    ExperimentPrompt,
    ExperimentSealed,
    StatementsScored,
)
from workbench.store.measures.tested import HypothesisTested
from workbench.store.recorded import Recorded
from workbench.store.slices.slice import Items, on, recorded
from workbench.store.slices.texts import TextState


class AnswerKey(NamedTuple):
    """An answer of an experiment: who gave it, to which prompt, with which seed."""

    side: str
    prompt_index: int
    seed: int


@dataclass(frozen=True)
class ExperimentState:
    """An experiment; ``answers`` are ids of texts, ``verdicts`` the last one on each, by text."""

    sealed: Recorded[ExperimentSealed]
    answers: Mapping[AnswerKey, str] = field(default_factory=lambda: MappingProxyType({}))
    verdicts: Mapping[str, Recorded[AnswerJudged]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    scored: Recorded[StatementsScored] | None = None
    result: Recorded[HypothesisTested] | None = None

    @property
    def id(self) -> str:
        """Id of the experiment, such as X1."""
        return self.sealed.body.experiment

    @property
    def hypothesis_id(self) -> str:
        """Id of the hypothesis it tests."""
        return self.sealed.body.hypothesis_id

    @property
    def wording(self) -> tuple[str, str]:
        """The hypothesis and its wording as sealed: what a test is of."""
        return self.sealed.body.hypothesis_id, self.sealed.body.hypothesis

    def prompt(self, key: AnswerKey) -> ExperimentPrompt:
        """Return the prompt of an answer."""
        return self.sealed.body.prompts[key.prompt_index]

    def missing(self, texts: Mapping[str, TextState]) -> list[AnswerKey]:
        """Return the answers that are still to be generated, in the order of generation."""
        return [key for key in _keys(self.sealed.body) if not self._is_whole(key, texts)]

    def judging(self, texts: Mapping[str, TextState]) -> list[tuple[AnswerKey, str]]:
        """Return the answers and their texts' ids in the shuffled order of the judge.

        Those to held-out prompts come last.
        """
        keys = list(_keys(self.sealed.body))
        random.Random(self.sealed.body.judging_seed).shuffle(keys)
        keys.sort(key=lambda key: self.prompt(key).held_out)
        return [(key, self.answers[key]) for key in keys if self._is_whole(key, texts)]

    def to_judge(self, texts: Mapping[str, TextState]) -> list[tuple[AnswerKey, str]]:
        """Return the answers without a verdict, in the order of the judge."""
        return [found for found in self.judging(texts) if found[1] not in self.verdicts]

    def stage(self, texts: Mapping[str, TextState]) -> Literal["asking", "judging", "done"]:
        """Return how far it has come."""
        if self.result is not None:
            return "done"
        return "asking" if self.missing(texts) else "judging"

    def _is_whole(self, key: AnswerKey, texts: Mapping[str, TextState]) -> bool:
        text = texts.get(self.answers.get(key, ""))
        return text is not None and text.status == "finished" and text.ended != "stopped"


def same_pair(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """True unless the settings of two experiments name different pairs; early ones name none.

    ``models`` are what answers: weights, adapters, tokenizers and templates. Those before it have
    ``pair`` alone, with devices and versions.
    """
    for name in ("models", "pair"):
        if name in one and name in other:
            return bool(one[name] == other[name])
    return True


def _keys(sealed: ExperimentSealed) -> Iterator[AnswerKey]:
    if sealed.test == "likelihood":
        return
    for side in SIDES:
        for index in range(len(sealed.prompts)):
            for seed in sealed.seeds:
                yield AnswerKey(side, index, seed)


class Experiments(Items[str, ExperimentState]):
    """The experiments by id, in the order they were sealed."""

    def __init__(self) -> None:
        super().__init__(later=True)

    @on(ExperimentSealed)
    def _seal(self, event: Event) -> None:
        body: Any = event.body
        self.put(body.experiment, ExperimentState(recorded(event)))

    @on(TextStarted)
    def _answer(self, event: Event) -> None:
        body: Any = event.body
        known = self.items.get(body.experiment)
        if known is not None:
            key = AnswerKey(body.side, body.prompt_index, body.seed)
            answers = MappingProxyType({**known.answers, key: body.text_id})
            self.put(body.experiment, replace(known, answers=answers))

    @on(AnswerJudged)
    def _judge(self, event: Event) -> None:
        body: Any = event.body
        known = self.items.get(body.experiment)
        if known is not None:
            verdicts = MappingProxyType({**known.verdicts, body.text_id: recorded(event)})
            self.put(body.experiment, replace(known, verdicts=verdicts))

    @on(StatementsScored)
    def _score(self, event: Event) -> None:
        self._change(event, scored=recorded(event))

    @on(HypothesisTested)
    def _end(self, event: Event) -> None:
        self._change(event, result=recorded(event))

    def _change(self, event: Event, **changes: Any) -> None:
        body: Any = event.body
        known = self.items.get(body.experiment)
        if known is not None:
            self.put(body.experiment, replace(known, **changes))
