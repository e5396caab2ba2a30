"""What the readings find in the planted pair is known: the domain in the difference, not in nulls."""

from __future__ import annotations

import json

import pytest

from adl.errors import AdlError, SiteError, Stopped
from adl.readings.registry import READINGS
from adl.records import POOLED
from tests.planted import DOMAIN, PlantedPair, device_full_above
from tests.reading_families import PATCHSCOPE_READINGS, PREDICTION_READINGS
from tests.workbench.operations.conftest import Stop, assert_as_recorded, committed, do, kinds
from workbench.agent.overview import overview
from workbench.operations import readings as operations_reading
from workbench.operations.difference import MEASURE, MeasureArguments
from workbench.operations.readings import AT_ONCE, READ, ReadArguments, ScaleVerdict
from workbench.operations.running import Session
from workbench.replay.coverage import coverage
from workbench.store.events import ReadingTaken
from workbench.store.state import fold

CONSENSUS = ("consensus",)


def chosen(session: Session, reading: str, source: str) -> list[ReadingTaken]:
    return [
        recorded.body
        for key, recorded in session.state.readings.items()
        if (key.reading, key.source, key.position) == (reading, source, POOLED)
        and recorded.body.chosen
    ]


def domain_share(body: ReadingTaken) -> float:
    return sum(token.text in DOMAIN for token in body.tokens[: len(DOMAIN)]) / len(DOMAIN)


@pytest.mark.slow
def test_each_reading_finds_the_domain_and_stands_beside_nulls_that_do_not(measured: Session):
    outcome = do(measured, READ, ReadArguments(layer="3"))
    for reading in READINGS:
        found = chosen(measured, reading, "difference")
        assert found, reading
        assert all(domain_share(body) == 1.0 for body in found), reading
        for null in ("random", "split_half"):
            controls = chosen(measured, reading, null)
            assert {body.side for body in controls} == {body.side for body in found}, reading
            assert all(domain_share(body) < 0.6 for body in controls), (reading, null)

    events = committed(measured, "reading_taken")
    counts = {name: sum(e.body.reading == name for e in events) for name in READINGS}
    assert outcome.summary == {"lists": counts}
    assert sum(counts.values()) > 3 * AT_ONCE  # so that more than one transaction is needed
    (difference,) = measured.state.differences
    for event in events:
        settings = event.body.settings
        assert (settings["difference"], event.body.layer) == (difference, 3)
        assert settings["residual_norm"] > 0
        assert len(settings["texts"]) == 64
        assert event.operation_id == outcome.operation_id
    assert kinds(measured)[-1] == "operation_finished"
    assert fold(committed(measured)).digest() == measured.state.digest()
    assert_as_recorded(measured)


@pytest.mark.slow
@pytest.mark.parametrize("reading", READINGS)
def test_one_reading_is_read_alone(measured: Session, reading):
    do(measured, READ, ReadArguments(layer="3", readings=(reading,)))
    assert {event.body.reading for event in committed(measured, "reading_taken")} == {reading}


def test_only_so_many_tokens_are_kept(measured: Session):
    do(measured, READ, ReadArguments(layer="3", readings=CONSENSUS, top=3))
    (body,) = chosen(measured, "consensus", "difference")
    assert [token.text for token in body.tokens] == list(DOMAIN[:3])


@pytest.mark.slow
def test_a_repeated_reading_is_the_same_and_another_seed_is_another_null(measured: Session):
    for seed in (0, 0, 1):
        do(measured, READ, ReadArguments(layer="3", readings=CONSENSUS, seed=seed))
    by_source: dict[str, list[tuple]] = {}
    for event in committed(measured, "reading_taken"):
        tokens = tuple((token.text, token.score) for token in event.body.tokens)
        by_source.setdefault(event.body.source, []).append(tokens)
    for first, second, _ in by_source.values():
        assert first == second
    assert by_source["random"][2] != by_source["random"][0]


STAGES = (
    "shift lens, base",
    "shift lens, finetuned",
    "null (random)",
    "null (split half)",
    "shift lens by position, base",
    "shift lens by position, finetuned",
    "patchscope",
)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_stop_in_any_stage_is_honoured_at_once_and_keeps_what_was_read(
    measured: Session, planted: PlantedPair, stage
):
    uses_at_stop: list[int] = []

    def there(name: str, _done: int, _total: int) -> bool:
        if name == stage and not uses_at_stop:
            uses_at_stop.append(len(planted.runs))
        return name == stage

    stop = Stop(there)
    with pytest.raises(Stopped):
        do(measured, READ, ReadArguments(layer="3"), stop)
    # The model is not used again after the flag went up, or for the one batch under way.
    assert len(planted.runs) - uses_at_stop[0] <= 1
    assert kinds(measured)[-1] == "operation_stopped"
    read_so_far = {event.body.reading for event in committed(measured, "reading_taken")}
    assert read_so_far <= set(READINGS)
    if stage == "patchscope":
        assert read_so_far >= PREDICTION_READINGS
    assert_as_recorded(measured)


