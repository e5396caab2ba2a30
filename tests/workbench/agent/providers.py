"""Endpoints of providers, each as its documents and public reports of its faults describe it.

A provider is strict about what it is sent: a message that it does not take is refused in its own words.
It streams in its own form. What it is asked to say are an audit's turns, the same for all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.workbench.agent.scripted import Asked, Call, Raw, Reaction, Refuse, report

#: What the model does, turn by turn; asked for its report, it gives it.
TURNS: Sequence[tuple[str, Sequence[Call]]] = (
    ("I note two things.", [("note", {"text": "one"}), ("note", {"text": "two"})]),
    ("", [("overview", {})]),
    ("", [("hypothesis", {"text": "cakes"})]),
)
_SENT = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls"},
    "tool": {"role", "content", "tool_call_id"},
}


class Provider:
    """The protocol as OpenAI documents it. Subclasses differ where their provider does."""

    name = "OpenAI"
    url = "https://platform.openai.com/docs/api-reference/chat"
    parameters = frozenset(
        {"model", "messages", "tools", "tool_choice", "stream", "stream_options"}
        | {"temperature", "seed", "max_tokens", "max_completion_tokens"}
    )
    #: Fields of an assistant's message and of its calls that it takes back.
    own_of_message: frozenset[str] = frozenset()
    own_of_call: frozenset[str] = frozenset()
    #: The failures of requests that its peculiarities cost an audit.
    failures: tuple[str, ...] = ()
    #: What the audit learns of it, by run: before and after it is resumed.
    without: tuple[str, ...] = ()
    line_end = "\n"

    def __init__(self) -> None:
        self.faults: list[str] = []

    def __call__(self, asked: Asked) -> Reaction:
        refusal = self.refuse(asked)
        if refusal is not None:
            return refusal
        fault = self.fault_in(asked)
        if fault:
            self.faults.append(fault)
            return self.error(400, fault)
        done = [one for one in asked.messages if one["role"] == "assistant"]
        if asked.tools == ["submit_report"] or len(done) >= len(TURNS):
            text, calls = "Done.", [report()]
        else:
            text, calls = TURNS[len(done)]
        return self.stream(asked, text, calls, len(done))

    # --- what it takes ----------------------------------------------------------------------

    def refuse(self, asked: Asked) -> Reaction | None:
        """What it does not support; None if it takes the parameters."""
        if "max_tokens" in asked.body:
            return self.error(
                400,
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                "'max_completion_tokens' instead.",
                param="max_tokens",
                code="unsupported_parameter",
            )
        return None

    def fault_in(self, asked: Asked) -> str:
        """Why it does not take the messages; empty if it does."""
        unknown = set(asked.body) - self.parameters
        if unknown:
            return f"Unrecognized request argument supplied: {min(unknown)}"
        waiting: list[str] = []
        before = ""
        for place, message in enumerate(asked.messages):
            role, content = message["role"], message.get("content")
            own = self.own_of_message if role == "assistant" else frozenset()
            if set(message) - _SENT[role] - own:
                return f"messages[{place}]: {sorted(set(message) - _SENT[role])} is not permitted"
            if (role == "system") != (place == 0):
                return "the system message has to be the first, and the only one"
            if waiting and role != "tool":
                return f"messages[{place}]: no result for {waiting}"
            if role == "tool":
                if not waiting or message["tool_call_id"] != waiting.pop(0):
                    return f"messages[{place}]: a result of no call before it"
            elif role == before:
                return f"messages[{place}]: roles must alternate"
            if not content and not message.get("tool_calls"):
                return f"messages[{place}]: content must be non-empty"
            for call in message.get("tool_calls", ()):
                fault = self.fault_in_call(call)
                if fault:
                    return f"messages[{place}]: {fault}"
                waiting.append(call["id"])
            before = role
        ids = [call["id"] for one in asked.messages for call in one.get("tool_calls", ())]
        return "" if len(ids) == len(set(ids)) else "ids of calls must be unique"

    def fault_in_call(self, call: Mapping[str, Any]) -> str:
        """Why it does not take a call of an earlier reply."""
        if set(call) - {"id", "type", "function"} - self.own_of_call or call["type"] != "function":
            return f"{sorted(call)} is not a call"
        if set(call["function"]) != {"name", "arguments"}:
            return "a function has a name and arguments"
        parsed = json.loads(call["function"]["arguments"])
        return "" if isinstance(parsed, dict) else "arguments have to be an object"

    def error(self, status: int, message: str, **more: Any) -> Reaction:
        return Refuse(status, message, error={"type": "invalid_request_error", **more})

    # --- what it sends ----------------------------------------------------------------------

    def stream(self, asked: Asked, text: str, calls: Sequence[Call], turn: int) -> Reaction:
        lines: list[str] = []
        for event in self.events(asked, text, calls, turn):
            line = event if isinstance(event, str) else "data: " + json.dumps(event)
            lines.append(line + 2 * self.line_end)
        return Raw("".join(lines).encode(), "text/event-stream")

    def events(
        self, asked: Asked, text: str, calls: Sequence[Call], turn: int
    ) -> Iterator[dict[str, Any] | str]:
        yield self.chunk({"role": "assistant", "content": None if calls else "", "refusal": None})
        yield from self.thoughts(turn)
        for piece in (text[:4], text[4:]):
            if piece:
                yield self.chunk({"content": piece})
        for index, call in enumerate(calls):
            yield from map(self.chunk, self.pieces(index, self.call_id(turn, index), call))
        yield self.chunk({}, "tool_calls")
        if asked.body.get("stream_options"):
            yield {**self.head(), "choices": [], "usage": self.usage(asked)}
        yield "data: [DONE]"

    def thoughts(self, turn: int) -> Iterator[dict[str, Any]]:
        del turn
        yield from ()

    def call_id(self, turn: int, index: int) -> str:
        return f"call_{turn}{index}"

    def pieces(self, index: int, call_id: str, call: Call) -> Iterator[dict[str, Any]]:
        written = json.dumps(call[1])
        head = {"id": call_id, "type": "function", "function": {"name": call[0], "arguments": ""}}
        yield {"tool_calls": [{"index": index, **head}]}
        for piece in (written[:5], written[5:]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}

    def usage(self, asked: Asked) -> dict[str, Any]:
        prompt = len(json.dumps(asked.body)) // 4
        return {"prompt_tokens": prompt, "completion_tokens": 20, "total_tokens": prompt + 20}

    def head(self) -> dict[str, Any]:
        return {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m-1"}

    def chunk(self, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self.head(), "choices": [choice], "usage": None}


class OpenAI(Provider):
    """A reasoning model: no temperature but its own, and another name for the length."""

    failures = ("unsupported",) * 4
    without = ("temperature", "max_tokens (max_completion_tokens is sent)")

    def refuse(self, asked: Asked) -> Reaction | None:
        if "temperature" in asked.body:
            return self.error(
                400,
                "Unsupported value: 'temperature' does not support 0.5 with this model. Only the "
                "default (1) value is supported.",
                param="temperature",
                code="unsupported_value",
            )
        return super().refuse(asked)


class VLLM(Provider):
    """Leaves out why a reply ended, and counts its calls' ids for every reply anew."""

    name = "vLLM"
    url = "https://github.com/vllm-project/vllm/issues/27572"
    own_of_message = frozenset({"reasoning_content"})

    def refuse(self, asked: Asked) -> Reaction | None:
        del asked
        return None

    def thoughts(self, turn: int) -> Iterator[dict[str, Any]]:
        for piece in ("ha", "ha"):
            yield self.chunk({"reasoning_content": piece})

    def call_id(self, turn: int, index: int) -> str:
        return f"chatcmpl-tool-{index}"

    def chunk(self, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return super().chunk(delta, None)


class LlamaCpp(Provider):
    """No names of calls' ids, its templates insist on turns, and its lines end as HTTP's do."""

    name = "llama.cpp server"
    url = "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md"
    own_of_message = frozenset({"reasoning_content"})
    failures = ("unsupported", "unsupported")
    without = ("native tools",)
    line_end = "\r\n"

    def refuse(self, asked: Asked) -> Reaction | None:
        if "tools" in asked.body:
            return self.error(500, "tools param requires --jinja flag", code=500)
        return None

    def stream(self, asked: Asked, text: str, calls: Sequence[Call], turn: int) -> Reaction:
        # Without tools, the calls are text.
        done = sum(one["role"] == "assistant" for one in asked.messages)
        if "submit_report" in asked.system and '"name": "note"' not in asked.system:
            text, calls = "Done.", [report()]
        elif done == 0:
            calls = calls[:1]
        name, arguments = calls[0]
        call = json.dumps({"name": name, "arguments": arguments})
        written = f"<think>\n{text}\n</think>\n\n<tool_call>\n{call}\n</tool_call>"
        return super().stream(asked, written, (), turn)

    def events(
        self, asked: Asked, text: str, calls: Sequence[Call], turn: int
    ) -> Iterator[dict[str, Any] | str]:
        yield self.chunk({"role": "assistant", "content": None})
        for start in range(0, len(text), 9):
            yield self.chunk({"content": text[start : start + 9]})
        usage = self.usage(asked)
        yield {**self.chunk({}, "stop"), "timings": {"prompt_n": 1}, "usage": usage}
        yield "data: [DONE]"


class Ollama(Provider):
    """Every call whole with index 0, "stop" for a reason, and a prompt cut to its window unsaid."""

    name = "Ollama"
    url = "https://github.com/ollama/ollama/issues/15457"
    own_of_message = frozenset({"reasoning"})

    def refuse(self, asked: Asked) -> Reaction | None:
        del asked
        return None

    def thoughts(self, turn: int) -> Iterator[dict[str, Any]]:
        yield self.chunk({"role": "assistant", "content": "", "reasoning": f"turn {turn}"})

    def pieces(self, index: int, call_id: str, call: Call) -> Iterator[dict[str, Any]]:
        function = {"name": call[0], "arguments": json.dumps(call[1])}
        calls = [{"id": call_id, "index": 0, "type": "function", "function": function}]
        yield {"role": "assistant", "content": "", "tool_calls": calls}

    def chunk(self, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return super().chunk(delta, finish and "stop")

    def usage(self, asked: Asked) -> dict[str, Any]:
        prompt = min(512, super().usage(asked)["prompt_tokens"])
        return {"prompt_tokens": prompt, "completion_tokens": 20, "total_tokens": prompt + 20}


class Gemini(Provider):
    """Signs the first call of a reply, refuses one without, and writes errors as a list."""

    name = "Gemini"
    url = "https://ai.google.dev/gemini-api/docs/thought-signatures"
    own_of_call = frozenset({"extra_content"})
    failures = ("unsupported", "unsupported")
    without = ("seed",)

    def refuse(self, asked: Asked) -> Reaction | None:
        if "seed" in asked.body:
            return self.error(
                400, 'Invalid JSON payload received. Unknown name "seed": Cannot find field.'
            )
        return None

    def error(self, status: int, message: str, **more: Any) -> Reaction:
        error = {"code": status, "message": message, "status": "INVALID_ARGUMENT", **more}
        return Refuse(status, body=[{"error": error}])

    def fault_in(self, asked: Asked) -> str:
        turn = -1
        for message in asked.messages:
            turn += message["role"] == "assistant"
            for index, call in enumerate(message.get("tool_calls", ())):
                signed = call.get("extra_content")
                if signed != (self.signature(turn) if index == 0 else None):
                    return (
                        "Function call is missing a thought_signature in functionCall parts. This is "
                        "required for tools to work correctly."
                    )
        return super().fault_in(asked)

    def signature(self, turn: int) -> dict[str, Any]:
        return {"google": {"thought_signature": f"SIGNATURE+/{turn}=="}}

    def pieces(self, index: int, call_id: str, call: Call) -> Iterator[dict[str, Any]]:
        function = {"name": call[0], "arguments": json.dumps(call[1])}
        turn = int(call_id.removeprefix("call_")[0])
        signed = {"extra_content": self.signature(turn)} if index == 0 else {}
        calls = [
            {"id": call_id, "index": index, "type": "function", "function": function, **signed}
        ]
        yield {"role": "assistant", "tool_calls": calls}


class Anthropic(Provider):
    """Refuses a forced tool while it thinks, and replies longer than it gives."""

    name = "Anthropic"
    url = "https://docs.anthropic.com/en/api/openai-sdk"
    failures = ("unsupported",) * 3
    without = ("max_tokens", "forced tool")

    def refuse(self, asked: Asked) -> Reaction | None:
        if asked.body.get("max_tokens", 0) > 64_000:
            return self.error(
                400,
                f"max_tokens: {asked.body['max_tokens']} > 64000, which is the maximum allowed number "
                "of output tokens for claude-sonnet-4-20250514",
            )
        if "tool_choice" in asked.body:
            return self.error(400, "Thinking may not be enabled when tool_choice forces tool use.")
        return None

    def call_id(self, turn: int, index: int) -> str:
        return f"toolu_01{turn}{index}"


class DeepSeek(Provider):
    """Wants the reasoning of replies with calls back, and keeps the line alive with comments."""

    name = "DeepSeek"
    url = "https://api-docs.deepseek.com/guides/thinking_mode"
    own_of_message = frozenset({"reasoning_content"})
    failures = ("unsupported",)
    without = ("forced tool",)

    def refuse(self, asked: Asked) -> Reaction | None:
        if "tool_choice" in asked.body:
            return self.error(400, "deepseek-reasoner does not support this tool_choice")
        return None

    def fault_in(self, asked: Asked) -> str:
        written = [one for one in asked.messages if one["role"] == "assistant"]
        for turn, message in enumerate(written):
            if message.get("reasoning_content") != f"thought {turn} thought {turn} ":
                return (
                    "The `reasoning_content` in the thinking mode must be passed back to the API."
                )
        return super().fault_in(asked)

    def thoughts(self, turn: int) -> Iterator[dict[str, Any]]:
        yield self.chunk({"role": "assistant", "content": None, "reasoning_content": ""})
        for _ in range(2):
            yield self.chunk({"content": None, "reasoning_content": f"thought {turn} "})

    def events(
        self, asked: Asked, text: str, calls: Sequence[Call], turn: int
    ) -> Iterator[dict[str, Any] | str]:
        for event in super().events(asked, text, calls, turn):
            yield ": keep-alive"
            yield event


class OpenRouter(Provider):
    """Reasoning in details with an index, comments while it waits, an error in the middle of a stream."""

    name = "OpenRouter"
    url = "https://openrouter.ai/docs/use-cases/reasoning-tokens"
    own_of_message = frozenset({"reasoning", "reasoning_details"})
    failures = ("stream", "unsupported")
    without = ("forced tool",)

    def __init__(self) -> None:
        super().__init__()
        self.broke_off = False

    def refuse(self, asked: Asked) -> Reaction | None:
        if "tool_choice" in asked.body:
            return self.error(
                404,
                "No endpoints found that support the provided 'tool_choice' value. To learn more about "
                "provider routing, visit: https://openrouter.ai/docs/provider-routing",
                code=404,
            )
        return None

    def details(self, turn: int) -> list[dict[str, Any]]:
        form = {"format": "anthropic-claude-v1", "index": 0}
        text = {"type": "reasoning.text", "text": f"because {turn} because ", **form}
        return [
            {**text, "signature": f"SIG{turn}"},
            {"type": "reasoning.encrypted", "data": f"E{turn}", "id": "r1", **form, "index": 1},
        ]

    def fault_in(self, asked: Asked) -> str:
        written = [one for one in asked.messages if one["role"] == "assistant"]
        for turn, message in enumerate(written):
            if message.get("reasoning_details") != self.details(turn):
                return "Upstream error: invalid signature in thinking block of a function call"
        return super().fault_in(asked)

    def thoughts(self, turn: int) -> Iterator[dict[str, Any]]:
        form = {"type": "reasoning.text", "format": "anthropic-claude-v1", "index": 0}
        for piece in (f"because {turn} ", "because "):
            yield self.chunk({"reasoning": piece, "reasoning_details": [{**form, "text": piece}]})
        yield self.chunk({"reasoning_details": [{**form, "signature": f"SIG{turn}"}]})
        yield self.chunk({"reasoning_details": self.details(turn)[1:]})

    def events(
        self, asked: Asked, text: str, calls: Sequence[Call], turn: int
    ) -> Iterator[dict[str, Any] | str]:
        yield ": OPENROUTER PROCESSING"
        if turn == 1 and not self.broke_off:
            self.broke_off = True
            yield self.chunk({"content": "half"})
            error = {"code": 502, "message": "Provider returned error"}
            yield {**self.chunk({"content": ""}, "error"), "error": error}
            return
        yield from super().events(asked, text, calls, turn)

    def usage(self, asked: Asked) -> dict[str, Any]:
        return {**super().usage(asked), "cost": 0.001, "cost_details": {"upstream": None}}


PROVIDERS: tuple[type[Provider], ...] = (
    OpenAI,
    VLLM,
    LlamaCpp,
    Ollama,
    Gemini,
    Anthropic,
    DeepSeek,
    OpenRouter,
)
