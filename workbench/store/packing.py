"""Bodies kept compactly: token lists, of which an audit records hundreds that nobody looks at.

The column `body` of such an event keeps what its list is of, and `packed` the whole body, of which
the event's hash is. Packed bytes begin with how they were packed:

    1   the body's text, deflated
    2   the text with its tokens set apart by column, then their numbers as float64, the bytes of
        one significance together; deflated

Both use `_KNOWN`, which can therefore never change: a better one is another first byte.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

from workbench.store.encoding import canonical_json

#: What stays legible; of a list that was chosen the texts of its tokens, too.
LEGIBLE = ("chosen", "kind", "layer", "position", "reading", "scale", "side", "source")

#: More than any body has; what claims to be larger is damaged or made to fill the memory.
LONGEST_BODY = 64 * 2**20

_KIND = "reading_taken"
_TEXT, _COLUMNS = b"\x01", b"\x02"
_LISTS = ("tokens", "unfiltered")
_FIELDS = {"id", "probability", "score", "text"}

# The ends are the cheapest to point to.
_KNOWN = (
    rb'"man -> man\n1135 -> 1135\nhello -> hello\n?","bear -> bear\n42 -> 42\nblue -> blue\n?",'
    rb'"921 -> 921\ntarget -> target\nanna -> anna\n?" the of and to in is that for on with as are '
    b'"norm":"agreement":1.0"cosine":"largest","entropy":"kurtosis":"probability":null,"score":'
    b'{"id":1,"probability":0.1,"score":1.0,"text":" a"},{"id":2,"probability":1e-06,"score":'
    b'{"chosen":true,"chosen_by":"rule: the scale on which most of the lists agree","chosen":false,'
    b'"chosen_by":"","kind":"reading_taken","layer":14,"position":"pooled","reading":"logit_lens",'
    b'"reading":"patchscope","position":"1-4","reading":"patchscope_contrast","scale":null,'
    b'"scale":20.0,"settings":{"candidate_fraction":0.1,"context_tokens":[4,16],"contexts":64,'
    b'"difference":"","identity_prompts":[],"residual_norm":100.0,"seed":0,"texts":""},"side":"base"'
    b',"side":"finetuned","source":"negative","source":"random","source":"split_half",'
    b'"source":"difference","statistics":{},"tokens":[[],[],[" ","," "],"unfiltered":[[],[],[]],'
    b'"words_only":false"words_only":true}'
)


def stored(kind: str, body: str) -> tuple[str, bytes | None]:
    """Return the columns `body` and `packed` of a body (canonical JSON)."""
    if kind != _KIND:
        return body, None
    value = json.loads(body)
    legible = _legible(value)
    try:
        packed = _COLUMNS + _deflated(_by_column(value))
        if whole(packed) == body:
            return legible, packed
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, struct.error):
        pass  # a list of another make than today's
    return legible, _TEXT + _deflated(body.encode())


def legible_part(body: str) -> str:
    """The part of a packed body (canonical JSON) that the column `body` keeps."""
    return _legible(json.loads(body))


def _legible(value: dict[str, Any]) -> str:
    legible = {name: value[name] for name in LEGIBLE if name in value}
    if value.get("chosen"):
        legible["tokens"] = [token["text"] for token in value["tokens"]]
    return canonical_json(legible)


def whole(packed: object) -> str:
    """The body that was packed. Raises `ValueError` for bytes that are none."""
    if not isinstance(packed, bytes) or packed[:1] not in {_TEXT, _COLUMNS}:
        raise ValueError("not packed by this program")
    plain = _inflated(packed[1:])
    return plain.decode() if packed[:1] == _TEXT else _from_columns(plain)


def whole_or_nothing(packed: object) -> str:
    """`whole` for SQLite: an empty text, which is no body, where it cannot be unpacked."""
    try:
        return whole(packed)
    except (ValueError, TypeError, KeyError, IndexError, struct.error):
        return ""


def _by_column(value: dict[str, Any]) -> bytes:
    numbers: list[float] = []
    for name in _LISTS:
        tokens = value[name]
        if any(token.keys() != _FIELDS for token in tokens):
            raise ValueError("a token of another make")
        likely = [token["probability"] for token in tokens]
        numbers += [token["score"] for token in tokens]
        numbers += [item for item in likely if item is not None]
        value[name] = [
            [token["id"] for token in tokens],
            [index for index, item in enumerate(likely) if item is not None]
            if None in likely
            else [],
            [token["text"] for token in tokens],
            len(likely) - likely.count(None),
        ]
    raw = struct.pack(f"<{len(numbers)}d", *numbers)
    shuffled = b"".join(raw[place::8] for place in range(8))
    return canonical_json(value).encode() + b"\n" + shuffled


def _from_columns(plain: bytes) -> str:
    text, _, shuffled = plain.partition(b"\n")
    value = json.loads(text)
    count = len(shuffled) // 8
    raw = bytearray(8 * count)
    for place in range(8):
        raw[place::8] = shuffled[place * count : (place + 1) * count]
    numbers = iter(struct.unpack(f"<{count}d", raw))
    for name in _LISTS:
        ids, places, texts, known = value[name]
        scores = [next(numbers) for _ in ids]
        likely: list[float | None] = [None] * len(ids)
        for place in places or range(known):
            likely[place] = next(numbers)
        value[name] = [
            {"id": id_, "probability": probability, "score": score, "text": word}
            for id_, probability, score, word in zip(ids, likely, scores, texts, strict=True)
        ]
    return canonical_json(value)


def _deflated(plain: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=_KNOWN)
    return packer.compress(plain) + packer.flush()


def _inflated(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(-15, zdict=_KNOWN)
    try:
        plain = unpacker.decompress(data, LONGEST_BODY)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("cut, or longer than a body can be")
    return plain
