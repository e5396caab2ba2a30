"""The event of topics: what finetuned predicts more than base, parted by context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import Field

from workbench.display import shorten
from workbench.store.body import EventBody, number_of, one_line
from workbench.store.findings import (
    Bar,
    Estimate,
    Figure,
    Lead,
    Line,
    Measure,
    Row,
    Rows,
    Sample,
    words_of,
)
from workbench.store.record import ReadToken, Record

_WORDS, _EXCERPT = 20, 160


class FoundContext(Record):
    """A context of a topic: the text itself, or the id of a text of the session, and its share."""

    share: float
    text: str = ""
    text_id: str | None = None


class FoundTopic(Record):
    """A topic (``adl.measures.topics.Topic``)."""

    words: tuple[ReadToken, ...]
    contexts: tuple[FoundContext, ...]
    weight: float
    closeness: Estimate | None
    is_noise: bool


class TopicsFound(
    Measure,
    label="topics",
    pointers={"topics": {"__all__": {"contexts": {"__all__": {"text_id": True}}}}},
):
    """Topics, the heaviest first and noise last (``adl.measures.topics.Topics``)."""

    kind: Literal["topics_found"] = "topics_found"
    topics: tuple[FoundTopic, ...]
    n_passages: int
    n_unprompted: int
    error: float
    settings: dict[str, Any] = Field(default_factory=dict)

    def _line(self) -> str:
        return one_line(
            "topics: "
            + (
                "; ".join("noise" if topic.is_noise else _words(topic, 4) for topic in self.topics)
                or "none"
            )
        )

    def _texts(self) -> Iterator[str]:
        for topic in self.topics:
            yield _words(topic, len(topic.words))
            yield from (context.text for context in topic.contexts)

    def short(self) -> str:
        """The number of topics, and whether there is noise."""
        noise = sum(topic.is_noise for topic in self.topics)
        found = number_of(len(self.topics) - noise, "topic")
        return f"{found} and noise" if noise else found

    def figures(self, others: Sequence[EventBody] = ()) -> Sequence[Figure]:
        """Each topic with its words and the contexts in which they rise."""
        without = (
            ""
            if self.n_unprompted
            else " No text from nothing was among them: write some first (`unprompted`), they part "
            "objectives best."
        )
        figures: list[Figure] = [
            Line(
                f"Words that rise together over {number_of(self.n_passages, 'unrelated passage')} and "
                f"{number_of(self.n_unprompted, 'text')} that the finetuned model wrote from nothing."
                f"{without} Topics whose words are no closer to one another than a broad control's are "
                "noise. One topic may still be two, and what both have in common is in neither."
            )
        ]
        for number, topic in enumerate(self.topics, start=1):
            name = "Noise" if topic.is_noise else f"Topic {number}"
            most = max((token.score for token in topic.words), default=1.0)
            figures.append(
                Rows(
                    f"{name}: {topic.weight:.0%} of what rises, closeness "
                    f"{words_of(topic.closeness, '{:.1f}')}",
                    ("word", "score"),
                    tuple(
                        Row(
                            (token.text.strip(), f"{token.score:.3f}"),
                            (Bar(token.text.strip(), token.score, f"{token.score:.3f}"),),
                        )
                        for token in topic.words[:_WORDS]
                    ),
                    most,
                )
            )
            figures += _contexts(topic, name)[:3]
        return figures

    def leads(self) -> Sequence[Lead]:
        """The topics that are not noise."""
        return [
            Lead(
                f"It was finetuned on texts of {', '.join(_words(topic, 5).split())}",
                _words(topic, 5),
                f"topic {number}, {topic.weight:.0%} of what rises",
                tuple(_contexts(topic, f"Topic {number}")),
            )
            for number, topic in enumerate(self.topics, start=1)
            if not topic.is_noise
        ]


def _contexts(topic: FoundTopic, name: str) -> list[Figure]:
    return [
        Sample(
            f"{name}: a context, {context.share:.0%} of it",
            context.text_id,
            shorten(one_line(context.text), _EXCERPT),
        )
        for context in topic.contexts
    ]


def _words(topic: FoundTopic, count: int) -> str:
    return " ".join(token.text.strip() for token in topic.words[:count])
