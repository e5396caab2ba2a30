"""Topics: words that rise in the same contexts are together, others apart, and noise by itself."""

from __future__ import annotations

import numpy as np
import pytest

from adl.errors import CorpusError, Stopped
from adl.measures import topics as module
from adl.measures.topics import TopicRequest, factorised, find_topics, merged
from adl.readings.narrowness import TopicScale
from adl.readings.style import Style
from tests.adl.test_difference import make_texts
from tests.planted import DOMAIN, PlantedPair

TEXTS = make_texts(24, module.CONTEXT_TOKENS + 2)


def two_topics() -> np.ndarray:
    """Contexts [40] of one topic or the other, words [30]: ten each, and ten of no topic."""
    rng = np.random.default_rng(0)
    matrix = np.zeros((40, 30))
    matrix[:20, :10] += rng.uniform(1, 2, size=(20, 10))
    matrix[20:, 10:20] += rng.uniform(1, 2, size=(20, 10))
    return matrix


@pytest.mark.parametrize("seed", [0, 1])
def test_two_topics_are_parted(seed):
    weights, topics, error = factorised(two_topics(), 2, seed)
    assert error < 0.2
    first, second = (set(np.argsort(-row)[:10]) for row in topics)
    assert {frozenset(first), frozenset(second)} == {frozenset(range(10)), frozenset(range(10, 20))}
    np.testing.assert_allclose(np.linalg.norm(topics, axis=1), 1.0)
    of = weights.argmax(axis=1)
    assert len(set(of[:20])) == len(set(of[20:])) == 1
    assert of[0] != of[-1]


def test_topics_that_are_one_are_put_together():
    """Four are looked for where there are two: what is left are the two."""
    weights, topics, _ = factorised(two_topics(), 4)
    both_weights, both = merged(weights, topics)
    assert len(both) < 4
    for row in both:
        chosen = set(np.argsort(-row)[:5])
        assert chosen <= set(range(10)) or chosen <= set(range(10, 20))
    np.testing.assert_allclose(both_weights.sum(axis=0).sum(), weights.sum(axis=0).sum(), rtol=1e-6)
    apart = np.eye(3)
    assert len(merged(np.ones((5, 3)), apart)[1]) == 3


def test_an_empty_matrix_has_no_topic_to_fail_on():
    weights, topics, _ = factorised(np.zeros((5, 7)), 3)
    assert np.isfinite(weights).all()
    assert np.isfinite(topics).all()


def test_the_domain_is_a_topic_of_the_planted_pair():
    found = find_topics(PlantedPair(), TEXTS, TEXTS, TopicRequest(3))
    best = found.topics[0]
    assert {token.text for token in best.words[: len(DOMAIN)]} == set(DOMAIN)
    assert found.used == tuple(range(len(TEXTS)))
    assert sum(topic.weight for topic in found.topics) == pytest.approx(1.0)
    for topic in found.topics:
        assert all(0 <= context.share <= 1 for context in topic.contexts)
    again = find_topics(PlantedPair(), TEXTS, TEXTS, TopicRequest(3))
    assert again == found


def test_words_of_style_are_left_out_and_short_contexts_too():
    style = Style({DOMAIN[0].strip(): 2}, 2)
    found = find_topics(PlantedPair(), ["short", *TEXTS], TEXTS, TopicRequest(2, style=style))
    assert 0 not in found.used
    assert len(found.used) == len(TEXTS)
    words = {token.text for topic in found.topics for token in topic.words}
    assert DOMAIN[0] not in words
    assert DOMAIN[1] in words


def test_too_few_contexts_are_refused_and_a_stop_is_heeded():
    with pytest.raises(CorpusError, match="too few to part"):
        find_topics(PlantedPair(), TEXTS[:3], TEXTS, TopicRequest())
    with pytest.raises(Stopped):
        find_topics(PlantedPair(), TEXTS, TEXTS, TopicRequest(), should_stop=lambda: True)


def test_words_no_closer_than_a_broad_control_are_noise(monkeypatch):
    """The scale decides: the same topic is noise where narrow means more."""
    scale = TopicScale(one_text=0.5, many_texts=0.0, n_texts=20)
    monkeypatch.setattr(module, "topic_scale", lambda *_: scale)
    (topic,) = find_topics(PlantedPair(), TEXTS, TEXTS, TopicRequest(1)).topics
    closeness = topic.closeness
    assert closeness is not None
    for limit, noise in ((closeness.index + 1, True), (closeness.index - 1, False)):
        monkeypatch.setattr(module, "NARROW_INDEX", limit)
        (topic,) = find_topics(PlantedPair(), TEXTS, TEXTS, TopicRequest(1)).topics
        assert topic.is_noise == noise
