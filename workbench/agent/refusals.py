"""The reason why a server refused a request, read off its error, and what can be changed in it.

    feature     a parameter that we sent is named as unsupported: it is left out until the run ends
    too many    more tokens were asked for than it gives in one reply: fewer are, as it names them
    context     the prompt is too long for its window
    form        it does not take the conversation as it is written: sent in a plainer form

That a word such as "tool", "stream" or "function" stands in an error names nothing: results of tools,
upstream servers and functions' schemas have faults of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import unescape
from typing import Any, Literal

Feature = Literal[
    "stream_usage", "forced_tool", "temperature", "seed", "native_tools", "stream", "max_tokens"
]

# How servers say that a prompt is too long for the model: OpenAI, vLLM, llama.cpp, Anthropic, Gemini,
# Ollama, LM Studio, others.
_TOO_LONG = re.compile(
    r"context[ _]length|context[ _](?:window|size|limit)|prompt (?:is )?too long"
    r"|too many (?:input )?tokens|(?:input|prompt) (?:length|tokens?) exceeds?"
    r"|maximum (?:input|prompt) length|input token count .{0,40}exceeds|exceed_context_size"
    r"|inputs?`? tokens .{0,40}must be <=",
    re.IGNORECASE,
)
_NAMES: Mapping[Feature, str] = {
    "stream_usage": r"stream_options|include_usage",
    "forced_tool": r"tool_choice|forced tool use",
    "temperature": r"temperature",
    "seed": r"seed",
    "native_tools": r"tools|tool[ -](?:use|calls?|calling)|functions?[ -]call(?:s|ing)?|functions",
    "stream": r"stream(?:ing)?(?:=true)?",
    "max_tokens": r"max_tokens",
}
_PARAMETERS: Mapping[Feature, str] = {
    "stream_usage": "stream_options",
    "forced_tool": "tool_choice",
    "temperature": "temperature",
    "seed": "seed",
    "native_tools": "tools",
    "stream": "stream",
    "max_tokens": "max_tokens",
}
# In other words than those of _named.
_SPECIAL: Mapping[Feature, str] = {
    # vLLM without a parser of tool calls; llama.cpp without its templates.
    "native_tools": r"auto\"? tool choice requires --|tools param requires --",
    # Anthropic, of a thinking model.
    "forced_tool": r"tool_choice forces tool use|tool_choice param requires --",
    "max_tokens": r"use '?max_completion_tokens'? instead",
}
_UNSUPPORTED = (
    r"(?:not\s+(?:be\s+)?(?:currently\s+|yet\s+)?"
    r"(?:supported|available|allowed|permitted|enabled|implemented|recogni[sz]ed|accepted)"
    r"|unsupported|unknown|unrecogni[sz]ed|disabled)"
)
_FILLER = (
    r"(?:[\s'\"`:=]|\b(?:is|are|was|were|the|this|any|provided|use of|parameters?|params?|fields?"
    r"|arguments?|values?|option|property|extra inputs|currently)\b)*"
)
_REFUSED_KIND = (
    r"(?:unsupported|unknown|unrecogni[sz]ed|unexpected)\s+(?:request\s+|body\s+|keyword\s+)?"
    r"(?:parameter|param|field|argument|name|property|key|keyword|input|value|option)s?"
    r"(?:\s+(?:supplied|provided|argument))?"
)
_CODES = frozenset(
    {"unsupported_parameter", "unsupported_value", "unknown_parameter", "extra_forbidden"}
)
_NOT_ITS_FORM = re.compile(
    r"api[ _-]?key|unauthori[sz]ed|authenticat|permission|credit|billing|quota|balance|payment"
    r"|model\b.{0,60}(?:not found|not exist|unknown|not available|unavailable)|(?:no such|invalid) model"
    r"|\blocation\b|\bregion\b|\bcountry\b|content[ _](?:filter|management|policy)",
    re.IGNORECASE | re.DOTALL,
)
_MISSING = re.compile(
    r"missing|must be (?:passed|provided|present|included|sent)|required", re.IGNORECASE
)
_OUTPUT = re.compile(
    r"\bmax_?(?:completion_?|output_?|new_?)?tokens\b|completion tokens|output tokens"
    r"|in the (?:completion|output)",
    re.IGNORECASE,
)
_TOO_MANY = re.compile(
    r"too (?:large|big|high|many|long)|greater than|at most|less than or equal|exceed|maximum"
    r"|range|larger than|however, you requested|<=|>",
    re.IGNORECASE,
)
_TOO_FEW = re.compile(
    r"at least \d|must be positive|greater than (?:or equal to )?[01]\b", re.IGNORECASE
)
_NUMBER = re.compile(r"(?<![\w.\-])\d[\d,]*(?![\w\-]|\.\d)(\s*\(exclusive\))?")
_WINDOW = re.compile(r"(?:context (?:length|window|size|limit)|max_model_len)\D{0,20}(\d[\d,]*)")
_SENT = re.compile(
    r"(\d[\d,]*) (?:in the messages|of text input|input tokens|prompt tokens|in the prompt)"
    r"|(?:has|contains) (?:at least )?(\d[\d,]*) (?:input|prompt) tokens",
    re.IGNORECASE,
)
#: Fields in which servers write what is wrong, a text or the error itself.
WORDS = ("message", "detail", "error", "msg", "error_message", "error_description")
_HTML = re.compile(r"\s*<(?:!doctype|\?xml|html|head|body|title|center|h1)\b", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_UNSHOWN = re.compile(r"<(script|style)\b.*?</\1\s*>|<!--.*?-->", re.IGNORECASE | re.DOTALL)
#: Characters of a page that its words are taken from.
_LONGEST_PAGE = 20_000
#: Fewer tokens of a reply than these hold no call.
FEWEST_TOKENS = 256


@dataclass(frozen=True)
class Reported:
    """An error as a server reports it; ``code`` and ``param`` are empty where it names none.

    ``forbidden`` are the parameters that a validator of the body's fields forbade.
    """

    message: str
    code: str = ""
    param: str = ""
    forbidden: frozenset[str] = field(default=frozenset())

    @property
    def is_too_long(self) -> bool:
        """True if it says that the prompt is too long for the model."""
        return self.code == "context_length_exceeded" or bool(
            _TOO_LONG.search(self.code + " " + self.message)
        )

    @property
    def may_be_form(self) -> bool:
        """True unless it is about the key, the account, the model or the content."""
        return not _NOT_ITS_FORM.search(self.message)

    @property
    def wants_more(self) -> bool:
        """True if it misses something that it was not sent."""
        return bool(_MISSING.search(self.message))

    def refuses(self, feature: Feature) -> bool:
        """True if it names the parameter of the feature as unsupported."""
        parameter = _PARAMETERS[feature]
        if parameter in self.forbidden:
            return True
        unsupported = self.code in _CODES or re.search(_UNSUPPORTED, self.message, re.IGNORECASE)
        if self.param == parameter and unsupported:
            return True
        return _named(_NAMES[feature], self.message) or bool(
            feature in _SPECIAL and re.search(_SPECIAL[feature], self.message, re.IGNORECASE)
        )

    def names_unsupported(self, name: str) -> bool:
        """True if it names a field of a message as unsupported, anywhere in the message."""
        return name in self.forbidden or _named(
            rf"(?:[\w\[\].]+\.)?{re.escape(name)}", self.message
        )

    def fewer_tokens(self, asked: int) -> int | None:
        """The tokens of a reply to ask for instead, or None if it does not say that it were too many.

        What it names, or what its window leaves; else half.
        """
        text = self.message
        about = self.param.startswith("max_") or _OUTPUT.search(text)
        if not about or not _TOO_MANY.search(text) or _TOO_FEW.search(text):
            return None
        window, sent = _WINDOW.search(text), _SENT.search(text)
        if window and sent:
            left = _int(window[1]) - _int(sent[1] or sent[2])
            return left if FEWEST_TOKENS <= left < asked else None
        if window and not self.param.startswith("max_") and self.is_too_long:
            return None
        named = [_int(found[0]) - bool(found[1]) for found in _NUMBER.finditer(text)]
        fewer = [number for number in named if 1 < number < asked]
        return max(fewer) if fewer else asked // 2 if asked >= 2 * FEWEST_TOKENS else None


def error_in(value: Mapping[str, Any]) -> Reported | None:
    """The error that a body or a chunk of a stream is, if it is one."""
    error = value.get("error")
    if not error and (value.get("object") == "error" or value.get("type") == "error"):
        error = value
    told = "detail" in value or any(isinstance(value.get(name), str) for name in WORDS)
    if not error and told and not value.get("choices"):
        error = value
    if not error:
        choices = value.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        error = choice.get("error") if isinstance(choice, dict) else None
    return reported(error) if error else None


def reported(error: Any) -> Reported:
    """An error's fields, of the JSON or the text that a server sent; without words, an empty message."""
    if isinstance(error, list) and error and isinstance(error[0], dict):
        # Gemini's.
        error = error[0].get("error", error[0])
    if not isinstance(error, dict):
        return Reported("" if error is None else _written(error))
    words = next(filter(None, map(error.get, WORDS)), error)
    code = error.get("code") or error.get("type") or error.get("error_type")
    param = error.get("param")
    return Reported(
        _written(words),
        str(code or ""),
        param if isinstance(param, str) else "",
        frozenset(_forbidden(error)),
    )


