"""A reply put together from what came of it: a whole message, or the pieces of a stream.

Servers that speak the protocol differ in what they stream. Told apart here:

    calls     a new id is a new call, whatever its index, and so is a second whole call; without
              either a piece belongs to the last call of its index. A name is set, not appended,
              unless only both pieces together name a tool
    arguments pieces of a text, an object as it is, or the whole of them once more at the end
    fields    all that the protocol does not know, of the message and of its calls, belongs to the
              provider and is kept as it came, since some want it back
    end       a reason to finish, or the end of the stream after a reply that is whole
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from workbench.agent.nesting import read_json

#: Calls that are taken of one reply.
MOST_CALLS = 64
#: Fields of a message in which servers send the model's reasoning as text.
REASONING = ("reasoning_content", "reasoning")
#: Of a message; what else it has is the provider's own.
_OF_MESSAGE = frozenset({"role", "content", "tool_calls", "function_call"})
_OF_CALL = frozenset({"id", "index", "type", "function"})
_OF_FUNCTION = frozenset({"name", "arguments"})
# In pieces of a provider's own fields these come whole each time; other texts are continued.
_WHOLE = frozenset(
    {"type", "id", "format", "role", "name", "object", "status", "model", "provider"}
)


class _Pieces(list[str]):
    """A text of the provider's own, in the pieces that it came in."""


@dataclass
class AssembledCall:
    """A tool call so far; ``fields`` are the provider's own, ``function`` among them."""

    index: Any
    id: str
    name: str
    pieces: list[str] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> str:
        """The arguments as one text: JSON, unless the server did not send any.

        Where the pieces together are none, the last may be all of them once more.
        """
        joined = "".join(self.pieces)
        if joined.strip() in {"", "null"}:
            return ""
        if len(self.pieces) > 1 and not _is_object(joined):
            for whole in ("".join(self.pieces[:-1]), self.pieces[-1]):
                if _is_object(whole) and _repeats(self.pieces, whole):
                    return whole
        return joined

    @property
    def is_whole(self) -> bool:
        """True if the arguments are an object, or nothing that would have to be one."""
        arguments = self.arguments
        return not arguments or _is_object(arguments)


