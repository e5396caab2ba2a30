"""What may come over the socket, and what becomes of the rest."""

from __future__ import annotations

import json

import pytest

from workbench.engine import protocol as p
from workbench.engine.engine import Engine

NESTED = b'{"a":' * 40 + b"1" + b"}" * 40


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\xff\xfe\n",
        b"no JSON\n",
        b"[]\n",
        b"[" * 1_000_000,
        b'{"type":"request","id":1,"method":"status","params":{"a":' + NESTED + b"}}\n",
        b'{"type":"request","id":1,"method":"status","extra":1}\n',
        b'{"type":"request","id":"x","method":"status"}\n',
        b'{"type":"order","id":1}\n',
        b'{"type":"notice","topic":"weather"}\n',
    ],
)
def test_what_is_no_message_is_refused_by_name(line: bytes) -> None:
    with pytest.raises(p.BadMessage):
        p.decode(line)


@pytest.mark.parametrize("kind", ["hello", "welcome"])
def test_another_protocol_is_told_from_its_number_alone(kind: str) -> None:
    later = json.dumps({"type": kind, "protocol": 99, "program": "9.9", "new": {}}).encode()
    with pytest.raises(p.OtherProtocol, match=r"9\.9.* speaks protocol 99.*speaks 1"):
        p.decode(later)


def test_a_message_comes_back_as_it_was_sent() -> None:
    for message in (
        p.Hello(pid=3, role="screen", name="pts/1"),
        p.Request(id=1, method="submit", params={"session": "s", "arguments": {"n": 1}}),
        p.Reply(id=1, error=p.ErrorData(type="StoreError", message="no", hint="yes")),
        p.HolderNotice(session="s", holder=None, screens=()),
    ):
        line = p.encode(message)
        assert line.endswith(b"\n")
        assert b"\n" not in line[:-1]
        assert p.decode(line) == message


def test_a_message_that_no_line_holds_is_not_sent() -> None:
    with pytest.raises(p.BadMessage, match="longer than the 1048576"):
        p.encode(p.Request(id=1, method="submit", params={"text": "x" * p.LONGEST_LINE}))


def test_every_order_has_its_answer_and_is_known_to_an_engine() -> None:
    known = set(Engine.__dict__["answer"].dispatcher.registry)
    assert len(p.ORDERS) == 23
    for method, order in p.ORDERS.items():
        assert order in known, method
        assert issubclass(order.answer, p.Wire), method
    assert p.Submit.answer is p.JobData
    assert p.Leave.answer is p.Nothing
