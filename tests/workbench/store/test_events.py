import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workbench.store.samples import ARRAYS, difference
from workbench.store.arrays import ArrayRef, array_refs, canonical_array
from workbench.store.encoding import body_json
from workbench.store.errors import StoreError
from workbench.store.events import (
    Actor,
    AnswersCompared,
    NoteWritten,
    OperationStarted,
    read_body,
    well_formed,
)

any_text = st.text(st.characters(exclude_categories=()))


@given(any_text)
def test_any_text_comes_back_from_a_body(text: str) -> None:
    stored = body_json(NoteWritten(text=text))
    read = read_body(stored)
    assert stored.isascii()
    assert read == NoteWritten(text=well_formed(text))
    assert body_json(read) == stored


@pytest.mark.slow
@given(st.text())
def test_text_without_surrogates_is_kept_as_it_is(text: str) -> None:
    assert well_formed(text) == text


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ("a\x00b\x1b[31mc\x9bd", "a\x00b\x1b[31mc\x9bd"),
        ("\ud800", "\ufffd"),
        ("x\udc80y", "x\ufffdy"),
        ("\ud83d\ude00", "😀"),
        ("😀\ud83d", "😀\ufffd"),
    ],
)
def test_only_broken_surrogates_are_replaced(raw: str, kept: str) -> None:
    assert read_body(body_json(NoteWritten(text=raw))) == NoteWritten(text=kept)
    assert Actor(kind="agent", name=raw).name == kept


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.slow
@given(st.dictionaries(any_text, json_values, max_size=4))
def test_any_arguments_are_stored_as_strict_json_and_stay_what_they_are(arguments: dict) -> None:
    stored = body_json(OperationStarted(operation="x", arguments=arguments))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(stored, parse_constant=refuse)
    assert body_json(read_body(stored)) == stored


def test_numbers_that_are_not_finite_come_back_in_fields_of_type_float() -> None:
    body = AnswersCompared(
        base_text="a",
        finetuned_text="b",
        first_divergence=None,
        along="b",
        kl=(math.inf, -math.inf, math.nan),
    )
    read = read_body(body_json(body))
    assert isinstance(read, AnswersCompared)
    assert read.kl[:2] == (math.inf, -math.inf)
    assert math.isnan(read.kl[2])


def test_arrays_of_equal_numbers_have_one_name() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert ArrayRef.of(array) == ArrayRef.of(np.asfortranarray(array))
    assert ArrayRef.of(array) == ArrayRef.of(array.astype(">f4"))
    assert ArrayRef.of(array) != ArrayRef.of(array.reshape(3, 2))
    assert ArrayRef.of(array) != ArrayRef.of(array.view(np.int32))
    assert ArrayRef.of(np.float32(1)[()] * np.ones(())).shape == ()


@pytest.mark.parametrize(
    "array", [np.array([object()]), np.zeros(2, dtype=[("a", "f4")]), np.array(["text"])]
)
def test_arrays_of_anything_but_numbers_are_refused(array: np.ndarray) -> None:
    with pytest.raises(StoreError, match="dtype"):
        canonical_array(array)


def test_array_refs_are_found_wherever_they_stand() -> None:
    refs = dict(array_refs(difference(ARRAYS)))
    assert refs == {f"arrays.{name}": ArrayRef.of(array) for name, array in ARRAYS.items()}
    assert dict(array_refs(NoteWritten(text="none"))) == {}
