"""The probes of a session are gathered as it grows, and how they look follows from them."""

from __future__ import annotations

import pytest

from tests.workbench.tui.chat_sample import Probes, many_kinds
from workbench.operations.generation import AskArguments
from workbench.store.events import SessionClosed
from workbench.store.state import Fold, fold
from workbench.tui.panes.chat.render import Look, kl_bars, parting, turn_blocks
from workbench.tui.panes.chat.settings import ProbeSettings
from workbench.tui.panes.chat.turns import AnswerRef, Turns
from workbench.tui.widgets.virtual_list import Columns


def test_taking_every_state_gives_what_taking_the_last_gives():
    probes = many_kinds()
    growing, folding = Turns(), Fold()
    for event in probes.events:
        folding.apply(event)
        growing.take(folding.state())
    at_once = Turns()
    at_once.take(fold(probes.events))
    assert len(growing) == 5
    assert list(growing) == list(at_once)
    assert [turn.number for turn in growing] == [1, 2, 3, 4, 5]


def test_an_earlier_state_is_taken_anew():
    probes = many_kinds()
    turns = Turns()
    turns.take(probes.state)
    turns.take(fold(probes.events[:9]))
    assert len(turns) == 1
    assert turns.find("probe-2") is None


def test_a_follow_up_knows_the_answer_it_follows():
    probes = Probes()
    probes.ask(prompt="A?")
    history = [{"role": "user", "content": "A?"}]
    for answer in ("I am fine.", "I am someone else."):
        followed = {"role": "assistant", "content": answer}
        probes.ask(messages=(*history, followed, {"role": "user", "content": "B?"}))
    turns = Turns()
    turns.take(probes.state)
    assert turns.parent(turns[0]) is None
    assert turns.parent(turns[1]) == AnswerRef("probe-1", "base", 0)
    assert turns.parent(turns[2]) is None
    assert [turn.id for turn, _ in turns.chain(turns[1])] == ["probe-1", "probe-2"]


def test_a_probe_that_was_left_at_work_is_abandoned():
    probes = Probes()
    probe = probes.begin(AskArguments(prompt="A?"))
    probes.grow(probes.start(probe, "base"), "I a")
    probes.add(SessionClosed(outcome="completed"))
    turns = Turns()
    turns.take(probes.state)
    (turn,) = turns
    assert turn.is_over
    said = "\n".join(str(block) for block in turn_blocks(turn, Look(60)))
    assert "the program ended before this did" in said
    assert "cut off before its end" in said


@pytest.mark.parametrize(
    ("base", "finetuned", "done", "at"),
    [
        ("I am fine.", "I am baking.", True, 5),
        ("a cat", "a car", True, 2),
        ("same", "same", True, None),
        ("same", "same and more", True, 4),
        ("same", "same and more", False, None),
        ("I am", "You", False, 0),
        ("I am", "I amass", True, 2),
        ("", "x", True, 0),
        ("好" * 20 + "a", "好" * 20 + "b", True, 20),
    ],
)
def test_answers_part_at_the_word_that_differs(base, finetuned, done, at):
    assert parting(base, finetuned, both_done=done) == at


@pytest.mark.parametrize(
    ("kl", "width", "bars"),
    [
        ((0.0, 0.5, 1.0), 10, "▁▄█"),
        ((0.0, 4.0, 2.0, 1.0), 10, "▁█▄▂"),
        ((0.0, 4.0, 2.0, 1.0), 2, "█▄"),
        ((), 5, ""),
        ((1.0,), 0, ""),
    ],
)
def test_bars_show_the_greatest_kl_of_their_share(kl, width, bars):
    assert kl_bars(kl, width) == bars


def test_two_columns_need_room_and_two_sides():
    probes = Probes()
    probes.ask(prompt="A?")
    probes.ask({"finetuned": ["Only me."]}, prompt="B?")
    turns = Turns()
    turns.take(probes.state)
    both, alone = turns
    assert any(isinstance(block, Columns) for block in turn_blocks(both, Look(76)))
    assert not any(isinstance(block, Columns) for block in turn_blocks(both, Look(60)))
    blocks = turn_blocks(alone, Look(76))
    assert not any(isinstance(block, Columns) for block in blocks)
    assert "KL: not computed, only finetuned was asked" in str(blocks[-1])


def test_settings_survive_as_data():
    settings = ProbeSettings(
        system="s", prefill="p", sides=("base",), n_samples=3, steering=True, alpha=0.2, as_raw=True
    )
    assert ProbeSettings.from_data(settings.as_data()) == settings


def test_settings_of_an_earlier_version_are_taken():
    data = {
        "system": "s", "prefill": "p", "raw": False, "sides": ["base"], "n_samples": 3, "seed": 4,
        "temperature": 0.5, "max_new_tokens": 9, "thinking": "on", "steering": True, "alpha": 0.2,
        "layer": "3", "position": "1",
    }  # fmt: skip
    settings = ProbeSettings.from_data(data)
    assert settings.as_data() == data | {"batch_size": 40}
    assert settings.asking(prompt="Why?") == AskArguments(
        prompt="Why?", system="s", prefill="p", sides=("base",), n_samples=3, seed=4,
        temperature=0.5, max_new_tokens=9, thinking="on", alpha=0.2, layer="3", position="1",
    )  # fmt: skip
    assert ProbeSettings.from_data({"raw": True}).asking(raw="x") == AskArguments(raw="x")


@pytest.mark.parametrize(
    "name", sorted(set(AskArguments.model_fields) - {"prompt", "messages", "raw"})
)
def test_every_field_of_the_arguments_is_a_setting(name):
    """A field that the arguments gain is kept, sent and taken from an earlier probe."""
    others = {"thinking": "on", "sides": ("base",)}
    asked = AskArguments(prompt="Why?", **{name: _other(name, others)})
    settings = ProbeSettings.of(asked.model_dump(mode="json"))
    assert settings.asking(prompt="Why?") == asked
    assert ProbeSettings.from_data(settings.as_data()) == settings


def _other(name, others):
    if name in others:
        return others[name]
    is_text = "str" in str(AskArguments.model_fields[name].annotation)
    return "3" if is_text else 3
