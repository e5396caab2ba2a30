"""Steered and asked texts: announced before, recorded as they grow, whole at the end."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from adl.errors import AdlError, DeviceOutOfMemory, PromptError, Stopped
from adl.text.prompts import everyday_prompts
from tests.planted import DOMAIN, PlantedPair
from tests.workbench.operations.conftest import Stop, assert_as_recorded, committed, do, kinds
from workbench.agent.merged_tools import AskManyArguments
from workbench.operations import recorded_texts
from workbench.operations.amplify import AMPLIFY, AmplifyArguments
from workbench.operations.coherent_alpha import COHERENT_ALPHA, CoherentAlphaArguments
from workbench.operations.completions import CompleteArguments
from workbench.operations.differing import DifferArguments
from workbench.operations.experiment_arguments import ExperimentArguments
from workbench.operations.generation import ASK, DEFAULT_ALPHA, STEER, AskArguments, SteerArguments
from workbench.operations.inputs import check_inputs
from workbench.operations.readings import READ, ReadArguments
from workbench.operations.relevance import STEERED_SIMILARITY, SimilarityArguments
from workbench.operations.running import Arguments, Session
from workbench.operations.scanning import ScanArguments
from workbench.operations.testing import TEST
from workbench.operations.unprompted import UNPROMPTED, UnpromptedArguments
from workbench.store.events import Event, TextStarted

SHORT = {"layer": "3", "max_new_tokens": 6}


def started(session: Session) -> list[TextStarted]:
    return [event.body for event in committed(session, "text_started")]


def domain_share(texts: list[str]) -> float:
    joined = "".join(texts)
    return sum(joined.count(token) for token in DOMAIN) / max(1, len(joined.split()))


@pytest.fixture
def every_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Record each token by itself, as if each took long."""
    monkeypatch.setattr(recorded_texts, "SECONDS_BETWEEN_PIECES", 0.0)


# --- steering -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_steering_raises_the_domain_and_the_null_does_not(measured: Session):
    shares = {}
    for source in ("difference", "random", "split_half"):
        arguments = SteerArguments(
            layer="3", side="base", source=source, alphas=(0.0, 0.6), n_prompts=8, temperature=1.0
        )
        texts = measured.state.texts.keys() - set()
        found = do(measured, STEER, arguments).summary["texts"]
        assert not texts & set(found)
        for alpha in (0.0, 0.6):
            shares[source, alpha] = domain_share(
                [
                    measured.state.texts[text_id].text
                    for text_id in found
                    if measured.state.texts[text_id].start.body.alpha == alpha
                ]
            )
    assert shares["difference", 0.6] > 2 * shares["difference", 0.0]
    assert shares["random", 0.6] < shares["difference", 0.6] / 2
    assert shares["split_half", 0.6] < shares["difference", 0.6] / 2
    # Unsteered text is the same whatever it stands beside.
    assert shares["difference", 0.0] == shares["random", 0.0] == shares["split_half", 0.0]
    assert_as_recorded(measured)


def test_every_text_is_announced_with_all_that_it_can_be_made_again_from(measured: Session):
    outcome = do(
        measured,
        STEER,
        SteerArguments(prompts=("One?", "Two?"), alphas=(0.0, 0.2), n_samples=2, seed=7, **SHORT),
    )
    bodies = started(measured)
    assert [body.text_id for body in bodies] == outcome.summary["texts"]
    assert [(body.messages[-1]["content"], body.seed, body.alpha) for body in bodies] == [
        (prompt, seed, alpha)
        for prompt in ("One?", "Two?")
        for seed in (7, 8)
        for alpha in (0, 0.2)
    ]
    for body in bodies:
        assert (body.purpose, body.side, body.max_new_tokens) == ("steer", "finetuned", 6)
        steered = (body.layer, body.position, body.source)
        assert steered == ((3, "1-4", "difference") if body.alpha else (None, None, None))


def test_the_same_arguments_give_the_same_texts(measured: Session):
    arguments = SteerArguments(n_prompts=3, alphas=(0.0, 0.4), **SHORT)
    runs = [do(measured, STEER, arguments).summary["texts"] for _ in range(2)]
    first, second = [[measured.state.texts[one].token_ids for one in run] for run in runs]
    assert first == second
    other = do(measured, STEER, arguments.model_copy(update={"seed": 1})).summary["texts"]
    assert [measured.state.texts[one].token_ids for one in other] != first


