"""The form of ids. A file that came by mail may have anything in place of one, also a path."""

from __future__ import annotations

import re

from workbench.store.errors import StoreError

#: Letters, digits, ``-`` and ``_``, as in ``20261121-k3f9x2``: what is a name for a file anywhere.
SESSION_ID = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
SHA256 = r"^[0-9a-f]{64}$"

_SESSION_ID = re.compile(SESSION_ID.rstrip("$") + r"\Z", re.ASCII)
_SHA256 = re.compile(SHA256.rstrip("$") + r"\Z", re.ASCII)
# Names of devices on Windows, with whatever ending.
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)\Z", re.IGNORECASE)


def is_session_id(text: object) -> bool:
    """True if ``text`` has the form of a session's id."""
    return (
        isinstance(text, str)
        and _SESSION_ID.match(text) is not None
        and _DEVICE.match(text) is None
    )


def is_sha256(text: object) -> bool:
    """True if ``text`` has the form of a hash."""
    return isinstance(text, str) and _SHA256.match(text) is not None


def file_stem(session_id: str) -> str:
    """The id, to name a file by. Raises `StoreError` for one that is none, such as ``../x``."""
    if not is_session_id(session_id):
        raise StoreError(
            f"{session_id!r} is no id of a session, and no file is named by it",
            "Name the file yourself. `adl-workbench sessions verify` says what else is wrong.",
        )
    return session_id


def proposed_stem(session_id: str) -> str:
    """The id, or ``session`` in place of one that is none: a name for a file that can be changed."""
    return session_id if is_session_id(session_id) else "session"
