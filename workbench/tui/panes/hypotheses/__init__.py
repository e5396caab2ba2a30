"""The Hypotheses pane."""
