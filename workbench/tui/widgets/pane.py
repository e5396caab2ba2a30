"""The base of the panes of the audit screen.

screen -> pane   show(state, before)   redraw what changed; a pane holds no truth of its own
                 show_jobs(jobs)       what is running and waiting
                 give_up(operation, arguments)  it was refused, stopped, or failed
                 reveal(seq)           select what an event recorded
                 view(), restore()     choices and drafts, kept when the session is left
pane -> screen   Submit                do this operation
                 Jump                  show that event, in whichever pane has it
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widget import Widget

from workbench.operations.jobs import Job
from workbench.operations.running import Arguments, Operation
from workbench.store.arrays import ReadArray
from workbench.store.events import Event
from workbench.store.state import SessionState

ReadEvent = Callable[[int], Event]
FindEvents = Callable[[str, int], Sequence[int]]
"""(words, after) -> the numbers of the events after ``after`` whose whole texts have the words."""


#: Rows below which a pane does without its head lines, and without all but its list.
SHORT_OF_ROWS, TINY = 14, 8


class Pane(Vertical):
    """A region of the audit screen over one part of the session's state."""

    #: Rows below which head lines are shortened, and below which nothing but the list is shown: more
    #: for a pane with more lines above it.
    SHORT_BELOW: ClassVar[int] = SHORT_OF_ROWS
    TINY_BELOW: ClassVar[int] = TINY

    TITLE: ClassVar[str] = ""
    SHORT: ClassVar[str] = ""
    "The title where there is little room."
    HELP: ClassVar[str] = ""
    "What the pane is for, Markdown; its keys are listed below it."

    LOOKS: ClassVar[frozenset[str]] = frozenset()
    "Its actions that record nothing and run no model: those that a replay offers, too."

    recorded: bool = False
    "Whether what it shows is over: a replay, in which nothing can be asked for."

    read_event: ReadEvent | None = None
    "Gives an event of the session whole, by its number; raises `StoreError`."

    find_events: FindEvents | None = None
    "Searches the whole texts of the session's events; raises `StoreError`."

    # A class rather than `display`, which would also bring back what there is no room for.
    DEFAULT_CSS = """
    Pane { border: round $panel-lighten-2; border-title-color: $text-muted; padding: 0 1; }
    Pane:focus-within { border: round $accent; border-title-color: $accent;
        border-title-style: bold; }
    Pane .-gone { display: none; }
    """

    @dataclass
    class Submit(Message):
        """Ask for an operation; ``background`` lets others go first."""

        operation: Operation[Any]
        arguments: Arguments
        background: bool = False

    @dataclass
    class Jump(Message):
        """Request to show what the event recorded."""

        seq: int

    def __init__(self, *children: Widget, read_array: ReadArray, **settings: Any) -> None:
        super().__init__(*children, **settings)
        self.read_array = read_array
        self.state = SessionState()
        self.border_title = self.TITLE

    def compose(self) -> ComposeResult:
        """The widgets of the pane."""
        yield from ()

    def on_resize(self, event: events.Resize) -> None:
        """Head lines go before the rows of a list do."""
        height = event.size.height
        self.update_classes(
            {"-short": height < self.SHORT_BELOW, "-tiny": height < self.TINY_BELOW}
        )

    def offers(self, action: str) -> bool:
        """True if the action is available here."""
        return not self.recorded or action in self.LOOKS

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what applies; a pane that overrides this asks `offers` first."""
        return self.offers(action)

    def update_state(self, state: SessionState) -> None:
        """Take the session's state and redraw what changed."""
        before, self.state = self.state, state
        self.show(state, before)

    def show(self, state: SessionState, before: SessionState) -> None:
        """Redraw what differs between the two; parts that did not change are the same objects."""

    def start_over(self) -> None:
        """Forget what was selected, so that the next state is shown as the first one would be.

        Filters and settings stay. A pane that keeps more than what is in the state overrides this.
        """
        self.update_state(SessionState())

    def show_jobs(self, jobs: Sequence[Job]) -> None:
        """Take what is running and waiting, in the order it was asked for."""

    @property
    def awaits_selection(self) -> bool:
        """True for a short while in which the last key is to select what is not recorded yet."""
        return False

    def give_up(self, operation: Operation[Any], arguments: Arguments) -> None:
        """Wait no longer for what an operation was to record."""

    def reveal(self, seq: int) -> bool:
        """Select what event ``seq`` recorded; return False if it is not one of this pane's."""
        return False

    def view(self) -> dict[str, Any]:
        """Choices and drafts as plain data, for `restore`."""
        return {}

    def restore(self, view: dict[str, Any]) -> None:
        """Restore choices and drafts; ignore what does not fit any more."""

    def focus_pane(self) -> None:
        """Put the focus on the widget of the pane that takes keys first."""
        for widget in self.query("*"):
            if widget.focusable:
                widget.focus()
                return

    def submit(
        self, operation: Operation[Any], arguments: Arguments, *, background: bool = False
    ) -> None:
        """Ask the screen for an operation."""
        self.post_message(self.Submit(operation, arguments, background))