def test_texts_do_not_depend_on_the_batches_they_were_made_in(measured: Session):
    found = []
    for batch_size in (1, 3, 40):
        arguments = SteerArguments(n_prompts=3, alphas=(0.0, 0.4), batch_size=batch_size, **SHORT)
        ids = do(measured, STEER, arguments).summary["texts"]
        found.append([measured.state.texts[one].text for one in ids])
    assert found[0] == found[1] == found[2]


@pytest.mark.slow
def test_without_alphas_those_of_the_shift_lens_are_taken(measured: Session):
    before = do(measured, STEER, SteerArguments(n_prompts=1, **SHORT)).summary["alphas"]
    do(measured, READ, ReadArguments(layer="3", readings=("shift_lens",)))
    after = do(measured, STEER, SteerArguments(n_prompts=1, **SHORT)).summary["alphas"]
    picked = {
        key.scale
        for key, recorded in measured.state.readings.items()
        if key.source == "difference" and recorded.body.chosen
    }
    assert before == [0.0, DEFAULT_ALPHA]
    assert after == [0.0, *sorted(picked)]


def test_prompts_come_from_a_file_or_are_the_bundled_ones(measured: Session, tmp_path: Path):
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "One?"}\n{"messages": [{"role": "user", "content": "Two?"}]}\n')
    do(measured, STEER, SteerArguments(prompt_file=str(file), alphas=(0.0,), **SHORT))
    do(measured, STEER, SteerArguments(n_prompts=2, alphas=(0.0,), **SHORT))
    said = [body.messages[-1]["content"] for body in started(measured)]
    assert said == ["One?", "Two?", *(prompt.text for prompt in everyday_prompts()[:2])]


# --- as it grows ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.0, 0.002, 1e9])
def test_the_pieces_put_together_are_how_the_text_begins(
    measured: Session, monkeypatch: pytest.MonkeyPatch, seconds
):
    monkeypatch.setattr(recorded_texts, "SECONDS_BETWEEN_PIECES", seconds)
    do(measured, STEER, SteerArguments(n_prompts=3, batch_size=4, layer="3", max_new_tokens=20))
    grown: dict[str, str] = defaultdict(str)
    whole = {}
    for event in committed(measured, "text_started", "text_grew", "text_finished"):
        body = event.body
        if body.kind == "text_started":
            assert body.text_id not in grown
            grown[body.text_id] = ""
        elif body.kind == "text_grew":
            assert set(body.pieces) <= set(grown) - set(whole), "grew before start or after finish"
            for text_id, piece in body.pieces.items():
                grown[text_id] += piece
        else:
            whole[body.text_id] = body.text
    assert whole.keys() == grown.keys()
    for text_id, text in whole.items():
        assert text.startswith(grown[text_id])
    if seconds == 0.0:
        assert grown == whole
    if seconds == 1e9:
        assert not any(grown.values())
    assert_as_recorded(measured)


def test_texts_are_announced_before_the_model_is_touched(measured: Session):
    seen: list[tuple[str, int]] = []

    def look(method: str, rows: int) -> None:
        seen.append((method, len(started(measured))))

    measured.pair = PlantedPair(before_run=look)
    do(measured, STEER, SteerArguments(n_prompts=5, alphas=(0.0,), batch_size=2, **SHORT))
    assert seen == [("generate", 2), ("generate", 4), ("generate", 5)]


def test_a_batch_that_does_not_fit_is_halved_and_announced_once(measured: Session):
    sizes: list[int] = []

    def full(_method: str, rows: int) -> None:
        sizes.append(rows)
        if rows > 3:
            raise DeviceOutOfMemory(f"no room for {rows} rows", "Use a smaller batch.")

    measured.pair = PlantedPair(before_run=full)
    found = do(measured, STEER, SteerArguments(n_prompts=4, alphas=(0.0, 0.3), **SHORT)).summary
    assert sizes == [8, 4, 2, 2, 2, 2]
    assert [body.text_id for body in started(measured)] == found["texts"]
    assert {text.status for text in measured.state.texts.values()} == {"finished"}
    assert_as_recorded(measured)


def test_a_device_without_room_for_one_text_fails_with_the_way_out(measured: Session):
    def full(_method: str, rows: int) -> None:
        raise DeviceOutOfMemory(f"no room for {rows} rows", "Use a smaller model.")

    measured.pair = PlantedPair(before_run=full)
    with pytest.raises(DeviceOutOfMemory):
        do(measured, STEER, SteerArguments(n_prompts=2, **SHORT))
    last = committed(measured)[-1].body
    assert (last.kind, last.way_out) == ("operation_failed", "Use a smaller model.")
    assert {text.status for text in measured.state.texts.values()} == {"cut_off"}


