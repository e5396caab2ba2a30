"""The application: which screen is up, opening and leaving sessions, and going down in good order."""

from __future__ import annotations

import locale
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import ClassVar

from textual import work
from textual.app import App, get_system_commands_provider
from textual.binding import Binding, BindingType

from adl.errors import AdlError
from workbench.locations import Locations, find_locations
from workbench.operations.pairs import PairArguments
from workbench.store.errors import StoreError
from workbench.store.log import SessionLog
from workbench.tui.commands import WorkbenchCommands
from workbench.tui.desk import Desk, Startup
from workbench.tui.filters import AsciiFilter, ControlFilter
from workbench.tui.screens.audit import AuditScreen
from workbench.tui.screens.opening import OpeningScreen
from workbench.tui.screens.start import ContinueSession, OpenPair, StartScreen
from workbench.tui.shutdown import Shutdown


class WorkbenchApp(App[int]):
    """The workbench. Its return value is the exit code."""

    TITLE = "adl-workbench"
    CSS_PATH = "app.tcss"
    COMMANDS = {get_system_commands_provider, lambda: WorkbenchCommands}  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "Quit", tooltip="Leave; the session is kept", priority=True),
        Binding("ctrl+c", "copy_or_quit", "Copy or quit", show=False, priority=True),
    ]

    def __init__(self, startup: Startup, locations: Locations | None = None) -> None:
        super().__init__()
        self.startup = startup
        self.locations = locations or find_locations()
        self.session_log: SessionLog | None = None
        self.desk: Desk | None = None
        self._opening = threading.Lock()
        self.leaving = Shutdown(self)
        self._filters.append(ControlFilter())
        if not speaks_utf8():
            self._filters.append(AsciiFilter())

    # --- opening ----------------------------------------------------------------------------

    def on_mount(self) -> None:
        """Show something at once; whatever takes longer follows behind it."""
        self.leaving.listen()
        startup = self.startup
        if startup.pair is not None:
            self._begin(startup.pair, startup.name, startup.prepare)
        elif startup.session is not None:
            self._continue(startup.session)
        else:
            self.push_screen(StartScreen())

    def on_open_pair(self, message: OpenPair) -> None:
        """Begin a session on a pair."""
        self._begin(message.pair, message.name, message.prepare)

    def on_continue_session(self, message: ContinueSession) -> None:
        """Go on with a session."""
        self._continue(message.session)

    def _begin(self, pair: PairArguments, name: str | None, prepare: bool) -> None:
        called = name or default_name(pair)
        self._open(
            f"Beginning {called}",
            lambda: Desk.start(self.open_log(), called, self.locations),
            lambda _desk: pair,
            prepare=prepare,
        )

    def _continue(self, wanted: str) -> None:
        self._open(
            f"Opening {wanted}",
            lambda: Desk.resume(self.open_log(), wanted, self.locations),
            last_pair,
            prepare=False,
        )

    def _open(
        self,
        what: str,
        make: Callable[[], Desk],
        load: Callable[[Desk], PairArguments | None],
        *,
        prepare: bool,
    ) -> None:
        self.push_screen(OpeningScreen(what))
        self._open_in_thread(make, load, prepare)

    @work(thread=True, exit_on_error=False)
    def _open_in_thread(
        self,
        make: Callable[[], Desk],
        load: Callable[[Desk], PairArguments | None],
        prepare: bool,
    ) -> None:
        try:
            desk = make()
            pair = load(desk)
        except (AdlError, StoreError) as exc:
            self.call_from_thread(self._could_not_open, exc)
        except Exception as exc:
            self.call_from_thread(self._could_not_open, exc)
            raise
        else:
            self.call_from_thread(self._opened, desk, pair, prepare)

    def _opened(self, desk: Desk, pair: PairArguments | None, prepare: bool) -> None:
        self.desk = desk
        self.switch_screen(AuditScreen(desk, load=pair, prepare=prepare))

    def _could_not_open(self, exc: Exception) -> None:
        self.switch_screen(StartScreen())
        self.notify(
            str(exc) or type(exc).__name__,
            title="Could not open",
            severity="error",
            timeout=20,
            markup=False,
        )

    def open_log(self) -> SessionLog:
        """The session database, opened the first time it is needed. From any thread."""
        with self._opening:
            if self.session_log is None:
                self.session_log = SessionLog.open(self.startup.database)
                if self.session_log.journal_warning:
                    self.call_from_thread(
                        self.notify,
                        self.session_log.journal_warning,
                        severity="warning",
                        markup=False,
                    )
            return self.session_log

    # --- leaving ----------------------------------------------------------------------------

    def current_view(self) -> dict[str, object]:
        """How the audit screen is, if there is one."""
        for screen in self.screen_stack:
            if isinstance(screen, AuditScreen):
                return screen.view()
        return {}

    async def action_quit(self) -> None:
        """Leave: stop what is running, close the session in the log, restore the terminal."""
        self.leaving.begin(0, "left by the person at the keys", "completed")

    def action_copy_or_quit(self) -> None:
        """Copy what is selected; with nothing selected Ctrl-C means what it means anywhere."""
        selected = self.screen.get_selected_text()
        if selected:
            self.copy_to_clipboard(selected)
            self.screen.clear_selection()
        else:
            self.leaving.begin(130, "Ctrl-C", "stopped")

    def action_leave_session(self) -> None:
        """Close the session in good order and show the start screen."""
        desk, self.desk = self.desk, None
        if desk is not None:
            self._leave(desk, self.current_view())

    @work(thread=True, exit_on_error=False)
    def _leave(self, desk: Desk, view: dict[str, object]) -> None:
        desk.close(view, "completed", "left for another session")
        self.call_from_thread(self.switch_screen, StartScreen())


def default_name(pair: PairArguments) -> str:
    """A name for a session that was given none: what is audited, and when it began (UTC)."""
    what = pair.organism or pair.adapter or pair.finetuned or "session"
    return f"{what.rstrip('/').rpartition('/')[2]} {datetime.now(UTC):%Y-%m-%d %H:%M}"


def last_pair(desk: Desk) -> PairArguments | None:
    """The pair that was loaded last in the session, to be loaded again, if any was."""
    for operation in reversed(list(desk.state.operations.values())):
        if operation.name == "load_pair" and operation.status == "finished":
            return PairArguments.model_validate(operation.arguments)
    return None


def speaks_utf8() -> bool:
    """Whether the terminal's locale has UTF-8; ``PYTHONUTF8`` and C.UTF-8 count."""
    chosen = next(
        (value for name in ("LC_ALL", "LC_CTYPE", "LANG") if (value := os.environ.get(name))), ""
    )
    if chosen:
        return "utf-8" in chosen.lower() or "utf8" in chosen.lower()
    return locale.getpreferredencoding(False).lower().replace("-", "") == "utf8"


def run_workbench(startup: Startup) -> int:
    """Run the workbench in this terminal until it is left; returns the exit code."""
    app = WorkbenchApp(startup)
    with app.leaving.ending_the_process():
        code = app.run()
    return (app.return_code or 1) if code is None else code
