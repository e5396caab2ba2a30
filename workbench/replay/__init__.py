"""Recorded sessions again: by eye, by cassette and by recomputation; compared, and branched."""
