"""What can go wrong when a session is written to a file for others, or read back from one."""

from __future__ import annotations

from adl.errors import AdlError


class ExportError(AdlError):
    """A file cannot be written or read; neither it nor the session was changed."""
