"""The screen of sessions: list, search, go on with, rename, export, delete."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input, Static

from adl.errors import AdlError
from workbench.store.ids import proposed_stem
from workbench.store.overview import SessionOverview
from workbench.store.search import SearchHit
from workbench.store.state import SessionState
from workbench.tui import keys, text
from workbench.tui.dialogs.ask_line import AskLine, ask_for_report
from workbench.tui.dialogs.confirm import ConfirmByName
from workbench.tui.dialogs.pane_help import KeyHelp
from workbench.tui.library import HITS, DatabaseListing, Findings, Library, matches
from workbench.tui.messages import ContinueSession, Failed, ReplaySession, ShowStart
from workbench.tui.screens.listing_screen import ListingRead, ListingScreen
from workbench.tui.session_rows import (
    NAMES,
    findings_lines,
    hit_row,
    session_brief,
    session_facts,
    session_row,
)
from workbench.tui.widgets.clipped import Clipped
from workbench.tui.widgets.facts import facts
from workbench.tui.widgets.key_bar import KeyBar
from workbench.tui.widgets.menu import Entry, Menu

#: How long typing or moving rests before the texts are searched or a session is read, in seconds.
REST = 0.15
#: What is done to the session under the cursor.
_OF_ONE = frozenset(
    {
        "rename",
        "export",
        "copy_id",
        "delete",
        "replay",
        "choose_session",
        "coverage",
        "report",
        "read_report",
    }
)


@dataclass(frozen=True)
class Listed:
    """The target of an entry: a session, or an event found in one."""

    session_id: str
    session: SessionOverview | None = None
    hit: SearchHit | None = None


@dataclass
class Found(Message):
    """The texts were searched for ``words``."""

    words: str
    hits: list[SearchHit]


@dataclass
class FindingsRead(Message):
    """The findings of a session were read."""

    session_id: str
    findings: Findings


@dataclass
class StatesRead(Message):
    """Session states were read, for a comparison or for coverage."""

    states: list[SessionState]
    comparing: bool = False


@dataclass
class Changed(Message):
    """Something was done; ``message`` describes it."""

    message: Content


class SearchField(Input):
    """The search field; down and Enter lead to the results."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,ctrl+j", "screen.list", "To the list", show=False, tooltip="Go to the list"),
    ]


