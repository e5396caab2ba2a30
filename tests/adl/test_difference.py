"""The mean difference of a pair whose difference is known."""

from __future__ import annotations

import numpy as np
import pytest

from adl.difference import (
    ChatPositions,
    FirstTokens,
    measure_difference,
    paired_batches,
    parse_positions,
)
from adl.errors import CorpusError, DeviceOutOfMemory, SiteError, Stopped
from adl.pair.protocol import named_layers, resolve_layer, resolve_layers
from adl.records import SIDES, Site
from adl.text.corpus import BosPolicy
from tests.adl.differences import check_difference
from tests.planted import FILLER, N_LAYERS, PLANTED_LAYER, PlantedPair, device_full_above
from tests.planted import planted_size as known

LAYERS = (0, PLANTED_LAYER, 3, N_LAYERS - 1)


def make_texts(n: int, n_words: int = 8) -> list[str]:
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(FILLER, n_words)) for _ in range(n)]


TEXTS = make_texts(41)


def singles(pair: PlantedPair, k: int = 5, layers=LAYERS) -> dict[str, np.ndarray]:
    """Every residual [texts, layers, positions, width], all held at once."""
    found = {}
    for side in SIDES:
        ids = np.asarray([pair.tokenise(side, text)[:k] for text in TEXTS])
        found[side] = pair.residuals(side, ids)[:, list(layers)].astype(np.float64)
    return found


def arrays_close(one, other, **tolerance) -> None:
    for name, array in one.arrays().items():
        np.testing.assert_allclose(array, other.arrays()[name], err_msg=name, **tolerance)


class TestNumbers:
    def test_the_planted_direction_is_found_at_its_size(self, planted):
        found = measure_difference(planted, TEXTS, LAYERS)
        along = found.difference @ planted.planted
        for row, layer in enumerate(LAYERS):
            np.testing.assert_allclose(along[row], known(layer), atol=1e-5)
        assert np.abs(found.difference[0]).max() == 0

    def test_every_array_is_that_of_all_texts_at_once(self, planted):
        found = measure_difference(planted, TEXTS, LAYERS, batch_size=7)
        truth = singles(planted)
        close = {"rtol": 1e-4, "atol": 1e-5}
        check_difference(found, truth, close, {"rtol": 1e-3, "atol": 1e-5})
        null = truth["base"][::2].mean(0) - truth["base"][1::2].mean(0)
        np.testing.assert_allclose(found.split_half_null, null, **close)

    def test_cosines(self, planted):
        found = measure_difference(planted, TEXTS, LAYERS)
        last = found.difference[-1]
        directions = last / np.linalg.norm(last, axis=-1, keepdims=True)
        np.testing.assert_allclose(found.cosine[-1], directions @ directions.T, atol=1e-5)
        assert found.cosine[-1][1:, 1:].min() > 0.99
        assert found.cosine[-1][0, 1:].max() < 0.2
        assert found.half_cosine[-1].min() > 0.99
        # Below the planted layer there is no difference, and so no direction to agree on.
        assert np.all(found.half_cosine[0] == 0)

    def test_the_null_holds_nothing_of_the_finetuning(self, planted):
        found = measure_difference(planted, TEXTS, LAYERS)
        assert np.abs(found.split_half_null @ planted.planted).max() < 1e-4
        assert np.linalg.norm(found.split_half_null[-1], axis=-1).min() > 0.1

    def test_one_text_has_no_null_and_no_error(self, planted):
        found = measure_difference(planted, TEXTS[:1], LAYERS)
        assert found.n_texts == 1
        assert not found.split_half_null.any()
        assert not found.standard_error.any()
        assert np.isfinite(found.half_cosine).all()

    def test_batches_do_not_matter(self, planted):
        whole = measure_difference(planted, TEXTS, LAYERS, batch_size=64)
        for size in (1, 8, 40, 41):
            parts = measure_difference(planted, TEXTS, LAYERS, batch_size=size)
            arrays_close(parts, whole, rtol=1e-4, atol=1e-5)

    def test_the_unit_of_scale_leaves_the_sink_out(self, planted):
        found = measure_difference(planted, TEXTS, LAYERS)
        assert found.finetuned_norm[-1, 0] > 100
        assert found.residual_norm(5) == pytest.approx(found.finetuned_norm[-1, 1:].mean())
        assert found.residual_norm(5) < 10

    def test_the_pooled_vector_leaves_the_sink_out(self, planted):
        found = measure_difference(planted, TEXTS, LAYERS)
        pooled = found.vector(Site(5, "1-4"))
        assert pooled @ planted.planted / np.linalg.norm(pooled) > 0.99
        single = found.vector(Site(5, "0"))
        np.testing.assert_allclose(single, found.difference[-1, 0], rtol=1e-5)
        assert single @ planted.planted / np.linalg.norm(single) < 0.2


