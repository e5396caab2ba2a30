"""Topics as an operation: recorded with their contexts, shown, found again."""

from __future__ import annotations

from tests.planted import DOMAIN
from tests.workbench.operations.conftest import assert_as_recorded, committed, do
from workbench.operations.running import Session
from workbench.operations.topics import TOPICS, TopicsArguments
from workbench.operations.unprompted import UNPROMPTED, UnpromptedArguments
from workbench.store.findings import Line, Rows, Sample


def test_topics_of_passages_and_texts_from_nothing(session: Session):
    do(session, UNPROMPTED, UnpromptedArguments(n_samples=6, n_null=2, max_new_tokens=40))
    written = {
        text_id
        for text_id, text in session.state.texts.items()
        if text.start.body.side == "finetuned"
    }
    do(session, TOPICS, TopicsArguments(topics=2, n_passages=40, n_texts=64))
    (event,) = committed(session, "topics_found")
    body = event.body
    assert 8 <= body.n_passages <= 40
    first = [token.text for token in body.topics[0].words[: len(DOMAIN)]]
    assert set(first) & set(DOMAIN)
    for topic in body.topics:
        for context in topic.contexts:
            assert bool(context.text) != (context.text_id is not None)
            assert context.text_id is None or context.text_id in written
    figures = body.figures()
    assert isinstance(figures[0], Line)
    assert sum(isinstance(figure, Rows) for figure in figures) == len(body.topics)
    assert any(isinstance(figure, Sample) for figure in figures)
    assert session.log.search(first[0].strip())
    assert_as_recorded(session)


def test_without_texts_from_nothing_it_says_so(session: Session):
    do(session, TOPICS, TopicsArguments(topics=2, n_passages=40, n_texts=64))
    (event,) = committed(session, "topics_found")
    assert event.body.n_unprompted == 0
    assert "unprompted" in event.body.figures()[0].text
