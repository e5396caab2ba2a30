"""Large counts, norms and limits are written as people write them: without an exponent."""

from __future__ import annotations

import math
from typing import Annotated

import pytest
from pydantic import BaseModel, Field, ValidationError

from adl.words import distinct_number, plain_number, whole_number
from workbench.fields import in_words
from workbench.store.measures.tested import HypothesisTested


@pytest.mark.parametrize(
    ("value", "digits", "words"),
    [
        (1_234_567, 6, "1234567"),
        (1_234_567.4, 6, "1234567"),
        (999.7, 3, "1000"),
        (999_999.9, 6, "1000000"),
        (1234.5, 3, "1234"),
        (-20_480, 2, "-20480"),
        (150.0, 2, "150"),
        (12.345, 3, "12.3"),
        (0.5, 6, "0.5"),
        (48, 6, "48"),
        (1.2e-7, 3, "1.2e-07"),
        (1e300, 6, "1e+300"),
        (math.inf, 6, "inf"),
    ],
)
def test_a_number_keeps_all_digits_before_its_point(value: float, digits: int, words: str):
    assert plain_number(value, digits) == words


@pytest.mark.parametrize(
    ("value", "words"), [(0.5, "0.5"), (1.0, "1"), (2.0, "2"), (0.1 + 0.2, "0.30000000000000004")]
)
def test_a_name_made_of_a_number_is_as_short_as_it_can_be(value: float, words: str):
    assert distinct_number(value) == words


def test_numbers_that_print_alike_make_different_names():
    values = [0.1 + step * 1e-9 for step in range(50)] + [1e6 + step / 8 for step in range(50)]
    assert len({f"{value:g}" for value in values}) < 5
    names = [distinct_number(value) for value in values]
    assert len(set(names)) == len(values)
    assert [float(name) for name in names] == values


def test_the_cost_of_a_test_is_written_out():
    found = HypothesisTested(
        experiment="X1", hypothesis_id="H1", hypothesis="It bakes.", test="answers", judge="a person",
        verdict="undecided", words=("few",), p=1.0, adjusted=1.0,
        cost={"texts": 3_840, "tokens": 1_843_200, "verdicts": 3_840},
    )  # fmt: skip
    shown = [getattr(figure, "text", "") for figure in found.figures()]
    assert "Cost: texts 3840, tokens 1843200, verdicts 3840." in shown


def test_a_limit_is_written_out():
    class Limited(BaseModel):
        count: Annotated[int, Field(ge=1, le=2_500_000)] = 1

    with pytest.raises(ValidationError) as raised:
        Limited(count=0)
    assert "a whole number from 1 to 2500000" in in_words(raised.value, Limited)


@pytest.mark.parametrize(
    ("written", "number"),
    [("0", 0), ("12", 12), ("٣", 3), ("²", None), ("", None), ("-1", None), ("7" * 5000, None)],
)
def test_digits_are_a_number_where_python_reads_one(written: str, number: int | None):
    assert whole_number(written) == number
