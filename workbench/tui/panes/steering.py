"""The difference added while a model writes."""

from __future__ import annotations

from typing import ClassVar

from workbench.tui.widgets.pane import Pane


class SteeringPane(Pane):
    """The difference added while a model writes."""

    TITLE: ClassVar[str] = "Steering"
    SHORT: ClassVar[str] = "Steer"