class SessionsScreen(ListingScreen):
    """All sessions of the database."""

    HELP = """
All sessions of the database, the last used first. The search looks in names, ids and pairs at once,
then in everything recorded: notes, texts, tokens, prompts, hypotheses and errors. All words must
match, each also as the start of a longer word; "quoted words" match as a phrase. Enter continues
the session under the cursor, or goes to the event that was found. `{replay}` replays a session:
nothing is loaded or recorded.

Space chooses sessions (`●`), and `{compare}` compares them side by side: hypotheses, evidence, budget
and time, and separately the grades. `{report}` shows the session's report, and `{write}` writes it as
Markdown and as one HTML file without scripts.
"""
    BINDINGS: ClassVar[list[BindingType]] = keys.bindings("sessions")
    DEFAULT_CSS = """
    SessionsScreen #search-row { height: 1; margin: 1 2 0 2; }
    SessionsScreen #search-row Static { width: auto; color: $text-muted; padding-right: 1; }
    SessionsScreen SearchField { width: 1fr; background: $surface; }
    SessionsScreen SearchField:focus { background: $surface-lighten-1; }
    SessionsScreen #body { height: 1fr; padding: 1 2 0 2; }
    SessionsScreen Menu { width: 1fr; }
    SessionsScreen #aside { width: 50; height: 1fr; margin-left: 2; padding: 0 2;
        border-left: solid $panel-lighten-2; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    SessionsScreen.-narrow #search-row { margin: 0 2; }
    SessionsScreen.-narrow #body { layout: vertical; padding: 1 1 0 1; }
    SessionsScreen.-narrow Menu { width: 1fr; height: 1fr; }
    SessionsScreen.-narrow #aside { width: 1fr; height: 8; margin: 0; padding: 0 1;
        border-left: none; border-top: solid $panel-lighten-2; }
    SessionsScreen.-short #body { padding: 0 1; }
    SessionsScreen.-short #aside { display: none; }
    SessionsScreen #status { display: none; height: auto; max-height: 4; margin: 0 2; }
    SessionsScreen #status.-any { display: block; }
    SessionsScreen.-short #status { max-height: 2; }
    """

    def __init__(
        self, library: Library, *, listing: DatabaseListing, searching: bool = False
    ) -> None:
        super().__init__(library, listing)
        self._searching = searching
        self._read_once = False
        self._hits: list[SearchHit] = []
        self._searched = ""
        self._findings: dict[str, Findings] = {}
        # In the order they were chosen, which is the order of the columns.
        self._picked: list[str] = []
        self._search_soon: Timer | None = None
        self._look_soon: Timer | None = None

    def compose(self) -> ComposeResult:
        """Search field, list and details."""
        with Horizontal(id="search-row"):
            yield Static("Search")
            yield SearchField(placeholder="names, ids, pairs and all texts", compact=True)
        with Horizontal(id="body"):
            yield Menu()
            with VerticalScroll(id="aside", can_focus=False):
                yield Static(id="details")
        yield Clipped(id="status")
        yield KeyBar()

    def on_mount(self) -> None:
        """Show the known sessions, and read the database in the background."""
        self._fill()
        self.query_one(SearchField if self._searching else Menu).focus()
        self.look()

    # --- messages of the workers ------------------------------------------------------------

    @on(ListingRead)
    def _read(self, message: ListingRead) -> None:
        self._listing = message.listing
        self._read_once = True
        self._findings.clear()
        # Its texts went with a session, and others may have come.
        there = {session.id for session in message.listing.sessions}
        self._hits = [hit for hit in self._hits if hit.session_id in there]
        self._fill()
        if self._words == self._searched:
            self._search_texts(again=True)
        if message.listing.trouble is not None:
            self._show_trouble(message.listing.trouble)

    @on(Failed)
    def _failed(self, message: Failed) -> None:
        self._show_trouble(message.in_words())

    @on(Found)
    def _found(self, message: Found) -> None:
        # The result of an outdated search is ignored.
        if message.words == self._words:
            self._hits = message.hits
            self._searched = message.words
            self._fill()

    @on(FindingsRead)
    def _findings_read(self, message: FindingsRead) -> None:
        self._findings[message.session_id] = message.findings
        self.show_details()

    @on(Changed)
    def _changed(self, message: Changed) -> None:
        self._show_status(message.message)
        self.look()

    # --- drawing ----------------------------------------------------------------------------

    @property
    def _words(self) -> str:
        return self.query_one(SearchField).value.strip()

    def _fill(self) -> None:
        words = self._words
        shown = [session for session in self._listing.sessions if matches(session, words)]
        entries = [self._session_entry(session) for session in shown]
        if words:
            entries[:0] = [Entry.heading(f"By name ({len(shown)})")] if shown else []
            entries.extend(self._hit_entries(words))
        elif not entries:
            hint = "No sessions yet: Escape leads back to open a pair." if self._read_once else ""
            if self._listing.trouble is not None:
                hint = "The sessions could not be read."
            entries = [_dim_entry(hint)]
        self.query_one(Menu).set_entries(entries)

    def _session_entry(self, session: SessionOverview) -> Entry:
        elsewhere = session.id in self._listing.open_elsewhere
        return Entry(
            lambda width: session_row(
                session, width, elsewhere=elsewhere, chosen=session.id in self._picked
            ),
            session.id,
            Listed(session.id, session),
        )

    def _hit_entries(self, words: str) -> list[Entry]:
        if self._searched != words:
            return [Entry.blank(), _dim_entry("Searching the texts ...")]
        if not self._hits:
            return [Entry.blank(), _dim_entry("In no text.")]
        sessions = {session.id: session for session in self._listing.sessions}
        are_more = len(self._hits) > HITS
        count = f"the best {HITS}; there are more" if are_more else str(len(self._hits))
        return [
            Entry.blank(),
            Entry.heading(f"In the texts ({count})"),
            *(self._hit_entry(hit, sessions.get(hit.session_id)) for hit in self._hits[:HITS]),
        ]

    @staticmethod
    def _hit_entry(hit: SearchHit, session: SessionOverview | None) -> Entry:
        name = session.name if session is not None else ""
        return Entry(
            lambda width: hit_row(hit, name, width),
            f"{hit.session_id} {hit.seq}",
            Listed(hit.session_id, session, hit),
        )

    @on(Menu.Moved)
    def _moved(self) -> None:
        self.show_details()
        if self._look_soon is not None:
            self._look_soon.stop()
        self._look_soon = self.set_timer(REST, self._look_into)

    def _look_into(self) -> None:
        listed = self._current
        if listed is not None and listed.session is not None:
            session_id = listed.session_id
            if session_id not in self._findings:
                self.send(lambda: FindingsRead(session_id, self._library.findings(session_id)))

    def show_details(self) -> None:
        """Show the session under the cursor."""
        listed = self._current
        place = self.query_one("#details", Static)
        if listed is None or listed.session is None:
            place.update("")
            return
        session = listed.session
        parts = [text.line(session.name or "(no name)", "bold")]
        if listed.hit is not None:
            parts.append(
                Content.assemble(
                    text.line(f"#{listed.hit.seq} {listed.hit.kind}  ", "$foreground-muted"),
                    text.line(listed.hit.snippet),
                )
            )
        elsewhere = session.id in self._listing.open_elsewhere
        if self.has_class("-narrow"):
            parts.append(session_brief(session, elsewhere=elsewhere))
        else:
            rows = session_facts(session, elsewhere=elsewhere)
            parts.append(facts(rows, NAMES, place.content_size.width))
        findings = self._findings.get(session.id)
        if findings is not None and (findings.hypotheses or findings.last_note):
            parts += [] if self.has_class("-narrow") else [Content("")]
            parts.append(findings_lines(findings))
        place.update(Content("\n").join(parts))

    def _show_status(self, message: Content) -> None:
        place = self.query_one("#status", Static)
        place.set_class(bool(message), "-any")
        place.update(message)

    def _show_trouble(self, error: AdlError) -> None:
        self._show_status(Content.assemble(("! ", "bold $text-error"), text.line(str(error))))

    # --- searching --------------------------------------------------------------------------

    @on(Input.Changed)
    def _typed(self) -> None:
        self._fill()
        if self._search_soon is not None:
            self._search_soon.stop()
        if self._words:
            self._search_soon = self.set_timer(REST, self._search_texts)

    def _search_texts(self, *, again: bool = False) -> None:
        words = self._words
        if words and (again or words != self._searched):
            self.send(lambda: Found(words, self._library.search(words)))

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_list()

    # --- keys -------------------------------------------------------------------------------

    @property
    def _current(self) -> Listed | None:
        listed: Listed | None = self.current_value()
        return listed

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what applies now."""
        if action == "compare":
            return len(self._picked) > 1
        if action in _OF_ONE:
            return self._current is not None
        return True

    @on(Menu.Chosen)
    def _chosen(self) -> None:
        listed = self._current
        if listed is not None:
            seq = listed.hit.seq if listed.hit is not None else None
            self.post_message(ContinueSession(listed.session_id, seq))

    def action_replay(self) -> None:
        """Replay the session; for an event that was found, from there."""
        listed = self._current
        if listed is not None:
            seq = listed.hit.seq if listed.hit is not None else None
            self.post_message(ReplaySession(listed.session_id, seq))

    def action_choose_session(self) -> None:
        """Add the session under the cursor to the comparison, or remove it."""
        session = self._session()
        if session is None:
            return
        if session.id in self._picked:
            self._picked.remove(session.id)
        else:
            self._picked.append(session.id)
        count = len(self._picked)
        compare = f": {keys.shown('compare')} compares them"
        how = compare if count > 1 else ": choose another to compare"
        self._show_status(text.line(f"{count} chosen{how}") if count else Content(""))
        self.query_one(Menu).refresh()
        self.refresh_bindings()

    def action_compare(self) -> None:
        """Compare the chosen sessions side by side."""
        there = {session.id for session in self._listing.sessions}
        ids = [session_id for session_id in self._picked if session_id in there]
        self.send(lambda: StatesRead(self._library.states(ids), comparing=True))

    def action_coverage(self) -> None:
        """Show what was not followed up in the session."""
        listed = self._current
        if listed is not None:
            session_id = listed.session_id
            self.send(lambda: StatesRead(self._library.states([session_id])))

    @on(StatesRead)
    def _states_read(self, message: StatesRead) -> None:
        # Imported on first use, so that the list is shown sooner.
        from workbench.replay.compare import compare
        from workbench.tui.screens.compare import CompareScreen
        from workbench.tui.screens.coverage import CoverageScreen

        if message.comparing:
            self.app.push_screen(CompareScreen(compare(message.states)))
        else:
            self.app.push_screen(CoverageScreen(message.states[0]))

    def action_read_report(self) -> None:
        """Show the session's report."""
        from workbench.tui.dialogs.report import ReportScreen

        if (session := self._session()) is not None:
            build = partial(self._library.build_report, session.id)
            self.app.push_screen(ReportScreen(build, proposed_stem(session.id)))

    @work
    async def action_report(self) -> None:
        """Write the session's report into two files."""
        session = self._session()
        if session is None:
            return
        library, session_id = self._library, session.id
        target = await self.app.push_screen_wait(ask_for_report(session_id))
        if target:

            def report() -> Changed:
                files = library.report(session_id, target)
                paths = " and ".join(map(str, files))
                return Changed(Content.assemble("written: ", text.line(paths, "bold")))

            self.send(report)

    def action_search(self) -> None:
        """Go to the search field."""
        self.query_one(SearchField).focus()

    def action_list(self) -> None:
        """Go to the list."""
        self.query_one(Menu).focus()

    def action_back(self) -> None:
        """Clear the search, or go to the start screen."""
        field = self.query_one(SearchField)
        if field.value:
            field.value = ""
            self.action_list()
        elif field.has_focus:
            self.action_list()
        else:
            self.post_message(ShowStart())

    def action_look(self) -> None:
        """Read the database again."""
        self.look()

    @work
    async def action_rename(self) -> None:
        """Give the session another name."""
        session = self._session()
        if session is None:
            return
        name = await self.app.push_screen_wait(AskLine("Name of the session", session.name))
        if name and name != session.name:

            def rename() -> Changed:
                self._library.rename(session.id, name)
                return Changed(Content.assemble("renamed to ", text.line(name, "bold")))

            self.send(rename)

    @work
    async def action_export(self) -> None:
        """Copy the session into a file of its own."""
        session = self._session()
        if session is None:
            return
        path = await self.app.push_screen_wait(
            AskLine(
                "Copy the session into a new file",
                f"{proposed_stem(session.id)}.db",
                "Everything in it, also the names that a blind session hides; "
                "`adl-workbench sessions import` takes it back.",
            )
        )
        if path:

            def export() -> Changed:
                written = self._library.export(session.id, path)
                return Changed(Content.assemble("written: ", text.line(str(written), "bold")))

            self.send(export)

    @work
    async def action_delete(self) -> None:
        """Delete the session for good, once its name is typed."""
        session = self._session()
        if session is None:
            return
        asked = ConfirmByName(session.id, session.name, session.events)
        if await self.app.push_screen_wait(asked):

            def delete() -> Changed:
                self._library.delete(session)
                return Changed(Content.assemble("deleted: ", text.line(session.name, "bold")))

            self.send(delete)

    def action_copy_id(self) -> None:
        """Copy the session's id."""
        listed = self._current
        if listed is not None:
            self.app.copy_to_clipboard(listed.session_id)
            self._show_status(Content.assemble("copied: ", text.line(listed.session_id, "bold")))

    def action_help(self) -> None:
        """Show the help of this screen."""
        self.app.push_screen(
            KeyHelp(
                "Sessions",
                self.HELP,
                [
                    ("Here", [self]),
                    ("In the list", [self.query_one(Menu)]),
                    ("Anywhere", [self.app]),
                ],
            )
        )

    def _session(self) -> SessionOverview | None:
        listed = self._current
        return listed.session if listed is not None else None


def _dim_entry(words: str) -> Entry:
    return Entry(lambda _width: Text().append(words, style="dim"))
