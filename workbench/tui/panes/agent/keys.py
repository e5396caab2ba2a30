"""The keys of the agent pane, its help text, and when the footer must refresh."""

from __future__ import annotations

from typing import Literal

Hand = Literal[
    "pause", "go_on", "take_over", "hand_back", "policy", "message", "approve", "refuse", "stop"
]

HELP = """
An LLM audits the pair with the operations that you have. `{new}` starts one: an ADL agent sees the
readings and steered texts, a black box may only ask the models. Here stands what it was told, what it
says, which tools it calls (`→`) and what came of each (`←`, `✗` if it failed or was refused), and every
error of the endpoint with how long it waits. Enter shows one of them in full.

The bars are its budgets: interactions are questions to the models, calls are replies of its own
model, tokens are of its own model too. A spent budget is a normal end: it is asked for its answer.

You can pause it (it finishes what it is at), have it ask before each call, write to it, and take over:
then you work in its place, and when you hand back it is told what you did. An audit that was stopped or
cut off goes on from its last event with `{play}`, and nothing that was answered is paid for twice. A
conversation that its model finds too long is sent with older results left out; here they stay whole.

Grading shows the ground truth, and that you saw it is recorded. A grade is never changed: an edit is a
grade of its own, with its reason, and `{grades}` shows what it was before.
"""

#: Keys that only look, and are there in a replay, too.
LOOKS = frozenset({"grades", "detail", "copy", "run"})

#: Keys that apply at times only: when one of these changes, the footer does.
CONDITIONAL = (
    "begin",
    "resume",
    "approve",
    "pause",
    "go_on",
    "take_over",
    "hand_back",
    "tell",
    "stop",
    "grade",
    "grades",
    "run",
)
