"""The texts of a session that hold a token, to go to one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical

from adl.words import number_of
from workbench.display import clean_line
from workbench.store.state import SessionState
from workbench.tui.widgets.clipped import Clipped
from workbench.tui.widgets.dialog import Dialog
from workbench.tui.widgets.rows import Rows

#: Characters of a text that are shown before and after the token.
_AROUND = 30


@dataclass(frozen=True)
class TokenText:
    """A text that holds the token: the event it began with, whose it is, and the words around."""

    seq: int
    whose: str
    before: str
    word: str
    after: str
    times: int


def texts_with(state: SessionState, token: str) -> list[TokenText]:
    """Return the generated texts that hold the token, those that hold it most often first.

    In small or capital letters, and also inside longer words: tokens are pieces of words.
    """
    word = token.strip().lower()
    found = []
    for text in state.texts.values() if word else ():
        low = text.text.lower()
        # Lower case may change a text's length, as of a dotted capital I: places would be wrong.
        if (at := low.find(word)) < 0 or len(low) != len(text.text):
            continue
        start = text.start.body
        steered = f" at alpha {start.alpha:g}" if start.alpha else ""
        found.append(
            TokenText(
                text.start.seq,
                f"{start.side}{steered}",
                text.text[max(0, at - _AROUND) : at],
                text.text[at : at + len(word)],
                text.text[at + len(word) : at + len(word) + 2 * _AROUND],
                low.count(word),
            )
        )
    return sorted(found, key=lambda text: -text.times)


class TokenTexts(Dialog[int]):
    """A row for each text; Enter answers with the number of the event that it began with."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "dismiss", "Close")]
    DEFAULT_CSS = """
    TokenTexts > Vertical { border-subtitle-color: $text-muted; }
    """

    def __init__(self, state: SessionState, token: str) -> None:
        super().__init__(classes="dialog")
        self._token = token
        self._texts = texts_with(state, token)
        self._n_texts = len(state.texts)

    def compose(self) -> ComposeResult:
        """The number of texts with the token, and the texts."""
        with Vertical(classes="listing") as frame:
            frame.border_title = "Texts with the token"
            frame.border_subtitle = "enter go to the text \u00b7 esc close"
            token = clean_line(self._token.strip())
            held = f"{len(self._texts)} of {number_of(self._n_texts, 'text')}"
            yield Clipped(
                Text(f"\u201c{token}\u201d is in {held} of this session, prompts left out"),
                classes="if-roomy",
            )
            yield Rows(self._row)

    def on_mount(self) -> None:
        """Show them."""
        rows = self.query_one(Rows)
        rows.set_count(len(self._texts))
        rows.focus()

    def _row(self, index: int, _width: int) -> Text:
        text = self._texts[index]
        row = Text(f"{text.seq:>5} ", style="dim")
        row.append(f"{text.whose}, {text.times}\u00d7 ")
        row.append(clean_line(text.before), style="dim")
        row.append(clean_line(text.word), style="bold underline")
        row.append(clean_line(text.after), style="dim")
        return row

    def on_cursor_list_chosen(self, event: Rows.Chosen) -> None:
        """Go to the text."""
        event.stop()
        self.dismiss(self._texts[event.index].seq)
