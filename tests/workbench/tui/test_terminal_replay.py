"""A replay by keys alone, in a real pseudo-terminal."""

from __future__ import annotations

import pytest

from tests.workbench.replay.audits import record_audit
from tests.workbench.tui.terminal import Terminal
from workbench.store.log import SessionLog


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24)])
def test_a_replay_by_keys(tmp_path, size):
    database = tmp_path / "sessions.db"
    recorded = record_audit(database)
    arguments = ["replay", recorded.session_id, "--from", "0", "--database", str(database)]
    with Terminal(arguments, home=tmp_path, size=size, forked=True) as terminal:
        terminal.shows("before the first event")
        terminal.press(">")
        terminal.shows("#1 ")
        terminal.press("}")
        terminal.shows("5 Hyp")
        terminal.shows("hypothesis H1")
        terminal.press("o")
        terminal.shows("Not offered")
        terminal.press("$")
        terminal.shows("at end")
        terminal.press("B")
        terminal.shows("Branch from event")
        # Textual inserts letters before it acts on keys that are bound, where they come as one.
        terminal.press("ctrl+u")
        terminal.wait(lambda: ", from" not in terminal.text, "the name was never cleared")
        terminal.press("another way")
        terminal.shows("another way")
        terminal.press("enter")
        terminal.shows("r Reading")
        terminal.press("ctrl+q")
        assert terminal.ends() == 0
        assert terminal.is_clean
    with SessionLog.open(database, read_only=True) as log:
        assert log.verify().ok
        branch, parent = log.sessions()
        assert (branch.name, parent.id) == ("another way", recorded.session_id)
        assert log.event(branch.id, 1).body.parent_session == parent.id  # type: ignore[union-attr]
        assert parent.events == max(recorded.digests)
