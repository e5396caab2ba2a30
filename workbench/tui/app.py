"""The application: its screens, opening and closing sessions, and orderly shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual import events, work
from textual.app import SystemCommand, get_system_commands_provider
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen

from adl.errors import AdlError
from adl.paths import expanded
from workbench.display import clean_line
from workbench.engine.opened_session import OpenedSession
from workbench.faults import as_error
from workbench.locations import Locations, find_locations
from workbench.private_files import new_text
from workbench.settings import configured_keys
from workbench.store.events import HUMAN, SYSTEM, Ending, NoteWritten, ViewSaved
from workbench.store.ids import proposed_stem
from workbench.tui import keys
from workbench.tui.commands import WorkbenchCommands
from workbench.tui.database import Database
from workbench.tui.dialogs.ask_line import AskLine, ask_for_report
from workbench.tui.dialogs.confirm import Confirm
from workbench.tui.filters import AsciiFilter, ControlFilter, speaks_utf8
from workbench.tui.key_order import KeysInOrder
from workbench.tui.library import DatabaseListing, Library
from workbench.tui.messages import (
    AttachSession,
    BranchSession,
    ContinueSession,
    LeaveEngine,
    OpenPair,
    ReplaySession,
    ShowSessions,
)
from workbench.tui.opener import Opener
from workbench.tui.remembered import remember_theme, remembered_theme
from workbench.tui.screens.listing_screen import ListingRead
from workbench.tui.screens.new_pair import empty_pair
from workbench.tui.screens.opening import OpeningScreen
from workbench.tui.screens.start import StartScreen, UseDatabase
from workbench.tui.shutdown import Shutdown, View
from workbench.tui.startup import Startup
from workbench.tui.survival import Survivor
from workbench.tui.toasts import Toasts
from workbench.tui.widgets.dialog import OneDialog

if TYPE_CHECKING:
    from workbench.tui.screens.audit import AuditScreen


class WorkbenchApp(KeysInOrder, Survivor, OneDialog, Toasts):
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
        self.opened: OpenedSession | None = None
        self.unrecorded: AdlError | None = None
        "The first error that kept how a session was left, or its end, from being recorded."
        self._audit: AuditScreen | None = None
        self._listing = DatabaseListing()
        self._database = Database(startup.database, self._warn_from_thread)
        self.leaving = Shutdown(
            view=self.current_view, commit=self._commit_ending, leave=self._exit_from_thread
        )
        self.opener = Opener(
            self,
            startup,
            self.locations,
            self._database,
            self.leaving,
            show=self._show,
            show_audit=self._show_audit,
            show_start=self._show_start,
            show_sessions=self._show_sessions,
            keep=self._keep,
        )
        self.set_keymap(keys.choose(configured_keys(self.locations.config_file)))
        self._filters.append(ControlFilter())
        if not speaks_utf8():
            self._filters.append(AsciiFilter())

    def awaits_selection(self) -> bool:
        """True while the panes are up and wait for what is to be selected in one of them."""
        return self.screen is self._audit and self._audit.awaits_selection

    async def _take(self, event: events.Event) -> None:
        # What is typed while the program is left is for nobody.
        if not self.leaving.is_under_way:
            await super()._take(event)

    # --- which screen is up -----------------------------------------------------------------

    def on_mount(self) -> None:
        """Show a screen at once; slower work follows in the background."""
        config = self.locations.config_file
        if theme := remembered_theme(config, self.available_themes):
            self.theme = theme
        self.theme_changed_signal.subscribe(self, lambda new: remember_theme(config, new.name))
        self.leaving.listen()
        startup = self.startup
        if startup.pair is not None:
            wanted = OpenPair(startup.pair, startup.name, startup.prepare, blind=startup.blind)
            self.opener.begin(wanted)
        elif startup.session is not None:
            self.opener.resume(ContinueSession(startup.session))
        elif startup.attach is not None:
            self.opener.attach(startup.attach)
        elif startup.replay is not None:
            self.opener.replay(startup.replay)
        else:
            self.on_show_start()

    def on_show_start(self) -> None:
        """Show the start screen."""
        self._show_start()

    def on_show_sessions(self, message: ShowSessions) -> None:
        """Show the list of sessions."""
        self._show_sessions(searching=message.searching)

    def on_listing_read(self, message: ListingRead) -> None:
        """Keep the listing, so that the next screen can show it at once."""
        self._listing = message.listing

    def on_use_database(self, message: UseDatabase) -> None:
        """Record in another database from here on."""
        self._database.move(expanded(message.path))
        self.opener.trouble = None
        self._listing = DatabaseListing(organisms=self._listing.organisms)
        self._show_start()

    def _show_start(
        self, trouble: AdlError | None = None, wrong: Mapping[str, str] | None = None
    ) -> None:
        """Show the start screen; with ``wrong``, problems by field, the form of a pair above it."""
        self._show(
            StartScreen(
                self._library(),
                listing=self._listing,
                draft=self.opener.draft,
                trouble=trouble,
                wrong=wrong,
            )
        )

    def _show_sessions(self, *, searching: bool = False) -> None:
        # Imported when it is first asked for: the start screen stands sooner without it.
        from workbench.tui.screens.sessions import SessionsScreen

        self._show(SessionsScreen(self._library(), listing=self._listing, searching=searching))

    def _show_audit(self, screen: AuditScreen) -> None:
        self._show(screen)
        self._audit = screen

    def _show(self, screen: Screen[None]) -> None:
        """Replace all screens with this one."""
        self._audit = None
        while len(self.screen_stack) > 2:
            self.pop_screen()
        if len(self.screen_stack) == 2:
            self.switch_screen(screen)
        else:
            self.push_screen(screen)

    def _library(self) -> Library:
        return Library(
            self._database.path,
            self.locations.leases,
            opened=lambda: self._database.log,
            open_log=self._database.open,
            engines=self.opener.engines,
        )

    # --- opening ----------------------------------------------------------------------------

    def on_open_pair(self, message: OpenPair) -> None:
        """Begin a session on a pair."""
        self.opener.begin(message)

    def on_continue_session(self, message: ContinueSession) -> None:
        """Go on with a session."""
        self.opener.resume(message)

    def on_attach_session(self, message: AttachSession) -> None:
        """Attach to a session of an engine."""
        self.opener.attach(message)

    def on_leave_engine(self, message: LeaveEngine) -> None:
        """Go on elsewhere with the session of an engine that is gone."""
        message.stop()
        opened = self.opened
        if self.leaving.is_under_way or self._audit is None or opened is None:
            return
        session_id, view = opened.session.id, self.current_view()
        self._show(OpeningScreen("Leaving the engine that is gone"))
        if message.way == "here":
            self._leave(opened, view, lambda: self.opener.resume(ContinueSession(session_id)))
        else:
            self._leave(opened, view, lambda: self.opener.attach_anywhere(session_id))

    def on_replay_session(self, message: ReplaySession) -> None:
        """Replay a session."""
        self.opener.replay(message)

    def on_branch_session(self, message: BranchSession) -> None:
        """Go on from an event of another session in one of its own."""
        self.opener.branch(message)

    # --- leaving ----------------------------------------------------------------------------

    def current_view(self) -> dict[str, object]:
        """Return the state of the audit screen, empty without one."""
        return self._audit.view() if self._audit is not None else {}

    def hidden(self, text: str) -> str:
        """Return the text without the names of a blind session's pair."""
        text = self.opener.hide(text)
        return self.opened.redactor.hide(text) if self.opened is not None else text

    def record_fault(self, text: str) -> None:
        """Record a fault of the program in the session's log."""
        if self.opened is not None:
            # A full disk may be the very fault.
            with suppress(AdlError):
                self.opened.session.record(NoteWritten(text=text), actor=SYSTEM)

    def give_up(self) -> None:
        """End the program: the session is closed with its view, as by ctrl+q."""
        self.leaving.begin(1, self.crash, "failed")

    def _commit_ending(self, view: View, outcome: Ending, reason: str) -> None:
        self.opener.stop()
        if (opened := self.opened) is not None:
            opened.close(view, outcome, reason)
            self.unrecorded = self.unrecorded or opened.unrecorded
        self._database.close()

    def _keep(self, opened: OpenedSession) -> None:
        self.opened = opened

    def _warn_from_thread(self, warning: str) -> None:
        self.call_from_thread(self.notify, warning, severity="warning", markup=False)

    def _exit_from_thread(self, code: int) -> None:
        self.call_from_thread(self.exit, code)

    async def action_quit(self) -> None:
        """Quit: stop the jobs, close the session in the log, restore the terminal."""
        # What the program was started for never came to be, and a script should know.
        trouble = self.opener.trouble
        code = trouble.exit_code if trouble is not None else 0
        self.leaving.begin(code, "left by the person at the keys", "completed")

    def action_copy_or_quit(self) -> None:
        """Copy the selection; without one, Ctrl-C acts as everywhere else."""
        selected = self.screen.get_selected_text()
        if selected:
            self.copy_to_clipboard(selected)
            self.screen.clear_selection()
        else:
            self.leaving.begin(130, "Ctrl-C", "stopped")

    def action_leave_session(self) -> None:
        """Close the session in good order and show the list of sessions."""
        # On the app's own task: what is begun on the audit screen's would keep that screen alive.
        self.call_later(self._leave_session)

    def _leave_session(self, *, keep_view: bool = True) -> None:
        if self.leaving.is_under_way or self._audit is None or self.opened is None:
            return
        opened, view = self.opened, self.current_view() if keep_view else {}
        if opened.has_pair:
            # It is a recent pair now. One that could not be loaded stays in the form, to correct.
            self.opener.draft = empty_pair()
        # At once: a key pressed meanwhile must not ask a closing session for work.
        doing = "Closing" if opened.engine is None else "Leaving"
        self._show(OpeningScreen(f"{doing} {opened.shown.name}"))
        self._leave(opened, view, self._show_sessions)

    @work(thread=True)
    def _leave(
        self, opened: OpenedSession, view: dict[str, object], then: Callable[[], object]
    ) -> None:
        try:
            opened.close(view, "completed", "left for another session")
        finally:
            self.unrecorded = self.unrecorded or opened.unrecorded
            # Not before: an end of the program meanwhile waits for the session to be closed.
            self.opened = None
            self.call_from_thread(then)
        if opened.unrecorded is not None:
            self.call_from_thread(
                self.notify,
                clean_line(str(opened.unrecorded)),
                title="How the session was left could not be recorded",
                severity="error",
                markup=False,
            )

    # --- commands of no key -----------------------------------------------------------------

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        """Return commands of the palette besides the keys."""
        yield SystemCommand("Theme", "Choose the colours", self.action_change_theme)
        yield SystemCommand(
            "Write a picture of the screen", "As SVG, into a file", self.action_picture
        )
        if self.opened is not None and self.opened.engine is not None:
            yield SystemCommand(
                "Stop the engine",
                "With its jobs and its agent; without this, leaving only detaches",
                self.action_stop_engine,
            )
        if self.opened is not None and self.opened.redactor:
            yield SystemCommand(
                "Reveal the names", "Of the pair; that you saw them is recorded", self.action_reveal
            )
        if self.opened is not None:
            yield SystemCommand(
                "Copy the session's id", "To the clipboard, also over SSH", self.action_copy_id
            )
            yield SystemCommand(
                "Read the report",
                "Of the session so far, before it is written",
                self.action_read_report,
            )
            yield SystemCommand(
                "Write a report", "Of the session so far, as Markdown and HTML", self.action_report
            )
            yield SystemCommand(
                "Coverage", "What was brought up and not followed", self.action_coverage
            )

    def action_copy_id(self) -> None:
        """Copy the id of the open session."""
        if self.opened is not None:
            self.copy_to_clipboard(self.opened.session.id)
            self.notify(f"copied: {self.opened.session.id}", markup=False)

    @work
    async def action_stop_engine(self) -> None:
        """Stop the engine of the session, after confirmation, and show the list of sessions."""
        opened = self.opened
        engine = opened.engine if opened is not None else None
        if opened is None or engine is None:
            return
        question = Content(
            "The engine ends with all its sessions: what runs in them is stopped, and the pair is "
            "unloaded.\n\nTo leave it at work, detach (ctrl+q)."
        )
        if not await self.push_screen_wait(Confirm(question, "Stop the engine")):
            return
        try:
            if view := self.current_view():
                body = ViewSaved(view=view)
                await asyncio.to_thread(opened.session.record, body, actor=HUMAN)
            await asyncio.to_thread(engine.stop)
        except AdlError as exc:
            self.notify(str(exc), title="Not stopped", severity="error", markup=False)
        else:
            # Its last event is its end: the view is recorded already.
            self.call_later(self._leave_session, keep_view=False)

    @work
    async def action_reveal(self) -> None:
        """Show the names of a blind session's pair, after confirmation."""
        opened = self.opened
        if opened is None or not opened.redactor:
            return
        question = Content(
            "The names of the pair are shown from here on, in every pane.\n\n"
            "You are no blind auditor of it then, and the session records that. An agent stays blind."
        )
        if await self.push_screen_wait(Confirm(question, "Reveal the names", "Stay blind")):
            try:
                await asyncio.to_thread(opened.reveal_names)
            except AdlError as exc:
                self.notify(str(exc), title="Not revealed", severity="error", markup=False)

    def action_coverage(self) -> None:
        """Show leads of the session that were never followed up."""
        from workbench.tui.screens.coverage import CoverageScreen

        if self.opened is not None:
            self.push_screen(CoverageScreen(self.opened.shown))

    def action_read_report(self) -> None:
        """Show the report of the session so far."""
        from workbench.tui.dialogs.report import ReportScreen

        if (opened := self.opened) is not None:
            library, session_id = self._library(), opened.session.id
            build = partial(library.build_report, session_id)
            self.push_screen(ReportScreen(build, proposed_stem(session_id)))

    @work
    async def action_report(self) -> None:
        """Write a report of the session so far into two files."""
        opened = self.opened
        if opened is None:
            return
        target = await self.push_screen_wait(ask_for_report(opened.session.id))
        if target is not None:
            self._write_report(opened.session.id, target)

    @work(thread=True)
    def _write_report(self, session_id: str, target: str) -> None:
        try:
            files = self._library().report(session_id, target)
        except Exception as exc:
            if (known := as_error(exc)) is None:
                raise
            message, trouble = str(known), True
        else:
            message, trouble = f"written: {' and '.join(map(str, files))}", False
        self.call_from_thread(
            self.notify,
            clean_line(message),
            title="Not written" if trouble else "",
            severity="error" if trouble else "information",
            markup=False,
        )

    @work
    async def action_picture(self) -> None:
        """Write the current screen into an SVG file."""
        picture = self.export_screenshot()
        suggested = f"adl-workbench-{datetime.now(UTC):%Y%m%d-%H%M%S}.svg"
        wanted = await self.push_screen_wait(AskLine("Write a picture of the screen", suggested))
        if wanted is not None:
            self._write(wanted, picture)

    @work(thread=True)
    def _write(self, wanted: str, content: str) -> None:
        path = expanded(wanted).absolute()
        try:
            # "x": a file that is there is never written over.
            with new_text(path) as file:
                file.write(content)
        except OSError as exc:
            self.call_from_thread(
                self.notify,
                clean_line(f"{path}: {exc.strerror or exc}"),
                title="Not written",
                severity="error",
                markup=False,
            )
        else:
            self.call_from_thread(self.notify, clean_line(f"written: {path}"), markup=False)
