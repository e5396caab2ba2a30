"""The Agent pane."""
