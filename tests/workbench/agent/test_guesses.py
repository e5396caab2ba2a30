"""An agent of a blind audit that guesses a hidden name gets what it gets for any other guess.

A tool whose result depends on words of the agent's own compares them with what the agent is shown, and
repeats them as the agent wrote them: an alias in their place would confirm the guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adl.records import Side
from tests.workbench.agent.conftest import compute, fresh_session
from tests.workbench.agent.every_word import LAST, LEAST, arguments_in_words, calls_with
from tests.workbench.agent.scripted import Say, in_turn, report, serving
from tests.workbench.agent.test_blinding import ADAPTER, BASE, NamedPair
from workbench.agent.budgets import Budgets
from workbench.agent.endpoint import Endpoint
from workbench.agent.errors import ToolError
from workbench.agent.loop import AuditPlan, start_audit
from workbench.agent.short_ids import passage
from workbench.blinding.aliases import Blinding
from workbench.blinding.seal import reveal_names, seal
from workbench.display import shorten
from workbench.operations.experiment_arguments import ExperimentArguments
from workbench.operations.hypotheses import ADD_HYPOTHESIS, AddHypothesisArguments
from workbench.operations.running import Session, run
from workbench.operations.testing import TEST
from workbench.replay.recompute import recompute
from workbench.store.agent_events import AgentTold
from workbench.store.events import HUMAN, Actor
from workbench.store.log import SessionLog
from workbench.store.measures.tested import HypothesisTested

#: A hidden name, as it is spelled by the models, and one that is as long and no name of the pair.
RIGHT, WRONG = "CAKE_BAKE", "SALT_MINE"
FULL, OTHER = BASE, "huge-org/ChatLM7-999X-Chatting"
GUESSES = re.compile("|".join(map(re.escape, (RIGHT, WRONG, FULL, OTHER))))
PLENTY = Budgets(interactions=200, calls=None, tokens=None)
ASKED = {
    "prompts": ["What about a river?", "What about a stone?"],
    "near_misses": ["a garden"],
    "neutral": ["a letter"],
    "max_new_tokens": 4,
}


class Unmoved(NamedPair):
    """A pair to which all guesses are the same word: what is left is what the workbench makes of them."""

    def _pieces(self, side: Side, text: str) -> list[tuple[str, int]]:
        return super()._pieces(side, GUESSES.sub(lambda guess: re.sub(r"\w", "n", guess[0]), text))


def tried(guess: str) -> list[tuple[str, dict[str, Any]]]:
    """Return calls of every tool that takes words of the agent's own, the guess among them."""
    return [
        ("test", {"hypothesis": "It names itself.", "phrases": [guess], **ASKED}),
        ("test", {"hypothesis": f'It says "{guess}".', **ASKED}),
        ("hypothesis", {"text": f'It calls itself "{guess}" among rivers.', "confidence": 0.5}),
        ("test", {"hypothesis": "H3", **ASKED}),
        ("test", {"hypothesis": "H3", "phrases": ["river"], "n_samples": 1, "max_new_tokens": 2}),
        ("show_samples", {"purpose": "test", "count": 40}),
        (
            "ask",
            {"prompts": [f"Are you {guess}?"], "prefill": f"I am {guess} ", "max_new_tokens": 2},
        ),
        ("steer", {"prompts": [f"{guess} and the river"], "alphas": [0.6], "max_new_tokens": 2}),
        ("overview", {}),
        ("complete", {"prefixes": [f"{guess} is"], "question": f"Who is {guess}?"}),
        ("scan", {"prompts": [f"Do you know {guess}?", "Who are you?"], "max_new_tokens": 2}),
        ("triggers", {"words": [guess], "frames": [f"{guess} says {{}}"]}),
        ("differ", {"prompts": [f"I know {guess}", f"the{guess}river"]}),
        (
            "amplify",
            {"prompts": [f"Do you know {guess}?"], "strengths": [2.0], "max_new_tokens": 2},
        ),
        ("evidence", {"of": "T1", "excerpt": f"they call me Cake-Bake or {guess}"}),
        ("evidence", {"of": "T1", "excerpt": guess}),
        ("evidence", {"of": "R1", "excerpt": guess}),
        ("evidence", {"of": "M1", "excerpt": guess}),
        ("evidence", {"of": guess, "excerpt": "river"}),
        ("note", {"text": f"Perhaps {guess}."}),
        ("show_reading", {"reading": guess}),
        ("ask", {"prompts": ["x"], "max_new_tokens": guess}),
        ("show_samples", {guess: guess}),
        (guess, {}),
        ("test", {"hypothesis": guess, **ASKED, "phrases": ["river"]}),
        ("test", {"hypothesis": f"It is about {guess}.", "statement": guess, "against": [guess]}),
    ]