class TestPositions:
    def test_first_tokens(self, planted):
        found = measure_difference(planted, TEXTS, [3], reach=FirstTokens(3))
        assert found.positions == ("0", "1", "2")
        truth = singles(planted, k=3, layers=[3])
        change = (truth["finetuned"] - truth["base"]).mean(0)
        np.testing.assert_allclose(found.difference, change, atol=1e-5)

    def test_around_the_assistant_s_turn(self, planted):
        texts = make_texts(3, 4) + make_texts(3, 9)
        reach = ChatPositions((-2, -1, 0, 1))
        found = measure_difference(planted, texts, [3], reach=reach)
        assert found.positions == ("chat-2", "chat-1", "chat+0", "chat+1")
        rows = []
        for text in texts:
            chat = planted.chat("base", [{"role": "user", "content": text}], prefill=text)
            ids = np.asarray([chat.ids])
            change = planted.residuals("finetuned", ids) - planted.residuals("base", ids)
            rows.append(change[0, 3, chat.start - 2 : chat.start + 2])
        np.testing.assert_allclose(found.difference[0], np.mean(rows, axis=0), atol=1e-5)

    def test_the_turn_is_left_empty_where_nothing_of_it_is_read(self, planted):
        prefills = []
        chat = planted.chat
        planted.chat = lambda *args, prefill="": prefills.append(prefill) or chat(*args)
        measure_difference(planted, TEXTS[:2], [3], reach=ChatPositions((-2, -1)))
        assert set(prefills) == {""}

    @pytest.mark.parametrize(
        ("adds", "policy", "begins"),
        [
            (True, BosPolicy.AUTO, True),
            (False, BosPolicy.AUTO, False),
            (False, BosPolicy.ALWAYS, True),
            (True, BosPolicy.NEVER, False),
        ],
    )
    def test_bos(self, adds, policy, begins):
        pair = PlantedPair(bos=adds)
        found = measure_difference(pair, TEXTS, [3], reach=FirstTokens(2, policy))
        bos = pair.residuals("base", np.asarray([[pair.bos("base").token_id]]))[0, 3, 0]
        assert np.allclose(found.base_mean[0, 0], bos, atol=1e-4) == begins

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("5", FirstTokens(5)),
            (" 1 ", FirstTokens(1)),
            ("chat", ChatPositions((-3, -2, -1, 0, 1))),
            ("chat:-3..1", ChatPositions((-3, -2, -1, 0, 1))),
            ("chat:-1..-1", ChatPositions((-1,))),
            ("chat:0..2", ChatPositions((0, 1, 2))),
        ],
    )
    def test_as_people_write_them(self, text, expected):
        assert parse_positions(text) == expected

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "0",
            "-1",
            "five",
            "1.5",
            "1-4",
            "chat:",
            "chat:1",
            "chat:1..0",
            "chat:a..b",
            "chat-3",
        ],
    )
    def test_as_they_cannot_be_written(self, text):
        if text == "chat:":
            assert parse_positions(text) == ChatPositions()
            return
        with pytest.raises(SiteError, match=r"is not a set of positions\. Write a number"):
            parse_positions(text)


