"""Opening a session: begun on a pair, gone on with, attached to, replayed or branched."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec

from textual.app import App
from textual.content import Content
from textual.screen import Screen

from adl.errors import AdlError, Stopped
from workbench.display import clean_line
from workbench.engine.live_session import LiveSession
from workbench.engine.opened_session import OpenedSession
from workbench.faults import REPORT_BUG, as_error
from workbench.importing import uncollected
from workbench.locations import Locations
from workbench.operations.pair import PairArguments, loaded_pair, subject_of
from workbench.store.errors import OlderSchema, StoreError
from workbench.store.lease import OpenElsewhere
from workbench.tui import text
from workbench.tui.database import Database
from workbench.tui.dialogs.confirm import Confirm
from workbench.tui.messages import (
    AttachSession,
    BranchSession,
    ContinueSession,
    OpenPair,
    ReplaySession,
)
from workbench.tui.pair_form import load_problems
from workbench.tui.screens.new_pair import empty_pair, form_of
from workbench.tui.screens.opening import LoadingScreen, OpeningScreen
from workbench.tui.shutdown import Shutdown
from workbench.tui.startup import Startup

if TYPE_CHECKING:
    from workbench.engine.running_engines import RunningEngine
    from workbench.tui.screens.audit import AuditScreen

Given = ParamSpec("Given")


class Opener:
    """Opens sessions on threads of the app, behind a screen that names what is opened.

    What cannot be opened leads back to the start screen, with the reason.
    """

    def __init__(
        self,
        app: App[Any],
        startup: Startup,
        locations: Locations,
        database: Database,
        leaving: Shutdown,
        *,
        show: Callable[[Screen[None]], object],
        show_audit: Callable[[AuditScreen], object],
        show_start: Callable[[AdlError | None, Mapping[str, str] | None], object],
        show_sessions: Callable[[], object],
        keep: Callable[[OpenedSession], object],
    ) -> None:
        """Take the app's parts of an opening.

        ``show`` replaces all screens with one, as do the others with theirs; ``show_start`` takes why
        something could not be opened, and the problems by field of the form of a pair. ``keep`` takes
        an opened session before it is shown, on a thread of its own: from then on it has to be closed.
        """
        self.trouble: AdlError | None = None
        "Why what the program was started for could not be opened, until something else was."
        self.draft = empty_pair()
        "The fields of the form of a new pair as they were left."
        self._app = app
        self._startup = startup
        self._locations = locations
        self._database = database
        self._leaving = leaving
        self._show = show
        self._show_audit = show_audit
        self._show_start = show_start
        self._show_sessions = show_sessions
        self._keep = keep
        self._loading: LoadingScreen | None = None
        self._opened_before = False

    def hide(self, text: str) -> str:
        """Return the text without the names of a blind session's pair that is being loaded."""
        return text if self._loading is None else self._loading.hide(text)

    def stop(self) -> None:
        """Have the loading of a pair stop at its next step. From any thread."""
        if self._loading is not None:
            self._loading.stop()

    def engines(self) -> tuple[RunningEngine, ...]:
        """Return the engines that run."""
        # Imported now: the start screen stands sooner without it.
        from workbench.engine.running_engines import running_engines

        return running_engines(self._locations)

    def begin(self, wanted: OpenPair) -> None:
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
        self._in_thread(
            self._open,
            lambda: LiveSession.start(
                self._database.open(),
                called,
                self._locations,
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
            self._show_start(None, None)
        elif isinstance(exc, StoreError):
            # The pair is all right; another database is chosen on the start screen.
            self._could_not_open(exc)
        elif wanted.pair.organism is not None or (wanted.blind and not wanted.is_typed):
            exc.message, exc.hint = hide(exc.message), hide(exc.hint)
            self._could_not_open(exc)
        else:
            if not wanted.is_typed:
                self.draft.update(form_of(wanted))
            self._could_not_open(exc, wrong=load_problems(exc))

    def resume(self, wanted: ContinueSession, *, even_if_open: bool = False) -> None:
        """Go on with a session."""
        self._show(OpeningScreen(f"Opening {wanted.session}"))
        self._in_thread(
            self._open,
            lambda: LiveSession.resume(
                self._database.open(), wanted.session, self._locations, even_if_open=even_if_open
            ),
            lambda opened: self._resumed(opened, wanted.seq),
            open_elsewhere=lambda exc: self._in_thread(self._look_for_engine, wanted, exc),
        )

    def attach(self, wanted: AttachSession) -> None:
        """Attach to a session of an engine."""
        self._show(OpeningScreen(f"Attaching to {wanted.session or 'the engine'}"))

        def attach() -> OpenedSession:
            # Imported now: few screens are of an engine.
            from workbench.engine.attached import AttachedSession

            return AttachedSession.attach(
                wanted.socket, wanted.session, self._locations, self._database.open_at
            )

        self._in_thread(
            self._open, attach, lambda opened: self._opened(opened, None, prepare=False)
        )

    def _look_for_engine(self, wanted: ContinueSession, exc: OpenElsewhere) -> None:
        """Attach to a session that an engine has open; ask about one that another program has."""
        for engine in self.engines():
            if any(session.id == exc.session_id for session in engine.status.sessions):
                there = AttachSession(engine.socket, exc.session_id)
                self._app.call_from_thread(self.attach, there)
                return
        asking = partial(self._ask_to_open_twice, wanted, exc)
        self._app.call_from_thread(self._app.run_worker, asking)

    def attach_anywhere(self, session_id: str) -> None:
        """Attach to a session at the engine that has it."""
        self._in_thread(self._attach_anywhere, session_id)

    def _attach_anywhere(self, session_id: str) -> None:
        from workbench.engine.running_engines import choose_engine

        try:
            socket, session = choose_engine(self.engines(), session_id)
        except AdlError as exc:
            self._app.call_from_thread(self._could_not_open, exc)
        else:
            self._app.call_from_thread(self.attach, AttachSession(socket, session))

    def _open(
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
            if self._leaving.is_under_way:
                return
            if isinstance(exc, OpenElsewhere):
                self._app.call_from_thread(open_elsewhere or failed, exc)
            elif isinstance(exc, AdlError):
                self._app.call_from_thread(failed, exc)
            elif (known := as_error(exc)) is not None:
                self._app.call_from_thread(failed, known)
            else:
                bug = AdlError(f"{type(exc).__name__}: {exc}", REPORT_BUG)
                self._app.call_from_thread(failed, bug)
                raise
        else:
            # A large session is many objects that stay: looked through once, behind the opening
            # screen, rather than at every full collection while a person scrolls. One that was
            # left is let go of.
            if self._opened_before:
                gc.unfreeze()
            self._opened_before = True
            gc.collect()
            gc.freeze()
            # Whoever ends the program from here on closes the session, too.
            self._keep(opened)
            if self._leaving.is_under_way:
                opened.close({}, "stopped", "left while it was being opened")
            else:
                self._app.call_from_thread(show, opened)

    def replay(self, wanted: ReplaySession) -> None:
        """Replay a session."""
        self._show(OpeningScreen(f"Opening {wanted.session}"))
        self._in_thread(self._open_replay, wanted)

    def _open_replay(self, wanted: ReplaySession) -> None:
        # Imported now: the first screen stands sooner without them.
        from workbench.tui.replay_session import ReplayedSession
        from workbench.tui.screens.replay import ReplayScreen

        path = self._database.path
        try:
            try:
                opened = ReplayedSession.open(path, wanted.session)
            except OlderSchema:
                self._database.open()  # which brings it up to date
                opened = ReplayedSession.open(path, wanted.session)
            if wanted.seq is not None and wanted.seq > opened.player.length:
                wanted = replace(wanted, seq=opened.player.length)
        except AdlError as exc:
            self._app.call_from_thread(self._could_not_open, exc)
            return
        screen = ReplayScreen(opened, seq=wanted.seq, lasting=self._startup.lasting)
        self._app.call_from_thread(self._replaying, screen)

    def _replaying(self, screen: Screen[None]) -> None:
        self.trouble = None
        self._show(screen)

    def branch(self, wanted: BranchSession) -> None:
        """Go on from an event of another session in one of its own."""
        self._show(OpeningScreen(f"Branching into {wanted.name}"))
        self._in_thread(self._branch, wanted)

    def _branch(self, wanted: BranchSession) -> None:
        from workbench.replay.branch import branch

        try:
            new = branch(self._database.open(), wanted.session, wanted.seq, wanted.name)
        except AdlError as exc:
            self._app.call_from_thread(self._could_not_branch, exc, wanted)
        else:
            self._app.call_from_thread(self.resume, ContinueSession(new))

    def _could_not_branch(self, exc: AdlError, wanted: BranchSession) -> None:
        self._app.notify(clean_line(str(exc)), title="No branch", severity="error", markup=False)
        self.replay(ReplaySession(wanted.session, wanted.seq))

    def _resumed(self, opened: OpenedSession, seq: int | None) -> None:
        pair = loaded_pair(opened.state.operations)
        if pair is not None and pair.trust_remote_code:
            self._app.run_worker(self._ask_to_trust(opened, pair, seq))
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
        self._show_audit(AuditScreen(opened, load=pair, prepare=prepare, at=seq))

    def _could_not_open(self, exc: AdlError, *, wrong: Mapping[str, str] | None = None) -> None:
        startup = self._startup
        if any((startup.pair, startup.session, startup.replay, startup.attach)):
            self.trouble = self.trouble or exc
        self._show_start(exc, wrong)

    def _in_thread(
        self, work: Callable[Given, object], *given: Given.args, **named: Given.kwargs
    ) -> None:
        self._app.run_worker(partial(work, *given, **named), thread=True)

    async def _ask_to_open_twice(self, wanted: ContinueSession, exc: OpenElsewhere) -> None:
        question = Content.assemble(
            text.line(exc.message, "bold"),
            "\n\nBoth would record into it. Nothing is lost by that, but the models are loaded a "
            "second time, and neither window shows at once what is done in the other.",
        )
        if await self._ask_by_itself(Confirm(question, "Open it here, too")):
            self.resume(wanted, even_if_open=True)
        else:
            self._show_sessions()

    async def _ask_to_trust(
        self, opened: OpenedSession, pair: PairArguments, seq: int | None
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
        return await self._app.push_screen_wait(asking)


def default_name(pair: PairArguments, *, blind: bool) -> str:
    """Return a default name for a session: the pair and the time (UTC).

    The name of a blind session tells nothing of the pair, but for the demo.
    """
    what = subject_of(pair, hidden=blind) or ("blind audit" if blind else "session")
    return f"{what} {datetime.now(UTC):%Y-%m-%d %H:%M}"
