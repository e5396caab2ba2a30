"""Where the two models differ most: passages and prompts ranked by KL, token by token."""

from __future__ import annotations

from pydantic import Field

from adl.errors import CorpusError
from adl.measures.differing import TextDifference, read_passages, read_prompts, text_differences
from adl.text.corpus import CorpusSource
from workbench.operations.generation import Words, chosen_prompts
from workbench.operations.running import (
    AgentUse,
    Arguments,
    Command,
    Context,
    Operation,
    Stage,
    Summary,
)
from workbench.store.measures.differing import DifferingText, TextsDiffer


class DifferArguments(Arguments):
    """Which passages and prompts to compare the two models on."""

    prompts: tuple[Words, ...] = Field(
        (), description="User prompts; none: the bundled everyday ones."
    )
    prompt_file: str | None = Field(None, description="File of prompts: text lines or JSONL.")
    n_prompts: int | None = Field(None, ge=1, description="Use the first so many prompts.")
    corpus: str | None = Field(None, description="Unrelated text; none is the bundled passages.")
    text_column: str | None = Field(None, description="Column of the text in JSONL or a data set.")
    n_texts: int = Field(32, ge=1, description="Passages of unrelated text: the reference.")
    max_tokens: int = Field(48, ge=2, description="Longest passage, in tokens.")
    seed: int = Field(0, ge=0, description="Random seed for the choice of passages.")


def differ(context: Context, arguments: DifferArguments) -> Summary:
    """Rank prompts and unrelated passages by how far the two models' next-token predictions part."""
    pair = context.pair
    prompts = chosen_prompts(arguments.prompts, arguments.prompt_file, arguments.n_prompts)
    source = CorpusSource.parse(arguments.corpus, arguments.text_column)
    texts = source.open().texts(arguments.seed, arguments.n_texts, should_stop=context.should_stop)
    read = {
        "passages": read_passages(pair, list(texts), arguments.max_tokens),
        "prompts": read_prompts(pair, prompts),
    }
    if not any(read.values()):
        raise CorpusError(
            "no text is written in the same tokens by both models",
            "Use other text; models with different vocabularies share few passages.",
        )
    found: list[DifferingText] = []
    means: dict[str, float] = {}
    for kind, some in read.items():

        def progress(done: int, total: int, stage: str = f"compare {kind}") -> None:
            context.progress(stage, done, total)

        compared = text_differences(pair, some, progress=progress, should_stop=context.should_stop)
        found += [_recorded(kind, each) for each in compared]
        if compared:
            means[kind] = sum(each.mean for each in compared) / len(compared)
    left_out = len(texts) + len(prompts) - len(found)
    context.record(
        TextsDiffer(
            texts=tuple(found),
            reference=means.get("passages"),
            n_left_out=left_out,
            settings={"unrelated": texts.sha256, "seed": arguments.seed},
        )
    )
    return {"mean_kl": {kind: round(mean, 4) for kind, mean in means.items()}}


DIFFER = Operation(
    "differ",
    "Find where they differ",
    DifferArguments,
    differ,
    needs=("pair",),
    finds=TextsDiffer,
    command=Command("differ"),
    agent=AgentUse(
        hidden=(
            "prompt_file",
            "n_prompts",
            "corpus",
            "text_column",
            "n_texts",
            "max_tokens",
            "seed",
        ),
        most={"prompts": 20},
    ),
    stages=lambda arguments: (
        Stage("compare passages", 0.2 * arguments.n_texts),
        Stage("compare prompts", 0.2 * (len(arguments.prompts) or arguments.n_prompts or 20)),
    ),
)


def _recorded(kind: str, found: TextDifference) -> DifferingText:
    return DifferingText(
        source="prompts" if kind == "prompts" else "passages",
        text=found.text,
        pieces=found.pieces,
        kl=tuple(round(value, 4) for value in found.kl),
        highest=found.highest,
        raised=found.raised,
        probability=round(found.probability, 5),
        log_ratio=round(found.log_ratio, 4),
        mean=round(found.mean, 5),
    )