class TestTexts:
    def test_short_ones_are_skipped_and_counted(self, planted):
        found = measure_difference(planted, [" the", *TEXTS, "", " a of"], LAYERS)
        assert (found.n_texts, found.n_skipped) == (len(TEXTS), 3)
        arrays_close(found, measure_difference(planted, TEXTS, LAYERS), rtol=1e-4, atol=1e-5)

    def test_all_too_short(self, planted):
        with pytest.raises(CorpusError, match=r"All 2 texts are too short: 5 tokens needed"):
            measure_difference(planted, [" the", " a"], LAYERS)

    def test_none(self, planted):
        with pytest.raises(CorpusError):
            measure_difference(planted, [], LAYERS)

    def test_the_order_of_ids_does_not_matter(self, planted):
        found = measure_difference(PlantedPair(vocabulary="permuted"), TEXTS, LAYERS)
        arrays_close(found, measure_difference(planted, TEXTS, LAYERS), rtol=1e-5, atol=1e-6)

    def test_those_that_the_sides_split_otherwise_are_read_at_the_same_characters(self, planted):
        pair = PlantedPair(vocabulary="extended")
        # Its first token is no sink on one side; and its last is the fifth there, the sixth here.
        first, last = " tiramisu the a of to in", " the a of to tiramisu"
        found = measure_difference(pair, [first, *TEXTS, last, " the a"], LAYERS)
        assert (found.n_texts, found.n_skipped, found.n_unaligned) == (len(TEXTS) + 1, 2, 1)
        (batch,) = paired_batches(pair, [last], FirstTokens(), 8)
        base, finetuned = batch
        assert base.columns == (0, 1, 2, 3, 5)
        assert finetuned.columns == (0, 1, 2, 3, 4)
        with pytest.raises(CorpusError, match=r"same 5 places.*1 are cut.*[Cc]hat positions"):
            measure_difference(pair, [first], LAYERS)


class TestRunning:
    def test_progress(self, planted):
        calls = []
        measure_difference(
            planted, TEXTS, LAYERS, batch_size=10, progress=lambda *call: calls.append(call)
        )
        assert calls == [(10, 41), (20, 41), (30, 41), (40, 41), (41, 41)]

    def test_a_stop_is_honoured_within_a_batch(self, planted):
        def should_stop():
            return len(planted.runs) == 2

        with pytest.raises(Stopped, match="stopped after 20 of 41 texts"):
            measure_difference(planted, TEXTS, LAYERS, batch_size=10, should_stop=should_stop)
        assert planted.runs == [("residual_sums", 10)] * 2

    @pytest.mark.parametrize("room", [1, 3, 10])
    def test_a_batch_that_does_not_fit_is_halved(self, planted, room):
        small = PlantedPair(before_run=device_full_above(room))
        found = measure_difference(small, TEXTS, LAYERS, batch_size=16)
        assert max(rows for _, rows in small.runs) <= room
        whole = measure_difference(planted, TEXTS, LAYERS, batch_size=16)
        arrays_close(found, whole, rtol=1e-4, atol=1e-5)

    def test_not_one_text_fits(self):
        pair = PlantedPair(before_run=device_full_above(0))
        with pytest.raises(DeviceOutOfMemory, match="no room for 1 rows"):
            measure_difference(pair, TEXTS, LAYERS)

    @pytest.mark.parametrize("layers", [[], [6], [-1], [0, 99]])
    def test_layers_that_are_not_there(self, planted, layers):
        with pytest.raises(SiteError):
            measure_difference(planted, TEXTS, layers)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5", 14),
        ("15", 15),
        (" 7 ", 7),
        ("1.0", 29),
        ("1", 1),
        ("0", 0),
        ("0.0", 0),
        ("29", 29),
        ("5e-1", 14),
        (0.5, 14),
        (1, 1),
        (1.0, 29),
    ],
)
def test_layers_as_people_name_them(text, expected):
    assert resolve_layer(text, 30) == expected


@pytest.mark.parametrize(
    "text",
    ["-1", "30", "abc", "nan", "inf", "1e9", "1e999", "-0.5", "1.01", "", "0.5.1", "1,5", "half"],
)
def test_layers_that_are_not_there(text):
    with pytest.raises(SiteError, match=rf"layer {text!r} is not .* 0 to 29.* 0\.0 to 1\.0"):
        resolve_layer(text, 30)


def test_the_only_layer():
    assert [resolve_layer(text, 1) for text in ("0", "0.0", "0.5", "1.0")] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("0.5",), (2,)),
        (("0.25,0.5,0.75",), (1, 2, 3)),
        (("3", "0", "3, 1"), (3, 0, 1)),
        (("all",), (0, 1, 2, 3, 4)),
        (("2", " ALL"), (2, 0, 1, 3, 4)),
    ],
)
def test_several_layers_may_be_named_at_once(texts, expected):
    assert resolve_layers(texts, 5) == expected


@pytest.mark.parametrize("text", ["", "0.5,", "every", "1,9", "all,x"])
def test_a_layer_among_several_that_is_none_is_named(text):
    with pytest.raises(SiteError, match="is not a layer of this model"):
        resolve_layers((text,), 5)


def test_layers_are_named_before_a_model_is_loaded():
    assert named_layers(("0.5, 15", "All", "15")) == ("0.5", "15", "all")
