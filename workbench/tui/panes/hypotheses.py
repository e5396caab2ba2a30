"""What the finetuning may have been for."""

from __future__ import annotations

from typing import ClassVar

from workbench.tui.widgets.pane import Pane


class HypothesesPane(Pane):
    """What the finetuning may have been for."""

    TITLE: ClassVar[str] = "Hypotheses"
    SHORT: ClassVar[str] = "Hyp"
