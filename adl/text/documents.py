"""Documents a model may have been finetuned on: texts or chats, one a row of a JSONL or text file.

Finetuning documents are ground truth: they show what an audit is to find. They are read only if
they are asked for by name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adl.errors import CorpusError
from adl.text.chats import content_text, is_chat
from adl.text.files import json_rows, lines, well_formed


@dataclass(frozen=True)
class Document:
    """A text, or a chat as (role, content) turns; ``text`` of a chat is the assistant's turns."""

    text: str
    messages: tuple[tuple[str, str], ...] = ()


def load_documents(path: Path) -> tuple[Document, ...]:
    """Read documents: one a line, or JSONL (by its name) with ``text`` or ``messages``.

    Raises ``CorpusError`` for a file that cannot be read, holds no document, or has a row that is
    no document.
    """
    if path.suffix.lower() in {".jsonl", ".ndjson"}:
        documents = tuple(
            _document(row, f"line {number} of {path}")
            for number, row in json_rows(path, CorpusError)
        )
    else:
        documents = tuple(Document(text) for _, text in lines(path, CorpusError))
    if not documents:
        raise CorpusError(f"There is no document in {path}", "Write one document a line.")
    return documents


def documents_sha256(documents: Sequence[Document]) -> str:
    """Return the SHA-256 (hex) over the documents in their order, roles included."""
    digest = hashlib.sha256()
    for document in documents:
        parts = [document.text, *(part for turn in document.messages for part in turn)]
        for part in (str(len(parts)), *parts):
            data = part.encode()
            digest.update(len(data).to_bytes(8, "big"))
            digest.update(data)
    return digest.hexdigest()


def _document(row: Mapping[str, Any], where: str) -> Document:
    text = row.get("text")
    if isinstance(text, str) and text.strip():
        return Document(well_formed(text).strip())
    if is_chat(row.get("messages")):
        turns = tuple(
            (str(message["role"]), well_formed(content_text(message["content"]) or ""))
            for message in row["messages"]
        )
        answers = "\n".join(content for role, content in turns if role == "assistant")
        if answers.strip():
            return Document(answers, turns)
    raise CorpusError(
        f"{where} has neither 'text' nor 'messages' with an assistant's turn",
        "Give each row one of them.",
    )
