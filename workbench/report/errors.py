"""Errors of exports and of reading them back."""

from __future__ import annotations

from adl.errors import AdlError


class ExportError(AdlError):
    """A file cannot be written or read; neither it nor the session was changed."""
