"""The Pair pane."""
