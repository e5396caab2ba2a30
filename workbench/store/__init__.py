"""The session store: every session as an append-only event log in one SQLite file, and its fold."""
