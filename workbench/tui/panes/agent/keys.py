"""The keys of the agent pane, its help text, and when the footer must refresh."""

from __future__ import annotations

from typing import Literal

Hand = Literal[
    "pause", "go_on", "take_over", "hand_back", "policy", "message", "approve", "refuse", "stop"
]

HELP = """
An LLM audits the pair with the same operations as you. `{new}` starts one: an ADL agent sees the
readings and steered texts, a black-box agent may only question the models. The pane lists the agent's
instructions, its replies, its tool calls (`→`) and their results (`←`, `✗` if failed or refused), and
every error of the endpoint with the time until the retry. Enter shows one entry in full.

The bars are its budgets: interactions are questions to the audited models; replies and tokens
are those of the agent's own model. When a budget is spent, the agent is asked for its report.

You can pause it (it finishes its current step), require approval for its calls, send it messages, and
take over: then you work in its place, and when you hand back it gets a list of what you did. `{play}`
resumes an audit that was stopped or cut off at its last event; no answered request is paid for twice.
If the conversation gets too long for its model, older results are left out of it, but not here.

Grading shows the ground truth, and records that you saw it. Grades are never overwritten: an edit is
a new grade with a reason, and `{grades}` shows the earlier ones.
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
