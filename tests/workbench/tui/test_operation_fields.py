"""Forms made of arguments: what stands in them, and what becomes of what is typed."""

from __future__ import annotations

from enum import Enum
from typing import Literal

import pytest
from pydantic import Field

from workbench.operations import OPERATIONS
from workbench.operations.coherent_alpha import CoherentAlphaArguments
from workbench.operations.relevance import RelevanceArguments, SimilarityArguments
from workbench.operations.running import Arguments
from workbench.operations.trace import TraceArguments
from workbench.tui.offered import offered
from workbench.tui.operation_fields import WHOLE, check, fields_of, first_texts, sees_truth


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Own(Arguments):
    """Kinds of fields that the program's own operations do not have all of."""

    name: str = Field(description="What to call it.")
    colour: Colour = Field(Colour.RED, description="Its colour.")
    way: Literal["up", "down"] | None = None
    often: bool = False
    shares: tuple[float, ...] = (0.5, 1.0)
    notes: tuple[str, ...] = ()
    weights: dict[str, float] = Field(default_factory=dict)
    rounds: int | None = Field(3, ge=1)


@pytest.mark.parametrize(
    "name",
    [
        one.name
        for one in offered()
        # Where something has to be given there are no defaults to take.
        if not any(field.required for field in fields_of(one.arguments))
    ],
)
def test_what_stands_in_a_form_at_first_is_what_the_operation_takes_by_default(name):
    arguments = OPERATIONS[name].arguments
    found = check(arguments, first_texts(arguments, {}))
    if "documents" in arguments.model_fields:
        assert set(found.problems) == {"documents"}
    else:
        assert found.arguments == arguments()


def test_kinds_of_fields():
    fields = {one.name: one for one in fields_of(Own)}
    assert fields["name"].required
    assert fields["name"].help == "What to call it."
    assert fields["colour"].values == ("red", "blue")
    assert fields["way"].values == ("none", "up", "down")
    assert fields["often"].values == ("no", "yes")
    assert (fields["shares"].default, fields["shares"].between) == ("0.5, 1", ", ")
    assert (fields["notes"].default, fields["notes"].between) == ("", "; ")
    assert fields["rounds"].label == "Rounds"
    assert {one.label for one in fields_of(TraceArguments)} >= {"Number of texts", "Text column"}


def test_what_is_typed_becomes_arguments():
    typed = {
        "name": " a, b ",
        "colour": "blue",
        "way": "down",
        "often": "yes",
        "shares": "0.1 0.2,0.3",
        "notes": "one, two; three",
        "weights": '{"a": 1}',
        "rounds": "none",
    }
    assert check(Own, typed).arguments == Own(
        name="a, b",
        colour=Colour.BLUE,
        way="down",
        often=True,
        shares=(0.1, 0.2, 0.3),
        notes=("one, two", "three"),
        weights={"a": 1.0},
        rounds=None,
    )
    # Nothing typed is the default.
    assert check(Own, {"name": "x", "shares": "", "rounds": " "}).arguments == Own(name="x")


@pytest.mark.parametrize(
    ("typed", "field", "said"),
    [
        ({}, "name", "required"),
        (
            {"name": "x", "rounds": "many"},
            "rounds",
            "must be a whole number, 1 or more, not 'many'",
        ),
        ({"name": "x", "rounds": "0"}, "rounds", "must be a whole number, 1 or more"),
        ({"name": "x", "shares": "0.1 half"}, "shares", "'half' must be a number"),
        ({"name": "x", "weights": "{"}, "weights", "valid dict"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(typed, field, said):
    found = check(Own, typed)
    assert found.arguments is None
    assert list(found.problems) == [field]
    assert said in found.problems[field]


def test_what_is_known_elsewhere_stands_in_the_form():
    texts = first_texts(CoherentAlphaArguments, {"layer": "20", "side": "nobody", "other": "x"})
    assert texts["layer"] == "20"
    assert texts["side"] == "finetuned"
    assert "other" not in texts


def test_documents_have_to_be_named_and_end_blindness():
    assert "organism below" in check(SimilarityArguments, {}).problems["documents"]
    both = check(SimilarityArguments, {"documents": "a.txt", "truth_of": "cake_bake"})
    assert "not both" in both.problems[WHOLE]
    words = check(RelevanceArguments, {"words": "cake; oven"}).arguments
    assert words == RelevanceArguments(words=("cake", "oven"))
    assert sees_truth(words)
    assert not sees_truth(TraceArguments())