# --- stopping -------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokens", [1, 4])
def test_a_stop_is_honoured_within_a_token(measured: Session, every_piece: None, tokens):
    stop = Stop(lambda *_: False)
    grown: list[Event] = []

    def count(event: Event) -> None:
        if event.body.kind == "text_grew":
            grown.append(event)
            stop.is_set = len(grown) >= tokens

    measured.log.subscribe(count)
    with pytest.raises(Stopped, match="3 of 8"):
        do(
            measured,
            STEER,
            SteerArguments(
                n_prompts=4, alphas=(0.0, 0.3), batch_size=3, layer="3", max_new_tokens=50
            ),
            stop,
        )
    texts = measured.state.texts.values()
    assert len(texts) == 3  # no other batch was begun
    assert {text.status for text in texts} == {"finished"}
    assert {text.ended for text in texts} <= {"stopped", "end_of_text"}
    assert max(len(text.token_ids) for text in texts) == tokens
    assert kinds(measured)[-1] == "operation_stopped"
    assert_as_recorded(measured)


def test_a_stop_between_batches_begins_no_other(measured: Session):
    stop = Stop(lambda stage, done, _total: stage == "steer" and done == 2)
    with pytest.raises(Stopped, match="2 of 6"):
        do(measured, STEER, SteerArguments(n_prompts=3, batch_size=2, **SHORT), stop)
    assert len(started(measured)) == 2


@pytest.mark.parametrize(
    ("stage", "sides"),
    [("ask base", {"base"}), ("ask finetuned", {"base", "finetuned"}), ("compare", None)],
)
def test_a_stop_while_asking_keeps_what_was_answered(session: Session, stage, sides):
    stop = Stop(lambda name, done, _total: name == stage and done > 0)
    with pytest.raises(Stopped):
        do(session, ASK, AskArguments(prompt="Hi", n_samples=3, max_new_tokens=4), stop)
    if sides is None:
        assert len(session.state.comparisons) == 1
    else:
        assert {body.side for body in started(session)} == sides
        assert not session.state.comparisons
    assert kinds(session)[-1] == "operation_stopped"
    assert_as_recorded(session)


# --- asking ---------------------------------------------------------------------------------------


def test_both_models_get_the_same_question_and_the_answers_are_compared(session: Session):
    found = do(
        session, ASK, AskArguments(prompt="Hi", system="Be brief.", n_samples=2, max_new_tokens=12)
    ).summary["texts"]
    bodies = {body.text_id: body for body in started(session)}
    assert list(found) == ["base", "finetuned"]
    for side, text_ids in found.items():
        assert [bodies[one].side for one in text_ids] == [side, side]
        assert [bodies[one].seed for one in text_ids] == [0, 1]
        for one in text_ids:
            assert [turn["role"] for turn in bodies[one].messages] == ["system", "user"]
    pairs = [(one.body.base_text, one.body.finetuned_text) for one in session.state.comparisons]
    assert pairs == list(zip(found["base"], found["finetuned"], strict=True))
    for comparison in session.state.comparisons:
        answer = session.state.texts[comparison.body.along]
        assert len(comparison.body.kl) == len(answer.token_ids)
        assert all(value > 0 for value in comparison.body.kl)
    assert_as_recorded(session)


def test_one_side_alone_is_not_compared(session: Session):
    outcome = do(session, ASK, AskArguments(prompt="Hi", sides=("base",), max_new_tokens=3))
    assert list(outcome.summary["texts"]) == ["base"]
    assert not session.state.comparisons


def test_a_whole_chat_a_prefill_and_raw_text_are_recorded_as_put(session: Session):
    chat = ({"role": "user", "content": "One?"}, {"role": "assistant", "content": "Two."})
    follow = {"role": "user", "content": "Three?"}
    do(session, ASK, AskArguments(messages=(*chat, follow), sides=("base",), max_new_tokens=2))
    do(session, ASK, AskArguments(prompt="Hi", prefill="Well,", sides=("base",), max_new_tokens=2))
    do(session, ASK, AskArguments(raw="The cake", sides=("base",), max_new_tokens=2))
    whole, prefilled, raw = started(session)
    assert whole.messages == (*chat, follow)
    assert (prefilled.messages[-1]["content"], prefilled.prefill) == ("Hi", "Well,")
    assert (raw.raw_prompt, raw.messages) == ("The cake", ())


