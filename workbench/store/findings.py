"""Findings that show themselves: a title, a few words, and figures that a screen or a table draws.

    Finding.figures()  -->  Heading, Line, Rows, Curve, Sample
                              screen: bars and small plots beside their numbers
                              command line: tables

A finding knows neither; `workbench.tui.measure_render` and `workbench.cli.show` draw any of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from workbench.store.body import EventBody, one_line
from workbench.store.record import Record

NOT_COMPUTED = "not computed"
#: In place of the tokens of a list that is empty, as that of a difference of zero is.
NO_TOKEN = "no token stands out"


class Estimate(Record):
    """A value with its 95% interval over ``n`` units (``adl.measures.intervals.Interval``)."""

    value: float
    low: float
    high: float
    n: int

    def words(self, form: str = "{:.3f}") -> str:
        """Return the value and its interval, each formatted by ``form``.

        A mean of one has none, which is said.
        """
        if self.n == 1 and self.low == self.high:
            return f"{form.format(self.value)} (of one: no interval)"
        value, low, high = (form.format(number) for number in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"


def words_of(found: Estimate | None, form: str = "{:.3f}") -> str:
    """Return the estimate in words, "not computed" for None."""
    return NOT_COMPUTED if found is None else found.words(form)


# --- figures --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Heading:
    """A heading above what follows."""

    text: str


@dataclass(frozen=True)
class Line:
    """A sentence; may hold text of a model or a file."""

    text: str
    muted: bool = False


@dataclass(frozen=True)
class Bar:
    """A value as a bar, or among its nulls where there are any; ``note`` gives it as text.

    ``form`` formats the ends of the axis that the nulls are drawn on.
    """

    label: str
    value: float
    note: str
    nulls: tuple[float, ...] = ()
    form: str = "{:.2f}"
    muted: bool = False


@dataclass(frozen=True)
class Row:
    """One row: the cells of a table, and what a screen draws in their place."""

    cells: tuple[str, ...]
    drawn: tuple[Bar | Line, ...]


@dataclass(frozen=True)
class Rows:
    """Rows under a title and columns; ``most`` is the value of a full bar."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    most: float = 1.0


@dataclass(frozen=True)
class Curve:
    """Values in order, such as losses by step."""

    title: str
    values: tuple[float, ...]
    note: str


@dataclass(frozen=True)
class Sample:
    """A generated text: the one of ``text_id`` in the session, else ``text`` itself.

    ``ratios`` are nats per piece, finetuned over base, where the text is shaded by them; ``ends`` are
    the characters at which the pieces end. ``asks`` is True where the question that the text answers
    belongs to its title: :func:`title_of`.
    """

    title: str
    text_id: str | None = None
    text: str = ""
    ends: tuple[int, ...] = ()
    ratios: tuple[float, ...] = ()
    asks: bool = False


class Answer(Protocol):
    """A text of the session: what is needed of it here."""

    @property
    def question(self) -> str:
        """The user's last turn before it; empty without one."""


def title_of(sample: Sample, texts: Mapping[str, Answer]) -> str:
    """Return the title of a text, with the question that it answers where that belongs to it."""
    text = texts.get(sample.text_id or "") if sample.asks else None
    if text is None:
        return sample.title
    return f"{sample.title}, asked: {one_line(text.question)}"


Figure = Heading | Line | Rows | Curve | Sample


@dataclass(frozen=True)
class Lead:
    """A part of a finding that may be stated as a hypothesis.

    ``claim`` is the hypothesis in words, for a person to edit; ``excerpt`` and ``label`` are the mark
    that it rests on, and ``figures`` show the part.
    """

    claim: str
    excerpt: str
    label: str
    figures: tuple[Figure, ...] = ()


class Finding(EventBody, group="findings"):
    """A finding with a place on the screen of measures.

    Class argument ``label``: its name there, such as "causal effect".
    """

    label: ClassVar[str]

    def __init_subclass__(cls, *, label: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if label:
            cls.label = label

    @classmethod
    def _check(cls) -> None:
        super()._check()
        if not getattr(cls, "label", ""):
            raise TypeError(f"finding {cls.__name__} needs a label, its name among the measures")
        if cls.short is Finding.short or cls.figures is Finding.figures:
            raise TypeError(f"finding {cls.__name__} needs short() and figures()")

    def short(self) -> str:
        """Return the finding in a few characters, beside its label."""
        raise NotImplementedError

    def figures(self, others: Sequence[EventBody] = ()) -> Sequence[Figure]:
        """Return what there is to see.

        ``others`` are the session's findings and trainings, for one that is drawn beside others.
        """
        raise NotImplementedError

    def leads(self) -> Sequence[Lead]:
        """Return its candidates for hypotheses, the strongest first."""
        return ()


class Measure(Finding):
    """A finding of one of the measures of a trace.

    Class argument ``of_truth``: it rests on finetuning documents, which agents are not shown, nor what
    is found with them.
    """

    of_truth: ClassVar[bool] = False

    def __init_subclass__(cls, *, of_truth: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.of_truth = of_truth