@pytest.mark.slow
def test_a_reading_that_fails_is_recorded_and_the_others_go_on(measured: Session):
    measured.pair = PlantedPair(before_run=refuse("patched_log_probs"))
    summary = do(measured, READ, ReadArguments(layer="3")).summary
    found = {event.body.reading for event in committed(measured, "reading_taken")}
    assert found == set(READINGS) - PATCHSCOPE_READINGS
    failed = committed(measured, "reading_failed")
    assert {event.body.reading for event in failed} == PATCHSCOPE_READINGS == set(summary["failed"])
    for event in failed:
        assert (event.body.error, event.body.layer) == ("DeviceOutOfMemory", 3)
        assert event.body.reason == "no room for 32 rows. Use a smaller batch."
    assert kinds(measured)[-1] == "operation_finished"
    assert_as_recorded(measured)
    assert {reading for reading, _ in measured.state.failed_readings} == PATCHSCOPE_READINGS
    assert measured.state.not_computed("patchscope", 3).startswith("not computed: no room")
    (told,) = [
        line
        for line in overview(measured.state).splitlines()
        if line.startswith('{"showed_nothing"')
    ]
    for reading in PATCHSCOPE_READINGS:
        why = measured.state.not_computed(reading, 3)
        assert f"{reading}: {why}" in json.loads(told)["showed_nothing"]
    left = coverage(measured.state)
    assert any("patchscope at layer 3: no room" in line for line in left.readings_failed)
    assert "patchscope" not in left.readings_unused


def test_a_reading_that_is_taken_again_is_no_longer_failed(measured: Session):
    measured.pair = PlantedPair(before_run=refuse("unembed"))
    do(measured, READ, ReadArguments(layer="3", readings=("logit_lens",)))
    assert set(measured.state.failed_readings) == {("logit_lens", 3)}
    measured.pair = PlantedPair()
    do(measured, READ, ReadArguments(layer="3", readings=("logit_lens",)))
    assert not measured.state.failed_readings
    assert_as_recorded(measured)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["steering_shift", "patched_log_probs"])
def test_lists_are_committed_before_the_models_run_on(measured: Session, method: str):
    """Of each use of the models, the lists that were ready before it are in the log."""
    waiting: list[int] = []
    ready = 0

    def look(name: str, _rows: int) -> None:
        if name == method:
            kept = [entry.kind for entry in measured.state.timeline]
            waiting.append(ready - kept.count("reading_taken"))

    measured.pair = PlantedPair(before_run=look)
    taken = operations_reading.take_readings

    def counted(*arguments, **options):
        nonlocal ready
        for readout in taken(*arguments, **options):
            ready += 1
            yield readout

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operations_reading, "take_readings", counted)
        do(measured, READ, ReadArguments(layer="3"))
    assert ready > 500
    assert set(waiting) == {0}
    assert len(committed(measured, "reading_taken")) == ready


def refuse(refused: str):
    full = device_full_above(0)
    return lambda method, rows: full(method, rows) if method == refused else None


@pytest.mark.parametrize(
    ("arguments", "named", "hint"),
    [
        ({"layer": "4"}, "layer 4", "diff"),
        ({"layer": "6"}, "'6'", "0 to 5"),
        ({"layer": "3", "corpus": "/nowhere/text.jsonl"}, "/nowhere/text.jsonl", ""),
        ({"layer": "3", "readings": ()}, "no reading", "consensus"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_named_with_the_way_out(measured: Session, arguments, named, hint):
    with pytest.raises(AdlError) as raised:
        do(measured, READ, ReadArguments(**arguments))
    assert named in raised.value.message
    assert hint in raised.value.hint
    assert raised.value.hint
    assert not committed(measured, "reading_taken")


def test_nothing_is_read_before_it_was_measured(session: Session):
    with pytest.raises(SiteError, match="no difference was measured at layer 2") as raised:
        do(session, READ, ReadArguments())
    assert raised.value.hint == "Measure it first (`diff`, `audit`)."


def test_the_difference_that_has_the_layer_is_read(measured: Session):
    other = do(measured, MEASURE, MeasureArguments(layers=("4",), n_texts=16)).summary["key"]
    do(measured, READ, ReadArguments(layer="3", readings=("logit_lens",)))
    do(measured, READ, ReadArguments(layer="4", readings=("logit_lens",)))
    keys = {
        event.body.layer: event.body.settings["difference"]
        for event in committed(measured, "reading_taken")
    }
    assert keys[4] == other
    assert keys[3] != other


@pytest.mark.slow
def test_a_judge_chooses_in_place_of_the_rule(measured: Session):
    asked: list[tuple[str, str]] = []

    def largest(model: str, reading: str, lists, _should_stop) -> ScaleVerdict:
        asked.append((model, reading))
        return ScaleVerdict(max(lists), "as large as it gets")

    measured.scale_judge = largest
    do(
        measured,
        READ,
        ReadArguments(layer="3", readings=("patchscope", "shift_lens"), judge="a-judge"),
    )
    assert {*asked} == {("a-judge", "patchscope"), ("a-judge", "shift_lens")}
    (body,) = chosen(measured, "patchscope", "difference")
    assert (body.scale, body.chosen_by) == (200.0, "judge")
