"""A judge that chooses the scale of a patchscope, or the alpha of a shift lens, by its tokens.

Source: Minder et al. 2025 (arXiv 2510.13900), where an LLM picks the scale with the most coherent list.
The lists go by number and not by scale, so that no scale is the likelier one; tokens are audited text
and stand in the fence. What is asked and replied is in the log, and lists that were judged are not
paid for again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pydantic import Field

from adl.callbacks import ShouldStop
from workbench.agent.endpoint import Endpoint
from workbench.agent.judging import Question, ask_judge
from workbench.agent.quoting import cut
from workbench.agent.tools import Tool
from workbench.blinding.seal import blinding_in
from workbench.operations.judges import ScaleVerdict
from workbench.operations.readings import lists_digest
from workbench.operations.running import Arguments, Session

VERSION = "1"
_LONGEST_TOKEN = 60
_TOLD = """\
A tool turned a vector into lists of tokens, once for each strength it was tried at. Too weak, and a \
list is what any text could have; too strong, and it is debris. Name the list whose tokens hang \
together best: they share a topic, and few are fragments or function words. If none hangs together, \
name 0."""


class ScaleArguments(Arguments):
    """The token list that hangs together best, and its topic."""

    number: int = Field(ge=0, description="Number of the list; 0 if none hangs together.")
    topic: str = Field("", description="What its tokens have in common, in a few words.")


SCALE_TOOL = Tool("choose_list", "Say which list hangs together best.", ScaleArguments)


def scale_judge(
    session: Session, endpoint: Callable[[], Endpoint]
) -> Callable[[str, str, Mapping[float, Sequence[str]], ShouldStop], ScaleVerdict]:
    """A judge for a session's readings; the endpoint is made when it is first asked.

    It raises ``SettingsError``, ``EndpointError`` and ``Stopped``; a reply that cannot be read, or
    names a list that is not there, is a verdict without a scale.
    """
    made: list[Endpoint] = []

    def judge(
        model: str, reading: str, lists: Mapping[float, Sequence[str]], should_stop: ShouldStop
    ) -> ScaleVerdict:
        if not made:
            made.append(endpoint())
        hide = blinding_in(session.state).hide
        scales = sorted(lists)
        material = [
            {
                "list": number,
                "tokens": [cut(hide(token), _LONGEST_TOKEN) for token in lists[scale]],
            }
            for number, scale in enumerate(scales, start=1)
        ]
        question = Question(
            about=f"scale of {reading} {lists_digest(lists)[:16]} {VERSION}",
            instructions=_TOLD,
            material=material,
            verdict=SCALE_TOOL,
            seed=0,
        )
        judgement = ask_judge(session, made[0], model, question, should_stop)
        verdict = judgement.verdict
        if not isinstance(verdict, ScaleArguments):
            return ScaleVerdict(None, judgement.problem)
        if verdict.number == 0:
            return ScaleVerdict(None, "no list hangs together")
        if verdict.number > len(scales):
            problem = f"unreadable verdict: it names list {verdict.number} of {len(scales)}"
            return ScaleVerdict(None, problem)
        return ScaleVerdict(scales[verdict.number - 1], verdict.topic)

    return judge
