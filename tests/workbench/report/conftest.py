from tests.workbench.replay.conftest import log, recorded

__all__ = ["log", "recorded"]
