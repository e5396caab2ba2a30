"""Token lists kept compactly: the same content and hashes, in a fraction of the space."""

from __future__ import annotations

import json
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workbench.store.samples import record_audit
from workbench.store import packing
from workbench.store.encoding import body_json, canonical_json
from workbench.store.errors import StoreError
from workbench.store.events import ReadingTaken, ReadToken
from workbench.store.log import SessionLog
from workbench.store.packing import stored, whole
from workbench.store.rows import COLUMNS, Entry

KIND = "reading_taken"


def lists(n: int, tokens: int = 20) -> list[ReadingTaken]:
    """Lists as an audit takes them: numbers of full precision, settings that are all the same."""
    return [
        ReadingTaken(
            reading="patchscope_contrast",
            source="difference",
            side="finetuned",
            layer=14,
            position="1-4",
            scale=0.1 * index,
            chosen=index % 10 == 0,
            settings={"candidate_fraction": 0.1, "contexts": 64, "residual_norm": 185.57666015625},
            statistics={"agreement": 1.0 / (index + 3)},
            tokens=tuple(
                ReadToken(
                    id=(index * 7919 + place * 104_729) % 49_152,
                    text=f" word{index * place % 997}",
                    score=1 / (place + 1.7 + index),
                    probability=None if index % 3 == 0 else 1e-3 / (place + 1.3 + index),
                )
                for place in range(tokens)
            ),
        )
        for index in range(n)
    ]


@pytest.mark.slow
def test_lists_take_a_third_of_the_space_and_keep_their_bodies(
    log: SessionLog, tmp_path: Path
) -> None:
    bodies = lists(600)
    session = log.start_session("s", then=[Entry(body) for body in bodies])
    plain = sum(len(body_json(body)) for body in bodies)
    exported = log.export_session(session, tmp_path / "a.db")
    assert exported.stat().st_size < 0.8 * plain  # with words, indexes and hashes
    with closing(sqlite3.connect(exported)) as connection:
        (kept,) = connection.execute(
            "SELECT sum(length(body) + length(packed)) FROM events WHERE kind = ?", (KIND,)
        ).fetchone()
    assert kept < plain / 3
    assert [event.body for event in log.events(session, kinds=[KIND])] == bodies
    assert log.verify().ok
    assert log.search("word996")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
tokens = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.integers(),
            "probability": st.none() | st.floats(allow_nan=False, allow_infinity=False),
            "score": st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 9),
            "text": st.text(),
        }
    )
)


@pytest.mark.slow
@given(tokens, tokens | json_values, json_values)
def test_whatever_is_packed_comes_back_to_the_letter(first, second, settings) -> None:
    body = canonical_json(
        {"kind": KIND, "chosen": False, "tokens": first, "unfiltered": second, "settings": settings}
    )
    legible, packed = stored(KIND, body)
    assert packed is not None
    assert whole(packed) == body
    assert json.loads(legible) == {"kind": KIND, "chosen": False}


def test_other_bodies_stay_as_they_are() -> None:
    assert stored("note_written", '{"text":"x"}') == ('{"text":"x"}', None)


_PACKER = zlib.compressobj(9, zlib.DEFLATED, -15)
BOMB = b"\x01" + _PACKER.compress(b" " * 10**6) + _PACKER.flush()


@pytest.mark.parametrize(
    "packed", [b"", b"\x01", b"\x02", b"\x03abc", b"\x02abc", "text", None, 7, BOMB, BOMB[:-3]]
)
def test_what_cannot_be_unpacked_is_a_damaged_event(
    log: SessionLog, packed: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "LONGEST_BODY", 10**5)
    session = record_audit(log)
    with closing(sqlite3.connect(log.path, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER events_refuse_update")
        connection.execute("UPDATE events SET packed = ? WHERE kind = ?", (packed, KIND))
    with pytest.raises(StoreError, match="is damaged"):
        list(log.events(session))
    assert any("cannot be read" in str(one) for one in log.verify().problems)


def test_what_is_legible_is_compared_with_the_whole(log: SessionLog) -> None:
    record_audit(log)
    with closing(sqlite3.connect(log.path, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER events_refuse_update")
        connection.execute(
            "UPDATE events SET body = replace(body, 'patchscope', 'logit_lens') WHERE kind = ?",
            (KIND,),
        )
    said = [str(one) for one in log.verify().problems]
    assert sum("what is legible" in one for one in said) == 2


def test_a_file_of_an_older_program_is_read_as_it_is(log: SessionLog, tmp_path: Path) -> None:
    """Its lists stand in it whole; what is made of it later is packed, with the same hashes."""
    session = log.start_session("s", then=[Entry(body) for body in lists(5)])
    with log._file.reading() as connection:
        rows = connection.execute(f"SELECT {COLUMNS} FROM events ORDER BY seq").fetchall()
    with closing(sqlite3.connect(log.path, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER events_refuse_update")
        for row in rows:
            connection.execute(
                "UPDATE events SET body = ?, packed = NULL WHERE seq = ?", (row[7], row[1])
            )
    found = [str(one) for one in log.verify().problems]
    assert found == [
        "file: the trigger events_refuse_update, which keeps the log append-only, is gone"
    ]
    assert [event.body for event in log.events(session, kinds=[KIND])] == lists(5)