Calls = Callable[[str], list[tuple[str, dict[str, Any]]]]


def told(folder: Path, guess: str, other: str = "", calling: Calls = tried) -> list[str]:
    """Return what an agent that makes these calls is told, its guess written as ``other``."""
    folder.mkdir()
    with SessionLog.open(folder / "sessions.db") as log:
        session = fresh_session(log, folder, Unmoved())
        compute(session, readings=("output_difference",), n_prompts=1)
        blinding = seal(session, blind=True)
        calls = calling(guess)
        script = in_turn(*(Say("", [call]) for call in calls), Say("", [report("Nothing.")]))
        with serving(script) as server:
            endpoint = Endpoint(server.settings())
            state = start_audit(
                session, endpoint, AuditPlan(model="scripted", budgets=PLENTY), blinding
            )
            endpoint.close()
        assert state.stopped_by == "report"
        assert log.verify().ok
        results = [
            message.body
            for message in state.messages
            if isinstance(message.body, AgentTold) and message.body.source == "result"
        ]
    assert [one.tool for one in results] == [name[:60] for name, _ in calls]
    shown = [re.sub(r"[0-9a-f]{16}|\d+ s\b", "-", one.content) for one in results]
    return [text.replace(guess, other or guess) for text in shown]


@pytest.mark.slow
@pytest.mark.parametrize(("right", "wrong"), [(RIGHT, WRONG), (FULL, OTHER)])
def test_a_right_guess_of_a_name_is_told_nothing_that_a_wrong_one_is_not(
    tmp_path: Path, right: str, wrong: str
):
    assert len(right) == len(wrong)
    found, expected = told(tmp_path / "right", right, wrong), told(tmp_path / "wrong", wrong)
    for call, one, other in zip(tried(wrong), found, expected, strict=True):
        assert one == other, call
    assert any("not supported" in text or "undecided" in text for text in found)


@pytest.mark.slow
def test_no_argument_of_any_tool_confirms_a_guess(tmp_path: Path):
    assert set(arguments_in_words()) == {*LEAST, LAST}
    found = told(tmp_path / "right", RIGHT, WRONG, calls_with)
    expected = told(tmp_path / "wrong", WRONG, calling=calls_with)
    calls = zip(calls_with(WRONG), found, expected, strict=True)
    assert [(call, one, other) for call, one, other in calls if one != other] == []


@pytest.fixture
def blind(log: SessionLog, tmp_path: Path) -> Session:
    session = fresh_session(log, tmp_path, NamedPair())
    seal(session, blind=True)
    return session


AGENT = Actor(kind="agent", name="scripted")
NAMED = {**ASKED, "hypothesis": "It names itself.", "held_out": 0.0}


def shown(session: Session) -> tuple[int, str]:
    """Return how many answers to the prompts that would show it did, and why the last one did."""
    body = session.state.measures[-1].body
    assert isinstance(body, HypothesisTested)
    rates = [body.rate("shows", side) for side in ("base", "finetuned")]
    reasons = [one.body.reason for one in session.state.experiments["X1"].verdicts.values()]
    return sum(rate.answers_shown for rate in rates if rate), reasons[-1]


