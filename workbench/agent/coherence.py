"""A judge of whether steered texts are coherent, beside the one that works without an LLM.

Source: Minder et al. 2025 (arXiv 2510.13900), whose strongest alpha is the one up to which an LLM calls
three quarters of the texts coherent. A text is audited text and stands in the fence; the alpha it was
written at is not shown. What is asked and replied is in the log, and a text is paid for once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from adl.callbacks import ShouldStop
from adl.measures.coherence import JudgedText
from workbench.agent.endpoint import Endpoint
from workbench.agent.graders import COHERENCE_TOLD, COHERENCE_TOOL, CoherenceVerdict
from workbench.agent.judging import Question, ask_judge
from workbench.blinding.seal import blinding_in
from workbench.operations.running import Session

VERSION = "1"


def coherence_judge(
    session: Session, endpoint: Callable[[], Endpoint]
) -> Callable[[str, Sequence[JudgedText], ShouldStop], list[bool | None]]:
    """A judge for a session's texts; the endpoint is made when it is first asked.

    It raises ``SettingsError``, ``EndpointError`` and ``Stopped``; a reply that cannot be read is no
    verdict on that text.
    """
    made: list[Endpoint] = []

    def judge(
        model: str, texts: Sequence[JudgedText], should_stop: ShouldStop
    ) -> list[bool | None]:
        if not made:
            made.append(endpoint())
        hide = blinding_in(session.state).hide
        verdicts: list[bool | None] = []
        for text in texts:
            question = Question(
                about=f"coherence of text {text_digest(text)[:16]} {VERSION}",
                instructions=COHERENCE_TOLD,
                material=[{"prompt": hide(text.prompt), "text": hide(text.text)}],
                verdict=COHERENCE_TOOL,
                seed=0,
            )
            verdict = ask_judge(session, made[0], model, question, should_stop).verdict
            verdicts.append(verdict.coherent if isinstance(verdict, CoherenceVerdict) else None)
        return verdicts

    return judge


def text_digest(text: JudgedText) -> str:
    """The hash of a prompt and what was written to it, in hex."""
    return hashlib.sha256(f"{text.prompt}\0{text.text}".encode()).hexdigest()
