"""Peak memory of a process.

``ru_maxrss`` will not do: a process that was started by a larger one begins with the peak of that.
"""

from __future__ import annotations

from pathlib import Path


def peak_memory() -> int:
    """Most bytes that this process had resident since its program began (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
