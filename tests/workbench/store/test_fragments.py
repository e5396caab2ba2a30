"""The rest of a word that a token begins is recorded beside the list, found by a search and shown."""

from __future__ import annotations

import pytest

from workbench.agent import short_ids
from workbench.agent.errors import ToolError
from workbench.agent.evidence import list_data
from workbench.store.encoding import body_json
from workbench.store.events import ReadingTaken
from workbench.store.log import SessionLog
from workbench.store.packing import stored, whole
from workbench.store.record import ReadToken
from workbench.store.state import fold
from workbench.tui.panes.readings.columns import Column

LIST = ReadingTaken(
    reading="shift_lens",
    source="difference",
    side="base",
    layer=2,
    position="1-4",
    words_only=True,
    tokens=(ReadToken(id=7, text=" marz", score=2.0), ReadToken(id=8, text=" cake", score=1.0)),
    completed={7: "ipan"},
)


def test_it_is_kept_as_it_was_and_old_lists_stay_as_they_were(log: SessionLog):
    session = log.start_session("it")
    log.append(session, LIST)
    log.append(session, LIST.model_copy(update={"completed": {}}))
    first, second = (event.body for event in log.events(session, kinds=["reading_taken"]))
    assert isinstance(second, ReadingTaken)
    assert first == LIST
    assert second.completed == {}
    assert log.verify().ok
    assert len(log.search("marzipan")) == 1
    body = body_json(LIST)
    assert whole(stored("reading_taken", body)[1]) == body


def test_it_is_shown_to_people_and_agents_and_may_be_named_by_both(log: SessionLog):
    session = log.start_session("it")
    log.append(session, LIST)
    state = fold(log.events(session))
    (recorded,) = state.readings.values()
    assert list_data(state, recorded, 5)["tokens"] == [" marz\u00b7ipan".strip(), "cake"]
    for named in ("marz", "marz\u00b7ipan"):
        assert short_ids.token(recorded, named, "R1")[1].id == 7
    with pytest.raises(ToolError, match="has no token 'ipan'"):
        short_ids.token(recorded, "ipan", "R1")
    column = Column("1-4", "difference", recorded, LIST.tokens, False)
    assert [column.word(token) for token in LIST.tokens] == [" marz\u00b7ipan", " cake"]
