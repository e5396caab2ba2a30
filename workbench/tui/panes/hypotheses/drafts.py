"""Hypotheses and revisions that were begun and not saved."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

from workbench.tui.panes.hypotheses.form import Draft

_FIELDS = ("text", "confidence", "reason")


class Drafts:
    """Drafts by what they are of: the id of a hypothesis, a lead, or nothing for a new hypothesis."""

    def __init__(self) -> None:
        self._drafts: dict[str, dict[str, str]] = {}

    def over(self, key: str, unchanged: Draft) -> dict[str, str]:
        """Return the fields as they were left, those that were not changed as in ``unchanged``."""
        return dict(unchanged) | self._drafts.get(key, {})

    def keeper(self, key: str, unchanged: Draft) -> Callable[[Draft], None]:
        """Return a function that keeps a draft while it is written, unless it changes nothing."""

        def keep(draft: Draft) -> None:
            # What was left as it is follows later changes, as those by undo.
            changed = {
                name: words
                for name, words in draft.items()
                if words.strip() != unchanged.get(name, "").strip()
            }
            if changed:
                self._drafts[key] = changed
            else:
                self.forget(key)

        return keep

    def forget(self, key: str) -> None:
        """Keep no draft of this any more."""
        self._drafts.pop(key, None)

    def as_data(self) -> dict[str, dict[str, str]]:
        """Return the drafts as plain JSON data."""
        return {key: dict(draft) for key, draft in self._drafts.items()}

    def restore(self, data: Any, known: Container[str]) -> None:
        """Take the data of `as_data`, of new hypotheses, of leads, and of those that are ``known``."""
        for key, draft in data.items() if isinstance(data, dict) else ():
            # A lead's begins with the number of its event.
            is_new = key == "" or key.partition(" ")[0].isdecimal()
            if isinstance(draft, dict) and (is_new or key in known):
                kept = {name: draft[name] for name in _FIELDS if isinstance(draft.get(name), str)}
                if kept:
                    self._drafts[key] = kept
