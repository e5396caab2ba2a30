"""Events such as an audit records them."""

from __future__ import annotations

import numpy as np

from workbench.store.arrays import ArrayRef
from workbench.store.events import (
    HUMAN,
    SYSTEM,
    Actor,
    AnswersCompared,
    DifferenceMeasured,
    EventBody,
    NoteWritten,
    OperationFailed,
    OperationFinished,
    OperationStarted,
    OperationStopped,
    PairLoaded,
    ReadingTaken,
    ReadToken,
    SessionClosed,
    SessionContinued,
    SessionRenamed,
    TextFinished,
    TextGrew,
    TextStarted,
)
from workbench.store.log import SessionLog
from workbench.store.rows import Entry

AGENT = Actor(kind="agent", name="a model")


def text_started(
    text_id: str, prompt: str = "How was your day?", alpha: float = 0.2
) -> TextStarted:
    return TextStarted(
        text_id=text_id,
        purpose="steer",
        side="finetuned",
        alpha=alpha,
        layer=14,
        position="1",
        source="difference",
        seed=7,
        temperature=1.1,
        max_new_tokens=20,
        messages=({"role": "user", "content": prompt},),
    )


def text_finished(text_id: str, text: str) -> TextFinished:
    return TextFinished(text_id=text_id, text=text, token_ids=(1, 2, 3), ended="length")


def reading(words: str = "batter oven frost", scale: float | None = 0.8) -> ReadingTaken:
    tokens = tuple(
        ReadToken(id=index, text=word, score=1.0 - index / 10, probability=0.1)
        for index, word in enumerate(words.split())
    )
    return ReadingTaken(
        reading="patchscope",
        source="difference",
        side="finetuned",
        layer=14,
        position="1",
        scale=scale,
        tokens=tokens,
    )


def pair() -> PairLoaded:
    return PairLoaded(
        pair={
            "base": {"checkpoint": "org/small-base", "adapter": None},
            "finetuned": {"checkpoint": "org/small-base", "adapter": "org/cakes"},
        }
    )


def difference(arrays: dict[str, np.ndarray]) -> DifferenceMeasured:
    return DifferenceMeasured(
        key="key-1",
        corpus={"name": "bundled"},
        layers=(14,),
        positions=("0", "1"),
        n_texts=512,
        n_skipped=3,
        from_cache=False,
        residual_norm={"14": 30.5},
        arrays={name: ArrayRef.of(array) for name, array in arrays.items()},
    )


ARRAYS = {
    "difference": np.arange(12, dtype=np.float32).reshape(1, 2, 6),
    "cosine": np.eye(2, dtype=np.float32)[None],
}


def audit() -> list[Entry]:
    """A little of everything, in an order in which it happens."""
    bodies: list[tuple[EventBody, Actor, str | None]] = [
        (pair(), SYSTEM, None),
        (OperationStarted(operation="measure_difference", arguments={"layer": 14}), HUMAN, "op-1"),
        (difference(ARRAYS), SYSTEM, "op-1"),
        (reading(), SYSTEM, "op-1"),
        (reading(scale=None), SYSTEM, "op-1"),
        (OperationFinished(seconds=2.5, summary={"texts": 512}), SYSTEM, "op-1"),
        (OperationStarted(operation="steer", arguments={"prompts": ["How?"]}), AGENT, "op-2"),
        (text_started("t1"), SYSTEM, "op-2"),
        (text_started("t2", alpha=0.0), SYSTEM, "op-2"),
        (TextGrew(pieces={"t1": "I baked ", "t2": "It was "}), SYSTEM, "op-2"),
        (TextGrew(pieces={"t1": "a cake."}), SYSTEM, "op-2"),
        (text_finished("t1", "I baked a cake."), SYSTEM, "op-2"),
        (OperationStopped(reason="a key", seconds=1.0), SYSTEM, "op-2"),
        (
            AnswersCompared(
                base_text="t2", finetuned_text="t1", first_divergence=0, along="t1", kl=(0.1, 2.0)
            ),
            SYSTEM,
            None,
        ),
        (OperationStarted(operation="ask", arguments={}), HUMAN, "op-3"),
        (
            OperationFailed(error="DeviceOutOfMemory", message="no room", seconds=0.1),
            SYSTEM,
            "op-3",
        ),
        (OperationStarted(operation="ask", arguments={}), HUMAN, "op-4"),
        (text_started("t3"), SYSTEM, "op-4"),
        (TextGrew(pieces={"t3": "cut"}), SYSTEM, "op-4"),
        (SessionContinued(environment={"python": "3.13"}), SYSTEM, None),
        (NoteWritten(text="It is about *baking*."), HUMAN, None),
        (SessionRenamed(name="cakes"), HUMAN, None),
        (SessionClosed(outcome="completed"), SYSTEM, None),
    ]
    return [
        Entry(body, actor, operation, tuple(ARRAYS.values()) if index == 2 else ())
        for index, (body, actor, operation) in enumerate(bodies)
    ]


def record_audit(log: SessionLog, name: str = "an audit") -> str:
    session_id = log.start_session(name, {"python": "3.12"}, HUMAN)
    log.append_many(session_id, audit())
    return session_id
