"""Messages for the screen: options of the command line become the fields of forms.

"Give --adapter, or --dtype bfloat16."  -->  "Give Adapter, or Number format bfloat16."
"""

from __future__ import annotations

import re
from typing import Final

from workbench.operations.pair import PairArguments
from workbench.store.state import TimelineEntry

#: Titles of the fields of a pair that are not their names.
PAIR_LABELS: Final = {
    "base": "Base",
    "adapter": "Adapter",
    "finetuned": "Finetuned",
    "dtype": "Number format",
    "device_map": "Device map",
    "offload_folder": "Offload folder",
    "attn_implementation": "Attention",
    "quantisation": "Quantisation",
    "trust_remote_code": "Trust remote code",
    "chat_template": "Chat template",
    "remote": "Run on",
}
#: Options that stand for a value of a field.
_VALUES: Final = {
    "demo": "the demo pair",
    "load-in-8bit": "Quantisation 8bit",
    "load-in-4bit": "Quantisation 4bit",
}
#: Options of other programs, in commands to be typed into a shell.
OTHER_PROGRAMS: Final = frozenset({"no-deps", "merge", "ctx-size", "max-model-len"})
#: The commands that do something, in brackets behind it: here it is done by keys.
_COMMANDS = re.compile(r" \(`[a-z-]+`(?:, `[a-z-]+`)*\)")
_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9]*(?:-[a-z0-9]+)*)")


def on_screen(message: str) -> str:
    """Return the message with options of ours called as the fields of the forms are."""
    plain = _COMMANDS.sub("", message)
    return _OPTION.sub(lambda found: _title(found[1], found[0]), plain)


def described(entry: TimelineEntry) -> str:
    """Return the line of an event; may hold text of a model unless it is an error of ours."""
    is_ours = entry.kind == "operation_failed"
    return on_screen(entry.description) if is_ours else entry.description


def _title(option: str, written: str) -> str:
    if option in OTHER_PROGRAMS:
        return written
    name = option.replace("-", "_")
    if name in PairArguments.model_fields and name in PAIR_LABELS:
        return PAIR_LABELS[name]
    return _VALUES.get(option) or name.replace("_", " ")
