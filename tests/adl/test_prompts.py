"""Bundled prompts, and prompts of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adl.errors import PromptError
from adl.text.prompts import N_EVERYDAY, Prompt, everyday_prompts, load_prompts

Q = {"role": "user", "content": "q"}
A = {"role": "assistant", "content": "a"}
S = {"role": "system", "content": "s"}


def jsonl(tmp_path: Path, *rows: object) -> Path:
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def error_of(path: Path) -> str:
    with pytest.raises(PromptError) as caught:
        load_prompts(path)
    assert caught.value.hint
    return str(caught.value)


def test_twenty_different_everyday_prompts():
    prompts = everyday_prompts()
    assert len({prompt.text for prompt in prompts}) == len(prompts) == N_EVERYDAY
    assert all(prompt.prefill == "" for prompt in prompts)


def test_everyday_prompts_are_outside_every_bundled_domain():
    text = " ".join(prompt.text for prompt in everyday_prompts()).lower().split()
    assert not {"bake", "cake", "oven", "gold", "golden", "money", "invest", "game"} & set(text)


def test_text_file(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text("one?\n\n two \n")
    assert load_prompts(path) == (Prompt.of("one?"), Prompt.of("two"))


def test_prompt_rows(tmp_path):
    assert load_prompts(jsonl(tmp_path, {"prompt": "one?"})) == (Prompt.of("one?"),)


def test_chat_with_prefill(tmp_path):
    (prompt,) = load_prompts(jsonl(tmp_path, {"messages": [S, Q, A]}))
    assert prompt.messages == [S, Q]
    assert prompt.prefill == "a"
    assert prompt.text == "q"


def test_many_turns(tmp_path):
    (prompt,) = load_prompts(jsonl(tmp_path, {"messages": [Q, A, {**Q, "content": "r"}]}))
    assert prompt.text == "r"
    assert len(prompt.messages) == 3


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "x"}, "there are: question"),
        ({"prompt": " "}, "empty"),
        ({"prompt": 3}, "JSON number"),
        ({"messages": []}, "not a list of messages"),
        ({"messages": [{"role": "user"}]}, "not a list of messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "no role 'robot'"),
        ({"messages": [Q, {"role": "assistant", "content": None}]}, "has no text"),
        ({"messages": [Q, S, Q]}, "system message"),
        ({"messages": [S]}, "do not end with a question"),
        ({"messages": [A]}, "do not end with a question"),
        ({"messages": [Q, A, A]}, "do not end with a question"),
    ],
)
def test_bad_rows_are_named(tmp_path, row, message):
    error = error_of(jsonl(tmp_path, {"prompt": "fine"}, row))
    assert message in error
    assert "line 2 of" in error


def test_missing_file(tmp_path):
    assert "no.txt" in error_of(tmp_path / "no.txt")


def test_empty_file(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text("\n")
    assert "no prompt in" in error_of(path)
