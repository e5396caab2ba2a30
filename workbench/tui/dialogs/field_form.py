"""What the forms that give one answer have in common: leaving, and going from field to field."""

from __future__ import annotations

from typing import Generic, TypeVar

from workbench.tui.widgets.dialog import Dialog

Answer = TypeVar("Answer")


class FieldForm(Dialog[Answer | None], Generic[Answer]):
    """A form over the screen; leaving it gives None. Each lists the keys of these actions itself."""

    def action_leave(self) -> None:
        """Give nothing back."""
        self.dismiss(None)

    def action_next(self) -> None:
        """Go to the next field."""
        self.focus_next()

    def action_previous(self) -> None:
        """Go to the field before."""
        self.focus_previous()
