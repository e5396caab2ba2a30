"""Recorded sessions again: by eye, by tape and by recomputation; compared, and branched."""
