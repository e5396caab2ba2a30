"""The keys of the agent pane, what they are for, and when the footer has to look at them anew."""

from __future__ import annotations

from typing import Literal

from textual.binding import Binding, BindingType

Hand = Literal[
    "pause", "go_on", "take_over", "hand_back", "policy", "message", "approve", "refuse", "stop"
]

HELP = """
An LLM audits the pair with the operations that you have. `s` starts one: an ADL agent sees the
readings and steered texts, a black box may only ask the models. Here stands what it was told, what it
says, which tools it calls (`→`) and what came of each (`←`, `✗` if it failed or was refused), and every
error of the endpoint with how long it waits. Enter shows one of them in full.

The bars are its budgets: interactions are questions to the models, calls are replies of its own
model, tokens are of its own model too. A spent budget is a normal end: it is asked for its answer.

You can pause it (it finishes what it is at), have it ask before each call, write to it, and take over:
then you work in its place, and when you hand back it is told what you did. An audit that was stopped or
cut off goes on from its last event with `r`, and nothing that was answered is paid for twice. A
conversation that its model finds too long is sent with older results left out; here they stay whole.

Grading shows the ground truth, and that you saw it is recorded. A grade is never changed: an edit is a
grade of its own, with its reason, and `l` shows what it was before.
"""

#: Keys that only look, and are there in a replay, too.
LOOKS = frozenset({"grades", "detail", "copy", "run"})

BINDINGS: list[BindingType] = [
    Binding("y", "approve", "Approve", tooltip="Let it make the call it asks about"),
    Binding("d", "refuse", "Refuse", tooltip="Refuse the call; it is told why and goes on"),
    Binding("s", "begin", "Start", tooltip="Start an agent"),
    Binding("r", "resume", "Resume", tooltip="Go on with the interrupted audit"),
    Binding("p", "hand('pause')", "Pause", tooltip="Let it finish what it is at, then wait"),
    Binding("p", "hand('go_on')", "Go on", tooltip="End the pause"),
    Binding("t", "tell", "Tell", tooltip="Write to the agent"),
    Binding("h", "hand('take_over')", "Take over", tooltip="Work in its place"),
    Binding("h", "hand_back", "Hand back", tooltip="Let it go on; it is told what you did"),
    Binding("o", "policy", "Policy", tooltip="When it asks: never, before spending, always"),
    Binding("S", "hand('stop')", "Stop it", tooltip="Stop the agent; it can be resumed"),
    Binding("g", "grade", "Grade", tooltip="Grade its report"),
    Binding("l", "grades", "Grades", show=False, tooltip="The grades, and what they were"),
    Binding("enter,i,space", "detail", "In full", show=False, tooltip="All of one turn"),
    Binding("c", "copy", "Copy", show=False, tooltip="Copy the turn"),
    Binding("m", "mark", "Mark", show=False, tooltip="Mark the turn as evidence"),
    Binding(
        "left_square_bracket",
        "run(-1)",
        "Agent before",
        show=False,
        key_display="[",
        tooltip="The agent before this one",
    ),
    Binding(
        "right_square_bracket",
        "run(1)",
        "Next agent",
        show=False,
        key_display="]",
        tooltip="The next agent",
    ),
]

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
