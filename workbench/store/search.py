"""Full-text search: the indexed text of an event, and queries from a person's words."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from datetime import datetime

from workbench.store.body import EventBody
from workbench.store.record import well_formed

# Written around a match by SQLite; `indexable` keeps both out of the indexed text.
MARK_START, MARK_END = "\x02", "\x03"
#: The words around a match, with its two marks as parameters.
SNIPPET = "snippet({table}, 0, ?, ?, '\u2026', 24)"

#: How FTS5 splits texts into words; part of every file, as what is indexed is.
TOKENIZER = "unicode61 remove_diacritics 2"

_CONTROL_SEQUENCE = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_WORDS = re.compile(r'"([^"]*)"?|([^\s"]+)')


@dataclass(frozen=True)
class SearchHit:
    """An event whose text matches; ``marks`` are the (start, end) of the matches in ``snippet``."""

    session_id: str
    seq: int
    at: datetime
    kind: str
    snippet: str
    marks: tuple[tuple[int, int], ...]


def searchable_text(body: EventBody) -> str:
    """Return the text of a body that a search looks through; may be empty."""
    return indexable("\n".join(text for text in body.searchable() if text))


def indexable(text: str) -> str:
    """Return the text without escapes and invisible characters, which would hide words."""
    text = _CONTROL_SEQUENCE.sub(" ", well_formed(text))
    return _CONTROL.sub(" ", _INVISIBLE.sub("", text)).strip()


def fts_query(words: str) -> str:
    """Return an FTS5 query for texts with all of the words, each also as the start of a longer word.

    Words in double quotes stand together. Nothing in ``words`` is FTS5 syntax, so no input is a
    syntax error. Empty if there is nothing to look for.
    """
    parts = []
    for phrase, word in _WORDS.findall(indexable(words)):
        part = phrase or word
        # A phrase without a letter or digit has no token, and in FTS5 matches nothing at all.
        if any(character.isalnum() for character in part):
            parts.append(f'"{part}"' if phrase else f'"{part}"*')
    return " ".join(parts)


def found_in(text: str, words: str) -> tuple[str, tuple[tuple[int, int], ...]] | None:
    """Return snippet and marks of the words in a text, as a search finds them; None without a match."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute(f"CREATE VIRTUAL TABLE texts USING fts5 (text, tokenize='{TOKENIZER}')")
        connection.execute("INSERT INTO texts VALUES (?)", (text,))
        row = connection.execute(
            f"SELECT {SNIPPET.format(table='texts')} FROM texts WHERE texts MATCH ?",
            (MARK_START, MARK_END, fts_query(words)),
        ).fetchone()
    finally:
        connection.close()
    return None if row is None else unmark(row[0])


def unmark(marked: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Split a marked snippet into its text and the (start, end) of the matches."""
    text, marks, start = "", [], 0
    for piece in re.split(f"([{MARK_START}{MARK_END}])", marked):
        if piece == MARK_START:
            start = len(text)
        elif piece == MARK_END:
            marks.append((start, len(text)))
        else:
            text += piece
    return text, tuple(marks)


# --- queries --------------------------------------------------------------------------------


def find_events(
    connection: sqlite3.Connection, words: str, limit: int, session_id: str | None
) -> list[SearchHit]:
    """The best matches for the words, in all sessions or in one."""
    query = fts_query(words)
    if not query:
        return []
    rows = connection.execute(
        f"""
        SELECT events.session_id, events.seq, events.at, events.kind,
            {SNIPPET.format(table="event_text_fts")}
        FROM event_text_fts JOIN events ON events.id = event_text_fts.rowid
        WHERE event_text_fts MATCH ? AND (? IS NULL OR events.session_id = ?)
        ORDER BY event_text_fts.rank, events.id LIMIT ?
        """,
        (MARK_START, MARK_END, query, session_id, session_id, limit),
    ).fetchall()
    return [
        SearchHit(row[0], row[1], datetime.fromisoformat(row[2]), row[3], *unmark(row[4]))
        for row in rows
    ]


def matching_seqs(
    connection: sqlite3.Connection, words: str, session_id: str, after: int
) -> list[int]:
    """Numbers of a session's events after ``after`` whose texts have the words, in order."""
    query = fts_query(words)
    if not query:
        return []
    rows = connection.execute(
        """
        SELECT events.seq
        FROM event_text_fts JOIN events ON events.id = event_text_fts.rowid
        WHERE event_text_fts MATCH ? AND events.session_id = ? AND events.seq > ?
        ORDER BY events.seq
        """,
        (query, session_id, after),
    ).fetchall()
    return [row[0] for row in rows]