def plain_text(text: str) -> str:
    """Return the words of a text; of an HTML page those that it shows, in one line."""
    if not _HTML.match(text):
        return text.strip()
    return " ".join(unescape(_TAG.sub(" ", _UNSHOWN.sub(" ", text[:_LONGEST_PAGE]))).split())


def _written(words: Any) -> str:
    return plain_text(words) if isinstance(words, str) else json.dumps(words)


def _forbidden(value: Any, depth: int = 0) -> Iterator[str]:
    """The fields that pydantic's errors, as servers pass them on, forbid."""
    if depth > 6:
        return
    if isinstance(value, list):
        for item in value:
            yield from _forbidden(item, depth + 1)
    elif isinstance(value, dict):
        place = value.get("loc")
        if isinstance(place, list) and place and value.get("type") == "extra_forbidden":
            yield str(place[-1])
        for item in value.values():
            yield from _forbidden(item, depth + 1)


def _named(name: str, message: str) -> bool:
    whole = rf"(?<![\w.\-/\[])(?:{name})(?!\w|\[|\.\w|-\w)"
    patterns = (
        whole + _FILLER + _UNSUPPORTED,
        r"(?:\bno\b[^.]{0,40}?|\bnot|n't|\bcannot)\s+support(?:s|ed)?\b" + _FILLER + whole,
        _REFUSED_KIND + _FILLER + whole,
    )
    return any(re.search(pattern, message, re.IGNORECASE) for pattern in patterns)


def _int(digits: str) -> int:
    return int(re.sub(r"\D", "", digits) or "0")
