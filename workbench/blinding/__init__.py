"""Blind audits: aliases of pairs, the sealed names, and redaction of what a session shows."""

from workbench.blinding import seal as seal
