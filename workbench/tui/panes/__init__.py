"""The panes of the audit screen, one file each."""
