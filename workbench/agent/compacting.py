"""A conversation that outgrows its model: which of it is sent shortened from here on.

The log keeps every message whole. What is sent is a function of the messages and of the last
``AgentCompacted`` event, so an audit that is resumed or replayed asks in the same words.

    size          what the endpoint counted for the last prompt, plus what came since, four characters
                  a token; or all of it at four characters a token without such a count
    when          the size is over the limit, or the endpoint refused the prompt as too long, or
                  its window cut off a reply: then most of that window is the limit
    what          the oldest first: results of tools become one line that says how to get them again,
                  the agent's own long words lose their end. What a person wrote, the instructions and
                  what came since the last reply stay; the overview goes only when all else is short
    how far       to half of the limit, so that it is not done again at every turn
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence

from workbench.agent.quoting import BEGINS, cut
from workbench.store.agent_events import (
    AgentCompacted,
    AgentReplied,
    AgentTold,
    CompactionReason,
    Usage,
)
from workbench.store.recorded import Recorded
from workbench.store.slices.agents import AgentState

CHARACTERS_PER_TOKEN = 4
#: A shorter result stays: its stand-in would be no shorter.
SHORTEST_RESULT = 600
#: Of the agent's own words, and of the arguments of a call, in characters.
SHORTENED_OWN = 500
#: Of what is over the limit this share is aimed at.
AIM = 0.5
# Of a window, for the prompt: the rest is for the reply.
_OF_WINDOW = 0.75
# No tokeniser makes tokens this long on average, of what an audit consists of.
_LONGEST_TOKENS = 6
# No window is smaller; a count below it is no count of a prompt.
_SMALLEST_WINDOW = 256
# A reply that was cut off so soon was not cut off by a limit on replies.
_SHORT_REPLY = 512
_MOST_IDS = 20
# A quote that is escaped stands inside a text, and is nobody's id.
_TEXT_ID = re.compile(r'(?<!\\)"(?:text_id|id)": "([\w-]{1,64})"')
_LOOKED_UP = frozenset({"overview", "show_reading"})
_GENERATED = frozenset({"ask", "steer", "show_samples", "suggest_probes"})

Turn = Recorded[AgentTold] | Recorded[AgentReplied]


def is_short(compacted: AgentCompacted | None, message: Turn) -> bool:
    """True if the message is sent shortened."""
    if compacted is None or message.seq > compacted.through:
        return False
    return compacted.opening or not is_overview(message.body)


def short_content(body: AgentTold | AgentReplied) -> str:
    """The message as it is sent when it is shortened."""
    if isinstance(body, AgentReplied):
        return cut(body.content, SHORTENED_OWN)
    if body.tool is None or len(body.content) < SHORTEST_RESULT:
        return body.content
    tool = body.tool if body.tool in _LOOKED_UP | _GENERATED else None
    # The opening's own words stand before the overview.
    own = "" if body.role == "tool" else body.content.partition(BEGINS)[0]
    left_out = len(body.content) - len(own)
    note = f"{own}[A result of {left_out} characters stood here. It is left out to save room."
    if tool in _LOOKED_UP:
        note += f" Call {tool} to see it again."
    ids = list(dict.fromkeys(_TEXT_ID.findall(body.content)))
    if tool in _GENERATED and ids:
        listed = ", ".join(ids[:_MOST_IDS])
        more = f" and {len(ids) - _MOST_IDS} more" if len(ids) > _MOST_IDS else ""
        note += f" show_samples shows its texts again: {listed}{more}."
    return note + "]"


def compaction(
    state: AgentState, limit: int | None, overhead: int = 0, *, refused: bool = False
) -> AgentCompacted | None:
    """The messages to shorten before the next request; None if none has to be, or none is left.

    ``limit`` is in tokens, None has none; ``overhead`` are the characters of the tools' schemas.
    ``refused`` says that the endpoint took the conversation as it stands for too long.
    """
    sizes = _sizes(state, state.compacted)
    characters = overhead + sum(sizes)
    tokens = _tokens(state, sizes, characters)
    reason: CompactionReason = "refused" if refused else "limit"
    room_of_window = None if state.window is None else int(_OF_WINDOW * state.window)
    if room_of_window is not None and (limit is None or room_of_window < limit):
        limit = room_of_window
        # It may have read less than it was sent, so its count is not to be trusted.
        tokens = max(tokens, math.ceil(characters / CHARACTERS_PER_TOKEN))
        reason = reason if refused else "window"
    if not refused and (limit is None or tokens <= limit):
        return None
    # What is over the limit may have been refused at half of it: the limit is not the endpoint's.
    wanted = AIM * (tokens if limit is None or refused else limit)
    room = wanted * characters / max(1, tokens)
    best: tuple[AgentCompacted, int] | None = None
    for through, opening in _steps(state, refused):
        found = AgentCompacted(
            run_id=state.id,
            through=through,
            opening=opening,
            reason=reason,
            tokens=tokens,
            tokens_after=0,
        )
        left = overhead + sum(_sizes(state, found))
        if left < (characters if best is None else best[1]):
            best = found, left
        if left <= room:
            break
    if best is None:
        return None
    after = math.ceil(best[1] * tokens / max(1, characters))
    return best[0].model_copy(update={"tokens_after": after})


def is_unread(usage: Usage, characters: int) -> bool:
    """True if the endpoint counts far fewer tokens than so many characters can be."""
    fewest = characters / _LONGEST_TOKENS
    return not usage.estimated and _SMALLEST_WINDOW <= usage.prompt_tokens < fewest


def is_at_window(reply: AgentReplied, most_tokens: int | None) -> bool:
    """True if a reply was cut off because prompt and reply filled the endpoint's window.

    Servers do not tell this from their limit on replies, nor from ``most_tokens``, which they were
    asked for. Windows are multiples of 256; a short reply was cut off by nothing else.
    """
    if reply.finish_reason != "length" or reply.truncated or reply.usage.estimated:
        return False
    written = reply.usage.completion_tokens
    if most_tokens is not None and written >= 0.9 * most_tokens:
        return False
    return written < _SHORT_REPLY or (reply.usage.total_tokens + 1) % 256 <= 2


def _steps(state: AgentState, refused: bool) -> Sequence[tuple[int, bool]]:
    """Return ever larger steps of shortening: up to which message, and True if the overview goes too."""
    messages, before = state.messages, state.compacted
    replies = [message.seq for message in messages if isinstance(message.body, AgentReplied)]
    newest = replies[-1] if replies else 0
    seqs = [message.seq for message in messages if message.seq < newest]
    start = before.through if before else 0
    last = max([start, *seqs])
    opening = bool(before and before.opening)
    steps = [(seq, opening) for seq in seqs if seq > start]
    steps.append((last, True))
    if refused and messages:
        # Nothing else helps: also what came since the last reply.
        steps.append((messages[-1].seq, True))
    return [(through, gone) for through, gone in steps if through]


def _sizes(state: AgentState, compacted: AgentCompacted | None) -> list[int]:
    """Characters of each message as it is sent."""
    return [_size(message, is_short(compacted, message)) for message in state.messages]


def _size(message: Turn, short: bool) -> int:
    body = message.body
    most = SHORTENED_OWN if short else None
    calls = sum(len(call.name) + len(call.arguments[:most]) for call in body.tool_calls)
    own = _own_size(body, most) if isinstance(body, AgentReplied) else 0
    return calls + own + len(short_content(body) if short else body.content)


def _own_size(body: AgentReplied, most: int | None) -> int:
    """Of the provider's own fields, as they are sent back."""
    fields = [value for name, value in body.provider_fields.items() if name != "content"]
    fields += [call.provider_fields for call in body.tool_calls if call.provider_fields]
    return sum(
        len(value[:most]) if isinstance(value, str) else len(json.dumps(value)) for value in fields
    )


def _tokens(state: AgentState, sizes: Sequence[int], characters: int) -> int:
    """Tokens of the conversation as it would be sent now."""
    since = 0
    for message, size in zip(reversed(state.messages), reversed(sizes), strict=True):
        since += size
        body = message.body
        if isinstance(body, AgentReplied):
            if not body.usage.estimated and message.seq > state.compacted_at:
                return body.usage.prompt_tokens + math.ceil(since / CHARACTERS_PER_TOKEN)
            break
    return math.ceil(characters / CHARACTERS_PER_TOKEN)


def is_overview(body: AgentTold | AgentReplied) -> bool:
    """True if the message is the overview of the opening."""
    return isinstance(body, AgentTold) and body.source == "opening" and body.tool is not None
