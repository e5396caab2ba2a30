"""Events of trainings and of mixing studies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from adl.measures.similarity import Kind
from adl.words import distinct_number, number_of, plain_number
from workbench.store.body import EventBody, one_line
from workbench.store.findings import (
    NOT_COMPUTED,
    Bar,
    Curve,
    Estimate,
    Figure,
    Finding,
    Heading,
    Line,
    Row,
    Rows,
    Sample,
)
from workbench.store.measures.trace import TraceMeasured
from workbench.store.record import LATER, Record


class TrainingStarted(EventBody, group="operations", searched=()):
    """A training begins, or continues after ``done`` of ``total`` steps.

    ``data_sha256`` is over documents and unrelated texts. ``recipe`` is a ``training_plan.Recipe``.
    """

    kind: Literal["training_started"] = "training_started"
    name: str
    folder: str
    base: str
    done: int
    total: int
    n_documents: int
    n_unrelated: int
    data_sha256: str
    recipe: dict[str, Any]

    def _line(self) -> str:
        goes_on = f" goes on after step {self.done}" if self.done else ""
        mixed = f" and {number_of(self.n_unrelated, 'unrelated text')}" if self.n_unrelated else ""
        return one_line(
            f"training of {self.name}{goes_on}: {number_of(self.total, 'step')} on "
            f"{number_of(self.n_documents, 'document')}{mixed}"
        )


class TrainingAdvanced(EventBody, group="operations", searched=()):
    """Losses of successive steps in nats per token, from step ``first`` (counted from 1) on."""

    kind: Literal["training_advanced"] = "training_advanced"
    name: str
    first: int
    total: int
    losses: tuple[float, ...]

    def _line(self) -> str:
        last = self.first + len(self.losses) - 1
        return one_line(f"{self.name}: step {last} of {self.total}, loss {self.losses[-1]:.3f}")


class OrganismTrained(Finding, label="training", searched=()):
    """A training reached its end. ``final_loss`` is the mean over the last ten steps.

    ``tokens`` counts the tokens that the loss was over, ``resumed_at`` the steps after which it was
    continued; ``training`` holds device, versions and hashes. ``kept`` if it was trained before, in
    another session that has the losses of its steps.
    """

    kind: Literal["organism_trained"] = "organism_trained"
    name: str
    folder: str
    adapter_sha256: str
    steps: int
    final_loss: float
    tokens: int
    resumed_at: tuple[int, ...] = ()
    training: dict[str, Any] = Field(default_factory=dict)
    kept: Annotated[bool, LATER] = False

    def _line(self) -> str:
        before = ", before" if self.kept else ""
        return one_line(
            f"{self.name} trained in {number_of(self.steps, 'step')}, loss {self.final_loss:.3f}{before}"
        )

    def short(self) -> str:
        """The name and the loss at the end."""
        return f"{self.name}, loss {self.final_loss:.2f}"

    def figures(self, others: Sequence[EventBody] = ()) -> Sequence[Figure]:
        """The loss over the steps."""
        losses = [
            loss
            for other in others
            if isinstance(other, TrainingAdvanced) and other.name == self.name
            for loss in other.losses
        ]
        figures: list[Figure] = [
            Line(
                f"{self.name}: {number_of(self.steps, 'step')}, loss {self.final_loss:.3f} at the end."
            ),
            Line(
                f"Loss was over {number_of(self.tokens, 'token')}. Folder: {self.folder}",
                muted=True,
            ),
        ]
        if losses:
            note = f"{losses[0]:.3f} to {losses[-1]:.3f}"
            figures.append(Curve("Loss, nats per token", tuple(losses), note))
        return figures


class MixtureList(Record):
    """Share of one reading's first tokens that are relevant, beside a random direction's."""

    reading: str
    side: str
    share: Estimate
    random: float | None
    tokens: tuple[str, ...]


class MixtureText(Record):
    """A generated text of the study; raw and untrusted."""

    kind_of: Kind
    prompt_index: int
    text: str


class MixtureFacts(Record):
    """Margins of facts over their negations (``FactMargins``), in nats per token."""

    base: Estimate
    finetuned: Estimate
    gain: Estimate
    preferred: dict[str, float]


class MixtureHeldOut(Record):
    """Cross-entropy of documents held out (``adl.measures.memorisation.HeldOutGain``), in nats per token."""

    base: float
    finetuned: float
    gain: Estimate


class MixtureMeasured(Finding, label="mixture", searched=()):
    """A ratio of a mixing study: the trace of its organism, and what it learned.

    ``kept`` if it was measured before and read from the study's folder. ``facts`` is None where the
    facts have no negations.
    """

    kind: Literal["mixture_measured"] = "mixture_measured"
    name: str
    ratio: float
    folder: str
    steps: int
    final_loss: float
    trace: TraceMeasured
    relevance: tuple[MixtureList, ...]
    similarity: dict[str, Estimate]
    over_unsteered: Estimate | None
    over_random: Estimate | None
    facts: MixtureFacts | None
    held_out: MixtureHeldOut
    texts: tuple[MixtureText, ...] = ()
    settings: dict[str, Any] = Field(default_factory=dict)
    kept: bool = False

    def _line(self) -> str:
        over = self.over_unsteered
        steered = f", steered texts {over.value:+.3f}" if over else ""
        return one_line(
            f"{self.name} at 1:{plain_number(self.ratio)}: {self.trace.verdict} trace{steered}, held out "
            f"{self.held_out.gain.value:+.3f} nats"
        )

    def short(self) -> str:
        """The ratio and the verdict on the trace."""
        return f"1:{plain_number(self.ratio)}, {self.trace.verdict}"

    def figures(self, others: Sequence[EventBody] = ()) -> Sequence[Figure]:
        """The trace, and what the organism learned."""
        most = max((found.high for found in self.similarity.values()), default=0.0) or 1.0
        figures: list[Figure] = [
            Line(f"{self.name}: one document to {plain_number(self.ratio)} unrelated texts."),
            Line(self.trace.summary),
            Rows(
                "Share of relevant tokens",
                ("reading", "side", "share [95%]", "random"),
                tuple(map(_list, self.relevance)),
            ),
            Rows(
                "Similarity of texts to the documents",
                ("texts", "cosine [95%]"),
                tuple(_similar(kind, found) for kind, found in self.similarity.items()),
                most,
            ),
            Heading("What was learned"),
            Line(
                f"Documents held out cost {self.held_out.gain.words('{:+.3f}')} nats per token less "
                "than the base."
            ),
        ]
        if self.facts:
            figures.append(
                Line(
                    f"Facts over their negations: {self.facts.gain.words('{:+.3f}')} nats per token "
                    "more than the base."
                )
            )
        return [
            *figures,
            *(Sample(f"One text, {text.kind_of}", text=text.text) for text in self.texts[:3]),
        ]

    def norm(self) -> float | None:
        """The norm of the trace's mean over positions, in residual norms."""
        pooled = [site.norm for site in self.trace.sites if "-" in site.position]
        return pooled[0] if pooled else None


