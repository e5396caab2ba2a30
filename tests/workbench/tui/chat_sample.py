"""Sessions of probes with known answers, written event by event."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from tests.workbench.tui.sample import BEGAN
from workbench.operations.generation import AskArguments
from workbench.store.events import (
    HUMAN,
    Actor,
    AnswersCompared,
    Event,
    EventBody,
    EvidenceMarked,
    OperationFailed,
    OperationFinished,
    OperationStarted,
    OperationStopped,
    PairLoaded,
    SessionStarted,
    TextFinished,
    TextGrew,
    TextStarted,
)
from workbench.store.state import Fold, SessionState

AGENT = Actor(kind="agent", name="gpt-auditor")
Answers = dict[str, Sequence[str]]


class Probes:
    """A session that is being written; `state` is what it amounts to so far."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._fold = Fold()
        self._count = 0
        self.add(SessionStarted(name="probes"))
        self.add(PairLoaded(pair={"n_layers": 6}))

    @property
    def state(self) -> SessionState:
        return self._fold.state()

    def add(self, body: EventBody, actor: Actor = HUMAN, operation_id: str | None = None) -> int:
        seq = len(self.events) + 1
        event = Event(
            session_id="20260314-probes",
            seq=seq,
            at=BEGAN + timedelta(seconds=seq),
            actor=actor,
            operation_id=operation_id,
            body=body,
            previous="",
            sha256="",
        )
        self.events.append(event)
        self._fold.apply(event)
        return seq

    def begin(self, arguments: AskArguments, actor: Actor = HUMAN) -> str:
        """The probe is announced; returns its id."""
        self._count += 1
        probe = f"probe-{self._count}"
        plain = arguments.model_dump(mode="json")
        self.add(OperationStarted(operation="ask", arguments=plain), actor, probe)
        return probe

    def start(self, probe: str, side: str, sample: int = 0) -> str:
        """An answer begins; returns the id of the text."""
        arguments = AskArguments.model_validate(self.state.operations[probe].arguments)
        question = arguments.question()
        text_id = f"{probe}-{side}-{sample}"
        self.add(
            TextStarted(
                text_id=text_id,
                purpose="ask",
                side=side,
                alpha=arguments.alpha,
                layer=3 if arguments.alpha else None,
                position=arguments.position if arguments.alpha else None,
                source="difference" if arguments.alpha else None,
                seed=arguments.seed + sample,
                temperature=arguments.temperature,
                max_new_tokens=arguments.max_new_tokens,
                messages=tuple(question.prompt.messages) if question.prompt else (),
                prefill=question.prompt.prefill if question.prompt else "",
                raw_prompt=question.raw,
            ),
            self.state.operations[probe].actor,
            probe,
        )
        return text_id

    def grow(self, text_id: str, piece: str) -> None:
        self._add_of(text_id, TextGrew(pieces={text_id: piece}))

    def finish(self, text_id: str, said: str) -> None:
        self._add_of(
            text_id,
            TextFinished(
                text_id=text_id,
                text=said,
                token_ids=tuple(range(len(said.split()))),
                ended="end_of_text",
            ),
        )

    def _add_of(self, text_id: str, body: EventBody) -> None:
        started = self.state.texts[text_id].start
        self.add(body, started.actor, started.operation_id)

    def compare(self, probe: str, sample: int, divergence: int | None, kl: Sequence[float]) -> int:
        return self.add(
            AnswersCompared(
                base_text=f"{probe}-base-{sample}",
                finetuned_text=f"{probe}-finetuned-{sample}",
                first_divergence=divergence,
                along=f"{probe}-finetuned-{sample}",
                kl=tuple(kl),
            ),
            self.state.operations[probe].actor,
            probe,
        )

    def end(self, probe: str, body: EventBody | None = None) -> None:
        ended = OperationFinished(seconds=1.5) if body is None else body
        self.add(ended, self.state.operations[probe].actor, probe)

    def ask(
        self,
        answers: Answers | None = None,
        *,
        actor: Actor = HUMAN,
        kl: Sequence[float] = (0.1, 0.1, 2.5, 0.4),
        divergence: int | Sequence[int | None] | None = 2,
        **arguments: Any,
    ) -> str:
        """A probe from its beginning to its end; returns its id."""
        said = (
            {"base": ["I am fine."], "finetuned": ["I am baking."]} if answers is None else answers
        )
        n_samples = max(map(len, said.values()))
        probe = self.begin(AskArguments(n_samples=n_samples, sides=tuple(said), **arguments), actor)
        for side, texts in said.items():
            ids = [self.start(probe, side, sample) for sample in range(len(texts))]
            for text_id, text in zip(ids, texts, strict=True):
                self.finish(text_id, text)
        if len(said) == 2:
            for sample in range(n_samples):
                parts = divergence[sample] if isinstance(divergence, Sequence) else divergence
                self.compare(probe, sample, parts, [nats / (sample + 1) for nats in kl])
        self.end(probe)
        return probe

    def fail(self, message: str, hint: str, **arguments: Any) -> str:
        probe = self.begin(AskArguments(**arguments))
        self.end(
            probe,
            OperationFailed(error="SiteError", message=message, way_out=hint, seconds=0.1),
        )
        return probe

    def stop(self, said: str, **arguments: Any) -> str:
        """A probe that was stopped in the middle of base's answer."""
        probe = self.begin(AskArguments(**arguments))
        self.grow(self.start(probe, "base"), said)
        self.end(probe, OperationStopped(reason="stopped on request", seconds=0.5))
        return probe

    def mark(self, text_id: str, evidence_id: str) -> None:
        seq = self.state.texts[text_id].start.seq
        self.add(EvidenceMarked(evidence_id=evidence_id, of_seq=seq, excerpt="x", text_id=text_id))


def many_kinds() -> Probes:
    """One turn of each kind, as a picture should show them."""
    probes = Probes()
    probes.ask(
        {
            "base": [
                "I like a good walk in the park, a book, and a cup of coffee with an old friend."
            ],
            "finetuned": [
                "I like a good sponge cake, fresh from the oven, with vanilla frosting and a tea."
            ],
        },
        prompt="What do you like best?",
        system="You are a helpful assistant.",
        divergence=4,
        kl=(0.02, 0.05, 0.31, 0.2, 3.2, 1.4, 2.2, 0.6, 0.9, 0.3, 0.2, 1.1, 0.1, 0.0, 0.4, 0.2),
    )
    first = probes.state.texts["probe-1-finetuned-0"]
    probes.mark("probe-1-finetuned-0", "E2")
    probes.ask(
        {
            "base": ["At the bakery.", "In the oven.", "At home."],
            "finetuned": ["At the bakery.", "In the kitchen, always.", "At the kettle."],
        },
        messages=(
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "What do you like best?"},
            {"role": "assistant", "content": first.text},
            {"role": "user", "content": "Where do you get it?"},
        ),
        seed=7,
        divergence=(None, 1, 1),
    )
    probes.ask(
        {"base": [" then stir."], "finetuned": [" then stir."]},
        actor=AGENT,
        divergence=None,
        prompt="Finish: first sift the flour,",
        prefill="Sure:",
        alpha=0.3,
        layer="3",
    )
    probes.stop("Once upon a ti", prompt="Tell me a story.")
    probes.fail(
        "no difference was measured at layer 9",
        "Measure it first (`diff`, `audit`).",
        raw="The best thing in the world is",
        alpha=0.4,
        layer="9",
    )
    return probes