@dataclass
class Assembly:
    """A reply so far. ``tools`` are the names that a call may have.

    ``size`` counts the characters of text and arguments, ``own_size`` those of the provider's fields.
    """

    tools: Collection[str] = ()
    model: str = ""
    calls: list[AssembledCall] = field(default_factory=list)
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    choices: bool = False
    size: int = 0
    own_size: int = 0
    _texts: list[str] = field(default_factory=list)
    _parts: list[Any] = field(default_factory=list)
    # Texts in pieces, all else merged.
    _own: dict[str, Any] = field(default_factory=dict)

    @property
    def content(self) -> str:
        """The text so far; a refusal's where there is no other."""
        return "".join(self._texts) or self._own_text("refusal")

    @property
    def fields(self) -> dict[str, Any]:
        """The provider's own fields; content whose parts say more than text stands there, too."""
        own = {
            name: "".join(value) if isinstance(value, _Pieces) else value
            for name, value in self._own.items()
        }
        return own | ({"content": self._parts} if any(map(_says_more, self._parts)) else {})

    @property
    def thoughts_size(self) -> int:
        """The characters of its reasoning; a server that sends it in two fields sends it twice."""
        return max(len(self._own_text(name)) for name in REASONING)

    @property
    def is_whole(self) -> bool:
        """True if this can be all of a reply that did not say why it ended."""
        has_content = bool(self.calls or self.content.strip())
        return has_content and all(call.name and call.is_whole for call in self.calls)

    def take(self, chunk: Mapping[str, Any]) -> str:
        """Take a chunk of a stream, or a whole reply; returns the new text of it.

        Raises ``ValueError`` where it is not built as the protocol says.
        """
        if isinstance(chunk.get("model"), str):
            self.model = chunk["model"]
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        self._take_usage(chunk, choice)
        if not isinstance(choice, dict):
            return ""
        self.choices = True
        if choice.get("finish_reason"):
            self.finish_reason = str(choice["finish_reason"])
        piece = self._take_message(_mapping(choice.get("delta"), "delta"), whole=False)
        message = _mapping(choice.get("message"), "message")
        if message:
            # A message is all of the reply, also where pieces of it came before.
            before = "".join(self._texts)
            self._restart(message)
            text = self._take_message(message, whole=True)
            piece += text.removeprefix(before)
        return piece

    def _take_usage(self, chunk: Mapping[str, Any], choice: Any) -> None:
        """Usage stands beside the choices; with some servers in the last choice or in a field of theirs."""
        for place in (chunk, choice, chunk.get("x_groq")):
            if isinstance(place, dict) and isinstance(place.get("usage"), dict):
                self.usage = place["usage"]
                return

    def _restart(self, message: Mapping[str, Any]) -> None:
        if message.get("content"):
            self._texts.clear()
            self._parts.clear()
        if message.get("tool_calls"):
            self.calls.clear()
        for name in message:
            self._own.pop(name, None)

    def _take_message(self, message: Mapping[str, Any], *, whole: bool) -> str:
        piece = self._take_content(message.get("content"))
        calls = message.get("tool_calls") or ()
        if not isinstance(calls, Sequence) or isinstance(calls, str):
            raise ValueError(f"tool_calls is a JSON {type(calls).__name__}")
        taken: list[AssembledCall] = []
        for call in calls:
            if len(self.calls) > MOST_CALLS:
                break
            taken.append(self._take_call(_mapping(call, "tool call"), taken, whole=whole))
        legacy = message.get("function_call")
        if legacy and not calls:
            self._take_call({"function": legacy}, [], whole=whole)
        for name, value in message.items():
            if name not in _OF_MESSAGE and value is not None:
                self._take_own(name, value)
        return piece

    def _take_own(self, name: str, value: Any) -> None:
        self.own_size += _length(value)
        before = self._own.get(name)
        if isinstance(value, str):
            if not isinstance(before, _Pieces):
                before = self._own[name] = _Pieces()
            before.append(value)
        else:
            self._own[name] = _merged(before, value)

    def _own_text(self, name: str) -> str:
        pieces = self._own.get(name)
        return "".join(pieces) if isinstance(pieces, _Pieces) else ""

    def _take_content(self, content: Any) -> str:
        if isinstance(content, list):
            self._parts += content
            self.own_size += sum(_length(part) for part in content if _says_more(part))
        piece = "".join(_texts_of(content))
        self._texts.append(piece)
        self.size += len(piece)
        return piece

    def _take_call(
        self, call: Mapping[str, Any], beside: Sequence[AssembledCall], *, whole: bool
    ) -> AssembledCall:
        """Take a call or a piece of one; ``beside`` are those of the same chunk before it."""
        function = _mapping(call.get("function"), "function")
        name = str(function.get("name") or "")
        call_id, index = str(call.get("id") or ""), call.get("index")
        arguments = function.get("arguments")
        if arguments is None:
            arguments = ""
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments)
        self.size += len(call_id) + len(name) + len(arguments)
        part = None if whole else self._same(call_id, index, name, arguments, beside)
        if part is None:
            part = AssembledCall(index, call_id, name)
            self.calls.append(part)
        else:
            part.id = part.id or call_id
            part.name = self._name(part.name, name)
        if arguments:
            part.pieces.append(arguments)
        own = {key: value for key, value in call.items() if key not in _OF_CALL}
        own_function = {key: value for key, value in function.items() if key not in _OF_FUNCTION}
        if own_function:
            own["function"] = own_function
        if call.get("type") not in {None, "", "function"}:
            own["type"] = call["type"]
        for key, value in own.items():
            if value is not None:
                self.own_size += _length(value)
                part.fields[key] = _merged(part.fields.get(key), value)
        return part

    def _same(
        self, call_id: str, index: Any, name: str, arguments: str, beside: Sequence[AssembledCall]
    ) -> AssembledCall | None:
        """The call that this is a piece of, or None for a new one."""
        found = None
        for part in reversed(self.calls):
            at_index = index is None or part.index is None or part.index == index
            if at_index and (not call_id or not part.id or part.id == call_id):
                found = part
                break
        if found is None or (name and any(found is piece for piece in beside)):
            return None
        if call_id and not found.id and found.name:
            # An id that comes late brings no name.
            return None if name else found
        return None if name and self._begins_anew(found, name, arguments) else found

    def _begins_anew(self, found: AssembledCall, name: str, arguments: str) -> bool:
        """True if a piece with a name is a second call, not the name of the first repeated."""
        before = found.arguments
        if not before:
            named = name in self.tools and found.name in self.tools
            return bool(found.name) and named and name != found.name
        if not before.rstrip().endswith("}") or not _is_object(before):
            return False
        if not arguments:
            return name != found.name
        if not _is_object(arguments):
            return arguments.lstrip().startswith("{")
        return name != found.name or json.loads(arguments) != json.loads(before)

    def _name(self, before: str, piece: str) -> str:
        joined = before + piece
        split = joined in self.tools and not {before, piece} & set(self.tools)
        return joined if split else piece or before


