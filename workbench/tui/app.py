"""The application: its screens, opening and closing sessions, and orderly shutdown."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import events, work
from textual.app import SystemCommand, get_system_commands_provider
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.screen import Screen

from adl.errors import AdlError, Stopped
from adl.paths import expanded
from workbench.display import clean_line
from workbench.engine.live_session import LiveSession
from workbench.engine.opened_session import OpenedSession
from workbench.faults import REPORT_BUG
from workbench.importing import uncollected
from workbench.locations import Locations, find_locations
from workbench.operations.pair import DEMO_ORGANISM, PairArguments, loaded_pair, subject_of
from workbench.private_files import new_text
from workbench.settings import configured_keys
from workbench.store.errors import OlderSchema, StoreError
from workbench.store.events import HUMAN, SYSTEM, NoteWritten, ViewSaved
from workbench.store.ids import proposed_stem
from workbench.store.lease import OpenElsewhere
from workbench.store.log import SessionLog
from workbench.tui import keys, text
from workbench.tui.commands import WorkbenchCommands
from workbench.tui.dialogs.ask_line import AskLine
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
from workbench.tui.pair_form import load_problems
from workbench.tui.remembered import remember_theme, remembered_theme
from workbench.tui.screens.new_pair import empty_pair, form_of
from workbench.tui.screens.opening import LoadingScreen, OpeningScreen
from workbench.tui.screens.start import ListingRead, StartScreen, UseDatabase
from workbench.tui.shutdown import Ending, Shutdown, View
from workbench.tui.startup import Startup
from workbench.tui.survival import Survivor
from workbench.tui.toasts import Toasts
from workbench.tui.widgets.dialog import OneDialog

if TYPE_CHECKING:
    from workbench.engine.running_engines import RunningEngine
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
        self.session_log: SessionLog | None = None
        self.opened: OpenedSession | None = None
        self.trouble: AdlError | None = None
        "Why what the program was started for could not be opened, until something else was."
        self._audit: AuditScreen | None = None
        self._listing = DatabaseListing()
        self._draft = empty_pair()
        self._opening = threading.Lock()
        self._loading: LoadingScreen | None = None
        self.leaving = Shutdown(
            view=self.current_view, commit=self._commit_ending, leave=self._exit_from_thread
        )
        self.set_keymap(keys.choose(configured_keys(self.locations.config_file)))
        self._filters.append(ControlFilter())
        if not speaks_utf8():
            self._filters.append(AsciiFilter())

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
            self._begin(wanted)
        elif startup.session is not None:
            self._continue(ContinueSession(startup.session))
        elif startup.attach is not None:
            self._attach_session(startup.attach)
        elif startup.replay is not None:
            self._replay(startup.replay)
        else:
            self.on_show_start()

    def on_show_start(self) -> None:
        """Show the start screen."""
        self._show_start()

    def on_show_sessions(self, message: ShowSessions) -> None:
        """Show the list of sessions."""
        self._show_sessions(searching=message.searching)

    def on_shelf_read(self, message: ListingRead) -> None:
        """Keep the listing, so that the next screen can show it at once."""
        self._listing = message.listing

    def on_use_database(self, message: UseDatabase) -> None:
        """Record in another database from here on."""
        log, self.session_log = self.session_log, None
        if log is not None:
            log.close()
        self.startup = replace(self.startup, database=expanded(message.path))
        self.trouble = None
        self._listing = DatabaseListing(organisms=self._listing.organisms)
        self._show_start()

    def _show_start(
        self, trouble: AdlError | None = None, *, wrong: Mapping[str, str] | None = None
    ) -> None:
        """Show the start screen; with ``wrong``, problems by field, the form of a pair above it."""
        self._show(
            StartScreen(
                self._library(),
                listing=self._listing,
                draft=self._draft,
                trouble=trouble,
                wrong=wrong,
            )
        )

    def _show_sessions(self, *, searching: bool = False) -> None:
        # Imported when it is first asked for: the start screen stands sooner without it.
        from workbench.tui.screens.sessions import SessionsScreen

        self._show(SessionsScreen(self._library(), listing=self._listing, searching=searching))

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
            self.startup.database,
            self.locations.leases,
            opened=lambda: self.session_log,
            open_log=self.open_log,
            engines=self._engines,
        )

    def _engines(self) -> tuple[RunningEngine, ...]:
        # Imported now: the start screen stands sooner without it.
        from workbench.engine.running_engines import running_engines

        return running_engines(self.locations)

    # --- opening ----------------------------------------------------------------------------

    def on_open_pair(self, message: OpenPair) -> None:
        """Begin a session on a pair."""
        self._begin(message)

    def on_continue_session(self, message: ContinueSession) -> None:
        """Go on with a session."""
        self._continue(message)

    def on_attach_session(self, message: AttachSession) -> None:
        """Attach to a session of an engine."""
        self._attach_session(message)

    def on_leave_engine(self, message: LeaveEngine) -> None:
        """Go on elsewhere with the session of an engine that is gone."""
        message.stop()
        opened = self.opened
        if self.leaving.is_under_way or self._audit is None or opened is None:
            return
        session_id, view = opened.session.id, self.current_view()
        self._show(OpeningScreen("Leaving the engine that is gone"))
        if message.way == "here":
            self._leave(opened, view, lambda: self._continue(ContinueSession(session_id)))
        else:
            self._leave(opened, view, lambda: self._attach_anywhere(session_id))

    def on_replay_session(self, message: ReplaySession) -> None:
        """Replay a session."""
        self._replay(message)

    def on_branch_session(self, message: BranchSession) -> None:
        """Go on from an event of another session in one of its own."""
        self._show(OpeningScreen(f"Branching into {message.name}"))
        self._branch(message)

    def _begin(self, wanted: OpenPair) -> None:
        """Load a pair, then begin a session with it."""
        pair, blind = wanted.pair, wanted.blind
        called = wanted.name or default_name(pair, blind=blind)
        hide: Callable[[str], str] = str
        if blind:
            # Imported now: few sessions are blind.
            from workbench.blinding.seal import hiding_while_loading

            try:
                hide = hiding_while_loading(pair)
            except AdlError as exc:
                self._could_not_open(exc)
                return
        screen = LoadingScreen("Beginning a blind audit" if blind else f"Beginning {called}", hide)
        self._loading = screen
        self._show(screen)
        self._open_in_thread(
            lambda: LiveSession.start(
                self.open_log(),
                called,
                self.locations,
                pair,
                blind=blind,
                progress=screen.report,
                should_stop=screen.should_stop,
            ),
            lambda opened: self._opened(opened, None, prepare=wanted.prepare),
            failed=lambda exc: self._could_not_load(exc, wanted, hide),
        )

    def _could_not_load(self, exc: AdlError, wanted: OpenPair, hide: Callable[[str], str]) -> None:
        """Show why there is no pair: in the form, with what was asked for, or on the start screen.

        An organism cannot be typed, and the names of a blind pair are for whoever typed them.
        """
        if isinstance(exc, Stopped):
            self._show_start()
        elif isinstance(exc, StoreError):
            # The pair is all right; another database is chosen on the start screen.
            self._could_not_open(exc)
        elif wanted.pair.organism is not None or (wanted.blind and not wanted.is_typed):
            exc.message, exc.hint = hide(exc.message), hide(exc.hint)
            self._could_not_open(exc)
        else:
            if not wanted.is_typed:
                self._draft.update(form_of(wanted))
            self._could_not_open(exc, wrong=load_problems(exc))

    def _continue(self, wanted: ContinueSession, *, even_if_open: bool = False) -> None:
        self._show(OpeningScreen(f"Opening {wanted.session}"))

        def resume() -> LiveSession:
            return LiveSession.resume(
                self.open_log(), wanted.session, self.locations, even_if_open=even_if_open
            )

        self._open_in_thread(
            resume,
            lambda opened: self._resumed(opened, wanted.seq),
            open_elsewhere=lambda exc: self._look_for_engine(wanted, exc),
        )

    def _attach_session(self, wanted: AttachSession) -> None:
        self._show(OpeningScreen(f"Attaching to {wanted.session or 'the engine'}"))

        def attach() -> OpenedSession:
            # Imported now: few screens are of an engine.
            from workbench.engine.attached import AttachedSession

            return AttachedSession.attach(
                wanted.socket, wanted.session, self.locations, self._open_database
            )

        self._open_in_thread(attach, lambda opened: self._opened(opened, None, prepare=False))

    @work(thread=True, exit_on_error=False)
    def _look_for_engine(self, wanted: ContinueSession, exc: OpenElsewhere) -> None:
        """Attach to a session that an engine has open; ask about one that another program has."""
        for engine in self._engines():
            if any(session.id == exc.session_id for session in engine.status.sessions):
                there = AttachSession(engine.socket, exc.session_id)
                self.call_from_thread(self._attach_session, there)
                return
        self.call_from_thread(self._ask_to_open_twice, wanted, exc)

    @work(thread=True, exit_on_error=False)
    def _attach_anywhere(self, session_id: str) -> None:
        """Attach to a session at the engine that has it."""
        from workbench.engine.running_engines import choose_engine

        try:
            socket, session = choose_engine(self._engines(), session_id)
        except AdlError as exc:
            self.call_from_thread(self._could_not_open, exc)
        else:
            self.call_from_thread(self._attach_session, AttachSession(socket, session))

    @work(thread=True, exit_on_error=False)
    def _open_in_thread(
        self,
        make: Callable[[], OpenedSession],
        show: Callable[[OpenedSession], object],
        open_elsewhere: Callable[[OpenElsewhere], object] | None = None,
        failed: Callable[[AdlError], object] | None = None,
    ) -> None:
        failed = failed or self._could_not_open
        try:
            opened = make()
        except Exception as exc:
            if self.leaving.is_under_way:
                return
            if isinstance(exc, OpenElsewhere):
                self.call_from_thread(open_elsewhere or failed, exc)
            elif isinstance(exc, AdlError):
                self.call_from_thread(failed, exc)
            else:
                bug = AdlError(f"{type(exc).__name__}: {exc}", REPORT_BUG)
                self.call_from_thread(failed, bug)
                raise
        else:
            # A large session is many objects that stay: looked through once, behind the opening
            # screen, rather than at every full collection while a person scrolls.
            gc.unfreeze()
            gc.collect()
            gc.freeze()
            # Whoever ends the program from here on closes the session, too.
            self.opened = opened
            if self.leaving.is_under_way:
                opened.close({}, "stopped", "left while it was being opened")
            else:
                self.call_from_thread(show, opened)

    @work(thread=True, exit_on_error=False)
    def _replay_in_thread(self, wanted: ReplaySession) -> None:
        # Imported now: the first screen stands sooner without them.
        from workbench.tui.replay_session import ReplayedSession
        from workbench.tui.screens.replay import ReplayScreen

        path = self.startup.database
        try:
            try:
                opened = ReplayedSession.open(path, wanted.session)
            except OlderSchema:
                self.open_log()  # which brings it up to date
                opened = ReplayedSession.open(path, wanted.session)
            if wanted.seq is not None and wanted.seq > opened.player.length:
                wanted = replace(wanted, seq=opened.player.length)
        except AdlError as exc:
            self.call_from_thread(self._could_not_open, exc)
            return
        screen = ReplayScreen(opened, seq=wanted.seq, lasting=self.startup.lasting)
        self.call_from_thread(self._replaying, screen)

    def _replaying(self, screen: Screen[None]) -> None:
        self.trouble = None
        self._show(screen)

    def _replay(self, wanted: ReplaySession) -> None:
        self._show(OpeningScreen(f"Opening {wanted.session}"))
        self._replay_in_thread(wanted)

    @work(thread=True, exit_on_error=False)
    def _branch(self, wanted: BranchSession) -> None:
        from workbench.replay.branch import branch

        try:
            new = branch(self.open_log(), wanted.session, wanted.seq, wanted.name)
        except AdlError as exc:
            self.call_from_thread(self._could_not_branch, exc, wanted)
        else:
            self.call_from_thread(self._continue, ContinueSession(new))

    def _could_not_branch(self, exc: AdlError, wanted: BranchSession) -> None:
        self.notify(clean_line(str(exc)), title="No branch", severity="error", markup=False)
        self._replay(ReplaySession(wanted.session, wanted.seq))

    def _resumed(self, opened: LiveSession, seq: int | None) -> None:
        pair = loaded_pair(opened.state.operations)
        if pair is not None and pair.trust_remote_code:
            self._ask_to_trust(opened, pair, seq)
        else:
            self._opened(opened, pair, prepare=False, seq=seq)

    def _opened(
        self,
        opened: OpenedSession,
        pair: PairArguments | None,
        *,
        prepare: bool,
        seq: int | None = None,
    ) -> None:
        # Imported on first use: the first screen does not need the panes.
        with uncollected():
            from workbench.tui.screens.audit import AuditScreen

        self.trouble = self._loading = None
        audit = AuditScreen(opened, load=pair, prepare=prepare, at=seq)
        self._show(audit)
        self._audit = audit

    def _could_not_open(self, exc: AdlError, *, wrong: Mapping[str, str] | None = None) -> None:
        startup = self.startup
        if any((startup.pair, startup.session, startup.replay, startup.attach)):
            self.trouble = self.trouble or exc
        self._show_start(exc, wrong=wrong)

    @work
    async def _ask_to_open_twice(self, wanted: ContinueSession, exc: OpenElsewhere) -> None:
        question = Content.assemble(
            text.line(exc.message, "bold"),
            "\n\nBoth would record into it. Nothing is lost by that, but the models are loaded a "
            "second time, and neither window shows at once what is done in the other.",
        )
        if await self._ask_by_itself(Confirm(question, "Open it here, too")):
            self._continue(wanted, even_if_open=True)
        else:
            self._show_sessions()

    @work
    async def _ask_to_trust(
        self, opened: LiveSession, pair: PairArguments, seq: int | None
    ) -> None:
        question = Content.assemble(
            ("This session's pair was loaded with code of its checkpoint trusted.", "bold"),
            "\n\nPython code that comes with ",
            text.line(opened.shown_name(pair.base) or "the base", "bold"),
            " or its finetuned side would run here, with all your rights.",
        )
        trusted = await self._ask_by_itself(
            Confirm(question, "Trust it and load the pair", "Open the session without its pair")
        )
        self._opened(opened, pair if trusted else None, prepare=False, seq=seq)

    async def _ask_by_itself(self, asking: Confirm) -> bool | None:
        """Ask what no key asked for: a thread found that it has to be asked."""
        asking.is_unasked = True
        return await self.push_screen_wait(asking)

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

    def _open_database(self, path: Path) -> SessionLog:
        """Record in this database from here on; returns it opened. From any thread."""
        if path != self.startup.database:
            with self._opening:
                log, self.session_log = self.session_log, None
                self.startup = replace(self.startup, database=path)
            if log is not None:
                log.close()
        return self.open_log()

    # --- leaving ----------------------------------------------------------------------------

    def current_view(self) -> dict[str, object]:
        """Return the state of the audit screen, empty without one."""
        return self._audit.view() if self._audit is not None else {}

    def hidden(self, text: str) -> str:
        """Return the text without the names of a blind session's pair."""
        if self._loading is not None:
            text = self._loading.hide(text)
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
        if self._loading is not None:
            self._loading.stop()
        if self.opened is not None:
            self.opened.close(view, outcome, reason)
        if self.session_log is not None:
            self.session_log.close()

    def _exit_from_thread(self, code: int) -> None:
        self.call_from_thread(self.exit, code)

    async def action_quit(self) -> None:
        """Quit: stop the jobs, close the session in the log, restore the terminal."""
        # What the program was started for never came to be, and a script should know.
        code = self.trouble.exit_code if self.trouble is not None else 0
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
            self._draft = empty_pair()
        # At once: a key pressed meanwhile must not ask a closing session for work.
        doing = "Closing" if opened.engine is None else "Leaving"
        self._show(OpeningScreen(f"{doing} {opened.shown.name}"))
        self._leave(opened, view, self._show_sessions)

    @work(thread=True, exit_on_error=False)
    def _leave(
        self, opened: OpenedSession, view: dict[str, object], then: Callable[[], object]
    ) -> None:
        opened.close(view, "completed", "left for another session")
        # Not before: an end of the program meanwhile waits for the session to be closed.
        self.opened = None
        self.call_from_thread(then)

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
            body = ViewSaved(view=self.current_view())
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
        hint = "Two files: Markdown (.md), and one HTML file in which nothing runs (.html)."
        asked = AskLine("Write the report to", proposed_stem(opened.session.id), hint)
        target = await self.push_screen_wait(asked)
        if target is not None:
            self._write_report(opened.session.id, target)

    @work(thread=True, exit_on_error=False)
    def _write_report(self, session_id: str, target: str) -> None:
        try:
            files = self._library().report(session_id, target)
        except AdlError as exc:
            message, trouble = str(exc), True
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

    @work(thread=True, exit_on_error=False)
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


def default_name(pair: PairArguments, *, blind: bool) -> str:
    """Return a default name for a session: the pair and the time (UTC).

    The name of a blind session tells nothing of the pair.
    """
    what = subject_of(pair) or "session"
    if blind and pair.organism != DEMO_ORGANISM:
        what = "blind audit"
    return f"{what} {datetime.now(UTC):%Y-%m-%d %H:%M}"