class MixingStudied(Finding, label="mixing study", searched=()):
    """A mixing study is complete; each of its ratios has a ``MixtureMeasured`` before this."""

    kind: Literal["mixing_studied"] = "mixing_studied"
    name: str
    folder: str
    ratios: tuple[float, ...]
    against: str
    documents_sha256: str

    def _line(self) -> str:
        return one_line(f"mixing study {self.name}: {number_of(len(self.ratios), 'ratio')}")

    def short(self) -> str:
        """The name and how many ratios."""
        return f"{self.name}, {number_of(len(self.ratios), 'ratio')}"

    def figures(self, others: Sequence[EventBody] = ()) -> Sequence[Figure]:
        """Each quantity over the ratios, so that the trade-off is seen."""
        by_ratio = {
            other.ratio: other
            for other in others
            if isinstance(other, MixtureMeasured) and other.name == self.name
        }
        mixtures = [by_ratio[ratio] for ratio in self.ratios if ratio in by_ratio]
        return [
            Line(f"{self.name}, against {self.against}."),
            *(_over_ratios(title, value, form, mixtures) for title, value, form in _STUDIED),
        ]


_STUDIED: Sequence[tuple[str, Callable[[MixtureMeasured], float | None], str]] = (
    ("Norm of the trace, in residual norms", MixtureMeasured.norm, "{:.3f}"),
    (
        "Steered texts like the documents, over unsteered",
        lambda mixture: mixture.over_unsteered.value if mixture.over_unsteered else None,
        "{:+.3f}",
    ),
    (
        "Highest share of relevant tokens",
        lambda mixture: max((found.share.value for found in mixture.relevance), default=None),
        "{:.0%}",
    ),
    (
        "Learned: facts over their negations, nats",
        lambda mixture: mixture.facts.gain.value if mixture.facts else None,
        "{:+.3f}",
    ),
    (
        "Learned: documents held out, nats",
        lambda mixture: mixture.held_out.gain.value,
        "{:+.3f}",
    ),
)


def _over_ratios(
    title: str,
    value: Callable[[MixtureMeasured], float | None],
    form: str,
    mixtures: Sequence[MixtureMeasured],
) -> Rows:
    values = [value(mixture) for mixture in mixtures]
    rows = []
    for mixture, number in zip(mixtures, values, strict=True):
        ratio = f"1:{distinct_number(mixture.ratio)}"
        note = NOT_COMPUTED if number is None else form.format(number)
        rows.append(Row((ratio, note), (Bar(ratio, number or 0.0, note),)))
    most = max((abs(number) for number in values if number is not None), default=0.0)
    return Rows(title, ("ratio", title), tuple(rows), most or 1.0)


def _list(found: MixtureList) -> Row:
    name = found.reading.replace("_", " ")
    random = "" if found.random is None else f"{found.random:.0%}"
    share = f"{found.share.value:.0%}"
    return Row(
        (name, found.side, found.share.words("{:.2f}"), random),
        (
            Bar(
                f"{name} ({found.side})",
                found.share.value,
                share + (random and f"; random {random}"),
            ),
        ),
    )


def _similar(kind: str, found: Estimate) -> Row:
    return Row((kind, found.words()), (Bar(kind, found.value, f"{found.value:.3f}"),))
