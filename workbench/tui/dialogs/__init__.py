"""Dialogs that any pane or screen may open."""
