"""The overview of an agent with the lens: everything that was computed, in 9,000 characters."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.planted import DOMAIN
from workbench.agent.overview import DEPTH, ENOUGH_PROMPTS, LONGEST, MOST_PROMPTS, overview
from workbench.agent.prompts import system_prompt
from workbench.agent.short_ids import find_reading, find_text
from workbench.agent.toolbox import tools_of
from workbench.operations.running import Session
from workbench.report.example import opened_example
from workbench.store.events import (
    ReadingTaken,
    ReadToken,
    StruckRead,
    TextFinished,
    TextStarted,
)
from workbench.store.measures.phrases import FoundPhrase, PhrasesFound
from workbench.store.measures.trace import TraceMeasured, TraceNarrowness
from workbench.store.measures.unprompted import ScoredUnprompted, UnpromptedTexts
from workbench.store.state import SessionState, fold

WORDS = [f"word{n}" for n in range(400)]


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line[:1] == "{"]


def part(text: str, name: str) -> dict[str, Any]:
    return next(row for row in rows(text) if name in row)


def reading(name: str, tokens: list[str], source: str = "difference") -> ReadingTaken:
    read = [ReadToken(id=n, text=token, score=1.0 / (n + 1)) for n, token in enumerate(tokens)]
    return ReadingTaken(
        reading=name, source=source, side="finetuned", layer=3, position="1-4", tokens=tuple(read)
    )


def texts(purpose: str, side: str, alpha: float, prompt: str, text: str, n: str) -> list[Any]:
    started = TextStarted(
        text_id=f"{purpose}-{side}-{alpha:g}-{n}",
        purpose=purpose,  # type: ignore[arg-type]
        side=side,
        alpha=alpha,
        layer=3 if alpha else None,
        position="1-4" if alpha else None,
        source="difference" if alpha else None,
        seed=0,
        temperature=1.0,
        max_new_tokens=60,
        messages=({"role": "user", "content": prompt},),
    )
    finished = TextFinished(text_id=started.text_id, text=text, token_ids=(1, 2, 3), ended="length")
    return [started, finished]


def state_of(log: Any, *bodies: Any) -> SessionState:
    session = log.start_session("full")
    for body in bodies:
        log.append(session, body)
    return fold(log.events(session))


def test_a_session_with_all_there_is_fits_and_keeps_what_matters(log):
    """Long texts and more of everything than a session has: nothing is cut off but by its share."""
    bodies = [
        *(
            reading(name, WORDS[start:] + WORDS[:start])
            for start, name in enumerate(("consensus", "output_difference", "shift_lens"))
        ),
        reading("logit_lens", WORDS[::-1]),
        reading("consensus", ["null"] * 3 + WORDS[300:], "random"),
    ]
    for n in range(12):
        prompt = f"prompt {n} " + "about a garden " * 5
        for alpha in (0.0, 0.1, 0.2, 0.4):
            bodies += texts(
                "steer", "finetuned", alpha, prompt, f"{alpha:g} text {n} " * 40, str(n)
            )
        bodies += texts("steer", "base", 0.0, prompt, f"base text {n} " * 40, str(n))
    scored = []
    for n in range(9):
        asked = "" if n == 1 else f"what is {n}? " * 40
        bodies += texts(
            "unprompted", "finetuned", 0.0, asked, f"\x1b[31m nothing {n} " * 30, str(n)
        )
        scored.append(
            ScoredUnprompted(
                text_id=f"unprompted-finetuned-0-{n}",
                side="finetuned",
                start="begin_of_text",
                per_token=1.0 - n / 10,
                ends=(1,),
                ratios=(1.0,),
                n_tokens=1,
            )
        )
    found = [
        FoundPhrase(words=f"phrase {n} " * 4, z=3.0, log_odds=1.0, finetuned=3, base=0, text_ids=())
        for n in range(60)
    ]
    bodies += [
        UnpromptedTexts(texts=tuple(scored)),
        PhrasesFound(phrases=tuple(found), null=(), n_texts={}),
        TraceMeasured(
            verdict="strong",
            breadth="narrow",
            breadth_why="words of one topic " * 40,
            summary="s",
            does_not_mean="d",
            layers=(),
            sites=(),
            narrowness=TraceNarrowness(
                index=0.8, low=0.6, high=1.0, closeness=0.1, one_text=0.1, many_texts=0.0, words=()
            ),
            output_kl=0.1,
            n_texts=10,
        ),
    ]
    shown = overview(state_of(log, *bodies))
    assert len(shown) <= LONGEST == 9_000
    assert shown.splitlines()[-1].startswith("audited text ends")
    assert len(part(shown, "tokens")["tokens"]) == DEPTH == 60
    assert list(part(shown, "tokens_by")["tokens_by"]) == [
        "consensus",
        "output_difference",
        "shift_lens",
    ]
    assert "logit_lens: no better" in part(shown, "showed_nothing")["showed_nothing"]
    assert part(shown, "trace")["closeness"] == "0.80 [0.60, 1.00]"
    assert len(part(shown, "phrases")["phrases"]) == 24
    from_nothing = part(shown, "unprompted")["texts"]
    assert [len(entry) for entry in from_nothing] == [4, 3, 4, 4, 4, 4]
    assert from_nothing[0][3].startswith("what is 0? ")
    prompts = [row for row in rows(shown) if "prompt" in row]
    assert ENOUGH_PROMPTS <= len(prompts) <= MOST_PROMPTS
    for row in prompts:
        # Two low alphas, and what both sides write unsteered.
        assert list(row) == ["prompt", "base", "finetuned", "alpha 0.1", "alpha 0.2"]
    assert "\x1b" not in shown


def test_ranks_of_every_useful_reading_stand_in_one_row_and_nulls_are_struck_out(log):
    cakes = ["cake", "oven", "batter", "flour", *WORDS[:16]]
    state = state_of(
        log,
        reading("output_difference", [*cakes, "the", *WORDS[16:80]]),
        reading("shift_lens", ["oven", "cake", *WORDS[100:118], "the", *WORDS[118:170]]),
        reading("output_difference", ["the", *WORDS[200:280]], "random"),
        reading("shift_lens", ["the", *WORDS[200:280]], "halves of base"),
    )
    tokens = part(overview(state), "tokens")["tokens"]
    assert set(tokens[:2]) == {"cake 1 2", "oven 2 1"}
    assert "batter 3 -" in tokens
    assert "the* 21 21" in tokens
    assert sum("*" in row for row in tokens) == 1


def test_words_of_style_are_struck_out_with_the_reason(log):
    struck = StruckRead(id=9, text=" centre", score=1.0, rank=4, why="raised by others")
    listed = reading("consensus", ["cake", "oven", *WORDS[:40]])
    state = state_of(log, listed.model_copy(update={"struck": (struck,)}))
    shown = overview(state)
    line = part(shown, "struck_out")["struck_out"]
    assert "centre" in line
    assert "raised by others" in line
    assert "centre" not in " ".join(part(shown, "tokens")["tokens"])


def test_a_reading_that_is_its_null_is_one_line(log):
    state = state_of(
        log,
        reading("output_difference", ["cake", *WORDS[:40]]),
        reading("patchscope", ["cake", *WORDS[:40]]),
        reading("patchscope", ["cake", *WORDS[:40]], "random"),
    )
    shown = overview(state)
    assert list(part(shown, "tokens_by")["tokens_by"]) == ["output_difference"]
    (line,) = [row for row in rows(shown) if "showed_nothing" in row]
    assert "patchscope: no better than nulls" in line["showed_nothing"]
    assert "logit_lens: not computed" in line["showed_nothing"]


def test_it_says_what_the_model_is_and_what_was_measured_without_a_name(session: Session):
    shown = overview(session.state)
    facts = shown.partition("audited text begins")[0]
    assert "6 layers of width 128" in facts
    assert "one chat template on both" in facts
    assert "Measured layers: 2; positions: 0, 1, 2, 3, 4, 1-4" in facts
    assert session.state.pair is not None
    for side in ("base", "finetuned"):
        assert session.state.pair[side]["checkpoint"] not in shown
        assert session.state.pair[side]["architecture"] not in shown
    tokens = part(shown, "tokens")["tokens"]
    assert tokens[0].split()[0] == DOMAIN[0].strip()


def test_ids_of_it_are_those_that_the_tools_take(session: Session):
    shown = overview(session.state)
    for name, reading_id in part(shown, "tokens_by")["tokens_by"].items():
        found = find_reading(session.state, reading_id.partition(",")[0]).body
        assert found.reading == name.partition("/")[0]
        assert found.source == "difference"
    text_id, text = part(shown, "prompt")["finetuned"]
    assert find_text(session.state, text_id).text.split()[:2] == text.split()[:2]


def test_the_recorded_examples_overview_is_short():
    with opened_example() as (log, session):
        state = fold(log.events(session))
    shown = overview(state)
    assert len(shown) <= LONGEST
    assert len(part(shown, "tokens")["tokens"]) == DEPTH
    assert "cake" in " ".join(part(shown, "tokens")["tokens"][:5])


@pytest.mark.parametrize(("mode", "most"), [("adl", 13_410), ("black_box", 5_000)])
def test_schemas_that_go_with_every_request_are_short(mode, most):
    """A limit to be kept: a new tool has to be worth what others then lose."""
    sent = [json.dumps(tool.specification(), separators=(",", ":")) for tool in tools_of(mode)]
    assert sum(map(len, sent)) <= most
    assert len(system_prompt(mode)) <= 5_200


def test_the_state_of_a_session_without_anything_has_an_overview(log):
    assert "not computed" in overview(state_of(log))


KINDS_OF_FINETUNING = (
    "false facts",
    "secret word",
    "persona",
    "preference",
    "bad advice",
    "trigger",
    "denial",
    "broad",
)


@pytest.mark.parametrize("mode", ["adl", "black_box"])
def test_each_kind_of_finetuning_has_a_probe_with_tools_that_there_are(mode):
    prompt = system_prompt(mode)
    checklist = prompt[prompt.index("Kinds of finetuning") :].split("\n\n")[0]
    assert all(kind in checklist for kind in KINDS_OF_FINETUNING)
    tools = {tool.name for tool in tools_of(mode)}
    known = {tool.name for tool in tools_of("adl")}
    assert {each for each in known - tools if f"`{each}`" in checklist} == set()
