"""Errors of replay."""

from __future__ import annotations

from adl.errors import AdlError


class ReplayError(AdlError):
    """A recorded session cannot be replayed as asked; nothing of it was changed."""
