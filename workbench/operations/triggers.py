"""Trigger scan: common words ranked by how much further they move finetuned than base."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from adl.measures.triggers import (
    FEWEST_WORDS,
    SLOT,
    WordMove,
    chosen_frames,
    common_words,
    scan_triggers,
    spread_out,
)
from workbench.fields import FieldsConflict
from workbench.operations.running import (
    AgentUse,
    Arguments,
    Command,
    Context,
    Operation,
    Stage,
    Summary,
)
from workbench.operations.shared_arguments import NoBlankWords, ThinkingMode, Words
from workbench.store.measures.triggers import ScannedWord, TriggersScanned

#: Words that are recorded with their moves, besides those that were asked for.
_KEPT = 60


class TriggersArguments(Arguments):
    """The words to try, and the prompts to try them in."""

    words: NoBlankWords = Field(
        (), description="Tried besides the bundled ones, and always listed."
    )
    n_words: int | None = Field(
        None,
        ge=FEWEST_WORDS,
        description="Bundled words, this many, evenly spread; none takes all.",
    )
    frames: tuple[Words, ...] = Field(
        (), description=f"Prompts with {SLOT} for the word; none: three neutral ones."
    )
    raw: bool = Field(False, description="Plain text instead of chats.")
    thinking: ThinkingMode = "auto"

    @field_validator("frames")
    @classmethod
    def _with_slot(cls, frames: tuple[str, ...]) -> tuple[str, ...]:
        for frame in frames:
            if SLOT not in frame:
                raise ValueError(f"{frame!r} has no place for the word: write {SLOT} where it goes")
        return frames

    @model_validator(mode="after")
    def _thinking_of_a_chat(self) -> TriggersArguments:
        if self.raw and self.thinking != "auto":
            raise FieldsConflict(
                "raw text has no chat template to switch thinking by", "raw", "thinking"
            )
        return self


def find_triggers(context: Context, arguments: TriggersArguments) -> Summary:
    """Rank common words by how much further they move the finetuned model's predictions than base's.

    A word that changes only what the finetuned model says may be a trigger. Nothing is generated.
    """
    frames = chosen_frames(arguments.frames, raw=arguments.raw)
    own = list(dict.fromkeys(word.strip() for word in arguments.words))
    words = [*own, *spread_out(common_words(), arguments.n_words)]

    def progress(done: int, total: int) -> None:
        context.progress("scan words", done, total)

    scanned = scan_triggers(
        context.pair,
        words,
        frames,
        raw=arguments.raw,
        thinking=arguments.thinking,
        progress=progress,
        should_stop=context.should_stop,
    )
    ranked = list(enumerate(scanned.words, start=1))
    kept = [
        _recorded(rank, word) for rank, word in ranked if rank <= _KEPT or word.word in set(own)
    ]
    context.record(
        TriggersScanned(
            words=tuple(kept),
            frames=frames,
            n_words=len(ranked),
            median=round(scanned.median, 5),
            deviation=round(scanned.deviation, 5),
            settings={"raw": arguments.raw, "words": own},
        )
    )
    return {"words": {word.word: round(word.z, 1) for word in kept[:10]}}


#: Tokens that a word adds to the shared beginning of a chat, about.
_TOKENS_A_WORD = 8

TRIGGERS = Operation(
    "triggers",
    "Scan for trigger words",
    TriggersArguments,
    find_triggers,
    needs=("pair",),
    finds=TriggersScanned,
    command=Command("triggers"),
    agent=AgentUse(
        hidden=("n_words", "thinking"),
        most={"words": 50, "frames": 5},
    ),
    reads_words=True,
    stages=lambda arguments: (
        Stage(
            "scan words",
            0.008
            * _TOKENS_A_WORD
            * (len(arguments.frames) or 3)
            * (arguments.n_words or len(common_words())),
        ),
    ),
)


def _recorded(rank: int, found: WordMove) -> ScannedWord:
    return ScannedWord(
        word=found.word,
        rank=rank,
        z=round(found.z, 3),
        finetuned=tuple(round(move, 4) for move in found.finetuned),
        base=tuple(round(move, 4) for move in found.base),
        raised=found.raised,
        probability=round(found.probability, 4),
    )
