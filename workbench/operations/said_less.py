"""Words that the finetuned model predicts less than base, and words that it holds back."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from adl.measures.said_less import TOP, said_less
from adl.records import TokenScore
from adl.text.corpus import CorpusSource
from workbench.operations.running import AgentUse, Arguments, Command, Context, Operation, Summary
from workbench.operations.shared_arguments import ContextTexts, CorpusName, TextColumn, TextSeed
from workbench.operations.style_bank import known_style
from workbench.store.events import ReadToken
from workbench.store.measures.said_less import LessSaid


class SaidLessArguments(Arguments):
    """The unrelated text, and how many words to keep."""

    top: int = Field(TOP, ge=1, le=1000, description="Words kept of each list.")
    corpus: CorpusName = None
    text_column: TextColumn = None
    n_texts: ContextTexts = 256
    seed: TextSeed = 0


def find_less(context: Context, arguments: SaidLessArguments) -> Summary:
    """List words that fall, and words that are held back while their neighbours rise."""
    pair = context.pair
    source = CorpusSource.parse(arguments.corpus, arguments.text_column)
    texts = source.open().texts(arguments.seed, arguments.n_texts, should_stop=context.should_stop)
    style = known_style(pair)
    found = said_less(pair, texts, style, top=arguments.top, should_stop=context.should_stop)
    context.record(
        LessSaid(
            less=_tokens(found.less),
            held_back=_tokens(found.held_back),
            null=None if found.null is None else _tokens(found.null),
            n_contexts=found.n_contexts,
            settings={"texts": texts.sha256, "seed": arguments.seed, "style": style.sha256},
        )
    )
    return {
        "less": [token.text.strip() for token in found.less[:20]],
        "held_back": [token.text.strip() for token in found.held_back[:20]],
    }


SAID_LESS = Operation(
    "said_less",
    "Find what is said less",
    SaidLessArguments,
    find_less,
    needs=("pair",),
    finds=LessSaid,
    command=Command("said-less"),
    agent=AgentUse(hidden=("top", "corpus", "text_column", "n_texts", "seed")),
)


def _tokens(tokens: Sequence[TokenScore]) -> tuple[ReadToken, ...]:
    return tuple(
        ReadToken(id=token.token_id, text=token.text, score=token.score) for token in tokens
    )
