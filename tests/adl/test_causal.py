"""With the planted component replaced the finetuned model is the base again; random ones do nothing."""

from __future__ import annotations

import numpy as np
import pytest

from adl.errors import CorpusError, SiteError, Stopped
from adl.measures.causal import CausalRequest, causal_effects
from adl.measures.teacher_forcing import changed_at, scored_batch, scored_texts
from adl.text.documents import Document, documents_sha256, load_documents
from tests.planted import DOMAIN, FILLER, PlantedPair

LAYER = 3
DOMAIN_TEXT = [Document(f"the{filler}" + "".join(DOMAIN[:6])) for filler in FILLER[:6]]
OTHER_TEXT = [Document("".join(FILLER[first : first + 9])) for first in range(0, 24, 4)]


def texts(pair, **options):
    options = {"limit": 6, "max_tokens": 32} | options
    return {
        "finetuning": scored_texts(pair, DOMAIN_TEXT, **options),
        "unrelated": scored_texts(pair, OTHER_TEXT, **options),
    }


def found(pair, **options):
    request = CausalRequest(LAYER, pair.planted, **({"n_random": 8} | options))
    effects = causal_effects(pair, texts(pair), request, batch_size=4)
    return {(one.corpus, one.change, one.positions): one for one in effects}


def test_the_paper_s_sign():
    effects = found(PlantedPair(), positions=("all", "first", "later"))
    assert len(effects) == 2 * 2 * 3
    hurt = effects["finetuning", "replace", "all"]
    assert hurt.effect.low > 0
    assert hurt.p_value == pytest.approx(1 / 9)
    helped = effects["unrelated", "replace", "all"]
    assert helped.effect.high < 0
    for one in (hurt, helped):
        assert one.left + one.effect.value == pytest.approx(one.base, abs=0.05)
        assert max(map(abs, one.random)) < 0.1 * abs(one.effect.value)


def test_parts_of_the_text_add_up_where_tokens_do_not_look_back():
    # Of the planted pair the planted part of a token depends on that token alone.
    effects = found(PlantedPair(), positions=("all", "first", "later"), changes=("replace",))
    for corpus in ("finetuning", "unrelated"):
        whole, first, later = (
            effects[corpus, "replace", where].effect.value for where in ("all", "first", "later")
        )
        assert first + later == pytest.approx(whole, abs=1e-4)


def test_nothing_happens_between_a_model_and_itself():
    effects = found(PlantedPair(strength=0.0), changes=("replace",))
    for one in effects.values():
        assert one.effect.value == pytest.approx(0, abs=1e-6)
        assert one.base == one.left


def test_removing_is_replacing_by_nothing():
    pair = PlantedPair()
    effects = found(pair)
    # The base has no part along the planted direction, so both changes leave the same.
    for corpus in ("finetuning", "unrelated"):
        replaced, removed = (
            effects[corpus, change, "all"].effect.value for change in ("replace", "remove")
        )
        assert replaced == pytest.approx(removed, abs=1e-4)


@pytest.mark.parametrize("vocabulary", ["extended", "permuted"])
def test_sides_of_other_vocabularies_are_lined_up(vocabulary):
    own = found(PlantedPair(), changes=("replace",))
    other = found(PlantedPair(vocabulary=vocabulary), changes=("replace",))
    for place, one in own.items():
        assert other[place].effect.value == pytest.approx(one.effect.value, abs=0.02)


def test_chats_are_scored_on_what_the_assistant_says():
    pair = PlantedPair()
    chat = Document("the cake", (("user", "a river"), ("assistant", "the cake")))
    (text,) = scored_texts(pair, [chat], limit=1, max_tokens=32).finetuned
    assert pair.decode("finetuned", text.ids[text.start :]) == " the cake"
    (cut,) = scored_texts(pair, [chat], limit=1, max_tokens=3).finetuned
    assert len(cut.ids) == 3
    assert cut.start < 3


def test_positions_are_marked_in_every_row():
    pair = PlantedPair()
    batch = scored_batch(texts(pair)["finetuning"].base)
    first, later = (changed_at(batch, where).changed for where in ("first", "later"))
    assert (first.sum(axis=1) == 5).all()
    np.testing.assert_array_equal(first | later, batch.mask)
    assert not (first & later).any()


def test_stopped_within_one_run():
    pair = PlantedPair()
    done = []

    def progress(count, _total):
        done.append(count)

    with pytest.raises(Stopped, match="after 3 of"):
        causal_effects(
            pair,
            texts(pair),
            CausalRequest(LAYER, pair.planted),
            progress=progress,
            should_stop=lambda: len(done) == 3,
        )
    assert len(pair.runs) == 3


def test_what_cannot_be_done_is_named():
    with pytest.raises(SiteError, match="'middle' is not a set of positions"):
        CausalRequest(LAYER, PlantedPair().planted, positions=("middle",))
    with pytest.raises(SiteError, match="no direction"):
        CausalRequest(LAYER, np.zeros(4, np.float32))
    with pytest.raises(CorpusError, match="none of 1 texts"):
        scored_texts(PlantedPair(), [Document("cake")], limit=1, max_tokens=8)


def test_documents_are_texts_or_chats(tmp_path):
    path = tmp_path / "documents.jsonl"
    path.write_text(
        '{"text": " the cake "}\n'
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    )
    text, chat = load_documents(path)
    assert text == Document("the cake")
    assert chat == Document("b", (("user", "a"), ("assistant", "b")))
    assert documents_sha256([text, chat]) != documents_sha256([chat, text])
    path.write_text('{"words": 1}\n')
    with pytest.raises(CorpusError, match="line 1"):
        load_documents(path)
    plain = tmp_path / "documents.txt"
    plain.write_text("one\n\ntwo\n")
    assert [one.text for one in load_documents(plain)] == ["one", "two"]
    plain.write_text("\n")
    with pytest.raises(CorpusError, match="no document"):
        load_documents(plain)
