"""Topics of what the finetuned model predicts more than base: objectives apart, and noise by itself."""

from __future__ import annotations

from dataclasses import asdict

from pydantic import Field

from adl.measures.topics import Topic, TopicRequest, find_topics
from adl.text.corpus import CorpusSource
from workbench.operations.running import AgentUse, Arguments, Command, Context, Operation, Summary
from workbench.operations.shared_arguments import CorpusName, TextColumn
from workbench.operations.style_bank import known_style
from workbench.store.events import ReadToken
from workbench.store.findings import Estimate
from workbench.store.measures.topics import FoundContext, FoundTopic, TopicsFound

#: Longer texts are read up to here; what a context tells stands in its first words.
_KEPT = 400


class TopicsArguments(Arguments):
    """The number of topics to look for, and the texts to look in."""

    topics: int = Field(
        4, ge=1, le=12, description="Topics to look for; like ones are put together."
    )
    n_passages: int = Field(64, ge=0, description="Unrelated passages among the contexts.")
    n_unprompted: int = Field(
        64, ge=0, description="Texts that finetuned wrote from nothing among the contexts."
    )
    top: int = Field(30, ge=1, le=200, description="Words kept of each topic.")
    corpus: CorpusName = None
    text_column: TextColumn = None
    n_texts: int = Field(256, ge=1, description="Unrelated texts that closeness is calibrated on.")
    seed: int = Field(0, ge=0, description="Random seed for texts and the factorisation.")


def topics(context: Context, arguments: TopicsArguments) -> Summary:
    """Part what finetuned predicts more than base into topics."""
    pair = context.pair
    source = CorpusSource.parse(arguments.corpus, arguments.text_column)
    texts = source.open().texts(arguments.seed, arguments.n_texts, should_stop=context.should_stop)
    written = [
        (text_id, text.text)
        for text_id, text in context.session.state.texts.items()
        if text.start.body.purpose == "unprompted"
        and text.start.body.side == "finetuned"
        and text.status == "finished"
    ][: arguments.n_unprompted]
    passages = texts[: arguments.n_passages]
    contexts = [*passages, *(text for _, text in written)]
    found = find_topics(
        pair,
        contexts,
        texts,
        TopicRequest(arguments.topics, arguments.top, arguments.seed, known_style(pair)),
        progress=lambda done, total: context.progress("contexts", done, total),
        should_stop=context.should_stop,
    )

    def shown(index: int, share: float) -> FoundContext:
        if index >= len(passages):
            return FoundContext(share=share, text_id=written[index - len(passages)][0])
        return FoundContext(share=share, text=contexts[index][:_KEPT])

    def recorded(topic: Topic) -> FoundTopic:
        closeness = topic.closeness
        return FoundTopic(
            words=tuple(
                ReadToken(id=token.token_id, text=token.text, score=token.score)
                for token in topic.words
            ),
            contexts=tuple(shown(**asdict(each)) for each in topic.contexts),
            weight=topic.weight,
            closeness=None
            if closeness is None
            else Estimate(
                value=closeness.index,
                low=closeness.low,
                high=closeness.high,
                n=len(closeness.words),
            ),
            is_noise=topic.is_noise,
        )

    used = [index for index in found.used if index < len(passages)]
    event = TopicsFound(
        topics=tuple(map(recorded, found.topics)),
        n_passages=len(used),
        n_unprompted=len(found.used) - len(used),
        error=found.error,
        settings={
            "texts": texts.sha256,
            "seed": arguments.seed,
            "topics": arguments.topics,
        },
    )
    context.record(event)
    return {
        "topics": [
            {
                "words": [token.text.strip() for token in topic.words[:12]],
                "noise": topic.is_noise,
                "weight": round(topic.weight, 3),
            }
            for topic in found.topics
        ]
    }


TOPICS = Operation(
    "topics",
    "Part into topics",
    TopicsArguments,
    topics,
    needs=("pair",),
    finds=TopicsFound,
    command=Command("topics"),
    agent=AgentUse(
        hidden=(
            "corpus",
            "text_column",
            "n_texts",
            "n_passages",
            "n_unprompted",
            "seed",
            "top",
            "topics",
        ),
    ),
)
