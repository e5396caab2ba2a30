"""The chat puts one probe to both models and shows what they answer."""

from __future__ import annotations

import pytest

from tests.workbench.tui.conftest import PaneApp
from workbench.tui.panes.chat import ChatPane


@pytest.mark.parametrize("size", [(80, 24), (160, 48)])
def test_picture(snap_compare, size):
    assert snap_compare(PaneApp(ChatPane), terminal_size=size)
