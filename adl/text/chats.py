"""Chats in JSONL rows and data sets: lists of messages with role and content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_chat(value: object) -> bool:
    """Return True for a non-empty list of messages that each have a role and a content."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(item, Mapping) and isinstance(item.get("role"), str) and "content" in item
            for item in value
        )
    )


def content_text(content: Any) -> str | None:
    """Return the text of a message's content, or None if it has none.

    Content is a string, or a list of parts of which those that are text are kept.
    """
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [
            part["text"]
            for part in content
            if isinstance(part, Mapping) and isinstance(part.get("text"), str)
        ]
        return "\n".join(parts) if parts else None
    return None
