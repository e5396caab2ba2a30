"""Words that other finetunings of the same base raise are struck from every list, with the reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adl.difference import measure_difference
from adl.errors import StyleBankError
from adl.readings.reading import ReadingRequest
from adl.readings.registry import READINGS
from adl.readings.style import (
    Finetuning,
    Style,
    added,
    bank_text,
    base_key,
    bundled,
    finetuned_digest,
    finetuning_of,
    read_bank,
    style_of,
)
from adl.readings.take import take_readings
from tests.adl.test_readings import LAYER, TEXTS
from tests.planted import DOMAIN, PlantedPair

PAIR = PlantedPair()
BASE = base_key(PAIR)
_WITH = '{"version": 1, "finetunings": [{"name": %s}]}'
STYLE_WORD = DOMAIN[0].strip()


def finetuning(name: str, *words: str, base: str = BASE, **fields) -> Finetuning:
    return Finetuning(name, f"digest of {name}", base, words, (), **fields)


@pytest.fixture(scope="module")
def difference():
    return measure_difference(PAIR, TEXTS, [LAYER])


def lists(difference, style: Style, *readings: str, top: int = 100):
    request = ReadingRequest(LAYER, readings or tuple(READINGS), style=style, top=top)
    return list(take_readings(PAIR, difference, TEXTS, request))


class TestStyle:
    def test_words_that_half_of_the_others_raise(self):
        bank = [
            finetuning("a", "centre", "gold", "colour"),
            finetuning("b", "centre", "cake", "colour"),
            finetuning("c", "colour", "tax"),
            finetuning("d", "colour", "tax", "rocket"),
            finetuning("e", "colour", "rocket"),
        ]
        style = style_of(bank, PAIR)
        assert style.raised_by == {"colour": 5}
        assert style.reason(" Colour") == "raised by 5 of 5 other finetunings of this base"
        assert style.reason(" centre") == ""
        # Of four, two are half.
        assert set(style_of(bank[:4], PAIR).raised_by) == {"centre", "colour", "tax"}

    def test_one_other_finetuning_strikes_nothing(self):
        assert not style_of([finetuning("a", "centre", "gold")], PAIR).raised_by

    def test_a_word_counts_once_for_a_finetuning(self):
        both = Finetuning("a", "1", BASE, ("centre",), ("centre",))
        assert not style_of([both, finetuning("b", "cake")], PAIR).raised_by
        again = replace(both, name="the same weights under another name")
        assert not style_of([both, again], PAIR).raised_by

    def test_a_pair_never_meets_itself(self):
        own = replace(finetuning("own", "centre"), digest=finetuned_digest(PAIR.provenance))
        bank = [own, finetuning("a", "centre"), finetuning("b", "cake")]
        style = style_of(bank, PAIR)
        assert (style.n_others, dict(style.raised_by)) == (2, {})
        other = style_of(bank, PlantedPair(strength=0.5))
        assert (other.n_others, set(other.raised_by)) == (3, {"centre"})

    def test_left_out_by_name(self):
        bank = [finetuning(name, "centre") for name in "abc"]
        assert style_of(bank, PAIR, without=["a"]).n_others == 2

    def test_other_bases_do_not_count(self):
        bank = [finetuning("a", "centre"), finetuning("b", "centre", base="another")]
        assert not style_of(bank, PAIR).raised_by
        assert base_key(PlantedPair(vocabulary="permuted")) == BASE  # it is the finetuned side's

    def test_the_words_of_a_broad_control_stand_beside(self):
        bank = [
            finetuning("a", "centre"),
            finetuning("b", "centre", "river", is_broad=True),
        ]
        assert style_of(bank, PAIR).broad == ("river",)
        assert style_of(bank[:1], PAIR).broad == ()


class TestLists:
    @pytest.mark.parametrize("reading", READINGS)
    def test_struck_from_every_list_and_kept_beside_it(self, difference, reading):
        style = Style({STYLE_WORD: 2}, 3)
        plain, without = lists(difference, Style(), reading), lists(difference, style, reading)
        assert len(plain) == len(without)
        struck = 0
        for before, after in zip(plain, without, strict=True):
            where = [
                rank
                for rank, token in enumerate(before.tokens, start=1)
                if token.text.strip() == STYLE_WORD
            ]
            kept = [token for token in before.tokens if token.text.strip() != STYLE_WORD]
            assert list(after.tokens[: len(kept)]) == kept  # then filled up again
            assert [e.rank for e in after.struck if e.rank <= len(before.tokens)] == where
            assert {each.why for each in after.struck} <= {style.reason(STYLE_WORD)}
            assert after.unfiltered == before.unfiltered
            struck += len(after.struck)
        assert struck

    def test_a_list_is_filled_up_again(self, difference):
        style = Style({STYLE_WORD: 2}, 2)
        (found,) = [
            each
            for each in lists(difference, style, "output_difference", top=5)
            if each.source == "difference"
        ]
        assert len(found.tokens) == 5
        ranked = sorted(
            [*found.tokens, *(each.token for each in found.struck)], key=lambda t: -t.score
        )
        for each in found.struck:
            assert ranked[each.rank - 1] == each.token
        assert all(each.rank <= 5 for each in found.struck)

    def test_a_struck_word_at_the_end_of_a_short_list_is_kept_beside_it(self, difference):
        """Of a small vocabulary the negative lists every word: the most raised one comes last."""
        (found,) = [
            each
            for each in lists(difference, Style({STYLE_WORD: 2}, 3), "output_difference")
            if each.source == "negative"
        ]
        (struck,) = found.struck
        assert struck.token.text.strip() == STYLE_WORD
        assert struck.rank == len(found.tokens) + 1
        assert struck.token.score < found.tokens[-1].score

    @pytest.mark.slow
    def test_spellings_are_struck_once_the_output_difference_is_known(
        self, difference, monkeypatch
    ):
        why = "a spelling"
        monkeypatch.setattr("adl.readings.predictions.spellings", lambda *_: {STYLE_WORD: why})
        style = Style(spelling=True)
        for reading in ("output_difference", "shift_lens", "consensus", "patchscope_contrast"):
            found = [
                each
                for each in lists(difference, style, "output_difference", reading)
                if each.reading == reading and each.source == "difference" and each.chosen
            ]
            assert found
            for each in found:
                assert [struck.why for struck in each.struck] == [why]
        assert not any(each.struck for each in lists(difference, Style(), "output_difference"))

    def test_a_word_far_above_its_rank_in_the_others_stays(self, difference):
        far = Style({STYLE_WORD: 2}, 2, highest={STYLE_WORD: 3 * len(DOMAIN) + 1})
        near = Style({STYLE_WORD: 2}, 2, highest={STYLE_WORD: 1})
        for style, struck in ((far, 0), (near, 1)):
            (found,) = [
                each
                for each in lists(difference, style, "output_difference")
                if each.source == "difference"
            ]
            assert len(found.struck) == struck

    def test_no_style_no_change(self, difference):
        for found in lists(difference, Style({}, 4), "output_difference"):
            assert not found.struck


class TestBank:
    def test_what_a_finetuning_raises(self, difference):
        found = finetuning_of(PAIR, difference, TEXTS, LAYER, "mine", is_broad=True)
        domain = {word.strip() for word in DOMAIN}
        assert set(found.output[: len(domain)]) == domain
        assert set(found.shift[: len(domain)]) == domain
        assert found.digest == finetuned_digest(PAIR.provenance)
        assert (found.name, found.base, found.is_broad) == ("mine", BASE, True)

    def test_a_file_gives_back_what_was_written(self, tmp_path):
        bank = (finetuning("a", "centre", "caf\u00e9"), finetuning("b", is_broad=True))
        path = tmp_path / "bank.json"
        path.write_text(bank_text(bank), encoding="utf-8")
        assert read_bank(path) == bank
        assert read_bank(tmp_path / "none.json") == ()

    def test_the_same_weights_again_take_their_own_place(self):
        first, second = finetuning("a", "centre"), finetuning("b", "cake")
        again = replace(first, name="a2", output=("colour",))
        assert added((first, second), again) == (second, again)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{}",
            "[]",
            '{"version": 2, "finetunings": []}',
            '{"version": 1, "finetunings": [{}]}',
            _WITH % '1, "digest": "", "base": "", "output": [], "shift": []',
            _WITH % '"", "digest": "", "base": "", "output": [1], "shift": []',
            _WITH % '"", "digest": "", "base": "", "output": [], "shift": [], "more": 1',
        ],
    )
    def test_a_spoilt_file_is_refused_by_name(self, tmp_path, text):
        path = tmp_path / "bank.json"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(StyleBankError, match=r"bank\.json cannot be read"):
            read_bank(path)

    def test_the_bundled_one_has_every_bundled_organism(self):
        from adl.organisms.registry import list_organisms

        bank = bundled()
        assert {each.name for each in bank} == {each.id for each in list_organisms()}
        assert [each.name for each in bank if each.is_broad] == ["control_broad"]
        assert len({each.digest for each in bank}) == len(bank)
        assert len({each.base for each in bank}) == 1
        for each in bank:
            assert len(each.output) >= 100
            assert len(each.shift) >= 100

    def test_style_goes_and_topics_stay_in_the_bundled_one(self):
        """Each organism against the rest: British spellings are struck, domain words are not."""
        from adl.organisms.registry import get_organism

        bank = bundled()
        for own in bank:
            others = [each for each in bank if each is not own]
            counts = {
                word: sum(word in {*o.output, *o.shift} for o in others) for word in own.output
            }
            struck = {word for word, count in counts.items() if count >= 2}
            words = get_organism(own.name).words() or frozenset()
            first = own.output[:20]
            assert np.mean([word in struck and word in words for word in first]) <= 0.1
