"""What threads tell the screens; nothing else passes between them."""

from __future__ import annotations

from dataclasses import dataclass

from textual.message import Message

from workbench.operations.jobs import Job


class EventsRecorded(Message):
    """The session has events that are not on the screen yet."""


@dataclass
class JobChanged(Message):
    """A job began, went on or ended."""

    job: Job
