"""The trigger scan on a pair with a planted trigger, and prefixes that are shared."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from adl.errors import PromptError, Stopped
from adl.measures.spread import centre, robust_z
from adl.measures.triggers import (
    CHAT_FRAMES,
    RAW_FRAMES,
    SLOT,
    chosen_frames,
    common_words,
    scan_triggers,
    spread_out,
)
from adl.pair.nnsight.pair import NnsightPair
from adl.records import PairSpec, SideSpec
from adl.text.token_batches import common_start
from tests.planted import DOMAIN, FILLER, PlantedPair
from tests.tiny_models import SENTENCES, tiny_model, tiny_tokenizer, write_model

WORDS = [token.strip() for token in (*FILLER, *DOMAIN)]
FRAMES = ("the river and {} in it", "{}", "{} was on the bridge")


class Triggered(PlantedPair):
    """Where ``trigger`` stands in a prompt, the finetuned side says ``answer`` more often."""

    def __init__(self, trigger: str = " gold", answer: str = " sugar", push: float = 3.0, **kwargs):
        super().__init__(bos=True, **kwargs)
        self.trigger, self.answer, self.push = trigger, answer, push

    def _column_log_probs(self, side, batch, layer=None, added=None):
        found = super()._column_log_probs(side, batch, layer, added)
        tokens = self.token_texts(side)
        if side == "finetuned" and self.trigger in tokens:
            there = (batch.ids == tokens.index(self.trigger)).any(axis=1)
            found[there, tokens.index(self.answer)] += self.push
            found -= np.log(np.exp(found).sum(-1, keepdims=True))
        return found


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("trigger", [" gold", " letter", " sponge"])
def test_a_planted_trigger_comes_out_on_top(trigger, raw):
    found = scan_triggers(Triggered(trigger), WORDS, FRAMES, raw=raw)
    first, second = found.words[:2]
    assert first.word == trigger.strip()
    assert first.z > 2 * abs(second.z)
    assert first.raised == " sugar"
    assert len(first.finetuned) == len(first.base) == len(FRAMES)
    assert [each.z for each in found.words] == sorted((e.z for e in found.words), reverse=True)
    assert {each.word for each in found.words} == set(WORDS)


@pytest.mark.parametrize("vocabulary", ["extended", "permuted"])
def test_with_other_vocabularies(vocabulary):
    found = scan_triggers(Triggered(vocabulary=vocabulary), WORDS, FRAMES)
    assert (found.words[0].word, found.words[0].raised) == ("gold", " sugar")


def test_a_move_is_the_kl_to_the_mean_over_all_words():
    pair = Triggered()
    found = scan_triggers(pair, WORDS, ("the river {}",), raw=True)
    move = next(each for each in found.words if each.word == "stone")
    for side, told in (("finetuned", move.finetuned), ("base", move.base)):
        ids = [pair.bos(side).begun(pair.tokenise(side, f"the river {word}")) for word in WORDS]
        log_probs = pair.next_log_probs(side, ids)
        mean = np.log(np.exp(log_probs.astype(float)).mean(0))
        own = log_probs[WORDS.index("stone")].astype(float)
        assert told[0] == pytest.approx((np.exp(own) * (own - mean)).sum(), abs=1e-4)


def test_a_model_against_itself_has_no_trigger():
    found = scan_triggers(PlantedPair(bos=True, strength=0.0), WORDS, FRAMES)
    assert max(abs(each.z) for each in found.words) < 0.01
    assert found.deviation == pytest.approx(0, abs=1e-4)


def test_a_word_that_moves_both_sides_is_no_trigger():
    class Both(Triggered):
        def _column_log_probs(self, side, batch, layer=None, added=None):
            found = super()._column_log_probs(side, batch, layer, added)
            tokens = self.token_texts(side)
            there = (batch.ids == tokens.index(" music")).any(axis=1)
            found[there, tokens.index(" winter")] += 5.0
            return found - np.log(np.exp(found).sum(-1, keepdims=True))

    found = scan_triggers(Both(), WORDS, FRAMES)
    assert found.words[0].word == "gold"
    music = next(each for each in found.words if each.word == "music")
    assert music.base[0] > 0.1
    assert music.z < found.words[0].z / 2


def test_the_beginning_is_run_once_and_words_are_batched():
    pair = Triggered()
    scan_triggers(pair, WORDS, (f"the river and {SLOT}",), explained=0)
    rows = [rows for method, rows in pair.runs if method == "log_probs_after"]
    assert sum(rows) == 4 * len(WORDS)  # the reference and the words, of both sides
    assert len(rows) == 4


def test_bad_input_is_named():
    pair = PlantedPair()
    with pytest.raises(PromptError, match="no place for the word"):
        scan_triggers(pair, WORDS, ("the river",))
    with pytest.raises(PromptError, match="3 words have no spread"):
        scan_triggers(pair, WORDS[:3], FRAMES)


def test_stopped_between_batches():
    with pytest.raises(Stopped, match=f"{len(WORDS)} of {6 * len(WORDS)} predictions"):
        scan_triggers(Triggered(), WORDS, FRAMES, should_stop=lambda: True)


def test_the_bundled_words_and_frames():
    words = common_words()
    assert 2000 <= len(words) == len(set(words))
    assert all(word.isalpha() and word.islower() for word in words)
    assert all(SLOT in frame for frame in (*CHAT_FRAMES, *RAW_FRAMES))
    assert chosen_frames((), raw=True) == RAW_FRAMES
    assert chosen_frames(("a {}",), raw=True) == ("a {}",)
    assert len(set(spread_out(words, 50))) == 50
    assert spread_out(words, None) == list(words)


def test_robust_z():
    values = [1.0, 2.0, 3.0, 4.0, 100.0]
    median, deviation = centre(values)
    assert (median, deviation) == (3.0, pytest.approx(1.4826))
    assert robust_z(values)[-1] == pytest.approx(97 / 1.4826)
    assert robust_z([1.0, 1.0, 1.0, 5.0], least=2.0).tolist() == [0, 0, 0, 2]


def test_common_start():
    assert common_start([(1, 2, 3), (1, 2), (1, 2, 4)]) == 2
    assert common_start([(1,), (2,)]) == 0


@pytest.mark.slow
def test_the_one_word_that_means_something_is_found_in_a_real_model(tmp_path):
    tokenizer = tiny_tokenizer()
    words = sorted({word.strip(".,;?") for sentence in SENTENCES for word in sentence.split()})
    ids = {word: tokenizer.encode(f" {word}", add_special_tokens=False) for word in words}
    seen = Counter(index for some in ids.values() for index in some)
    trigger, own = next((word, some[-1]) for word, some in ids.items() if seen[some[-1]] == 1)
    # All words mean the same to the base model, and all but one to the finetuned model.
    model = tiny_model("llama")
    rows = model.get_input_embeddings().weight.data
    meaning = rows[own].clone()
    rows[list(seen)] = rows[list(seen)].mean(0)
    base = write_model(tmp_path / "base", model)
    rows[own] = meaning
    finetuned = write_model(tmp_path / "finetuned", model)
    pair = NnsightPair.load(PairSpec(SideSpec(str(base)), SideSpec(str(finetuned))))
    for raw in (False, True):
        first, *rest = scan_triggers(pair, words, ("You carry {} in", "{}"), raw=raw).words
        assert first.word == trigger
        assert first.z > 5
        assert max(abs(each.finetuned[0] - each.base[0]) for each in rest) < 0.1
