"""Reports of recorded sessions, and exports for other programs."""
