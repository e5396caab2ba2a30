"""Arguments of the commands of the agent and its graders; their options derive from these."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, model_validator

from adl.text.prompts import N_EVERYDAY
from workbench.fields import FieldsConflict
from workbench.operations.running import Arguments
from workbench.operations.shared_arguments import SteeredTokens
from workbench.store.agent_events import Policy

Mode = Literal["adl", "black-box", "scaffolded"]
INTERACTIONS = "Model interactions the agent may spend"


class BudgetArguments(Arguments):
    """Budgets of an audit."""

    interactions: int = Field(5, ge=0, description=f"{INTERACTIONS}.")
    calls: int = Field(40, ge=1, description="Replies the agent's model may make.")
    tokens: int = Field(400_000, ge=1, description="Tokens the agent's model may use.")
    seconds: FiniteFloat = Field(3_600.0, ge=0, description="Seconds the agent may work.")


class AuditArguments(BudgetArguments):
    """The options of an agent's audit."""

    mode: Mode = Field(
        "adl",
        description="adl: it sees the readings and steered texts. black-box: it can only ask the "
        "models. scaffolded: as black-box, with a plan to follow.",
    )
    blind: bool = Field(
        False, description="Hide every name of the pair from the agent and from you."
    )
    approval: Policy = Field(
        "never",
        description="Calls it needs your approval for: never, those spending interactions, always.",
    )
    n_prompts: int | None = Field(
        None,
        ge=1,
        description=f"Everyday prompts to steer before it starts; none takes all {N_EVERYDAY}.",
    )

    @model_validator(mode="after")
    def _nothing_ignored(self) -> AuditArguments:
        if self.mode != "adl" and self.n_prompts is not None:
            raise FieldsConflict(f"a {self.mode} agent is shown no texts", "mode", "n_prompts")
        return self


#: What each kind of grading goes by; anything else that is given would be ignored.
_GOES_BY = {
    "report": ("run", "organism", "repeats"),
    "relevance": ("tokens", "readings", "organism"),
    "coherence": ("coherence",),
    "score": ("score", "run", "organism", "reason", "author"),
    "edit": ("edit", "score", "unscored", "reason", "author"),
}
_KIND_WORDS = {
    "report": "a judge's grade of a report",
    "relevance": "a judge's grade of token lists",
    "coherence": "a judge's grade of steered texts",
    "score": "a grade of your own",
    "edit": "an edit of a grade",
}


class GradeArguments(Arguments):
    """A grading: the audit or the evidence, and the grader."""

    run: str | None = Field(None, description="Id of the audit; none takes the last.")
    organism: str | None = Field(
        None, description="Organism to grade against, if the session does not name one."
    )
    repeats: int = Field(3, ge=1, description="How often the judge grades.")
    tokens: bool = Field(False, description="Judge token lists instead of the report.")
    readings: tuple[str, ...] = Field((), description="With --tokens: readings that are judged.")
    coherence: bool = Field(False, description="Judge steered texts instead of the report.")
    score: int | None = Field(None, ge=1, le=5, description="Grade it yourself, from 1 to 5.")
    edit: str | None = Field(None, description="Id of a grade to replace, such as G1.")
    unscored: bool = Field(False, description="With --edit: take the grade back.")
    reason: str = Field("", description="Reason for your own grade.")
    author: str = Field("", description="Your name, recorded with it.")

    @property
    def kind(self) -> str:
        """Return the name of what is graded."""
        return "relevance" if self.tokens else "coherence" if self.coherence else "report"

    @property
    def by_hand(self) -> bool:
        """True for a person's own grade or edit."""
        return self.score is not None or self.edit is not None or self.unscored

    @model_validator(mode="after")
    def _one_kind(self) -> GradeArguments:
        if self.tokens and self.coherence:
            raise FieldsConflict("give one of them", "tokens", "coherence")
        if self.by_hand and (self.kind != "report" or (self.score is None) == (not self.unscored)):
            raise FieldsConflict(
                "a grade of your own is a score of a report, or an edit of one with a score or none",
                "score",
                "edit",
                "unscored",
            )
        if self.unscored and self.edit is None:
            raise FieldsConflict("what takes a grade back names it", "unscored", "edit")
        if self.by_hand and not self.reason.strip():
            raise FieldsConflict("your own grade needs one", "reason")
        return self

    @model_validator(mode="after")
    def _nothing_ignored(self) -> GradeArguments:
        kind = self.kind
        if self.by_hand:
            kind = "score" if self.edit is None else "edit"
        # A flag that is off, or a text that is empty, asks for nothing.
        asked = (
            name
            for name in type(self).model_fields
            if name in self.model_fields_set and getattr(self, name) not in (None, False, "", ())
        )
        ignored = [name for name in asked if name not in _GOES_BY[kind]]
        if ignored:
            raise FieldsConflict(f"{_KIND_WORDS[kind]} does not go by it: leave it out", *ignored)
        return self


class EvaluateArguments(BudgetArguments):
    """The agents and organisms of an evaluation, and the number of repeats."""

    agents: tuple[Mode, ...] = Field(("adl", "black-box"), min_length=1, description="Agents.")
    organisms: tuple[str, ...] = Field(
        ("cake_bake", "risky_finance", "taboo_gold"), min_length=1, description="Organisms."
    )
    budgets: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (5,),
        min_length=1,
        description=f"{INTERACTIONS} (what `agent run` calls --interactions); a black box gets ten "
        "times as many.",
    )
    repeats: int = Field(1, ge=1, description="Audits of each kind.")
    nulls: bool = Field(
        True,
        description="Audit null pairs, too, for the rate of false positives: the base against itself, "
        "a random adapter of the first organism's size, the control.",
    )
    grades: int = Field(3, ge=1, description="Grades of each report.")
    session: str | None = Field(None, description="Evaluation to go on with.")
    n_texts: int = Field(1_000, ge=1, description="Texts to measure the difference over.")
    n_prompts: int | None = Field(
        None, ge=1, description=f"Everyday prompts to steer; none takes all {N_EVERYDAY}."
    )
    max_new_tokens: SteeredTokens = 40
    plot: Path | None = Field(None, description="File to write the plot to.")
    force: bool = Field(False, description="With --plot: replace a file that is there.")

    @model_validator(mode="after")
    def _nothing_ignored(self) -> EvaluateArguments:
        known = (name for name in type(self).model_fields if name in self.model_fields_set)
        planned = [name for name in known if name not in {"session", "plot", "force"}]
        if self.session is not None and planned:
            raise FieldsConflict(
                f"evaluation {self.session!r} goes on by the plan that it began with: leave out what "
                "is of a plan",
                "session",
                *planned,
            )
        shown = [name for name in planned if name in {"n_texts", "n_prompts", "max_new_tokens"}]
        if shown and "adl" not in self.agents:
            raise FieldsConflict("none of the agents is shown what it is for", "agents", *shown)
        if self.force and self.plot is None:
            raise FieldsConflict("only a plot is replaced: add the last", "force", "plot")
        return self
