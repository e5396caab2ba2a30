"""Many units of work, spread over worker processes and merged into one session file."""
