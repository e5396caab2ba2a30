"""The option ``--judge``: an LLM that chooses scales and alphas, and judges steered texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from workbench.operations.running import Session

#: The value that takes the judge that is set.
SET = "set"

JudgeOption = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="MODEL",
        help=f"LLM that judges scales, alphas or texts; {SET!r} takes that of the settings. "
        "Without it, a rule decides.",
    ),
]


def judge_as_set(endpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of the endpoint without a judge that is called ``SET``."""
    return {
        name: value for name, value in endpoint.items() if (name, value) != ("judge_model", SET)
    }


class JudgeAtHand:
    """A model to ask and the endpoint it is asked at; without a model, nobody is asked."""

    def __init__(self, model: str | None) -> None:
        """Raises ``SettingsError`` where the judge or its key is not set."""
        self.model = model
        if model is None:
            return
        # Imported only now: the client takes its time, and few commands need it.
        from workbench.agent.endpoint import Endpoint
        from workbench.settings import load_settings

        settings = load_settings()
        self.model = settings.require_model("judge") if model == SET else model
        self._endpoint = Endpoint(settings)

    def attend(self, session: Session) -> None:
        """Judge the readings, the steered texts and the tests of a session."""
        if self.model is not None:
            from workbench.agent.coherence import coherence_judge
            from workbench.agent.experimenting import answer_judge, prompt_writer
            from workbench.agent.scales import scale_judge

            session.scale_judge = scale_judge(session, lambda: self._endpoint)
            session.coherence_judge = coherence_judge(session, lambda: self._endpoint)
            session.answer_judge = answer_judge(session, lambda: self._endpoint)
            session.prompt_writer = prompt_writer(session, lambda: self._endpoint)

    def close(self) -> None:
        """Let go of connections."""
        if self.model is not None:
            # A connection that does not close properly must not hide what ended the work.
            with suppress(RuntimeError):
                self._endpoint.close()


@contextmanager
def judge_at_hand(model: str | None) -> Iterator[JudgeAtHand]:
    """The judge of ``--judge``, for as long as a command takes."""
    judge = JudgeAtHand(model)
    try:
        yield judge
    finally:
        judge.close()
