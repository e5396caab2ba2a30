"""Coverage: leads that a session surfaced but never followed up, and what its budget was spent on.

A token counts as looked at once a person or an agent named it: in evidence, in a hypothesis (as it
ever read), in a note, in an agent's report, or in a prompt of their own. That they read the list is
not in the log and is not assumed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any, Literal

from adl.nulls import NULLS
from adl.readings.registry import READINGS
from adl.text.prompts import everyday_prompts
from workbench.operations import OPERATIONS
from workbench.replay.compare import Budget
from workbench.store.against_nulls import against_nulls, folded
from workbench.store.events import EvidenceLinked, HypothesisRevised, HypothesisStated
from workbench.store.state import HypothesisState, OperationState, SessionState, chosen_lists

#: How much of each list counts as its top.
TOP = 20
#: A word is taken for another form of a token's (cake, cakes) from so many letters on.
STEM = 4

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class UnseenToken:
    """A token at the top of a reading of the difference that nobody named; ``text`` is untrusted.

    ``best_rank`` counts from 1, ``lists`` how many chosen lists it heads, ``seq`` is the event of
    the best. ``in_controls``: a null has it at its top too, so it may mean nothing.
    """

    text: str
    best_rank: int
    lists: int
    readings: tuple[str, ...]
    seq: int
    in_controls: bool


@dataclass(frozen=True)
class Dropped:
    """A hypothesis that was given up, or left lying, without a test.

    A test is evidence linked to it, or a question or steering after it was stated that left a whole
    text. What ranks first
    and is open was not dropped.
    """

    id: str
    text: str
    how: Literal["rejected", "left open"]


ACTIVITY_COLUMNS = ("operation", "times", "seconds", "share", "texts", "tokens")


@dataclass(frozen=True)
class Activity:
    """The cost of one kind of operation; ``share`` is of the seconds of all."""

    name: str
    budget: Budget
    share: float

    def row(self) -> tuple[object, ...]:
        """Its cells under ``ACTIVITY_COLUMNS``."""
        spent = self.budget
        return (
            self.name,
            spent.operations,
            f"{spent.seconds:.1f}",
            f"{self.share:.0%}",
            spent.texts,
            spent.tokens,
        )


@dataclass(frozen=True)
class Coverage:
    """Leads that were never followed up, and the costs of operations, the dearest first."""

    tokens: tuple[UnseenToken, ...]
    tokens_seen: int
    operations_unused: tuple[str, ...]
    readings_unused: tuple[str, ...]
    readings_failed: tuple[str, ...]
    dropped: tuple[Dropped, ...]
    untested: tuple[str, ...]
    evidence_unused: tuple[str, ...]
    activities: tuple[Activity, ...]
    turns: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def coverage(state: SessionState) -> Coverage:
    """Look through one session as it stood at its last event."""
    named = _named_words(state)
    heads = list(_heads(state))
    unseen = [token for token in heads if not _is_named(token.text, named)]
    used = {operation.name for operation in _fruitful(state)}
    linked = {mark for hypothesis in state.hypotheses.values() for mark in hypothesis.evidence}
    taken = {key.reading for key in state.readings}
    failed = {reading for reading, _ in state.failed_readings}
    return Coverage(
        tokens=tuple(unseen),
        tokens_seen=len(heads) - len(unseen),
        operations_unused=tuple(
            name
            for name, operation in OPERATIONS.items()
            if operation.examines and name not in used
        ),
        readings_unused=tuple(name for name in READINGS if name not in taken | failed),
        readings_failed=tuple(
            f"{reading} at layer {layer}: {failed.body.reason}"
            for (reading, layer), failed in state.failed_readings.items()
        ),
        dropped=tuple(_dropped(state)),
        untested=tuple(_untested(state)),
        evidence_unused=tuple(
            mark.body.excerpt for name, mark in state.evidence.items() if name not in linked
        ),
        activities=_activities(state),
        turns=_turns(state),
    )


def _heads(state: SessionState) -> list[UnseenToken]:
    """Every token at the top of a chosen reading of the difference, the most often found first.

    Readings that are no better than their nulls bring nothing up.
    """
    lists = chosen_lists(state.readings)
    null = {
        _key(token.text)
        for key, token_list in lists.items()
        if key.source in NULLS
        for token in token_list.body.tokens[:TOP]
    }
    found: dict[str, UnseenToken] = {}
    layers = {key.layer for key in state.readings}
    hidden = {layer: folded(against_nulls(state, layer).values()) for layer in layers}
    for key, reading in lists.items():
        if key.source != "difference" or key.reading in hidden[key.layer]:
            continue
        for rank, token in enumerate(reading.body.tokens[:TOP], start=1):
            name = _key(token.text)
            if not name:
                continue
            known = found.get(name)
            if known is None:
                known = UnseenToken(token.text, rank, 0, (), reading.seq, name in null)
            readings = tuple(dict.fromkeys((*known.readings, key.reading)))
            known = replace(known, lists=known.lists + 1, readings=readings)
            if rank < known.best_rank:
                known = replace(known, best_rank=rank, seq=reading.seq)
            found[name] = known
    return sorted(
        found.values(),
        key=lambda token_list: (token_list.in_controls, -token_list.lists, token_list.best_rank),
    )


def _key(text: str) -> str:
    return text.strip().casefold()


def _named_words(state: SessionState) -> frozenset[str]:
    return frozenset(
        word.casefold() for text in _named_texts(state) for word in _WORD.findall(text)
    )


def _named_texts(state: SessionState) -> Iterator[str]:
    for marked in state.evidence.values():
        yield from (marked.body.excerpt, marked.body.note)
    for hypothesis in state.hypotheses.values():
        for change in hypothesis.history:
            if isinstance(change.body, (HypothesisStated, HypothesisRevised)):
                yield change.body.text
    for note in state.notes:
        yield note.body.text
    for agent in state.agents.values():
        if agent.report is not None:
            yield from (agent.report.body.summary, agent.report.body.description)
    ours = {text for prompt in everyday_prompts() for _, text in prompt.turns}
    for text in state.texts.values():
        start = text.start.body
        said = [turn.get("content", "") for turn in start.messages]
        yield from (
            words for words in (*said, start.prefill, start.raw_prompt or "") if words not in ours
        )


def _is_named(text: str, named: Collection[str]) -> bool:
    words = [word.casefold() for word in _WORD.findall(text)]
    return any(word in named or _other_form(word, named) for word in words)


def _other_form(word: str, named: Collection[str]) -> bool:
    """True if one word is the beginning of the other."""
    if len(word) < STEM:
        return False
    return any(
        recording.startswith(word) or (len(recording) >= STEM and word.startswith(recording))
        for recording in named
    )


def _untested(state: SessionState) -> Iterator[str]:
    """The hypotheses that no experiment of their present words was ended on."""
    for hypothesis in state.hypotheses.values():
        if not any(
            found.result is not None and found.wording == (hypothesis.id, hypothesis.text)
            for found in state.experiments.values()
        ):
            yield hypothesis.id


def _dropped(state: SessionState) -> Iterator[Dropped]:
    best = next((claim.id for claim in state.ranked()), None)
    for hypothesis in state.hypotheses.values():
        if hypothesis.verdict == "confirmed" or _was_tested(state, hypothesis):
            continue
        if hypothesis.verdict == "rejected":
            yield Dropped(hypothesis.id, hypothesis.text, "rejected")
        elif hypothesis.id != best:
            yield Dropped(hypothesis.id, hypothesis.text, "left open")


def _was_tested(state: SessionState, hypothesis: HypothesisState) -> bool:
    linked = any(
        isinstance(change.body, EvidenceLinked) and change.body.bearing != "none"
        for change in hypothesis.history
    )
    stated = hypothesis.history[0].seq
    return linked or any(
        _asks_models(operation) and operation.started_seq > stated for operation in _fruitful(state)
    )


def _fruitful(state: SessionState) -> list[OperationState]:
    """The operations that finished, or left a finding or a whole text before they failed."""
    findings = (
        state.differences.values(),
        state.readings.values(),
        state.comparisons,
        state.measures,
        (text.start for text in state.texts.values() if text.status == "finished"),
    )
    left = {found.operation_id for found in chain.from_iterable(findings)}
    return [
        operation
        for operation in state.operations.values()
        if operation.status == "finished" or operation.id in left
    ]


def _asks_models(operation: OperationState) -> bool:
    known = OPERATIONS.get(operation.name)
    return known is not None and known.asks_models


def _activities(state: SessionState) -> tuple[Activity, ...]:
    total = sum(ran.seconds or 0.0 for ran in state.operations.values())
    spent: dict[str, Budget] = {}
    for operation in state.operations.values():
        so_far = spent.get(operation.name, Budget())
        spent[operation.name] = replace(
            so_far,
            operations=so_far.operations + 1,
            seconds=round(so_far.seconds + (operation.seconds or 0.0), 3),
        )
    for text in state.texts.values():
        owner = state.operations.get(text.start.operation_id or "")
        if owner is None:
            continue
        so_far = spent[owner.name]
        spent[owner.name] = replace(
            so_far,
            texts=so_far.texts + 1,
            asked=so_far.asked + (text.start.body.purpose == "ask"),
            steered=so_far.steered + text.start.body.is_steered,
            null_steered=so_far.null_steered + text.start.body.is_null_steered,
            tokens=so_far.tokens + len(text.token_ids),
        )
    activities = [
        Activity(name, budget, budget.seconds / total if total else 0.0)
        for name, budget in spent.items()
    ]
    return tuple(sorted(activities, key=lambda activity: -activity.budget.seconds))


def _turns(state: SessionState) -> dict[str, int]:
    """Operations by who asked for them."""
    turns: dict[str, int] = {}
    for operation in state.operations.values():
        turns[operation.actor.kind] = turns.get(operation.actor.kind, 0) + 1
    return turns
