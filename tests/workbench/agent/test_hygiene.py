"""What comes with the agent: nothing of models and screens, and the client only once it is used."""

from __future__ import annotations

import pytest

from tests.test_import_hygiene import (
    CLIENT_LIBRARIES,
    MODEL_LIBRARIES,
    SCREEN_LIBRARIES,
    loaded_by,
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "module", ["workbench.agent.loop", "workbench.agent.scoreboard", "workbench.cli.agent"]
)
def test_the_agent_loads_neither_models_nor_screens_nor_the_client(module: str):
    loaded = loaded_by(f"import {module}")
    assert not loaded & (MODEL_LIBRARIES | SCREEN_LIBRARIES | CLIENT_LIBRARIES)
