"""Readings of an activation difference as token lists, each with its nulls."""

from adl.readings.reading import Reading, ReadingRequest
from adl.readings.registry import READINGS, register
from adl.readings.take import FailedReading, take_readings

__all__ = [
    "READINGS",
    "FailedReading",
    "Reading",
    "ReadingRequest",
    "register",
    "take_readings",
]
