"""The base of forms with one result: leaving, and moving between fields."""

from __future__ import annotations

from typing import Generic, TypeVar

from workbench.tui.widgets.dialog import Dialog

Answer = TypeVar("Answer")


class FieldForm(Dialog[Answer | None], Generic[Answer]):
    """A modal form; leaving it returns None. Subclasses bind the keys of these actions."""

    def action_leave(self) -> None:
        """Return None."""
        self.dismiss(None)

    def action_next(self) -> None:
        """Go to the next field."""
        self.focus_next()

    def action_previous(self) -> None:
        """Go to the previous field."""
        self.focus_previous()
