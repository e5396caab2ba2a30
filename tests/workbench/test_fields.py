"""A ``ValidationError`` in words: one voice for command line, forms, settings and agents."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from workbench.agent.errors import ToolError
from workbench.agent.tools import Tool
from workbench.fields import WHOLE, FieldsConflict, in_words, problems_in_words
from workbench.settings import SettingsError, load_settings

ROOT = Path(__file__).parents[2]


class Inner(BaseModel):
    depth: int = 0


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    prompt: str = Field("x", min_length=1)
    max_new_tokens: int = Field(60, ge=1)
    n_prompts: int | None = Field(None, ge=1, le=40)
    temperature: float = Field(1.0, ge=0)
    share: float = Field(0.5, gt=0, lt=1)
    side: Literal["base", "finetuned"] = "base"
    alphas: tuple[float, ...] = Field((0.0,), min_length=1)
    raw: bool = False
    inner: Inner = Inner()

    @field_validator("prompt")
    @classmethod
    def _is_not_a_number(cls, value: str) -> str:
        if value.isdecimal():
            raise ValueError("must be words")
        return value


class Needed(BaseModel):
    prompt: str


class Together(BaseModel):
    first_word: str = ""
    last_word: str = ""

    @model_validator(mode="after")
    def _both(self) -> Together:
        if bool(self.first_word) != bool(self.last_word):
            raise FieldsConflict("give both", "first_word", "last_word")
        if self.last_word == "z":
            raise FieldsConflict("no such word", "last_word")
        return self


def refused(model: type[BaseModel] = Model, **given: Any) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(given)
    return caught.value


CASES = [
    ({"max_new_tokens": "x"}, "max new tokens must be a whole number, 1 or more, not 'x'"),
    ({"max_new_tokens": 0}, "max new tokens must be a whole number, 1 or more, not 0"),
    ({"max_new_tokens": 1.5}, "max new tokens must be a whole number, 1 or more, not 1.5"),
    ({"max_new_tokens": None}, "max new tokens must be a whole number, 1 or more"),
    ({"n_prompts": 41}, "n prompts must be a whole number from 1 to 40, not 41"),
    ({"n_prompts": "many"}, "n prompts must be a whole number from 1 to 40, not 'many'"),
    ({"temperature": -1}, "temperature must be a number, 0 or more, not -1"),
    ({"temperature": float("inf")}, "temperature must be a finite number, 0 or more, not inf"),
    ({"share": 1}, "share must be a number, more than 0, less than 1, not 1"),
    ({"side": "both"}, "side must be 'base' or 'finetuned', not 'both'"),
    ({"raw": "perhaps"}, "raw must be true or false, not 'perhaps'"),
    ({"alphas": [0, "x"]}, "alphas: 'x' must be a number"),
    ({"alphas": []}, "alphas must have at least 1 item, not 0"),
    ({"inner": {"depth": "deep"}}, "inner: depth must be a whole number, not 'deep'"),
    ({"prompt": ""}, "prompt must not be empty"),
    ({"prompt": "7"}, "prompt must be words"),
    ({"prompt": ["x"]}, "prompt must be a valid string"),
    ({"colour": 1}, "colour: there is no such field"),
    (
        {"prompt": "", "temperature": "hot"},
        "prompt must not be empty; temperature must be a number, 0 or more, not 'hot'",
    ),
]


@pytest.mark.parametrize(("given", "words"), CASES, ids=[words for _, words in CASES])
def test_a_refused_value_is_named_with_what_it_must_be(given: dict[str, Any], words: str) -> None:
    assert in_words(refused(**given), Model) == words


def test_a_missing_value_is_required() -> None:
    assert in_words(refused(Needed)) == "prompt is required"
    assert problems_in_words(refused(Needed)) == {"prompt": "required"}


def test_values_that_may_be_secret_are_left_out() -> None:
    exc = refused(temperature="sk-123", alphas=["sk-123"], side="sk-123")
    assert "sk-123" not in in_words(exc, Model, values=False)


def test_names_are_those_that_the_reader_knows() -> None:
    exc = refused(max_new_tokens=0)
    assert in_words(exc, names=lambda _: "--tokens") == "--tokens must be 1 or more, not 0"
    assert in_words(exc, Model, names=str).startswith("max_new_tokens must")


def test_values_that_do_not_go_together_are_refused_with_the_names_of_all() -> None:
    refusal = refused(Together, first_word="a")
    assert in_words(refusal) == "first word, last word: give both"
    assert in_words(refusal, names="--{}".format) == "--first_word, --last_word: give both"
    assert problems_in_words(refusal) == {WHOLE: "first word, last word: give both"}
    alone = refused(Together, first_word="a", last_word="z")
    assert problems_in_words(alone) == {"last_word": "no such word"}


def test_arguments_name_the_fields_of_every_refusal() -> None:
    """A plain ``ValueError`` of a validator of the whole would name none."""
    plain = [
        f"{path.name}: {function.name}"
        for path in (ROOT / "workbench").rglob("*.py")
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(function, ast.FunctionDef)
        and any("model_validator" in ast.unparse(wrapper) for wrapper in function.decorator_list)
        and "raise ValueError" in ast.unparse(function)
    ]
    assert plain == []


def test_no_module_words_a_validation_error_itself() -> None:
    """A second voice would read ``errors()`` of the exception."""
    readers = [
        str(path.relative_to(ROOT))
        for folder in ("adl", "workbench")
        for path in (ROOT / folder).rglob("*.py")
        if any(
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "errors"
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        )
    ]
    assert readers == ["workbench/fields.py"]


def test_a_tool_call_is_refused_in_the_same_voice() -> None:
    tool = Tool("try", "Tries.", Model)
    with pytest.raises(ToolError, match="n_prompts must be a whole number from 1 to 40, not 0"):
        tool.parse({"n_prompts": 0})


def test_a_setting_is_refused_in_the_same_voice_without_its_value() -> None:
    with pytest.raises(SettingsError, match="the setting base_url must be a URL") as caught:
        load_settings(base_url="sk-123")
    assert "sk-123" not in str(caught.value)
