"""Amplified logits: the formula, on plain models; the null; what cannot be amplified."""

from __future__ import annotations

import numpy as np
import pytest

from adl.errors import AdlError, NotAvailable, PairError
from adl.generation.amplified import amplified_requests
from adl.generation.steering import samples
from adl.pair.nnsight.contrast import AmplifiedLogits
from adl.pair.nnsight.pair import NnsightPair
from adl.records import PLAUSIBLE, GenerationPlan, GenerationRequest, PairSpec, SideSpec
from adl.text.prompts import Prompt
from tests.adl.tiny_pairs import adapted_pair
from tests.plain_torch import PlainModel
from tests.planted import DOMAIN, PlantedPair
from tests.tiny_causal import made
from tests.tiny_models import SENTENCES, perturb, write_model

#: Longer than a window of the tiny Gemmas.
GREEDY = GenerationPlan("finetuned", None, 0.0, 9)


@pytest.fixture(scope="module", params=["llama", "gemma2", "gemma3", "gpt2"])
def loaded(request, tmp_path_factory):
    return adapted_pair(tmp_path_factory.mktemp(request.param), request.param)


def by_hand(plain, prompt, gamma, n_tokens, ends, vocabulary):
    """Greedy over the tokens of a vocabulary, the whole text through both models for each."""
    written = []
    for _ in range(n_tokens):
        own = plain["finetuned"].log_probs((*prompt, *written))[-1, :vocabulary]
        other = plain["base"].log_probs((*prompt, *written))[-1, :vocabulary]
        scores = own + gamma * (own - other)
        scores[own < own.max() + np.log(PLAUSIBLE)] = -np.inf
        token = int(scores.argmax())
        if token in ends:
            break
        written.append(token)
    return tuple(written)


@pytest.mark.slow
def test_every_token_is_that_of_the_formula_in_a_padded_batch(loaded):
    pair, plain = loaded
    prompts = [
        tuple(pair.tokenise("base", SENTENCES[i])[:length]) for i, length in ((0, 7), (1, 4))
    ]
    gammas = (0.0, 1.0, 4.0)
    requests = [
        GenerationRequest(prompt, 0, contrast=gamma, contrast_ids=prompt if gamma else ())
        for prompt in prompts
        for gamma in gammas
    ]
    found = pair.generate(GREEDY, requests)
    ends = pair._ends["finetuned"]
    vocabulary = len(pair.token_texts("finetuned"))
    expected = [
        by_hand(plain, prompt, gamma, GREEDY.max_new_tokens, ends, vocabulary)
        for prompt in prompts
        for gamma in gammas
    ]
    assert [text.token_ids for text in found] == expected


#: Models whose caches are no plain keys and values: windows, recurrent states, both in turn.
HYBRID = (
    "lfm2", "recurrent_gemma", "bamba", "cohere2", "falcon_h1", "gpt_oss", "granitemoehybrid",
    "jamba", "mamba", "mamba2", "minimax", "nemotron_h", "olmo3", "phi3", "qwen3_next", "rwkv",
    "zamba2",
)  # fmt: skip


#: Right with every version.
CERTAIN = {"lfm2"}


def can_be_made(kind):
    try:
        made(kind)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "kind",
    [pytest.param(each, marks=() if each in CERTAIN else pytest.mark.slow) for each in HYBRID],
)
def test_a_hybrid_cache_gives_the_formula_or_is_refused_by_name(kind, tmp_path):
    if kind not in CERTAIN and not can_be_made(kind):
        return  # not by this version of transformers
    model = made(kind)
    base = write_model(tmp_path / "base", model)
    perturb(model, 9, 0.05)
    finetuned = write_model(tmp_path / "finetuned", model)
    refusal = ""
    try:
        pair = NnsightPair.load(PairSpec(*(SideSpec(str(each)) for each in (base, finetuned))))
        pair._ends["finetuned"] = frozenset()
        prompts = [tuple(pair.tokenise("base", SENTENCES[2])[:length]) for length in (9, 4)]
        requests = [GenerationRequest(each, 0, contrast=2.0, contrast_ids=each) for each in prompts]
        texts = pair.generate(GREEDY, requests)
    except AdlError as exc:
        refusal = str(exc)
    if refusal:
        assert kind not in CERTAIN
        assert "not available" in refusal or "cannot be audited" in refusal
        return
    plain = {"base": PlainModel(base, ""), "finetuned": PlainModel(finetuned, "")}
    n_tokens = len(pair.token_texts("finetuned"))
    for prompt, text in zip(prompts, texts, strict=True):
        assert len(text.token_ids) == GREEDY.max_new_tokens
        for count, token in enumerate(text.token_ids):
            ids = (*prompt, *text.token_ids[:count])
            own, other = (
                plain[side].log_probs(ids)[-1, :n_tokens] for side in ("finetuned", "base")
            )
            scores = own + 2.0 * (own - other)
            scores[own < own.max() + np.log(PLAUSIBLE) - 1e-3] = -np.inf
            # A tie within rounding may fall either way.
            assert scores[token] > scores.max() - 0.02, (kind, count)


