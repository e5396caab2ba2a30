"""What a text costs and repeats is counted right, and the search finds the planted breakdown."""

from __future__ import annotations

import numpy as np
import pytest

from adl.errors import CorpusError, PromptError
from adl.generation.steering import Sample
from adl.measures.coherence import (
    Coherence,
    CoherenceLimits,
    TextFeatures,
    agreement,
    calibrate,
    judge,
    repetition,
    text_features,
)
from adl.measures.coherent_alpha import (
    AlphaSearch,
    JudgedSample,
    found_alpha,
    search_coherent_alpha,
    strongest,
)
from adl.records import GeneratedText
from adl.text.prompts import Prompt
from tests.planted import PlantedPair

LIMITS = CoherenceLimits(surprise=3.0, repetition=0.5, words=4.0, n_texts=20)
PROMPTS = [
    Prompt.of(text) for text in ("the river", "a window", "the music", "a letter", "a train")
]
FINE = "the river and a window in winter"
LOOP = "cake cake cake cake cake cake cake"


def text(said="a river by the window", ended="length", ids=(10, 11, 12)):
    return GeneratedText(tuple(ids), said, ended)


def test_repetition_is_the_share_of_words_said_before():
    assert repetition("The cake, the CAKE and a cake") == pytest.approx(3 / 7)
    assert repetition("") == repetition("?!") == 0.0


@pytest.mark.parametrize("bos", [False, True])
def test_surprise_is_the_mean_loss_of_the_text_alone(bos):
    pair = PlantedPair(bos=bos)
    said = tuple(pair.tokenise("finetuned", "the cake and the oven"))
    found = text_features(pair, "finetuned", [text(ids=said), text("", ids=())])
    row = (pair.bos("finetuned").token_id, *said) if bos else said
    logits = pair._logits("finetuned", pair.residuals("finetuned", np.array([row]))[0, -1])
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -np.mean([log_probs[place - 1, row[place]] for place in range(1, len(row))])
    assert found[0].surprise == pytest.approx(expected, rel=1e-4)
    assert (found[1].surprise, found[1].words) == (None, 0)


def test_nearly_all_unsteered_texts_keep_their_own_limits():
    rng = np.random.default_rng(0)
    features = [
        TextFeatures(float(rng.normal(2, 0.4)), float(rng.uniform(0, 0.4)), 20, "length")
        for _ in range(200)
    ]
    limits = calibrate(features)
    assert sum(judge(one, limits).coherent for one in features) >= 196
    shifted = [TextFeatures((one.surprise or 0) + 7, 0.1, 20, "length") for one in features]
    # The limit moves with the model: what is improbable to one model is usual to another.
    assert calibrate(shifted).surprise == pytest.approx(limits.surprise + 7)
    with pytest.raises(CorpusError, match="4 unsteered texts are too few"):
        calibrate(features[:4])


@pytest.mark.parametrize(
    ("features", "faults"),
    [
        (TextFeatures(2.9, 0.5, 9, "length"), ()),
        (TextFeatures(3.1, 0.1, 9, "length"), ("surprise",)),
        (TextFeatures(0.2, 0.9, 9, "length"), ("repetition",)),
        (TextFeatures(9.9, 0.9, 9, "length"), ("surprise", "repetition")),
        (TextFeatures(1.0, 0.0, 2, "end_of_text"), ("brevity",)),
        (TextFeatures(1.0, 0.0, 2, "length"), ()),
        (TextFeatures(None, 0.0, 0, "end_of_text"), ("brevity",)),
    ],
)
def test_what_a_text_fails_by_is_named(features, faults):
    assert judge(features, LIMITS).faults == faults
    assert judge(features, LIMITS).coherent == (not faults)


def test_agreement_counts_what_both_judged():
    found = agreement([True, True, False, False, True], [True, False, False, None, True])
    assert (found.n, found.share) == (4, 0.75)
    assert found.kappa == pytest.approx(0.5)
    assert agreement([True, True], [True, True]).kappa is None
    assert agreement([True], [None]).share is None


@pytest.mark.parametrize(
    ("shares", "found"),
    [
        ([(0.0, 1.0, 8), (0.1, 0.9, 8), (0.2, 0.75, 8), (0.3, 0.5, 8)], 0.2),
        # A dip is made up for by what comes after it, and a loop that looks fine by what was before.
        ([(0.0, 1.0, 8), (0.1, 0.7, 8), (0.2, 0.9, 8), (0.3, 0.5, 8)], 0.2),
        ([(0.0, 1.0, 8), (0.1, 0.9, 8), (0.2, 0.1, 8), (0.3, 1.0, 8)], 0.1),
        ([(0.0, 1.0, 8), (0.1, 0.5, 24), (0.2, 1.0, 8)], 0.0),
        ([(0.0, 0.5, 8), (0.1, 1.0, 8)], 0.1),
        ([(0.0, 1.0, 8), (0.1, 0.5, 8)], 0.0),
    ],
)
def test_the_strongest_that_passes_once_shares_fall_with_alpha(shares, found):
    assert strongest(shares) == found


