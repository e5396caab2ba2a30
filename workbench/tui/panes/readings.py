"""The token lists of the activation difference."""

from __future__ import annotations

from typing import ClassVar

from workbench.tui.widgets.pane import Pane


class ReadingsPane(Pane):
    """The token lists of the activation difference."""

    TITLE: ClassVar[str] = "Readings"
    SHORT: ClassVar[str] = "Read"
