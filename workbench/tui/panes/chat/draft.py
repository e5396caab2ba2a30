"""The context of a probe being written, and the arguments made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from adl.errors import AdlError
from adl.records import SIDES, Side
from workbench.operations.generation import AskArguments
from workbench.operations.jobs import Job
from workbench.tui import keys
from workbench.tui.panes.chat.settings import ProbeSettings
from workbench.tui.panes.chat.turns import AnswerRef, Turn, Turns, whole_answer


class DraftError(AdlError):
    """A probe that cannot be sent to the models."""


@dataclass(frozen=True)
class Draft:
    """The context of the probe in the field.

    ``follows`` is an answer, ``edits`` the id of an earlier probe; both are None for a new conversation.
    """

    follows: AnswerRef | None = None
    edits: str | None = None

    @classmethod
    def from_data(cls, data: Any) -> Draft:
        """Return a draft from the data of `as_data`, or an empty one."""
        if not isinstance(data, Mapping):
            return cls()
        probe, side, sample = data.get("follows"), data.get("side"), data.get("sample", 0)
        if isinstance(probe, str) and side in SIDES and isinstance(sample, int):
            return cls(follows=AnswerRef(probe, cast("Side", side), sample))
        edits = data.get("edits")
        return cls(edits=edits) if isinstance(edits, str) else cls()

    def as_data(self) -> dict[str, Any]:
        """Return the draft as plain JSON data."""
        if self.follows is not None:
            answer = self.follows
            return {"follows": answer.probe, "side": answer.side, "sample": answer.sample}
        return {} if self.edits is None else {"edits": self.edits}

    def in_words(self, turns: Turns) -> str:
        """Return what the probe follows or edits; empty if it is a new one."""
        follows = None if self.follows is None else turns.find(self.follows.probe)
        if self.follows is not None and follows is not None:
            of = f" (sample {self.follows.sample + 1})" if follows.n_samples > 1 else ""
            return f"Follow-up to {follows.number}, {self.follows.side}'s answer{of}"
        edits = None if self.edits is None else turns.find(self.edits)
        return "" if edits is None else f"Edit of {edits.number}"

    def is_raw(self, settings: ProbeSettings, turns: Turns) -> bool:
        """True if the probe is plain text without chat template."""
        before = None if self.follows is None else turns.find(self.follows.probe)
        return settings.as_raw if before is None else before.raw is not None

    def arguments(self, written: str, settings: ProbeSettings, turns: Turns) -> AskArguments:
        """Return the arguments for sending ``written``.

        Raises ``DraftError`` if it cannot be, and ``ValidationError`` if a setting does not fit.
        """
        if self.follows is not None:
            return self._follow_up(self.follows, written, settings, turns)
        if not written.strip():
            raise DraftError("the question is empty", "Write what both models are to answer.")
        if settings.as_raw:
            return settings.asking(raw=written)
        edited = None if self.edits is None else turns.find(self.edits)
        history = () if edited is None else edited.history
        if not history:
            return settings.asking(prompt=written)
        return settings.asking(messages=(*map(dict, history), {"role": "user", "content": written}))

    def _follow_up(
        self, followed: AnswerRef, written: str, settings: ProbeSettings, turns: Turns
    ) -> AskArguments:
        turn = turns.find(followed.probe)
        if turn is None:
            raise DraftError(
                "the turn that this follows is not there",
                f"Press {keys.shown('next_draft')} to begin anew.",
            )
        answer = _finished_answer(turn, followed)
        if turn.raw is not None:
            return settings.asking(raw=turn.raw + answer + written)
        if not written.strip():
            raise DraftError("the question is empty", "Write what follows the answer.")
        return settings.asking(
            messages=(
                *map(dict, turn.messages),
                {"role": "assistant", "content": answer},
                {"role": "user", "content": written},
            ),
            system=None,
        )


def _finished_answer(turn: Turn, followed: AnswerRef) -> str:
    answer = turn.answer(followed.side, followed.sample)
    if answer is not None and answer.status != "growing":
        return whole_answer(answer)
    name = f"{followed.side}'s answer to turn {turn.number}"
    if not turn.is_over:
        raise DraftError(f"{name} is not finished", "Send again when it is.")
    raise DraftError(
        f"{name} was not computed",
        f"Press {keys.shown('again')} on it to ask again, or {keys.shown('next_draft')} to change.",
    )


@dataclass(eq=False)
class Sent:
    """A probe that was sent, until it is recorded: what was ``written`` in the field, and its draft.

    Its job has the id of its turn. Equal arguments are no sign of it: another probe may have the same,
    and in a blind session its own are shown without the names.
    """

    arguments: AskArguments
    written: str
    draft: Draft
    _id: str = ""

    def turn(self, turns: Turns) -> Turn | None:
        """Return its turn once it is recorded."""
        turn = turns.find(self._id) if self._id else None
        return None if turn is None or turn.operation is None else turn

    def take_jobs(self, jobs: Sequence[Job]) -> None:
        """Take the id of its job, if that is among these."""
        self._id = next((job.id for job in jobs if job.arguments is self.arguments), self._id)