class Breaking:
    """Texts that are fine up to an alpha of their prompt's, and loops above it."""

    def __init__(self, pair, breaks):
        self.pair, self.breaks, self.rounds = pair, breaks, []

    def __call__(self, wanted):
        self.rounds.append(sorted({one.alpha for one in wanted}))
        said = [LOOP if one.alpha > self.breaks[one.prompt_index] else FINE for one in wanted]
        return [text(one, ids=self.pair.tokenise("finetuned", one)) for one in said]


THREE_ROUNDS = AlphaSearch((0.2, 0.4, 0.8), rounds=2)


def found(breaks, search=THREE_ROUNDS, llm=None):
    pair = PlantedPair()
    generate = Breaking(pair, breaks)
    result = search_coherent_alpha(pair, "finetuned", PROMPTS, generate, search, llm=llm)
    return result, generate.rounds


def test_the_search_closes_in_on_where_texts_break():
    result, rounds = found([0.57] * 5)
    # Several alphas to a round: 0.4 passes and 0.8 does not, then the step between is divided.
    assert rounds == [[0.0, 0.2, 0.4, 0.8], [0.5, 0.6, 0.7], [0.525, 0.55, 0.575]]
    assert result.alpha == pytest.approx(0.55)
    assert not result.reached_end
    assert result.by_prompt == (0.55,) * 5
    assert {rate.alpha: rate.plain for rate in result.rates}[0.6] == 0.0
    assert {one.plain.faults for one in result.samples if one.sample.alpha > 0.57} == {
        ("repetition",)
    }


def test_prompts_break_at_alphas_of_their_own():
    result, _ = found([0.1, 0.9, 0.9, 0.9, 0.9], AlphaSearch((0.2, 0.4), rounds=1))
    assert result.by_prompt == (0.0, 0.4, 0.4, 0.4, 0.4)
    assert result.prompt_mean == pytest.approx(0.32)
    assert result.alpha == 0.4
    assert result.reached_end


def test_nothing_is_coherent_where_the_weakest_fails():
    result, _ = found([0.01] * 5, AlphaSearch((0.2, 0.4), rounds=1))
    assert result.alpha == pytest.approx(0.0)


def test_an_llm_judges_beside_and_decides_nothing():
    stern, _ = found([0.57] * 5, llm=lambda texts: [False] * len(texts))
    assert (stern.alpha, stern.llm_alpha) == (pytest.approx(0.55), 0.0)
    assert stern.agreement.n == len(stern.samples)
    same, _ = found([0.57] * 5, llm=lambda texts: [one.text == FINE for one in texts])
    assert (same.llm_alpha, same.agreement.share, same.agreement.kappa) == (same.alpha, 1.0, 1.0)


def judged_rows(read: dict[float, list[bool | None]]) -> list[JudgedSample]:
    return [
        JudgedSample(
            Sample(0, alpha, seed), GeneratedText((1,), "a", "length"),
            TextFeatures(1.0, 0.0, 1, "length"), Coherence(True, ()), verdict,
        )
        for alpha, verdicts in read.items()
        for seed, verdict in enumerate(verdicts)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("read", "alpha"),
    [
        # Eight of the eleven that were read at .2 and .3 pass, were both to count.
        ({0.1: [True] * 10, 0.2: [True] * 7 + [False] * 3, 0.3: [True] + [None] * 9}, 0.1),
        # Pooled by those that were read: 15 of 20 and 12 of 17.
        ({0.2: [True] * 7 + [False] * 3, 0.3: [True] * 8 + [False] * 2}, 0.3),
        ({0.2: [True] * 5 + [False] * 5, 0.3: [True] * 7 + [None] * 3}, 0.0),
        ({0.1: [None] * 10, 0.2: [True] + [None] * 9}, None),
        ({0.1: [None] * 10}, None),
        ({0.1: [True] * 2 + [None]}, 0.1),
    ],
)
def test_verdicts_that_were_not_read_count_for_nothing(read, alpha):
    rows = judged_rows({0.0: [True] * 10, **read})
    found = found_alpha(rows, CoherenceLimits(9, 9, 0, 10), 1)
    assert found.llm_alpha == alpha
    assert [rate.n_llm for rate in found.rates[1:]] == [
        sum(verdict is not None for verdict in verdicts) for verdicts in read.values()
    ]


def test_what_cannot_be_searched_is_named():
    with pytest.raises(PromptError, match="are not alphas above 0"):
        AlphaSearch(alphas=(0.0, 0.2))
    with pytest.raises(PromptError, match="no sample"):
        AlphaSearch(seeds=())
