"""Full-text search: the indexed text of an event, and queries from a person's words."""

from __future__ import annotations

import re
import sqlite3
from dataclasses import dataclass
from datetime import datetime

from adl.text.words import has_no_spaces, is_of_a_word
from workbench.store.body import EventBody
from workbench.store.record import well_formed

# Written around a match by SQLite; `indexable` keeps both out of the indexed text.
MARK_START, MARK_END = "\x02", "\x03"
#: The words around a match, with its two marks as parameters.
SNIPPET = "snippet({table}, 0, ?, ?, '\u2026', 24)"

#: How FTS5 splits texts into words; part of every file, as what is indexed is.
TOKENIZER = "unicode61 remove_diacritics 2"

#: Characters of an excerpt, and of those before its first match.
_EXCERPT, _BEFORE = 160, 40

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


@dataclass(frozen=True)
class Query:
    """A query of FTS5, and the words ``within`` a text that it would not find.

    It takes a run of Chinese, Japanese or Thai for one word.
    """

    fts: str
    within: tuple[str, ...]

    @classmethod
    def read(cls, words: str) -> Query:
        """Read what a person typed: all of the words, each also as the start of a longer one.

        Words in double quotes stand together. Nothing in ``words`` is FTS5 syntax, so no input is a
        syntax error. Empty if there is nothing to look for.
        """
        fts, within = [], []
        for phrase, word in _WORDS.findall(indexable(words)):
            part = phrase or word
            # A phrase without a letter or digit has no token, and in FTS5 matches nothing at all.
            if not any(character.isalnum() for character in part):
                continue
            if any(map(has_no_spaces, part)):
                within.append(_without_signs(part))
            else:
                fts.append(f'"{part}"' if phrase else f'"{part}"*')
        return cls(" ".join(fts), tuple(within))

    def __bool__(self) -> bool:
        return bool(self.fts or self.within)

    def found(self, table: str) -> tuple[str, list[str]]:
        """Return the SQL, and its parameters, of what `excerpt` makes an excerpt of."""
        # There is no snippet around what FTS5 did not find.
        if self.within:
            return f"{table}.text", []
        return SNIPPET.format(table=table), [MARK_START, MARK_END]

    def condition(self, table: str) -> tuple[str, list[str]]:
        """Return the SQL, and its parameters, of whether a text of an FTS5 table has the words."""
        conditions = [f"{table} MATCH ?"] * bool(self.fts)
        conditions += [f"{table}.text LIKE ? ESCAPE '!'"] * len(self.within)
        patterns = ["%" + re.sub("([!%_])", r"!\1", word) + "%" for word in self.within]
        return " AND ".join(conditions), [self.fts] * bool(self.fts) + patterns

    def excerpt(self, found: str) -> tuple[str, tuple[tuple[int, int], ...]]:
        """Return the words around a match, and the (start, end) of the matches in them."""
        if not self.within:
            return unmark(found)
        words = re.compile("|".join(map(re.escape, self.within)), re.IGNORECASE)
        first = words.search(found)
        start = max(0, first.start() - _BEFORE) if first else 0
        cut = found[start : start + _EXCERPT]
        snippet = "\u2026" * (start > 0) + cut + "\u2026" * (start + len(cut) < len(found))
        return snippet, tuple(match.span() for match in words.finditer(snippet))


def _without_signs(part: str) -> str:
    """Return a part without the signs around it, which a text may lack."""
    places = [at for at, character in enumerate(part) if is_of_a_word(character)]
    return part[places[0] : places[-1] + 1]


def found_in(text: str, words: str) -> tuple[str, tuple[tuple[int, int], ...]] | None:
    """Return snippet and marks of the words in a text, as a search finds them; None without a match."""
    query = Query.read(words)
    if not query:
        return None
    (found, shown), (condition, sought) = query.found("texts"), query.condition("texts")
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute(f"CREATE VIRTUAL TABLE texts USING fts5 (text, tokenize='{TOKENIZER}')")
        connection.execute("INSERT INTO texts VALUES (?)", (text,))
        row = connection.execute(
            f"SELECT {found} FROM texts WHERE {condition}", shown + sought
        ).fetchone()
    finally:
        connection.close()
    return None if row is None else query.excerpt(row[0])


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
    query = Query.read(words)
    if not query:
        return []
    found, shown = query.found("event_text_fts")
    condition, sought = query.condition("event_text_fts")
    rows = connection.execute(
        f"""
        SELECT events.session_id, events.seq, events.at, events.kind, {found}
        FROM event_text_fts JOIN events ON events.id = event_text_fts.rowid
        WHERE {condition} AND (? IS NULL OR events.session_id = ?)
        ORDER BY event_text_fts.rank, events.id LIMIT ?
        """,
        (*shown, *sought, session_id, session_id, limit),
    ).fetchall()
    return [
        SearchHit(row[0], row[1], datetime.fromisoformat(row[2]), row[3], *query.excerpt(row[4]))
        for row in rows
    ]


def matching_seqs(
    connection: sqlite3.Connection, words: str, session_id: str, after: int
) -> list[int]:
    """Numbers of a session's events after ``after`` whose texts have the words, in order."""
    query = Query.read(words)
    if not query:
        return []
    condition, sought = query.condition("event_text_fts")
    rows = connection.execute(
        f"""
        SELECT events.seq
        FROM event_text_fts JOIN events ON events.id = event_text_fts.rowid
        WHERE {condition} AND events.session_id = ? AND events.seq > ?
        ORDER BY events.seq
        """,
        (*sought, session_id, after),
    ).fetchall()
    return [row[0] for row in rows]
