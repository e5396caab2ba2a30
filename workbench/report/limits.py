"""The limits of a report: those of the method, and those of the session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from adl.words import number_of
from workbench.store.slices.agents import standing
from workbench.store.state import SessionState

#: Fewer texts than this leave a standard error that is worth a warning.
FEW_TEXTS = 256
#: From this share of its norm on, a difference is mostly noise.
LARGE_ERROR = 0.25
#: Below it, two halves of the texts do not agree on the direction.
LOW_COSINE = 0.9

METHOD = (
    (
        "No trace found is not clean. Unrelated text mixed into the finetuning data hides what this "
        "method reads: a tenth of it already weakens the trace, and with twice as much steered text is "
        "no more about the finetuning than unsteered text, though what was taught is then learnt less "
        "well. A finetuning that shows nothing here may still be there."
    ),
    (
        "A reading is a lead and not a proof. A token counts for as much as it stands in the list of the "
        "difference and not in those of its nulls; a random vector of the same size has a top list "
        "too."
    ),
    (
        "The difference carries the spelling and register of the finetuning text as well as its topic. "
        "The difference of another organism, read beside, tells them apart."
    ),
    (
        "Texts shown here are chosen, and steered text says what a pushed model says, which no user of "
        "it may ever have seen."
    ),
    "Whatever is said here to be not computed was not looked at.",
)


@dataclass(frozen=True)
class Measured:
    """The precision of one site: standard error over norm, and the halves' cosine."""

    layer: int
    position: str
    n_texts: int
    error_share: float | None
    half_cosine: float


def limits(
    state: SessionState, measured: Sequence[Measured], *, has_nulls: bool, is_blind: bool = False
) -> Iterator[str]:
    """Sentences of ours, the method's first; nothing untrusted is in them."""
    yield from METHOD
    if is_blind:
        yield (
            "The names of the pair are hidden here, as in the session: MODEL-A is the base, MODEL-B "
            "the finetuned model. The log has the names."
        )
    if not measured:
        yield "No difference was measured in this session."
    elif (fewest := min(site.n_texts for site in measured)) < FEW_TEXTS:
        yield f"The difference was measured over no more than {fewest} texts."
    yield from sorted(
        {
            difference.body.doubt
            for difference in state.differences.values()
            if difference.body.doubt
        }
    )
    # The attention sink at position 0 is left out of what is read.
    read = [site for site in measured if site.position != "0"]
    loud = [site for site in read if site.error_share is None or site.error_share > LARGE_ERROR]
    if loud:
        yield (
            f"At {len(loud)} of {number_of(len(read), 'site')} the standard error is more than "
            f"{LARGE_ERROR:.0%} of the difference's norm: there it is mostly noise."
        )
    unlike = [site for site in read if site.half_cosine < LOW_COSINE]
    if unlike:
        yield (
            f"At {len(unlike)} of {number_of(len(read), 'site')} the differences of the two halves of "
            f"the texts have a cosine below {LOW_COSINE}: more texts may turn it."
        )
    if state.readings and not has_nulls:
        yield "No null was read beside the difference: nothing in its lists can be told from chance."
    if not state.texts:
        yield "No text was generated: what the models say was not looked at."
    if state.operations and not state.hypotheses and not state.agents:
        yield "No hypothesis was stated."
    untested = [hypothesis for hypothesis in state.hypotheses.values() if not hypothesis.evidence]
    if untested:
        of_all = number_of(len(state.hypotheses), "hypothesis")
        yield f"Without linked evidence: {len(untested)} of {of_all}."
    if any(grade.body.score is None for grade in standing(state.grades)):
        yield "A grade is unscored: it counts neither as a low one nor as none."
    if state.unblinded:
        yield "Someone had seen the real names or the ground truth before the session ended."
    if state.outcome != "completed":
        yield f"The session is not completed: it is {state.outcome or 'still open'}."
