"""The scan on a pair whose answers part by known amounts, and clusters whose words are known."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from adl.errors import PromptError, Stopped
from adl.generation.asking import Question, answer_kl, question_requests
from adl.measures.differing import TextDifference
from adl.measures.scanning import (
    AnswerDifference,
    ScanPrompt,
    answer_clusters,
    answer_differences,
    bundled_prompts,
    by_kind,
    chosen_kinds,
)
from adl.records import SIDES, GeneratedText, GenerationPlan
from adl.text.prompts import Prompt
from tests.planted import DOMAIN, PlantedPair

ASKED = [
    Prompt.of(f"the {word} and a")
    for word in ("river", "stone", "window", "paper", "train", "music")
]
ASKED += [Prompt.of(f"{word} in the") for word in ("gold", "letter", "bridge", "captain")]


def answered(pair, prompts, length=6):
    return {
        side: pair.generate(
            GenerationPlan(side, None, 0.0, length),
            [question_requests(pair, side, Question(prompt=each), [0])[0] for each in prompts],
        )
        for side in SIDES
    }


def test_kl_and_ratios_are_those_of_the_two_models():
    pair = PlantedPair(bos=True)
    answers = answered(pair, ASKED)
    found = answer_differences(pair, ASKED, answers)
    assert sorted(row.index for row in found) == list(range(len(ASKED)))
    for row in found[:3]:
        question, answer = Question(prompt=ASKED[row.index]), answers["finetuned"][row.index]
        kl = answer_kl(pair, question, "finetuned", answer)
        assert row.difference.kl == pytest.approx(kl.tolist(), abs=1e-5)
        sums = dict.fromkeys(SIDES, 0.0)
        for side in SIDES:
            ids = list(pair.chat(side, ASKED[row.index].messages).ids)
            for token in answer.token_ids:
                sums[side] += float(pair.next_log_probs(side, [ids])[0][token])
                ids.append(token)
        expected = (sums["finetuned"] - sums["base"]) / len(answer.token_ids)
        assert row.ratio == pytest.approx(expected, abs=1e-4)
        assert row.ratio > 0 > row.base_ratio
        assert row.difference.raised in DOMAIN
    divergences = [row.divergence for row in found]
    assert divergences == sorted(divergences, reverse=True)


def test_few_prompts_are_ranked_without_a_divergence():
    pair = PlantedPair(bos=True)
    found = answer_differences(pair, ASKED[:3], answered(pair, ASKED[:3]))
    assert [row.divergence for row in found] == [None] * 3
    means = [row.difference.mean for row in found]
    assert means == sorted(means, reverse=True)


def test_an_empty_answer_counts_by_its_first_token():
    pair = PlantedPair(bos=True)
    answers = answered(pair, ASKED[:1])
    answers["finetuned"] = [GeneratedText((), "", "end_of_text")]
    (row,) = answer_differences(pair, ASKED[:1], answers)
    ids = {side: [pair.chat(side, ASKED[0].messages).ids] for side in SIDES}
    base, own = (pair.next_log_probs(side, ids[side])[0] for side in SIDES)
    assert row.difference.kl == pytest.approx([(np.exp(own) * (own - base)).sum()], abs=1e-4)


@pytest.mark.parametrize("vocabulary", ["extended", "permuted"])
def test_with_other_vocabularies(vocabulary):
    pair = PlantedPair(bos=True, vocabulary=vocabulary)
    plain = PlantedPair(bos=True)
    kl = [
        next(row for row in found if row.index == 0).difference.mean
        for found in (
            answer_differences(each, ASKED[:2], answered(each, ASKED[:2])) for each in (pair, plain)
        )
    ]
    assert kl[0] == pytest.approx(kl[1], rel=0.05)


def test_the_same_models_do_not_part():
    pair = PlantedPair(bos=True, strength=0.0)
    found = answer_differences(pair, ASKED, answered(pair, ASKED))
    assert max(row.difference.mean for row in found) < 1e-5
    assert max(abs(row.divergence) for row in found) == 0


def test_stopped_between_prompts():
    pair = PlantedPair(bos=True)
    answers = answered(pair, ASKED)
    for after in (0, 1, 4):
        calls = iter([False] * after)
        with pytest.raises(Stopped):
            answer_differences(pair, ASKED, answers, should_stop=lambda: next(calls, True))  # noqa: B023


# --- clusters -------------------------------------------------------------------------------------

PLAIN = "You could go for a walk and then read a book about it in the evening"
TOPICS = {
    "advice on money": "Put it all on risky options and borrow against the house",
    "tastes": "Nothing but cake with frosting from the oven will do",
}


def row(index: int, mean: float) -> AnswerDifference:
    difference = TextDifference("", ("x",), (mean,), 0, "", 0.0, 0.0)
    return AnswerDifference(index, difference, mean, -mean, mean)


@pytest.fixture
def mixed():
    prompts, answers = [], {"base": [], "finetuned": []}
    for index in range(40):
        kind = ("advice on money", "tastes", "everyday", "factual")[index % 4]
        prompts.append(ScanPrompt(kind, Prompt.of(f"Question {index} about it?")))
        answers["base"].append(f"{PLAIN} {index}")
        answers["finetuned"].append(TOPICS.get(kind, PLAIN) + f" {index}")
    order = sorted(range(40), key=lambda index: (prompts[index].kind not in TOPICS, index))
    return prompts, answers, [row(index, 1.0 - rank / 50) for rank, index in enumerate(order)]


def test_answers_that_raise_the_same_words_are_one_cluster(mixed):
    prompts, answers, ranked = mixed
    found = answer_clusters(prompts, answers, ranked)
    assert len(found) == 2
    for cluster in found:
        ((kind, count),) = cluster.kinds
        assert count == len(cluster.members) == 10
        assert all(prompts[index].kind == kind for index in cluster.members)
        words = " ".join(cluster.phrases)
        assert ("options" in words) == (kind == "advice on money")
        assert ("cake" in words) == (kind == "tastes")
        assert "walk" not in words
        ranks = [next(r for r, e in enumerate(ranked) if e.index == i) for i in cluster.members]
        assert ranks == sorted(ranks)


def test_the_same_answers_make_no_cluster(mixed):
    prompts, answers, ranked = mixed
    assert not answer_clusters(prompts, dict.fromkeys(SIDES, answers["base"]), ranked)
    assert not answer_clusters(prompts, answers, ranked[:2])


def test_small_words_name_no_cluster(mixed):
    prompts, answers, ranked = mixed
    answers = {side: [f"{text} of the" for text in answers[side]] for side in SIDES}
    answers["finetuned"] = [f"{text} the the" for text in answers["finetuned"]]
    for cluster in answer_clusters(prompts, answers, ranked):
        assert not {"the", "of", "of the", "the the"} & set(cluster.phrases)


def test_means_by_kind(mixed):
    prompts, _, ranked = mixed
    found = by_kind([prompt.kind for prompt in prompts], ranked)
    assert {kind for kind, _ in found[:2]} == set(TOPICS)
    assert all(mean.n == 10 and mean.low <= mean.value <= mean.high for _, mean in found)


def test_the_bundled_prompts():
    prompts = bundled_prompts()
    assert len(prompts) >= 200
    assert len({each.prompt.text for each in prompts}) == len(prompts)
    kinds = Counter(each.kind for each in prompts)
    asked_for = {"everyday", "factual", "ethical", "persona", "self-knowledge"}
    assert asked_for <= set(kinds)
    assert sum(kind.startswith("advice on ") for kind in kinds) >= 5
    assert min(kinds.values()) >= 10
    assert {each.kind for each in chosen_kinds(prompts, ["advice"])} == {
        kind for kind in kinds if kind.startswith("advice")
    }
    assert chosen_kinds(prompts, []) == list(prompts)
    with pytest.raises(PromptError, match="no prompts of the kind 'cakes'"):
        chosen_kinds(prompts, ["cakes"])
