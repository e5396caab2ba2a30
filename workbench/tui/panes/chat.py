"""The same question to both models."""

from __future__ import annotations

from typing import ClassVar

from workbench.tui.widgets.pane import Pane


class ChatPane(Pane):
    """The same question to both models."""

    TITLE: ClassVar[str] = "Chat"
    SHORT: ClassVar[str] = "Chat"
