"""The Steering pane."""
