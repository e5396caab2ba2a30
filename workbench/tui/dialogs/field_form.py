"""The base of forms with one result: leaving, and moving between fields."""

from __future__ import annotations

from typing import Generic, TypeVar

from textual.containers import VerticalScroll

from workbench.tui.widgets.dialog import Dialog

Answer = TypeVar("Answer")


class FieldList(VerticalScroll, can_focus=False, inherit_bindings=False):
    """The fields of a form, scrolled where there is no room for all: by focus, not by the arrows.

    With the bindings of its base the arrows would move the view and leave the focus where it is.
    """


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