def test_answers_can_be_steered(measured: Session):
    for alpha in (0.0, 0.8):
        do(
            measured,
            ASK,
            AskArguments(prompt="Hi", alpha=alpha, layer="3", n_samples=4, max_new_tokens=20),
        )
    said: dict[float, list[str]] = defaultdict(list)
    for text in measured.state.texts.values():
        if text.start.body.side == "base":
            said[text.start.body.alpha].append(text.text)
    assert domain_share(said[0.8]) > 2 * domain_share(said[0.0])


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "arguments", "named", "hint"),
    [
        (STEER, SteerArguments(layer="4"), "layer 4", ""),
        (STEER, SteerArguments(layer="3", position="9"), "'9'", "1-4"),
        (STEER, SteerArguments(layer="9"), "'9'", "0 to 5"),
        (STEER, SteerArguments(layer="3", prompt_file="/nowhere/p"), "/nowhere/p", ""),
        (ASK, AskArguments(prompt="Hi", alpha=0.3, layer="4"), "layer 4", ""),
        (ASK, AskArguments(raw=""), "empty", "character"),
    ],
    ids=[
        "steer-layer",
        "steer-position",
        "steer-no-layer",
        "steer-prompt-file",
        "ask-layer",
        "ask-nothing",
    ],
)
def test_what_cannot_be_generated_is_named_with_the_way_out(
    measured: Session, operation, arguments, named, hint
):
    with pytest.raises(AdlError) as raised:
        do(measured, operation, arguments)
    assert named in raised.value.message
    assert hint in raised.value.hint
    assert raised.value.hint
    assert not started(measured)
    assert kinds(measured)[-1] == "operation_failed"


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        (ASK, AskArguments(prompt="Hi", n_samples=16, temperature=0)),
        (ASK, AskArguments(prompt="Hi", n_samples=2, temperature=1e-5)),
        (STEER, SteerArguments(n_prompts=2, n_samples=2, temperature=0)),
        (AMPLIFY, AmplifyArguments(n_samples=2, temperature=0)),
        (COHERENT_ALPHA, CoherentAlphaArguments(temperature=0)),
        (STEERED_SIMILARITY, SimilarityArguments(documents="d.txt", n_samples=2, temperature=0)),
        (UNPROMPTED, UnpromptedArguments(n_samples=5, n_null=1, temperature=0)),
        (TEST, ExperimentArguments(hypothesis="It bakes.", phrases=("cake",), temperature=0)),
    ],
    ids=lambda of: getattr(of, "name", ""),
)
def test_samples_that_are_one_text_are_refused(measured: Session, operation, arguments):
    with pytest.raises(PromptError, match="at temperature .* times one text"):
        do(measured, operation, arguments)
    assert not started(measured)
    if operation is not STEERED_SIMILARITY:  # its documents are looked for first
        with pytest.raises(PromptError, match="at temperature"):
            check_inputs(arguments)  # before a model is loaded


def test_one_sample_at_temperature_0_is_made(measured: Session):
    check_inputs(
        AskArguments(prompt="Hi", temperature=0),
        UnpromptedArguments(n_samples=4, n_null=4, temperature=0),
        ExperimentArguments(hypothesis="It.", statement="a", against=("b",), temperature=0),
    )
    do(measured, ASK, AskArguments(prompt="Hi", temperature=0, max_new_tokens=2))
    do(measured, STEER, SteerArguments(n_prompts=2, alphas=(0.0, 0.3), temperature=0, **SHORT))
    assert len(started(measured)) == 6


@pytest.mark.parametrize(
    ("kind", "arguments", "named"),
    [
        (AskArguments, {}, "exactly one"),
        (AskArguments, {"prompt": "a", "raw": "b"}, "exactly one"),
        (AskArguments, {"raw": "b", "prefill": "c"}, "no prefill"),
        (AskArguments, {"prompt": "a", "sides": ()}, "sides"),
        (AskArguments, {"prompt": "a", "alpha": float("nan")}, "alpha"),
        (AskArguments, {"prompt": "a", "temperature": float("inf")}, "temperature"),
        (SteerArguments, {"alphas": (float("inf"),)}, "alphas"),
        (SteerArguments, {"temperature": -1}, "temperature"),
        (SteerArguments, {"source": "tea leaves"}, "source"),
        (SteerArguments, {"side": "both"}, "side"),
        (SteerArguments, {"prompts": ("a",), "prompt_file": "b"}, "not both"),
        (SteerArguments, {"n_prompts": 0}, "n_prompts"),
    ],
    ids=str,
)
def test_arguments_that_make_no_sense_are_refused_before_anything_begins(kind, arguments, named):
    with pytest.raises(ValueError, match=named):
        kind(**arguments)


