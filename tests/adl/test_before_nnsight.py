"""A loaded pair leaves the clients of endpoints in working order."""

from __future__ import annotations

import subprocess
import sys

import pytest

ASK_AFTER_LOADING = """
import adl.pair.nnsight.loading
import anyio
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute
assert hasattr(object, "save"), "nnsight does not do that any more: this is not needed"
anyio.run(anyio.sleep, 0)
"""


@pytest.mark.slow
def test_a_client_works_after_nnsight_was_imported():
    done = subprocess.run([sys.executable, "-c", ASK_AFTER_LOADING], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
