"""A thousand texts of a hostile model through every pane, in a real pseudo-terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.hostile import hostile_texts
from tests.planted import PlantedPair
from tests.workbench.tui.terminal import Terminal
from workbench.operations.generation import AskArguments, SteerArguments
from workbench.store.events import (
    HUMAN,
    Actor,
    AnswersCompared,
    EventBody,
    EvidenceLinked,
    EvidenceMarked,
    HypothesisRevised,
    HypothesisStated,
    NoteWritten,
    OperationFailed,
    OperationFinished,
    OperationStarted,
    PairLoaded,
    ReadingTaken,
    ReadToken,
    TextFinished,
    TextGrew,
    TextStarted,
)
from workbench.store.log import SessionLog
from workbench.store.rows import Entry

N_TEXTS = 1000
SIZE = (100, 30)
# The shape of the mouse pointer is the one string that Textual itself sends.
ESCAPE = re.compile(
    rb"\x1b(?:\[([<=>?]?)[0-9;:]*([ -/]*[@-~])|(\]22;)[a-z-]*\x07|([\]PX^_])|([ -/]*[0-~]))"
)


def record_session(path: Path, texts: Iterator[str]) -> None:
    """A session in which every text that is not ours is one of ``texts``."""
    numbers = count(1)
    entries: list[Entry] = []

    def add(body: EventBody, operation: str | None = None, actor: Actor = HUMAN) -> int:
        entries.append(Entry(body, actor, operation))
        return len(entries) + 1  # after the start of the session

    def generate(purpose: str, operation: str, messages: int) -> None:
        for index in range(messages):
            ids = []
            for side in ("base", "finetuned"):
                text_id = f"t{next(numbers)}"
                ids.append(text_id)
                add(
                    TextStarted(
                        text_id=text_id,
                        purpose=purpose,  # type: ignore[arg-type]
                        side=side if purpose == "ask" else "finetuned",
                        alpha=0.0 if purpose == "ask" or side == "base" else 0.3,
                        layer=3,
                        position="1-4",
                        source="difference",
                        seed=index,
                        temperature=1.0,
                        max_new_tokens=20,
                        messages=({"role": "user", "content": next(texts)},),
                        prefill=next(texts),
                        prompt_index=index,
                    ),
                    operation,
                )
                said = next(texts)
                add(TextGrew(pieces={text_id: said[: len(said) // 2]}), operation)
                add(
                    TextFinished(text_id=text_id, text=said, token_ids=(1, 2), ended="length"),
                    operation,
                )
            if purpose == "ask":
                add(
                    AnswersCompared(
                        base_text=ids[0],
                        finetuned_text=ids[1],
                        first_divergence=1,
                        along=ids[1],
                        kl=(0.1, 2.0),
                    ),
                    operation,
                )

    pair = PlantedPair().provenance.as_dict()
    for side in ("base", "finetuned"):
        pair[side] |= {"checkpoint": next(texts), "revision": next(texts)}
    add(PairLoaded(pair=pair))
    for reading in ("consensus", "output_difference", "shift_lens", "patchscope", "logit_lens"):
        for source in ("difference", "random"):
            for position in ("1-4", "1"):
                tokens = tuple(
                    ReadToken(id=rank, text=next(texts), score=1 / (rank + 1), probability=0.1)
                    for rank in range(14)
                )
                seq = add(
                    ReadingTaken(
                        reading=reading,
                        source=source,
                        side="finetuned",
                        layer=3,
                        position=position,
                        scale=None if reading == "logit_lens" else 0.5,
                        chosen_by=next(texts),
                        tokens=tokens,
                        unfiltered=tokens,
                    )
                )
    for operation, purpose, arguments in (
        ("ask1", "ask", AskArguments(prompt=next(texts), n_samples=2)),
        ("steer1", "steer", SteerArguments(prompts=(next(texts), next(texts)), alphas=(0.0, 0.3))),
    ):
        add(
            OperationStarted(operation=purpose, arguments=arguments.model_dump(mode="json")),
            operation,
        )
        generate(purpose, operation, 40)
        add(OperationFinished(seconds=1.0), operation)
    for number in range(20):
        hypothesis, evidence = f"H{number}", f"E{number}"
        add(HypothesisStated(hypothesis_id=hypothesis, text=next(texts), confidence=0.5))
        add(HypothesisRevised(hypothesis_id=hypothesis, text=next(texts), reason=next(texts)))
        add(
            EvidenceMarked(evidence_id=evidence, of_seq=seq, excerpt=next(texts), label=next(texts))
        )
        add(EvidenceLinked(hypothesis_id=hypothesis, evidence_id=evidence, bearing="for"))
        add(NoteWritten(text=next(texts)), actor=Actor(kind="agent", name=next(texts)))
    add(OperationStarted(operation="load_pair", arguments={"base": next(texts)}), "load1")
    failed = OperationFailed(
        error=next(texts), message=next(texts), way_out=next(texts), seconds=1.0
    )
    add(failed, "load1")
    rest = list(texts)
    entries.extend(Entry(NoteWritten(text=text), HUMAN) for text in rest)
    with SessionLog.open(path) as log:
        session_id = log.start_session("hostile " + rest[0][:200], {}, HUMAN)
        log.append_many(session_id, entries)


def visit(home: Path) -> bytes:
    """Open the session, go through every pane and down every list; all that was written."""
    with Terminal(["--session", "last"], home=home, size=SIZE) as terminal:
        terminal.shows("6 Time")
        for pane in "123456":
            terminal.press(pane)
            terminal.settle()
            for key in ("enter", "escape", "down", "right", *["pagedown"] * 30, "end", "home"):
                terminal.press(key)
                terminal.take_in(0.05)
            terminal.settle()
            terminal.press("escape", "f1")
            terminal.settle()
            terminal.press("escape")
            terminal.settle()
        terminal.press("ctrl+q")
        assert terminal.ends() == 0, terminal.text
        assert terminal.is_clean
        return bytes(terminal.written)


def shapes(written: bytes) -> set[bytes]:
    """The kinds of escape sequences in it, without their numbers."""
    return {b"".join(part or b"" for part in match.groups()) for match in ESCAPE.finditer(written)}


def check_whole(home: Path) -> None:
    with SessionLog.open(home / "sessions.db", read_only=True) as log:
        assert log.verify().ok


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> set[bytes]:
    """What the same visit writes where every text is harmless."""
    home = tmp_path_factory.mktemp("harmless")
    texts = (f"plain words {index}" for index in range(N_TEXTS))
    record_session(home / "sessions.db", texts)
    return shapes(visit(home))


@pytest.mark.slow
def test_no_escape_of_a_model_reaches_the_terminal(harmless, tmp_path):
    record_session(tmp_path / "sessions.db", hostile_texts(N_TEXTS))
    written = visit(tmp_path)
    assert shapes(written) <= harmless
    text = written.decode()  # all of it is UTF-8
    assert not re.search("[\x80-\x9f\u202a-\u202e\u2066-\u2069]", text)
    plain = ESCAPE.sub(b"", written).decode()
    assert not re.search("[\x00-\x1f]", plain.replace("\r", "").replace("\n", ""))
    assert "owned" in plain  # the texts were there to be seen
    check_whole(tmp_path)
