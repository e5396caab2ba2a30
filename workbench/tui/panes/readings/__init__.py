"""The Readings pane."""
