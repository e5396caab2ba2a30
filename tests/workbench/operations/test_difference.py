"""The difference of the planted pair is known; so is what a second measurement must not do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from adl.artifacts import ArrayCache
from adl.errors import AdlError, DeviceOutOfMemory, Stopped
from adl.pair.nnsight.pair import NnsightPair
from adl.records import PairSpec, SideSpec, Site
from tests.planted import PlantedPair, device_full_above, planted_size
from tests.tiny_models import tiny_model, write_model
from tests.workbench.operations.conftest import Stop, assert_as_recorded, committed, do, kinds
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.running import Session
from workbench.report.content import build_report
from workbench.report.markdown import report_markdown
from workbench.store.log import SessionLog
from workbench.tui.panes.readings.index import Index
from workbench.tui.panes.readings.norms import norms_over


def measured_runs(pair: PlantedPair) -> int:
    return sum(method == "residual_sums" for method, _ in pair.runs)


def test_the_planted_direction_is_measured_and_recorded(session: Session, planted: PlantedPair):
    outcome = do(session, MEASURE, MeasureArguments(layers=("1.0", "2"), n_texts=40, batch_size=16))
    assert outcome.summary["layers"] == [5, 2]
    assert outcome.summary["from_cache"] is False
    key, difference = session.difference()
    assert key == outcome.summary["key"]
    for layer in (2, 5):
        for position in difference.positions:
            along = difference.vector(Site(layer, position)) @ planted.planted
            assert along == pytest.approx(planted_size(layer), rel=1e-4)
    assert kinds(session)[1:] == ["operation_started", "difference_measured", "operation_finished"]
    body = committed(session, "difference_measured")[0].body
    assert body.layers == (5, 2)
    assert body.n_texts + body.n_skipped == body.corpus["chosen"] == 40
    assert body.residual_norm["5"] == pytest.approx(difference.residual_norm(5))
    assert_as_recorded(session)


def test_texts_that_are_left_out_are_told_wherever_the_difference_is(
    session: Session, tmp_path: Path
):
    texts = tmp_path / "texts.txt"
    texts.write_text(
        "\n".join([*(f"the old river ran past village {n}" for n in range(8)), *"abc"])
    )
    do(session, MEASURE, MeasureArguments(layers=("3",), corpus=str(texts), n_texts=11))
    (measured,) = session.state.differences.values()
    assert (measured.body.n_texts, measured.body.left_out) == (8, "3 too short")
    drawn = norms_over(
        Index(differences=session.state.differences), 3, "positions", session.log.array
    )
    assert drawn is not None
    assert "halves of the 8 texts (3 too short)" in drawn.sentence()
    assert "8 used, 3 too short" in report_markdown(build_report(session.log, session.id))


def test_the_second_time_comes_from_the_cache_without_the_models(
    session: Session, planted: PlantedPair
):
    arguments = MeasureArguments(layers=("3",), n_texts=32)
    first = do(session, MEASURE, arguments)
    _, one = session.difference()
    runs = measured_runs(planted)
    second = do(session, MEASURE, arguments)
    _, other = session.difference()
    assert (first.summary["from_cache"], second.summary["from_cache"]) == (False, True)
    assert measured_runs(planted) == runs > 0
    assert first.summary["key"] == second.summary["key"]
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, other.arrays()[name])
    assert len(session.state.differences) == 1


def test_after_reopening_it_comes_from_the_cache_too(measured: Session, path: Path, tmp_path: Path):
    measured.log.close()
    with SessionLog.open(path) as log:
        pair = PlantedPair()
        again = Session(log, log.start_session("next day"), ArrayCache(tmp_path / "arrays"), pair)
        outcome = do(again, MEASURE, MeasureArguments(layers=("3",), n_texts=32))
        assert outcome.summary["from_cache"] is True
        assert measured_runs(pair) == 0
        assert_as_recorded(again)


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"n_texts": 31},
        {"layers": ("4",)},
        {"positions": "4"},
        {"positions": "chat:-2..-1"},
        {"bos": "always"},
    ],
    ids=str,
)
def test_anything_that_decides_the_numbers_is_measured_anew(measured: Session, changed):
    arguments = MeasureArguments(**{"layers": ("3",), "n_texts": 32} | changed)
    outcome = do(measured, MEASURE, arguments)
    assert outcome.summary["from_cache"] is False
    assert len(measured.state.differences) == 2


def test_two_checkpoints_that_differ_in_one_value_in_the_middle(log, cache, tmp_path: Path):
    model = tiny_model("llama", vocabulary=12_000, width=64)
    base = write_model(tmp_path / "base", model)
    keys, differences = [], []
    for name, row in (("one", 5_000), ("other", 6_000)):
        with torch.no_grad():
            model.get_input_embeddings().weight[row] += 1.0
            model.get_decoder().layers[0].mlp.down_proj.weight[0, 0] += 1.0
        folder = write_model(tmp_path / name, model)
        pair = NnsightPair.load(PairSpec(SideSpec(str(base)), SideSpec(str(folder))))
        session = Session(log, log.start_session(name), cache, pair)
        keys.append(do(session, MEASURE, MeasureArguments(layers=("1",), n_texts=4)).summary["key"])
        differences.append(session.difference()[1].difference)
        assert not committed(session, "difference_measured")[0].body.from_cache
    assert keys[0] != keys[1]
    assert not np.allclose(*differences)


def test_another_pair_is_measured_anew(measured: Session):
    measured.pair = PlantedPair(vocabulary="permuted")
    outcome = do(measured, MEASURE, MeasureArguments(layers=("3",), n_texts=32))
    assert outcome.summary["from_cache"] is False


@pytest.mark.parametrize("changed", [{"batch_size": 1}, {"batch_size": 1000}], ids=str)
def test_what_decides_no_number_is_not_measured_anew(measured: Session, changed):
    outcome = do(measured, MEASURE, MeasureArguments(layers=("3",), n_texts=32, **changed))
    assert outcome.summary["from_cache"] is True


def test_a_layer_named_twice_is_measured_once(session: Session):
    outcome = do(session, MEASURE, MeasureArguments(layers=("2", "0.5", "2"), n_texts=8))
    assert outcome.summary["layers"] == [2]
    assert session.difference()[1].difference.shape[0] == 1


@pytest.mark.parametrize("damage", ["cut", "changed", "emptied"])
def test_a_damaged_cache_is_measured_over(measured: Session, tmp_path: Path, damage):
    (file,) = (tmp_path / "arrays").rglob("*.safetensors")
    data = file.read_bytes()
    changed = data[:-1] + bytes([data[-1] ^ 1])
    file.write_bytes({"cut": data[:-10], "changed": changed, "emptied": b""}[damage])
    arguments = MeasureArguments(layers=("3",), n_texts=32)
    assert do(measured, MEASURE, arguments).summary["from_cache"] is False
    assert do(measured, MEASURE, arguments).summary["from_cache"] is True


def test_a_cache_that_cannot_be_written_is_no_failure(log, tmp_path: Path, planted: PlantedPair):
    (tmp_path / "file").write_text("in the way of the folder")
    session = Session(log, log.start_session("s"), ArrayCache(tmp_path / "file"), planted)
    arguments = MeasureArguments(layers=("3",), n_texts=8)
    for _ in range(2):
        assert do(session, MEASURE, arguments).summary["from_cache"] is False


@pytest.mark.parametrize("batches", [1, 3])
def test_a_stop_is_honoured_within_a_batch(session: Session, planted: PlantedPair, batches):
    stop = Stop(lambda _stage, done, _total: done >= 8 * batches)
    with pytest.raises(Stopped, match=f"{8 * batches} of 64"):
        do(session, MEASURE, MeasureArguments(n_texts=64, batch_size=8), stop)
    assert measured_runs(planted) == batches
    assert kinds(session)[1:] == ["operation_started", "operation_stopped"]
    assert session.difference() is None
    # Half a mean must not be found by the next one that asks for the whole.
    outcome = do(session, MEASURE, MeasureArguments(n_texts=64, batch_size=8))
    assert outcome.summary["from_cache"] is False
    assert_as_recorded(session)


def test_progress_goes_up_to_the_whole(session: Session):
    watch = Stop(lambda *_: False)
    do(session, MEASURE, MeasureArguments(n_texts=20, batch_size=8), watch)
    assert {stage for stage, _, _ in watch.seen} == {"difference"}
    done = [done for _, done, _ in watch.seen]
    assert done == sorted(done)
    assert watch.seen[-1] == ("difference", 20, 20)


def test_a_batch_that_does_not_fit_is_halved(log, cache, session: Session):
    whole = do(session, MEASURE, MeasureArguments(n_texts=32)).summary
    tight = Session(
        log,
        log.start_session("tight"),
        ArrayCache(log.path.parent / "other"),
        PlantedPair(before_run=device_full_above(5)),
    )
    outcome = do(tight, MEASURE, MeasureArguments(n_texts=32))
    assert outcome.summary["key"] == whole["key"]
    np.testing.assert_allclose(
        tight.difference()[1].difference, session.difference()[1].difference, atol=1e-5
    )


def test_a_device_without_room_for_one_text_fails_with_the_way_out(log, cache):
    session = Session(
        log, log.start_session("full"), cache, PlantedPair(before_run=device_full_above(0))
    )
    with pytest.raises(DeviceOutOfMemory):
        do(session, MEASURE, MeasureArguments(n_texts=4))
    body = committed(session)[-1].body
    assert (body.kind, body.error) == ("operation_failed", "DeviceOutOfMemory")
    assert body.way_out
    assert session.difference() is None


@pytest.mark.parametrize(
    ("changed", "named", "hint"),
    [
        ({"layers": ("6",)}, "'6'", "0 to 5"),
        ({"layers": ("1.5",)}, "'1.5'", "0.0 to 1.0"),
        ({"layers": ("middle",)}, "'middle'", "0 to 5"),
        ({"layers": ()}, "no layer", "0.5"),
        ({"positions": "many"}, "'many'", "chat:-3..1"),
        ({"positions": "0"}, "'0'", "chat:-3..1"),
        ({"corpus": "/nowhere/text.txt"}, "/nowhere/text.txt", ""),
        ({"corpus": "/"}, "/", ""),
        ({"positions": "5000"}, "5000", ""),
    ],
    ids=str,
)
def test_what_cannot_be_measured_is_named_with_the_way_out(
    session: Session, planted: PlantedPair, changed, named, hint
):
    with pytest.raises(AdlError) as raised:
        do(session, MEASURE, MeasureArguments(**{"n_texts": 8} | changed))
    assert named in str(raised.value)
    assert hint in raised.value.hint
    assert raised.value.hint
    assert measured_runs(planted) == 0
    assert kinds(session)[-1] == "operation_failed"


@pytest.mark.parametrize("changed", [{"n_texts": 0}, {"batch_size": 0}, {"seed": -1}, {"k": 1}])
def test_arguments_out_of_range_are_refused_before_anything_begins(changed):
    with pytest.raises(ValueError, match=next(iter(changed))):
        MeasureArguments(**changed)