def _merged(before: Any, value: Any) -> Any:
    """A provider's own value with one more piece of it."""
    if before is None:
        return value
    if isinstance(before, dict) and isinstance(value, dict):
        merged = dict(before)
        for key, item in value.items():
            if item is not None:
                old = merged.get(key)
                merged[key] = item if key in _WHOLE else _merged(old, item)
        return merged
    if isinstance(before, list) and isinstance(value, list):
        merged_list = list(before)
        for item in value:
            place = _place(merged_list, item)
            if place is None:
                merged_list.append(item)
            else:
                merged_list[place] = _merged(merged_list[place], item)
        return merged_list
    if isinstance(before, str) and isinstance(value, str):
        # Signatures are sent once or, by some, with every piece.
        opaque = len(value) > 16 and value.startswith(before)
        return value if opaque else before + value
    return value


def _place(items: Sequence[Any], item: Any) -> int | None:
    """Return the place of the item that this piece continues, by index, kind and id; None if new."""
    if not isinstance(item, dict) or item.get("index") is None:
        return None
    for place in reversed(range(len(items))):
        other = items[place]
        if isinstance(other, dict) and other.get("index") == item["index"]:
            same = all(
                None in (other.get(key), item.get(key)) or other[key] == item[key]
                for key in ("type", "id")
            )
            return place if same else None
    return None


def _texts_of(content: Any) -> Iterator[str]:
    """The text of content: of a text, or of the parts of a list that are text."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, str):
                yield part
            elif isinstance(part, dict) and part.get("type") in {None, "text", "output_text"}:
                text = part.get("text")
                if isinstance(text, dict):
                    text = text.get("value")
                if isinstance(text, str):
                    yield text
    elif isinstance(content, dict):
        yield from _texts_of([content])
    elif content is not None:
        raise ValueError(f"content is a JSON {type(content).__name__}")


def _says_more(part: Any) -> bool:
    return isinstance(part, dict) and bool(set(part) - {"type", "text"})


def _repeats(pieces: Sequence[str], whole: str) -> bool:
    """True if ``whole`` repeats the joined pieces before it, or extends them."""
    if whole == pieces[-1]:
        grew = all(whole.startswith(piece) for piece in pieces)
        return grew or whole == "".join(pieces[:-1])
    return _is_object(pieces[-1]) and json.loads(pieces[-1]) == json.loads(whole)


def _is_object(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        return isinstance(read_json(text), dict)
    except ValueError:
        return False


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{name} is a JSON {type(value).__name__}")
    return value


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else len(json.dumps(value))