def test_the_run_along_is_checked_against_whole_texts_at_first_use(loaded, monkeypatch):
    pair, _ = loaded
    prompt = tuple(pair.tokenise("base", SENTENCES[2])[:9])
    requests = [
        GenerationRequest(ids, 0, contrast=2.0, contrast_ids=ids) for ids in (prompt, prompt[:3])
    ]
    ends, pair._ends["finetuned"] = pair._ends["finetuned"], frozenset()
    try:
        pair.generate(GREEDY, requests)
    finally:
        pair._ends["finetuned"] = ends
    runs = pair._runs["base"]
    assert runs.contrasted_up_to >= len(prompt) + GREEDY.max_new_tokens - 1
    # Whatever the cache does wrong, the text is refused by name and both sides stay as they are.
    before = pair.next_log_probs("finetuned", [prompt])
    runs.contrasted_up_to = 0
    right = AmplifiedLogits._next_logits

    def wrong(self, written):
        logits = right(self, written)
        return logits.flip(-1) if written.shape[1] else logits

    monkeypatch.setattr(AmplifiedLogits, "_next_logits", wrong)
    with pytest.raises(NotAvailable, match="its cache"):
        pair.generate(GREEDY, requests)
    assert runs.contrasted_up_to == 0
    np.testing.assert_array_equal(pair.next_log_probs("finetuned", [prompt]), before)


def test_the_sides_are_as_before_afterwards(loaded):
    pair, _ = loaded
    prompt = tuple(pair.tokenise("base", SENTENCES[0])[:6])
    before = pair.next_log_probs("base", [prompt]), pair.next_log_probs("finetuned", [prompt])
    pair.generate(GREEDY, [GenerationRequest(prompt, 0, contrast=2.0, contrast_ids=prompt)])
    np.testing.assert_array_equal(pair.next_log_probs("base", [prompt]), before[0])
    np.testing.assert_array_equal(pair.next_log_probs("finetuned", [prompt]), before[1])


def said_of_domain(pair, gamma, *, shuffled=False):
    prompts = [Prompt.of("the river"), Prompt.of("music in winter")]
    wanted = samples(len(prompts), (gamma,), range(8))
    requests = amplified_requests(pair, prompts, wanted, shuffled=shuffled)
    side = "base" if shuffled else "finetuned"
    texts = pair.generate(GenerationPlan(side, None, 1.0, 12), requests)
    words = "".join(text.text for text in texts)
    return sum(words.count(word) for word in DOMAIN) / max(1, len(words.split()))


def test_what_was_taught_becomes_frequent_and_the_null_does_not_show_it():
    pair = PlantedPair(bos=True)
    plain, amplified = said_of_domain(pair, 0.0), said_of_domain(pair, 3.0)
    null = said_of_domain(pair, 3.0, shuffled=True)
    assert amplified > plain + 0.3
    assert null < plain


def test_different_vocabularies_are_refused():
    pair = PlantedPair(bos=True, vocabulary="extended")
    with pytest.raises(PairError, match="different vocabularies.*steer"):
        amplified_requests(pair, [Prompt.of("a")], samples(1, (1.0,), range(1)))
    ids = tuple(pair.tokenise("finetuned", " the"))
    with pytest.raises(PairError, match="different vocabularies"):
        pair.generate(GREEDY, [GenerationRequest(ids, 0, contrast=1.0, contrast_ids=ids)])


def test_a_contrast_needs_the_other_sides_prompt():
    with pytest.raises(ValueError, match="other side's tokens"):
        GenerationRequest((1,), 0, contrast=1.0)
