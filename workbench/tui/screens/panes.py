"""Panes over the state of one session, live or recorded, and the navigation between them."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events, on, work
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.screen import Screen

from workbench.store.arrays import ReadArray
from workbench.tui.dialogs.jump import JumpOverlay
from workbench.tui.dialogs.pane_help import PaneHelp
from workbench.tui.panes.agent.pane import AgentPane
from workbench.tui.panes.chat.pane import ChatPane
from workbench.tui.panes.hypotheses.pane import HypothesesPane
from workbench.tui.panes.pair.pane import PairPane
from workbench.tui.panes.readings.pane import ReadingsPane
from workbench.tui.panes.steering.pane import SteeringPane
from workbench.tui.panes.timeline.pane import TimelinePane
from workbench.tui.widgets.key_bar import KeyBar
from workbench.tui.widgets.pane import FindEvents, Pane, ReadEvent
from workbench.tui.widgets.top_bar import Tab, TopBar

#: Below this many cells one pane is shown at a time.
ROOM = (120, 34)

PANES: tuple[type[Pane], ...] = (
    PairPane,
    ReadingsPane,
    SteeringPane,
    ChatPane,
    HypothesesPane,
    TimelinePane,
    AgentPane,
)


#: Layouts that a pane may take until it can be focused.
TRIES = 20


class PanesScreen(Screen[None]):
    """The layout of the panes, the current one, and the keys that move between them."""

    # The panes choose what takes the keys. The library's choice, the first widget there is, may come late
    # and would bring another pane up.
    AUTO_FOCUS = ""

    def __init__(
        self, read_array: ReadArray, read_event: ReadEvent, find_events: FindEvents
    ) -> None:
        super().__init__()
        self._current = 0
        self._is_narrow = False
        self._going: int | None = None
        self._panes = [
            pane(read_array=read_array, id=pane.__name__.removesuffix("Pane").lower())
            for pane in PANES
        ]
        for each in self._panes:
            each.read_event = read_event
            each.find_events = find_events

    @property
    def panes(self) -> Sequence[Pane]:
        """The panes in the order of their keys."""
        return self._panes

    @property
    def awaits_selection(self) -> bool:
        """True while a pane is to select what is not recorded yet: the next key is meant for it."""
        return any(pane.awaits_selection for pane in self._panes)

    # --- what is on it ----------------------------------------------------------------------

    def compose(self) -> ComposeResult:
        """Panes in three groups, so that any of them can fill the screen."""
        pair, readings, steering, chat, hypotheses, timeline, agent = self._panes
        yield TopBar([pane.SHORT for pane in PANES])
        with Horizontal(id="panes"):
            with Vertical(id="side"):
                yield pair
                yield hypotheses
                yield timeline
            with Vertical(id="main"):
                with Horizontal(id="top"):
                    yield readings
                    yield steering
                yield chat
                yield agent
        yield from self.compose_below()
        yield KeyBar()

    def compose_below(self) -> ComposeResult:
        """The widgets between the panes and the footer."""
        yield from ()

    # --- what the panes ask for -------------------------------------------------------------

    @on(Pane.Jump)
    def _show_event(self, message: Pane.Jump) -> None:
        message.stop()
        place = self.place_of(message.seq)
        if place is not None:
            self.go_to(place)

    def place_of(self, seq: int, *, but_timeline: bool = False) -> int | None:
        """Select what event ``seq`` recorded in its pane; return the pane's index, None without one."""
        # The timeline shows every event, so it is the last resort.
        panes = sorted(
            enumerate(self._panes), key=lambda placed: isinstance(placed[1], TimelinePane)
        )
        for index, pane in panes[: -1 if but_timeline else None]:
            if pane.reveal(seq):
                return index
        return None

    @on(Tab.Clicked)
    def _tab_clicked(self, message: Tab.Clicked) -> None:
        self.go_to(message.index)

    # --- where the focus is -----------------------------------------------------------------

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Make the pane of the focused widget the current one."""
        if event.widget is not self.focused:
            # Older news: the focus went on since.
            return
        for index, pane in enumerate(self._panes):
            # On the way to a pane, an older wish for the focus may still come true: it means nothing.
            if pane in event.widget.ancestors_with_self and self._going in {None, index}:
                self._mark_current(index)

    def on_resize(self, event: events.Resize) -> None:
        """Show one pane at a time where there is no room for all."""
        self._is_narrow = event.size.width < ROOM[0] or event.size.height < ROOM[1]
        self._lay_out()

    def go_to(self, index: int) -> None:
        """Bring a pane to the front and focus it."""
        if self.focused is not None and self._panes[index] not in self.focused.ancestors:
            # A widget that is hidden with the focus gives it to one beside it, whose pane would
            # then be the current one again.
            self.set_focus(None)
        self._going = index
        self._mark_current(index)
        # After the next layout: a pane that was not displayed cannot take the focus before it.
        self.call_after_refresh(self._arrive, index)

    def _arrive(self, index: int, tries: int = TRIES) -> None:
        """Focus the pane, unless another became current meanwhile."""
        if index == self._going:
            self._panes[index].focus_pane()
            # By the app, as it gives the focus by a message to itself: looked at before that, the
            # pane would be focused again, and take the focus from a field that was opened meanwhile.
            self.app.call_later(self._arrived, index, tries - 1)

    def _arrived(self, index: int, tries: int) -> None:
        if index != self._going:
            return
        focused = self.focused
        if tries and (focused is None or self._panes[index] not in focused.ancestors_with_self):
            # A key that came before the first layout: what is not displayed yet takes no focus.
            self.call_after_refresh(self._arrive, index, tries)
        else:
            self._going = None

    def _mark_current(self, index: int) -> None:
        self._current = index
        self._lay_out()
        for bar in self.query(TopBar):  # none when the screen is on its way out
            bar.show_current(index)

    def _lay_out(self) -> None:
        """Set the classes by which app.tcss places groups and panes.

        They are styled once and by themselves: none of its rules with these classes is for what a
        pane holds, and ``set_class`` would style all of that again for every class and group.
        """
        current = self._panes[self._current]
        classes = {"-single": self._is_narrow or self.has_class("-zoomed")}
        if isinstance(current, ChatPane | AgentPane):
            # They share one place: the one that was looked at last is seen there.
            classes["-agent"] = isinstance(current, AgentPane)
        self.update_classes(classes, update=False)
        groups = self.query("#panes, #side, #main, #top")
        holders = current.ancestors
        for group in groups:
            group.set_class(group in holders, "-holds-current", update=False)
        for pane in self._panes:
            pane.set_class(pane is current, "-current", update=False)
        self.app.stylesheet.update_nodes([self, *groups, *self._panes], animate=True)

    # --- keys -------------------------------------------------------------------------------

    def action_pane(self, index: int) -> None:
        """Go to a pane."""
        self.go_to(index)

    def action_zoom(self) -> None:
        """Show the current pane alone, or all panes again."""
        self.set_class(not self.has_class("-zoomed"), "-zoomed", update=False)
        self.go_to(self._current)

    @work
    async def action_jump(self) -> None:
        """Go to a pane by its key, also from a field where digits are text."""
        index = await self.app.push_screen_wait(JumpOverlay([pane.TITLE for pane in PANES]))
        if index is not None:
            self.go_to(index)

    def action_help(self) -> None:
        """Show the help of the current pane."""
        self.app.push_screen(PaneHelp(self._panes[self._current], self))
