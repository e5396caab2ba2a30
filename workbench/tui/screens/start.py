"""The start screen: a session to go on with, the demo, a recent pair, an organism or a new pair."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from rich.text import Text
from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from adl.errors import AdlError
from adl.words import number_of
from workbench.display import clean_line
from workbench.operations.pair import DEMO_ORGANISM, PairArguments
from workbench.store.overview import SessionOverview
from workbench.tui import keys, text
from workbench.tui.dialogs.ask_line import AskLine
from workbench.tui.dialogs.pane_help import KeyHelp
from workbench.tui.library import DatabaseListing, Library, pair_title
from workbench.tui.messages import AttachSession, ContinueSession, Failed, OpenPair, ShowSessions
from workbench.tui.pair_form import Fields, as_fields
from workbench.tui.screens.listing_screen import ListingRead, ListingScreen
from workbench.tui.screens.new_pair import NewPairScreen
from workbench.tui.session_rows import NAMES, session_facts, session_row
from workbench.tui.widgets.clipped import Clipped
from workbench.tui.widgets.facts import facts
from workbench.tui.widgets.key_bar import KeyBar
from workbench.tui.widgets.menu import Entry, Menu

#: Sessions shown here; all are on the screen of sessions.
NEWEST = 5

_DEMO = (
    "A small chat model and an adapter that was finetuned on it. Both come with the program: no "
    "network and no GPU are needed. Names that tell what it was finetuned on are hidden until you ask "
    "for them ({reveal})."
)
_NEW = (
    "Type a base, and an adapter or a finetuned checkpoint: ids on the hub, with @revision, or "
    "folders on this machine."
)
_ALL = "Search, rename, export and delete sessions."
_ENGINE = "An engine keeps the pair loaded and its jobs at work. Leaving only detaches."
_BLIND = "What it was finetuned to do is known, kept for grading, and not shown."
_CODE = "Runs Python code that comes with the checkpoint: you are asked once more."


@dataclass(frozen=True)
class Offer:
    """The action of an entry, and its details: a name, facts, and what the action does.

    ``pair`` prefills the form for editing.
    """

    open: Callable[[], Message | None]
    name: str = ""
    rows: Sequence[tuple[str, str]] = ()
    words: str = ""
    pair: PairArguments | None = None

    def details(self, width: int) -> Content:
        """Return what the screen shows of it, in lines of ``width`` cells."""
        parts = [text.line(self.name, "bold")] if self.name else []
        if self.rows:
            parts.append(facts(self.rows, NAMES, width))
        if self.words:
            parts += [Content(""), Content(self.words)] if parts else [Content(self.words)]
        return Content("\n").join(parts)


@dataclass
class UseDatabase(Message):
    """Record in another database from here on."""

    path: str


def _open_demo() -> OpenPair:
    """Return the wish for the demo pair: blind, so that its name does not tell the answer."""
    return OpenPair(PairArguments(organism=DEMO_ORGANISM), blind=True)


class StartScreen(ListingScreen):
    """The start screen."""

    HELP = """
