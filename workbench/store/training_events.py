"""Events of trainings: organisms that are made here, and studies of what mixing does to them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from workbench.store.measure_events import Estimate, TraceMeasured
from workbench.store.record import Record


class TrainingStarted(Record):
    """A training begins, or goes on after ``done`` of ``total`` steps.

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


class TrainingAdvanced(Record):
    """Losses in nats per token of the steps from ``first`` (counted from 1) on, one each."""

    kind: Literal["training_advanced"] = "training_advanced"
    name: str
    first: int
    total: int
    losses: tuple[float, ...]


class OrganismTrained(Record):
    """A training reached its end. ``final_loss`` is the mean over the last ten steps.

    ``tokens`` counts those that the loss was over, ``resumed_at`` the steps after which it was gone
    on with, and ``training`` says on what it ran: device, versions, hashes.
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


class MixtureList(Record):
    """Share of one reading's first tokens that are relevant, beside a random direction's."""

    reading: str
    side: str
    share: Estimate
    random: float | None
    tokens: tuple[str, ...]


class MixtureText(Record):
    """A generated text of the study; raw and untrusted."""

    kind_of: Literal["steered", "unsteered", "random"]
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


class MixtureMeasured(Record):
    """One ratio of a mixing study: what its organism's trace is like, and what it learned.

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


class MixingStudied(Record):
    """A mixing study is whole: its ratios in order, each with a ``MixtureMeasured`` before this."""

    kind: Literal["mixing_studied"] = "mixing_studied"
    name: str
    folder: str
    ratios: tuple[float, ...]
    against: str
    documents_sha256: str


TrainingBody = (
    TrainingStarted | TrainingAdvanced | OrganismTrained | MixtureMeasured | MixingStudied
)


def training_line(body: TrainingBody) -> str:
    """What happened, in one line; names may be anything a person typed."""
    match body:
        case TrainingStarted():
            goes_on = f" goes on after step {body.done}" if body.done else ""
            mixed = f" and {body.n_unrelated} unrelated texts" if body.n_unrelated else ""
            return (
                f"training of {body.name}{goes_on}: {body.total} steps on {body.n_documents} "
                f"documents{mixed}"
            )
        case TrainingAdvanced():
            last = body.first + len(body.losses) - 1
            return f"{body.name}: step {last} of {body.total}, loss {body.losses[-1]:.3f}"
        case OrganismTrained():
            return f"{body.name} trained in {body.steps} steps, loss {body.final_loss:.3f}"
        case MixtureMeasured():
            over = body.over_unsteered
            steered = f", steered texts {over.value:+.3f}" if over else ""
            return (
                f"{body.name} at 1:{body.ratio:g}: {body.trace.verdict} trace{steered}, held out "
                f"{body.held_out.gain.value:+.3f} nats"
            )
        case MixingStudied():
            return f"mixing study {body.name}: {len(body.ratios)} ratios"
