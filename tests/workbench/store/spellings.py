"""Ways of writing a key so that it can be read again."""

from __future__ import annotations

import base64
import json
import textwrap
from collections.abc import Callable
from urllib.parse import quote

Spelling = Callable[[str], str]


def _percent(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


def _unicode(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


SPELLINGS: dict[str, Spelling] = {
    "plain": str,
    "within words": lambda key: f"xxx{key}yyy",
    "json unicode": _unicode,
    "json unicode upper": lambda key: "".join(f"\\u{ord(one):04X}" for one in key),
    "one character escaped": lambda key: key[:5] + _unicode(key[5]) + key[6:],
    "json in json": lambda key: json.dumps(json.dumps({"k": _unicode(key)})),
    "json thrice": lambda key: json.dumps(json.dumps(json.dumps(_unicode(key)))),
    "escaped slashes": lambda key: key.replace("-", "\\u002d"),
    "percent": _percent,
    "percent twice": lambda key: quote(_percent(key)),
    "percent of what needs it": lambda key: quote(key, safe=""),
    "percent of json": lambda key: quote(_unicode(key)),
    "html decimal": lambda key: "".join(f"&#{ord(one)};" for one in key),
    "html hexadecimal": lambda key: "".join(f"&#x{ord(one):x};" for one in key),
    "html twice": lambda key: "".join(f"&amp;#{ord(one)};" for one in key),
    "python bytes": lambda key: "".join(f"\\x{ord(one):02x}" for one in key),
    "javascript": lambda key: "".join(f"\\u{{{ord(one):x}}}" for one in key),
    "quoted-printable": lambda key: "".join(f"={ord(one):02X}" for one in key),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 one further": lambda key: base64.b64encode(b"a" + key.encode()).decode(),
    "base64 two further": lambda key: base64.b64encode(b"ab" + key.encode() + b"c").decode(),
    "base64 of a header": lambda key: base64.b64encode(f"Bearer {key}\n".encode()).decode(),
    "base64 for urls": lambda key: base64.urlsafe_b64encode(b"??>" + key.encode()).decode(),
    "base64 without padding": lambda key: base64.b64encode(key.encode()).decode().rstrip("="),
    "base64 in lines": lambda key: "\n".join(
        textwrap.wrap(base64.b64encode(key.encode()).decode(), 10)
    ),
    "base64 in json lines": lambda key: json.dumps(
        "\r\n".join(textwrap.wrap(base64.b64encode(key.encode()).decode(), 10))
    ),
    "base64 twice": lambda key: base64.b64encode(base64.b64encode(key.encode())).decode(),
    "base32": lambda key: base64.b32encode(key.encode()).decode(),
    "hexadecimal": lambda key: key.encode().hex(),
    "hexadecimal upper": lambda key: key.encode().hex().upper(),
    "hexadecimal with colons": lambda key: key.encode().hex(":"),
    "upper case": str.upper,
    "lower case": str.lower,
    "spaced": " ".join,
    "in lines": lambda key: "\n".join(textwrap.wrap(key, 8, break_on_hyphens=False)),
    "in escaped lines": lambda key: "\\n".join(textwrap.wrap(key, 8, break_on_hyphens=False)),
    "dotted": ".".join,
    "listed": lambda key: json.dumps(list(key)),
    "with invisible characters": "\u200b".join,
    "with soft hyphens": "\u00ad".join,
    "from its end": lambda key: key[::-1],
    "first half": lambda key: key[: len(key) // 2],
    "second half": lambda key: key[len(key) // 2 :],
}
