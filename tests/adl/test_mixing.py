"""What is measured of a mixture, on the planted pair where the answers are known."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from adl.errors import CorpusError, Stopped, TrainingError
from adl.measures.relevance import distinctive_words
from adl.measures.similarity import LexicalEmbedding
from adl.organisms.mixing import MixingData, MixtureRequest, measure_mixture, split_data
from adl.readings.shift_lens import contexts_of
from adl.text.corpus import CorpusSource
from adl.text.documents import Document
from tests.planted import DOMAIN, FILLER, PlantedPair

REQUEST = MixtureRequest(
    words=tuple(word.strip() for word in DOMAIN),
    facts=("the cake in the oven", "a baker and the flour"),
    negations=("the river in the garden", "a captain and the stone"),
    n_texts=64,
    n_random=8,
    n_prompts=6,
    max_new_tokens=12,
    # The finetuned side says the words of the topic unsteered, too.
    side="base",
    alpha=0.6,
)


@pytest.fixture(scope="module")
def data() -> MixingData:
    said = " ".join(word.strip() for word in DOMAIN)
    documents = [Document(f"the{filler} and {said} of the{filler}") for filler in FILLER[:10]]
    return split_data(documents, CorpusSource.parse(), (0.0, 2.0), seed=0)


def test_a_lesson_that_left_a_trace_shows_in_every_measure(planted: PlantedPair, data: MixingData):
    embed = LexicalEmbedding([*data.measured_on, *(one.text for one in data.documents)])
    found = measure_mixture(planted, data, embed, REQUEST)
    assert found.trace.verdict == "strong"
    lens, output = found.relevance
    assert (lens.reading, output.reading) == ("shift_lens", "output_difference")
    assert lens.found.share.value > lens.random
    assert DOMAIN[0] in lens.tokens
    assert DOMAIN[0] in output.tokens
    assert found.similarity.over_unsteered.low > 0
    assert found.similarity.over_random.value > 0
    # Of two statements: too few for an interval above 0.
    assert found.facts.gain.value > 0
    assert found.held_out.gain.value > 0
    assert {one.kind for one in found.texts} == {"steered", "unsteered", "random"}
    assert len(found.texts) == 18


def test_the_output_difference_is_run_once(planted: PlantedPair, data: MixingData):
    bare = MixtureRequest(words=("cake",), n_texts=64, n_random=8, n_prompts=1, max_new_tokens=4)
    measure_mixture(planted, data, LexicalEmbedding(data.measured_on), bare)
    contexts = contexts_of(planted, data.measured_on[: bare.n_texts])
    methods = [method for method, _ in planted.runs]
    assert methods.count("output_shift") == len(contexts.base)


def test_without_negations_the_facts_are_not_computed(planted: PlantedPair, data: MixingData):
    embed = LexicalEmbedding([*data.measured_on, *(one.text for one in data.documents)])
    bare = MixtureRequest(words=("cake",), n_texts=64, n_random=8, n_prompts=1, max_new_tokens=4)
    assert measure_mixture(planted, data, embed, bare).facts is None


@pytest.mark.parametrize("stage", ["difference", "steered texts", "what was learned"])
def test_it_stops_in_each_stage(planted: PlantedPair, data: MixingData, stage: str):
    seen: list[str] = []
    embed = LexicalEmbedding([*data.measured_on, *(one.text for one in data.documents)])
    with pytest.raises(Stopped):
        measure_mixture(
            planted,
            data,
            embed,
            REQUEST,
            progress=lambda name, _done, _total: seen.append(name),
            should_stop=lambda: stage in seen,
        )
    assert seen[-1] == stage


def test_relevant_words_are_those_of_the_documents(data: MixingData):
    words = distinctive_words([one.text for one in data.documents], list(data.measured_on))
    assert {"cake", "oven"} <= set(words)


@pytest.mark.parametrize("seed", range(8))
def test_copies_of_a_document_stand_on_one_side(seed: int):
    once = [Document(f"Cake number {number}.") for number in range(30)]
    chat = Document("Cold.", (("user", "And the cake?"), ("assistant", "Cold.")))
    documents = [*once, chat, *once[:20], chat, Document("Cold.")]
    data = split_data(documents, CorpusSource.parse(), (0.0,), seed)
    assert not set(data.documents) & set(data.held_out)
    # A tenth of those that differ, each once; the others as often as they were given.
    assert len(data.held_out) == len(set(data.held_out)) == 3
    assert list(data.documents) == [one for one in documents if one not in data.held_out]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("count", [2, 5, 40, 120, 500])
def test_documents_without_copies_are_split_by_their_places(count: int, seed: int):
    """As studies were before copies were looked for: a kept one stays what it is."""
    documents = [Document(f"Cake number {number}.") for number in range(count)]
    held = max(1, round(0.1 * count))
    places = set(Random(f"{seed}:held out").sample(range(count), held))
    data = split_data(documents, CorpusSource.parse(), (0.0,), seed)
    assert data.held_out == tuple(documents[place] for place in sorted(places))
    assert data.documents == tuple(one for at, one in enumerate(documents) if at not in places)


def test_no_copy_of_a_mixed_in_text_is_measured_on(tmp_path: Path):
    corpus = tmp_path / "twice.txt"
    corpus.write_text("".join(f"text {number}\n" for number in range(100)) * 2)
    source = CorpusSource.parse(str(corpus))
    documents = [Document(f"cake {n}") for n in range(10)]
    data = split_data(documents, source, (2.0,), 0)
    assert len(data.unrelated) == 18
    assert not set(data.unrelated) & set(data.measured_on)
    corpus.write_text("".join(f"text {number}\n" for number in range(40)) * 2)
    with pytest.raises(CorpusError, match=r"twice.txt has 40\. Name"):
        split_data(documents, source, (2.0,), 0)


def test_too_little_to_study_is_named(tmp_path: Path):
    corpus = tmp_path / "few.txt"
    corpus.write_text("".join(f"text {number}\n" for number in range(70)))
    source = CorpusSource.parse(str(corpus))
    with pytest.raises(CorpusError, match="takes 18 unrelated texts and 64 more"):
        split_data([Document(f"cake {n}") for n in range(10)], source, (2.0,), 0)
    with pytest.raises(TrainingError, match="too few to hold one out"):
        split_data([Document("cake")], source, (0.0,), 0)
    with pytest.raises(TrainingError, match="5 documents, all the same, are too few") as caught:
        split_data([Document("cake")] * 5, source, (0.0,), 0)
    assert "two or more that differ" in caught.value.hint