# --- thinking -------------------------------------------------------------------------------------


class ThinkingPair(PlantedPair):
    """Notes what was asked of the template, as a real pair does."""

    def chat(self, side, messages, *, prefill="", thinking="auto"):
        asked = super().chat(side, messages, prefill=prefill)
        return replace(asked, notes=(f"{side} thinks {thinking}",))


@pytest.mark.parametrize("thinking", ["auto", "on", "off"])
def test_thinking_is_put_to_the_template_and_recorded_with_what_was_done(
    measured: Session, thinking: str
):
    measured.pair = ThinkingPair()
    do(measured, STEER, SteerArguments(**SHORT, n_prompts=1, alphas=(0.3,), thinking=thinking))
    do(measured, ASK, AskArguments(prompt="Hi", max_new_tokens=2, thinking=thinking))
    texts = started(measured)
    assert [text.side for text in texts] == ["finetuned", "base", "finetuned"]
    for text in texts:
        assert text.thinking == thinking
        assert text.prompt_notes == (f"{text.side} thinks {thinking}",)
    assert_as_recorded(measured)


def test_a_stage_begins_with_none_of_its_texts(session: Session):
    watch = Stop(lambda *_: False)
    do(session, ASK, AskArguments(prompt="Hi", max_new_tokens=2), watch)
    assert watch.seen[:4] == [
        (f"ask {side}", done, 1) for side in ("base", "finetuned") for done in (0, 1)
    ]


def test_raw_text_has_no_template_to_think_by():
    with pytest.raises(ValueError, match="raw text has no chat template"):
        AskArguments(raw="Hi", thinking="off")


def test_a_text_of_before_has_neither():
    old = TextStarted.model_validate(
        {
            **dict.fromkeys(("layer", "position", "source")),
            "text_id": "a",
            "purpose": "ask",
            "side": "base",
            "alpha": 0,
            "seed": 0,
            "temperature": 1,
            "max_new_tokens": 2,
        }
    )
    assert (old.thinking, old.prompt_notes) == ("auto", ())


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([{"content": "x"}], "not a list of messages"),
        ([{"role": "user"}], "not a list of messages"),
        ([{"role": "tool", "content": "x"}], "no role 'tool'"),
        ([{"role": "assistant", "content": "x"}], "do not end with a question"),
        (
            [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}],
            "comes after another message",
        ),
    ],
)
def test_messages_that_are_no_chat_are_refused_in_words(messages: list, message: str):
    with pytest.raises(ValidationError, match=message):
        AskArguments(messages=messages)


@pytest.mark.parametrize("blank", ["", " \n", "\u3000"])
@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (AskArguments, lambda blank: {"prompt": blank}),
        (AskArguments, lambda blank: {"messages": ({"role": "user", "content": blank},)}),
        (AskManyArguments, lambda blank: {"prompts": ("Hi", blank)}),
        (SteerArguments, lambda blank: {"prompts": ("Hi", blank)}),
        (AmplifyArguments, lambda blank: {"prompts": (blank,)}),
        (DifferArguments, lambda blank: {"prompts": (blank,)}),
        (ScanArguments, lambda blank: {"prompts": (blank,)}),
        (CoherentAlphaArguments, lambda blank: {"prompts": (blank,)}),
        (CompleteArguments, lambda blank: {"prefixes": ("I",), "question": blank}),
        (ExperimentArguments, lambda blank: {"hypothesis": "H1", "prompts": (blank,)}),
        (ExperimentArguments, lambda blank: {"hypothesis": "H1", "near_misses": (blank,)}),
        (ExperimentArguments, lambda blank: {"hypothesis": "H1", "neutral": (blank,)}),
    ],
)
def test_a_blank_prompt_is_refused(arguments: type[Arguments], given: Any, blank: str):
    with pytest.raises(ValidationError, match="at least one character"):
        arguments(**given(blank))


def test_raw_text_may_be_a_space_alone():
    assert AskArguments(raw=" ").question().raw == " "
