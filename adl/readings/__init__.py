"""Readings of the activation difference: ranked token lists, one module each."""