Opens a pair of models in a new session, or goes on with a session that was left. Everything is
recorded in one database; `{database}` chooses another.
"""
    BINDINGS: ClassVar[list[BindingType]] = keys.bindings("start")
    AUTO_FOCUS = "Menu"
    DEFAULT_CSS = """
    StartScreen #head { height: auto; padding: 1 2 0 2; }
    StartScreen #trouble { display: none; height: auto; margin: 1 2 0 2; padding: 0 1;
        border-left: outer $error; }
    StartScreen #trouble.-any { display: block; }
    StartScreen #body { height: 1fr; padding: 1 2 0 2; }
    StartScreen #body Menu { width: 1fr; }
    StartScreen #aside { width: 56; height: 1fr; margin-left: 2; padding: 0 2;
        border-left: solid $panel-lighten-2; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    StartScreen.-narrow #body { layout: vertical; padding: 1 1 0 1; }
    StartScreen.-narrow #body Menu { width: 1fr; height: 1fr; }
    StartScreen.-narrow #aside { width: 1fr; height: 5; margin: 0; padding: 0 1;
        border-left: none; border-top: solid $panel-lighten-2; }
    StartScreen.-narrow #head { padding: 0 1; }
    StartScreen.-narrow #trouble { margin: 1 1 0 1; }
    StartScreen.-short #head, StartScreen.-short #aside { display: none; }
    StartScreen.-short #body { padding: 0 1; }
    StartScreen.-short #trouble { max-height: 2; margin: 0 1; }
    """

    def __init__(
        self,
        library: Library,
        *,
        listing: DatabaseListing,
        draft: Fields,
        trouble: AdlError | None = None,
        wrong: Mapping[str, str] | None = None,
    ) -> None:
        """``wrong`` are problems by field, with which the form of a pair comes up at once."""
        super().__init__(library, listing)
        self._wrong = wrong
        self._draft = draft
        self._trouble = trouble
        # What another screen read may be older than the last session.
        self._was_read = False
        self._placed = False

    def compose(self) -> ComposeResult:
        """Compose the title, the problem if any, and the list with details."""
        yield Static(
            Content.assemble(
                ("adl-workbench", "bold $accent"),
                "\nFind out what a language model was finetuned to do, from its activations.",
            ),
            id="head",
        )
        yield Clipped(id="trouble")
        with Horizontal(id="body"):
            yield Menu()
            with VerticalScroll(id="aside", can_focus=False):
                yield Static(id="details")
        yield KeyBar()

    def on_mount(self) -> None:
        """Show what is known, and look at the database behind it."""
        self._fill()
        self.look()
        if self._wrong is not None:
            self._new(self._wrong)

    # --- messages of the workers ------------------------------------------------------------

    @on(ListingRead)
    def _read(self, message: ListingRead) -> None:
        self._listing = message.listing
        self._was_read = True
        self._fill()

    @on(Failed)
    def _failed(self, message: Failed) -> None:
        self._trouble = message.in_words()
        self._fill()

    # --- drawing ----------------------------------------------------------------------------

    def _fill(self) -> None:
        self._fill_menu(list(self._entries()))
        problems = [trouble for trouble in (self._trouble, self._listing.trouble) if trouble]
        if len(problems) > 1 and str(problems[0]) == str(problems[1]):
            del problems[1]
        place = self.query_one("#trouble", Static)
        place.set_class(bool(problems), "-any")
        place.update(Content("\n").join(map(_trouble_text, problems)))

    def _fill_menu(self, entries: list[Entry]) -> None:
        """Fill the list; once the sessions are known the cursor goes to the last one.

        An engine that runs comes before it.
        """
        menu = self.query_one(Menu)
        first = next((entry for entry in menu.entries if entry.key is not None), None)
        untouched = menu.current is None or (first is not None and menu.current.key == first.key)
        menu.set_entries(entries)
        known = self._listing.sessions or self._listing.engines
        if known and self._was_read and not self._placed:
            self._placed = True
            wanted = "engine " if self._listing.engines else self._listing.sessions[0].id
            if untouched:
                menu.cursor = next(
                    place for place, entry in enumerate(entries) if wanted in (entry.key or "")
                )

    def _entries(self) -> list[Entry]:
        listing = self._listing
        entries: list[Entry] = []

        def group(title: str, members: list[Entry]) -> None:
            if members:
                entries.extend([*([Entry.blank()] if entries else []), Entry.heading(title)])
                entries.extend(members)

        left = [
            session
            for session in listing.sessions[:1]
            if session.outcome is None and session.id not in listing.open_elsewhere
        ]
        group("Running engines", list(self._engines()))
        group("Go on where it was left", [self._session("continue", session) for session in left])
        group(
            "Open a pair",
            [
                self._plain(
                    "demo",
                    "Open the demo pair",
                    _open_demo,
                    keys.with_keys(_DEMO),
                ),
                self._plain("new", "Type a new pair", self._new, _NEW),
            ],
        )
        recent = [pair for pair in listing.recent if pair.organism is None]
        group("Recent pairs", [self._pair(place, pair) for place, pair in enumerate(recent)])
        newest = [session for session in listing.sessions if session not in left][:NEWEST]
        sessions = [self._session("session", session) for session in newest]
        if listing.sessions:
            count = len(listing.sessions)
            title = f"All sessions ({count})" if count > 1 else "All sessions"
            sessions.append(self._plain("all", title, ShowSessions, _ALL))
        group("Sessions", sessions)
        group(
            "Bundled organisms",
            [
                self._plain(
                    f"organism {organism.id}",
                    organism.id,
                    lambda name=organism.id: OpenPair(PairArguments(organism=name)),  # type: ignore[misc]
                    _BLIND,
                    ("base", organism.base),
                )
                for organism in listing.organisms
            ],
        )
        return entries

    def _engines(self) -> Iterator[Entry]:
        """Yield a row for each session of each engine, and one for an engine without any."""
        for engine in self._listing.engines:
            status = engine.status
            about = [("pair", status.pair), ("process", str(status.pid))]
            for session in status.sessions:
                jobs = number_of(session.busy, "job")
                yield self._plain(
                    f"engine {session.id}",
                    f"{session.name or session.id}  {status.pair}  {jobs}",
                    partial(AttachSession, engine.socket, session.id),
                    _ENGINE,
                    ("id", session.id),
                    *about,
                    ("jobs", jobs),
                )
            if not status.sessions:
                yield self._plain(
                    f"engine {status.pid}",
                    f"New session  {status.pair}",
                    partial(AttachSession, engine.socket),
                    _ENGINE,
                    *about,
                )

    def _plain(
        self,
        key: str,
        title: str,
        act: Callable[[], Message | None],
        words: str,
        *rows: tuple[str, str],
    ) -> Entry:
        shown = clean_line(title)
        return Entry(lambda _width: Text(shown), key, Offer(act, rows=rows, words=words))

    def _pair(self, place: int, pair: PairArguments) -> Entry:
        title = clean_line(pair_title(pair))
        given = [
            (name, str(value))
            for name, value in pair.model_dump(exclude_defaults=True).items()
            if name != "trust_remote_code"
        ]
        # Code of a checkpoint is trusted once: what was recorded may come from someone else.
        offer = (
            Offer(self.action_edit, rows=given, words=_CODE, pair=pair)
            if pair.trust_remote_code
            else Offer(lambda: OpenPair(pair), rows=given, pair=pair)
        )
        return Entry(lambda _width: Text(title), f"pair {place}", offer)

    def _session(self, kind: str, session: SessionOverview) -> Entry:
        elsewhere = session.id in self._listing.open_elsewhere
        return Entry(
            lambda width: session_row(session, width, elsewhere=elsewhere),
            f"{kind} {session.id}",
            Offer(
                lambda: ContinueSession(session.id),
                session.name or "(no name)",
                session_facts(session, elsewhere=elsewhere),
            ),
        )

    @on(Menu.Moved)
    def _moved(self) -> None:
        self.show_details()
        self.refresh_bindings()

    def show_details(self) -> None:
        """Show what the entry under the cursor opens."""
        offer = self._offer()
        place = self.query_one("#details", Static)
        place.update(offer.details(place.content_size.width) if offer else "")

    # --- keys -------------------------------------------------------------------------------

    def _offer(self) -> Offer | None:
        offer: Offer | None = self.current_value()
        return offer

    @on(Menu.Chosen)
    def _chosen(self) -> None:
        offer = self._offer()
        message = offer.open() if offer else None
        if message is not None:
            self.post_message(message)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offer only what applies now."""
        if action == "edit":
            offer = self._offer()
            return offer is not None and offer.pair is not None
        return True

    def action_demo(self) -> None:
        """Open the demo pair."""
        self.post_message(_open_demo())

    def action_new(self) -> None:
        """Open the form of a pair."""
        self._new()

    def _new(self, wrong: Mapping[str, str] | None = None) -> None:
        self.app.push_screen(NewPairScreen(self._draft, wrong), self._typed)

    def action_edit(self) -> None:
        """Change the pair under the cursor before it is opened."""
        offer = self._offer()
        if offer is not None and offer.pair is not None:
            # Whether its code is trusted is decided anew each time.
            pair = untrusting(offer.pair)
            self._draft.update(as_fields(pair) | {"name": ""})
            self._new()

    def _typed(self, message: OpenPair | None) -> None:
        if message is not None:
            self.post_message(message)

    def action_sessions(self) -> None:
        """Show all sessions."""
        self.post_message(ShowSessions())

    def action_search(self) -> None:
        """Search the sessions."""
        self.post_message(ShowSessions(searching=True))

    @work
    async def action_database(self) -> None:
        """Record in another database from here on."""
        path = await self.app.push_screen_wait(
            AskLine(
                "Session database",
                str(self._library.path),
                "A file; it is made when the first session begins.",
            )
        )
        if path is not None:
            self.post_message(UseDatabase(path))

    def action_help(self) -> None:
        """Show the help of this screen."""
        self.app.push_screen(
            KeyHelp(
                "adl-workbench",
                self.HELP,
                [
                    ("Here", [self]),
                    ("In the list", [self.query_one(Menu)]),
                    ("Anywhere", [self.app]),
                ],
            )
        )


def untrusting(pair: PairArguments) -> PairArguments:
    """Return the pair without trust in the code of its checkpoint."""
    return pair.model_copy(update={"trust_remote_code": False})


def _trouble_text(trouble: AdlError) -> Content:
    lines = [Content.assemble(("! ", "bold $text-error"), text.problem(trouble.message, "bold"))]
    if trouble.hint:
        lines.append(text.problem(f"  {trouble.hint}", ""))
    return Content("\n").join(lines)
