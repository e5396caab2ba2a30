"""The replay screen: the panes of an audit, driven by a recorded session."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import ActiveBinding, BindingType
from textual.widgets import Input, TextArea

from adl.words import whole_number
from workbench.replay.player import Turns
from workbench.tui import keys
from workbench.tui.dialogs.ask_line import AskLine
from workbench.tui.keys import own_bindings
from workbench.tui.messages import BranchSession, ShowSessions
from workbench.tui.panes.agent.pane import AgentPane
from workbench.tui.replay_session import ReplayedSession
from workbench.tui.screens.panes import PanesScreen
from workbench.tui.widgets.pane import Pane
from workbench.tui.widgets.top_bar import TopBar
from workbench.tui.widgets.transport import Standing, Transport

#: How often the clock is looked at, and how long each look may read on, in seconds.
TICK, SLICE = 0.05, 0.02
#: Events before the one shown among which the pane is looked for that has it.
LOOK_BACK = 40
WHOSE: tuple[Turns, ...] = ("all", "human", "agent")
RECORDED = "this is a replay: nothing is recorded and no model is run."
HINT = "{branch} branches from here into a session of its own, where it can be done."


class ReplayScreen(PanesScreen):
    """Replays a session event by event, without model, network or API key."""

    BINDINGS: ClassVar[list[BindingType]] = keys.bindings("replay")

    def __init__(
        self, opened: ReplayedSession, *, seq: int | None = None, lasting: bool = True
    ) -> None:
        super().__init__(opened.array, opened.event, opened.find_events)
        self.opened = opened
        self._start = seq
        self._lasting = lasting
        self._follows = True
        self._ready = False
        self._waiting: deque[Callable[[], object]] = deque()
        "What keys asked for before all was read, in their order."
        self._last = 0.0
        for pane in self._panes:
            pane.recorded = True

    def compose_below(self) -> ComposeResult:
        """The line with speed and position."""
        yield Transport()

    def on_mount(self) -> None:
        """Go to the requested event; without one, start playing."""
        self.query_one(TopBar).show_alert(" replay ")
        self.go_to(0)
        if self._start is None:
            self.opened.player.step()
            self.opened.player.play()
            self._show()
        else:
            self._seek(self._start)
        self._last = time.monotonic()
        self.set_interval(TICK, self._tick)

    def on_unmount(self) -> None:
        """Close the log."""
        self.opened.close()

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """The bindings, those of playing first, as the footer may have no room for more."""
        found = super().active_bindings
        ours = {key: active for key, active in found.items() if active.node is self}
        return ours | found

    # --- the clock --------------------------------------------------------------------------

    def _tick(self) -> None:
        """Advance the player, and read on meanwhile, so that a long session is shown at once."""
        player = self.opened.player
        now = time.monotonic()
        passed, self._last = now - self._last, now
        if not self._ready:
            self._ready = player.prepare(SLICE)
            self._show_standing()
        while self._ready and self._waiting:
            self._waiting.popleft()()
        was_playing, before = player.playing, player.position
        if player.advance(passed):
            self._show(since=before)
        elif was_playing and not player.playing:
            self._show_standing()

    def _in_turn(self, act: Callable[[], object], *, needs_all: bool = True) -> None:
        """Call ``act`` after what waits, once everything is read, without blocking the screen.

        At once if nothing waits and, with ``needs_all`` False, before everything is read.
        """
        if not self._waiting and (self._ready or not needs_all):
            act()
        else:
            self._waiting.append(act)
            self._show_standing()
            # What has to come after it is offered from now on.
            self.refresh_bindings()

    def _seek(self, seq: int) -> None:
        """Go to just after an event, in turn, at once if that far is read."""
        player = self.opened.player

        def seek() -> None:
            player.pause()
            player.seek(seq)
            self._jump()

        self._in_turn(seek, needs_all=seq > player.read)

    # --- drawing ----------------------------------------------------------------------------

    def _show(self, since: int = 0) -> None:
        """Draw the current state, and show the pane of the last event."""
        state = self.opened.shown
        for pane in self._panes:
            pane.update_state(state)
        self._show_standing()
        if self._follows:
            self._bring_up(since)
        self.refresh_bindings()

    def _jump(self) -> None:
        """Draw the current state as if it were the first: what was selected elsewhere may not be there."""
        for pane in self._panes:
            pane.start_over()
        self._show()

    def _bring_up(self, since: int) -> None:
        """Return the nearest event, back to the last one shown, that a pane can select."""
        position = self.opened.player.position
        first = max(since if since < position else 0, position - LOOK_BACK)
        for seq in range(position, first, -1):
            place = self.place_of(seq, but_timeline=True)
            if place is not None:
                if place != self._current:
                    self.go_to(place)
                return

    def _show_standing(self) -> None:
        opened, player = self.opened, self.opened.player
        current = opened.current
        elapsed = (current.at - opened.began_at).total_seconds() if current is not None else 0.0
        self.query_one(Transport).show(
            Standing(
                position=player.position,
                length=player.length,
                playing=player.playing,
                at_end=player.position == player.length or (self._ready and player.at_end),
                speed=player.speed,
                turns=player.turns,
                follows=self._follows,
                elapsed=elapsed,
                total=(opened.ended_at - opened.began_at).total_seconds(),
                read=player.read / player.length if player.length else 1.0,
                waits=bool(self._waiting),
                current=current,
            )
        )

    # --- what a replay does not do ------------------------------------------------------------

    @on(Pane.Submit)
    @on(AgentPane.Grade)
    def _refuse(self, message: Pane.Submit | AgentPane.Grade) -> None:
        message.stop()
        self._say_not_offered("that")

    def on_key(self, event: events.Key) -> None:
        """Explain why a key of the audit screen does nothing here."""
        if event.key in self.active_bindings:
            return
        for binding in own_bindings(self._panes[self._current]):
            name = binding.action.partition("(")[0]
            if binding.key == event.key and not self._panes[self._current].offers(name):
                event.stop()
                self._say_not_offered(binding.description)
                return

    def _say_not_offered(self, what: str) -> None:
        self.notify(f"{what}: {RECORDED} {keys.with_keys(HINT)}", title="Not offered", markup=False)

    # --- keys -------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable letter keys in fields, and branching before the first event."""
        if action in {"play", "step", "speed"}:
            return not isinstance(self.focused, Input | TextArea)
        if action in {"branch", "coverage"}:
            return self.opened.player.position > 0 or bool(self._waiting) or None
        return True

    def action_play(self) -> None:
        """Play, or pause; from the start again at the end."""
        player = self.opened.player

        def play() -> None:
            if player.playing:
                player.pause()
                self._show_standing()
            else:
                before = player.position
                player.play()
                self._show(since=before)

        is_quick = player.turns == "all" and player.position < player.length
        self._in_turn(play, needs_all=not (player.playing or is_quick))

    def action_step(self, events_: int) -> None:
        """Go on or back by one shown event."""
        player = self.opened.player

        def step() -> None:
            player.pause()
            before = player.position
            player.step(events_)
            self._show(since=before if events_ > 0 else 0)

        self._in_turn(step, needs_all=player.turns != "all")

    def action_change(self, direction: int) -> None:
        """Go to the next change of a hypothesis, or to the one before."""
        player = self.opened.player

        def change() -> None:
            player.pause()
            there = player.next_change() if direction > 0 else player.previous_change()
            if there:
                self._show()
            else:
                which = "after" if direction > 0 else "before"
                self.notify(f"No hypothesis changes {which} this event.")
                self._show_standing()

        self._in_turn(change)

    def action_speed(self, direction: int) -> None:
        """Play faster or slower."""
        if direction > 0:
            self.opened.player.faster()
        else:
            self.opened.player.slower()
        self._show_standing()

    def action_turns(self) -> None:
        """Stop at all turns, at the human's only, or at the agent's only."""
        player = self.opened.player
        following = WHOSE[(WHOSE.index(player.turns) + 1) % len(WHOSE)]

        def change() -> None:
            player.show_turns(following)
            self._show_standing()

        self._in_turn(change)

    def action_follow(self) -> None:
        """Bring the pane of each event to the front, or leave the panes to the keys."""
        self._follows = not self._follows
        if self._follows:
            self._bring_up(0)
        self._show_standing()

    def action_seek(self, seq: int) -> None:
        """Go to the start, or to the end (-1)."""
        self._seek(self.opened.player.length if seq < 0 else seq)

    def action_go_to_event(self) -> None:
        """Ask for the number of an event, and go there."""
        self._in_turn(self._ask_where, needs_all=False)

    @work
    async def _ask_where(self) -> None:
        player = self.opened.player
        player.pause()
        self._show_standing()
        asked = AskLine("Go to event", str(player.position), f"0 to {player.length}")
        written = await self.app.push_screen_wait(asked)
        if written is None:
            return
        seq = whole_number(written.removeprefix("#").replace(",", "").strip())
        if seq is not None and seq <= player.length:
            self._seek(seq)
        else:
            message = f"{written[:40]!r} is no event of this session: give 0 to {player.length}."
            self.notify(message, severity="error", markup=False)

    def action_branch(self) -> None:
        """Start a new session that branches from the shown event."""
        self._in_turn(self._ask_branch, needs_all=False)

    @work
    async def _ask_branch(self) -> None:
        player = self.opened.player
        player.pause()
        self._show_standing()
        seq = player.position
        hint = "A new session, with these events as its first. Enter begins it, Esc cancels."
        if not self._lasting:
            hint = keys.with_keys(
                "This database lasts until the program ends: {export} in the list of sessions "
                "copies the new one into a file."
            )
        asked = AskLine(f"Branch from event {seq}: name", f"{self.opened.name}, from {seq}", hint)
        name = await self.app.push_screen_wait(asked)
        if name is not None:
            self.post_message(BranchSession(self.opened.session_id, seq, name))

    def action_coverage(self) -> None:
        """Show what was not followed up to here."""
        self._in_turn(self._show_coverage, needs_all=False)

    def _show_coverage(self) -> None:
        from workbench.tui.screens.coverage import CoverageScreen

        self.opened.player.pause()
        self._show_standing()
        self.app.push_screen(CoverageScreen(self.opened.shown))

    def action_sessions(self) -> None:
        """Leave for the list of sessions."""
        self.post_message(ShowSessions())