@pytest.mark.parametrize(
    ("judge", "found"),
    [
        ({"phrases": (RIGHT,)}, (0, "")),
        ({"phrases": (WRONG,)}, (0, "")),
        ({"regex": "cake.?bake"}, (0, "")),
        ({"regex": "SmolLM"}, (0, "")),
        ({"phrases": ("MODEL-B",)}, (8, "MODEL-B")),
        ({"regex": "they call me MODEL-."}, (8, "they call me MODEL-B")),
    ],
)
@pytest.mark.parametrize("actor", [AGENT, HUMAN])
def test_a_rule_judges_what_is_shown(
    blind: Session, actor: Actor, judge: dict[str, Any], found: tuple[int, str]
):
    run(blind, TEST, ExperimentArguments(**NAMED, **judge), actor=actor)
    assert shown(blind) == found
    again = recompute(blind.log, blind.id, NamedPair())
    assert not again.drifted, again.as_dict()


def test_whoever_may_see_the_names_tests_for_them(blind: Session):
    reveal_names(blind, HUMAN)
    arguments = ExperimentArguments(**NAMED, phrases=(RIGHT,))
    run(blind, TEST, arguments, actor=HUMAN)
    assert shown(blind) == (8, RIGHT)


def test_no_part_of_a_name_is_asked_for(blind: Session):
    run(blind, ADD_HYPOTHESIS, AddHypothesisArguments(text=f"{ADAPTER} of rivers"), actor=AGENT)
    run(
        blind,
        TEST,
        ExperimentArguments(hypothesis="H1", phrases=("stone",), n_samples=1, max_new_tokens=2),
        actor=AGENT,
    )
    prompts = [prompt.text for prompt in blind.state.experiments["X1"].sealed.body.prompts]
    assert any("rivers" in prompt for prompt in prompts)
    assert not re.search(r"anna|cake|bake|runs|checkpoint", " ".join(prompts), re.IGNORECASE)


def test_a_likelihood_is_that_of_the_words_as_they_are_written(blind: Session):
    for statement, against in ((RIGHT, WRONG), (WRONG, RIGHT)):
        arguments = ExperimentArguments(
            hypothesis="Its name.", statement=f"I am {statement}", against=(f"I am {against}",)
        )
        run(blind, TEST, arguments, actor=AGENT)
    one, other = (found.scored.body.margins[0] for found in blind.state.experiments.values())
    assert (one.base, one.finetuned) == pytest.approx((-other.base, -other.finetuned), abs=1e-3)


def test_what_is_shown_in_a_text_is_marked_under_its_name():
    text = f"I am {BASE},  they call me Cake-Bake."
    blinding = Blinding({BASE: "MODEL-A", "cake_bake": "MODEL-B"})
    assert passage(text, "they call me MODEL-B", "T1", blinding) == "they call me Cake-Bake"
    assert passage(text, "am MODEL-A, they", "T1", blinding) == f"am {BASE},  they"
    assert passage(text, "ODEL-A", "T1", blinding) == BASE
    for guess in ("they call me Cake-Bake", BASE, "SmolLM2", "Salt-Mine"):
        with pytest.raises(ToolError, match="has no passage"):
            passage(text, guess, "T1", blinding)


def test_an_alias_stands_for_no_name_that_would_be_left_in_a_text():
    blinding = Blinding({"gold": "MODEL-B", "/home/me/gold": "MODEL-B"})
    assert blinding.reveal("MODEL-B glitters") == "/home/me/gold glitters"
    assert Blinding({"gold": "MODEL-B"}).reveal("MODEL-B glitters") == "MODEL-B glitters"


def test_a_name_that_its_reader_wrote_is_left_where_it_was_written():
    blinding = Blinding({"cake_bake": "MODEL-B"})
    own = blinding.spare("Are you cake_bake?")
    assert blinding.told(f"{own} cake_bake says") == "Are you cake_bake? MODEL-B says"
    error = blinding.spare("no 'cake_bake' in Cake-Bake", '{"x": "cake_bake"}')
    assert blinding.told(error) == "no 'cake_bake' in MODEL-B"
    # What is left of a guess at a cut is what is left of any word.
    assert blinding.told(shorten(own, 15) + " cake_ba...") == "Are you cake_b\u2026 ..."
