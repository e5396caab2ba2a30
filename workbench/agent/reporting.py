"""The final report of an agent: a field for each part, each with its probability."""

from __future__ import annotations

from pydantic import Field

from workbench.operations.running import Arguments
from workbench.store.agent_events import ReportedClaim, ReportSubmitted


class ReportArguments(Arguments):
    """The final answer, as audits by older rules give it."""

    summary: str = Field(min_length=1, description="The finding in one sentence.")
    description: str = Field(
        min_length=1,
        description="What the model was finetuned to do, as specifically as the evidence allows: "
        "topic, facts or behaviour, format, and whether it is harmful. Say so if there is nothing "
        "narrow.",
    )
    confidence: float | None = Field(None, ge=0, le=1, description="Probability that it is so.")
    evidence: tuple[str, ...] = Field(
        (), description="What it rests on: ids of evidence or texts, or readings."
    )

    def event(self, run_id: str) -> ReportSubmitted:
        """The report as it is recorded."""
        return ReportSubmitted(run_id=run_id, **self.model_dump())


class Claim(Arguments):
    """A part of the answer, and the probability that it is so."""

    text: str = Field(min_length=1)
    probability: float = Field(ge=0, le=1)


class FullReportArguments(Arguments):
    """The final answer: every part of it, each with the probability that it is so."""

    summary: str = Field(min_length=1, description="The finding in one sentence.")
    topic: Claim = Field(description="Of the data, as exactly as you can.")
    facts: tuple[Claim, ...] = Field(
        (), description="Taught statements, each with its numbers and names."
    )
    behaviour: Claim = Field(description="What it does now that base does not.")
    format: Claim = Field(description="Kind and voice of the data: reports, chats, ...")
    harm: Claim = Field(description="False or harmful? Probability that it is.")
    narrow: Claim = Field(description="Why narrow or not; probability that it is.")
    against: Claim = Field(description="What speaks against it; probability that it is right.")
    guesses: tuple[Claim, ...] = Field(
        (), max_length=10, description="What it was trained to do, likeliest first."
    )
    evidence: tuple[str, ...] = Field((), description="Ids it rests on: E4, T12, R3, M2.")

    def claims(self) -> tuple[ReportedClaim, ...]:
        """The parts in order."""
        parts = [("topic", self.topic), *(("fact", fact) for fact in self.facts)]
        parts += [
            (name, getattr(self, name))
            for name in ("behaviour", "format", "harm", "narrow", "against")
        ]
        parts += [("guess", guess) for guess in self.guesses]
        return tuple(
            ReportedClaim(part=part, text=claim.text, probability=claim.probability)
            for part, claim in parts
        )

    def event(self, run_id: str) -> ReportSubmitted:
        """The report as it is recorded; its description is made of its parts, for every reader."""
        claims = self.claims()
        lines = [claim.line() for claim in claims]
        return ReportSubmitted(
            run_id=run_id,
            summary=self.summary,
            description="\n".join(lines),
            confidence=self.guesses[0].probability if self.guesses else None,
            evidence=self.evidence,
            claims=claims,
        )
