"""Steered and unsteered sampling from both sides."""
