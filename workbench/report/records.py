"""The records that a report is made of; how they look is another matter.

Everything that may be text of a model, a data set, a person or an agent is kept raw here, and is
cleaned and escaped where it is written: see `html` and `markdown`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from adl.nulls import NULLS
from workbench.replay.compare import SessionSummary
from workbench.replay.coverage import Coverage


@dataclass(frozen=True)
class Norms:
    """Norms at one site of a measured difference, in the units of the residual stream."""

    layer: int
    position: str
    difference: float
    standard_error: float
    base: float
    finetuned: float
    half_cosine: float


@dataclass(frozen=True)
class Measurement:
    """A measured difference: on what, and how large it is."""

    seq: int
    facts: tuple[tuple[str, str], ...]
    norms: tuple[Norms, ...]
    layers: tuple[int, ...]


@dataclass(frozen=True)
class TokenList:
    """One token list, of the difference or of what it is compared with.

    ``struck`` are words of style, each with the reason, that were taken out of ``tokens``.
    """

    source: str
    scale: float | None
    chosen_by: str
    tokens: tuple[str, ...]
    seq: int
    struck: tuple[str, ...] = ()

    @property
    def is_of_difference(self) -> bool:
        """True for the difference itself; False for its negative, a null and one model alone."""
        return self.source == "difference"

    @property
    def is_null(self) -> bool:
        """True for a list that holds no finetuning."""
        return self.source in NULLS


FOLDED = "No better than its nulls on this pair: its lists are in the session."


@dataclass(frozen=True)
class ReadingSection:
    """A reading of one side at one layer, the difference first and its nulls after it.

    ``line``: how narrow it is beside its nulls, and what it can and cannot show. ``is_folded`` if it
    is no better than its nulls: its lists are left out.
    """

    reading: str
    side: str
    layer: int
    position: str
    lists: tuple[TokenList, ...]
    line: str = ""
    is_folded: bool = False


@dataclass(frozen=True)
class SweepPoint:
    """A reading at one alpha; ``kl`` in nats per token, None where it was not recorded."""

    alpha: float
    kl: float | None
    chosen: bool
    tokens: tuple[str, ...]


@dataclass(frozen=True)
class Sweep:
    """The shift lens over its alphas on one side; ``null_kl`` by null at the alpha chosen."""

    side: str
    layer: int
    points: tuple[SweepPoint, ...]
    null_kl: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Sample:
    """One generated text; ``marks`` are the ids of evidence in it.

    ``prompting`` is what its prompt alone does not tell (`TextStarted.prompting`).
    """

    label: str
    prompting: tuple[str, ...]
    text: str
    ended: str
    seed: int
    seq: int
    marks: tuple[str, ...]


@dataclass(frozen=True)
class SampleGroup:
    """Texts of one prompt, to be read side by side; ``note`` says how answers compare."""

    prompt: str
    samples: tuple[Sample, ...]
    note: str = ""


@dataclass(frozen=True)
class EvidenceLine:
    """A piece of evidence as it is shown under a hypothesis or by itself."""

    id: str
    bearing: str
    excerpt: str
    label: str
    note: str
    by: str
    seq: int


@dataclass(frozen=True)
class TestRow:
    """One row of a test: a label, its value in words, and on the axis from 0 to 1 with its interval.

    The numbers are None where there is nothing to draw.
    """

    __test__ = False

    label: str
    words: str
    value: float | None = None
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class TestSection:
    """A test of a hypothesis: its verdict in words, and its rates.

    ``earlier_words`` is what it tested, where the hypothesis reads otherwise today.
    """

    __test__ = False

    id: str
    seq: int
    verdict: str
    judge: str
    earlier_words: str
    words: tuple[str, ...]
    rows: tuple[TestRow, ...]
    numbers: str


@dataclass(frozen=True)
class HypothesisSection:
    """A hypothesis with its tests, evidence and history; ``status`` is the verdict with its ground."""

    id: str
    text: str
    status: str
    tests: tuple[TestSection, ...]
    unfinished: tuple[str, ...]
    confidence: float | None
    by: str
    evidence: tuple[EvidenceLine, ...]
    changes: tuple[ChangeLine, ...]


@dataclass(frozen=True)
class ChangeLine:
    """A change of a hypothesis: when and by whom, and in lines its wording, reason or evidence."""

    head: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class TakenBack:
    """A mark that was taken back, with the reason."""

    id: str
    excerpt: str
    seq: int
    by: str
    reason: str


@dataclass(frozen=True)
class Conclusion:
    """A hypothesis on the first page; ``pro`` and ``contra`` are excerpts of its evidence.

    ``tested`` is its newest test in words, or that there was none.
    """

    id: str
    text: str
    status: str
    tested: str
    confidence: float | None
    reason: str
    pro: tuple[str, ...]
    contra: tuple[str, ...]


@dataclass(frozen=True)
class FirstPage:
    """The report on one page: conclusions, tests that were made, numbers, and time.

    ``left_out`` says how many hypotheses are not among the conclusions; empty without one.
    """

    pair: str
    conclusions: tuple[Conclusion, ...]
    left_out: str
    tests: tuple[str, ...]
    numbers: tuple[tuple[str, str], ...]
    time: str


@dataclass(frozen=True)
class GradeLine:
    """A grade; ``score`` is None where it is unscored. ``edits`` are those it replaced, in words."""

    id: str
    grader: str
    subject: str
    score: float | None
    reason: str
    by: str
    rubric: str
    edits: tuple[str, ...]


@dataclass(frozen=True)
class OperationLine:
    """An operation in one line of the record."""

    seq: int
    name: str
    by: str
    status: str
    seconds: float | None
    problem: str


@dataclass(frozen=True)
class Block:
    """A part of a measure: a title, a sentence, a generated text, or a table."""

    title: str = ""
    sentence: str = ""
    text: str = ""
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class MeasureSection:
    """A measure with its figures: the event, who asked for it, its label, its line, its parts."""

    seq: int
    by: str
    label: str
    line: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Report:
    """The content of a report."""

    summary: SessionSummary
    first_page: FirstPage
    events: int
    head: str
    verified: bool
    vouched: str
    "How far that goes: whether the head is known from elsewhere."
    problems: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    provenance: tuple[tuple[str, str, str], ...]
    pair_facts: tuple[tuple[str, str], ...]
    hypotheses: tuple[HypothesisSection, ...]
    loose_evidence: tuple[EvidenceLine, ...]
    taken_back: tuple[TakenBack, ...]
    grades: tuple[GradeLine, ...]
    unblinded: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    measures: tuple[MeasureSection, ...]
    readings: tuple[ReadingSection, ...]
    sweeps: tuple[Sweep, ...]
    steered: tuple[SampleGroup, ...]
    steered_prompts: int
    asked: tuple[SampleGroup, ...]
    asked_questions: int
    notes: tuple[tuple[str, datetime, str], ...]
    operations: tuple[OperationLine, ...]
    coverage: Coverage
    limits: tuple[str, ...]
