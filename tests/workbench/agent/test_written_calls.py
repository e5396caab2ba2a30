"""Calls in the text of a reply: in the ways that models write them, and never a quoted one."""

from __future__ import annotations

import json

import pytest

from tests.workbench.agent.scripted import Asked, Raw, Reaction, Say, json_say, report, serving
from workbench.agent.conversation import calls_in
from workbench.agent.endpoint import Endpoint
from workbench.agent.loop import AuditPlan, start_audit
from workbench.agent.written_calls import written_calls
from workbench.operations.running import Session
from workbench.store.agent_events import AgentReplied, Usage

NOTE = '{"tool": "note", "arguments": {"text": "one"}}'
NAMED = '{"name": "note", "arguments": {"text": "one"}}'
ONE = {
    "as asked for": NOTE,
    "in a fence": f"```json\n{NOTE}\n```",
    "in a fence without a name": f"```\n{NOTE}\n```",
    "thoughts": f"<think>hm</think>\n{NOTE}",
    "thoughts that were opened in the prompt": f"hm, a note\n</think>\n\n{NOTE}",
    "a closing tag alone": f"</think>{NOTE}",
    "an opening tag alone": f"<think>\n{NOTE}",
    "thoughts without an end": f"<think>\nI note it.\n{NOTE}",
    "other tags": f"<thinking>hm</thinking>{NOTE}",
    "thoughts and a fence": f"<think>hm</think>\n```json\n{NOTE}\n```",
    "with parameters": '{"name": "note", "parameters": {"text": "one"}}',
    "a block": f"<tool_call>\n{NAMED}\n</tool_call>",
    "a block on one line": f"<tool_call>{NAMED}</tool_call>",
    "a block without an end": f"<tool_call>\n{NAMED}",
    "a block after thoughts": f"<think>hm</think>\n\n<tool_call>\n{NAMED}\n</tool_call>",
    "a block after thoughts without an end": f"<think>hm\n<tool_call>\n{NAMED}\n</tool_call>",
    "a block after a closing tag": f"hm</think>\n<tool_call>\n{NAMED}\n</tool_call>\n",
    "a block after words": f"I note it.\n<tool_call>\n{NAMED}\n</tool_call>",
    "a block as we ask": f"<tool_call>{NOTE}</tool_call>",
    "a block with a fence": f"<tool_call>\n```json\n{NAMED}\n```\n</tool_call>",
    "as Python has it": "<tool_call>{'name': 'note', 'arguments': {'text': 'one'}}</tool_call>",
    "a call of Python's": '<tool_call>note(text="one")</tool_call>',
    "tags for all": (
        "<tool_call>\n<function=note>\n<parameter=text>\none\n</parameter>\n</function>\n</tool_call>"
    ),
    "arguments as text": json.dumps({"name": "note", "arguments": '{"text": "one"}'}),
}


@pytest.mark.parametrize("content", ONE.values(), ids=ONE)
def test_a_call_is_found(content: str):
    (call,) = written_calls(content)
    assert (call.name, json.loads(call.arguments)) == ("note", {"text": "one"})


def test_several_blocks_are_several_calls():
    block = f"<tool_call>\n{NAMED}\n</tool_call>"
    assert [call.name for call in written_calls(block + "\n" + block)] == ["note", "note"]


def test_several_objects_one_a_line_are_several_calls():
    """As a conversation without tools has an earlier reply of several calls."""
    other = json.dumps({"thought": "", "tool": "ask", "arguments": {}})
    assert [call.name for call in written_calls(f"{NOTE}\n\n{other}\n")] == ["note", "ask"]


def test_a_call_without_arguments_may_leave_them_out():
    (call,) = written_calls('{"thought": "so", "tool": "show_samples", "id": 3}')
    assert (call.name, call.arguments) == ("show_samples", "{}")


def test_what_python_knows_and_json_does_not_is_read():
    (call,) = written_calls("{'tool': 'ask', 'arguments': {'raw': True, 'seed': None}}")
    assert json.loads(call.arguments) == {"raw": True, "seed": None}


@pytest.mark.parametrize(
    "content",
    [
        "",
        f"The model wrote {NOTE}",
        f"{NOTE} is what it wrote",
        f"{NOTE}\n{NOTE}\nThat is all.",
        f"{NOTE}\n5",
        f"{NOTE} {NOTE}",
        '{"tool": "note", "args": {"text": "one"}}',
        '{"tool": "note", "input": {"text": "one"}, "thought": "so"}',
        '{"thought": "so", "tool": "note", "text": "one"}',
        f"<tool_call>{NAMED}</tool_call> is what it wrote.",
        f"It wrote <tool_call>{NAMED}</tool_call>",
        f"It wrote\n<tool_call>{NAMED}</tool_call>\nand went on.",
        f"<tool_call>{NAMED}</tool_call>\nand\n<tool_call>{NAMED}</tool_call>",
        "<tool_call>{</tool_call>",
        "<tool_call></tool_call>",
        f"<think>{NOTE}</think>",
        f"<think>{NOTE}\nIt wrote that.",
        '{"name": "cake"}',
        '{"tool": 5, "arguments": {}}',
        "[]",
        "5",
        "note",
        "__import__('os').system('true')",
        "{'tool': 'note', 'arguments': {1, 2}}",
        "<tool_call>note(open('x'))</tool_call>",
        "(" * 5_000,
        "{'a': " * 5_000,
        "\n" * 200_000 + "<tool_call>",
    ],
    ids=lambda content: content[:40],
)
def test_what_is_no_call_is_none(content: str):
    assert written_calls(content) == ()


def reply_with(content: str, **fields: object) -> AgentReplied:
    return AgentReplied(
        exchange_id="x",
        run_id="r",
        model="m",
        content=content,
        finish_reason="stop",
        usage=Usage(prompt_tokens=1, completion_tokens=1),
        seconds=0.1,
        provider_fields=fields,
    )


def test_a_call_that_was_taken_for_reasoning_is_one_where_there_is_nothing_else():
    assert calls_in(reply_with("", reasoning_content=NOTE))
    assert not calls_in(reply_with("", reasoning_content=f"I could write {NOTE}"))
    assert not calls_in(reply_with("no", reasoning_content=NOTE))
    assert not calls_in(reply_with("", reasoning_details=[{"text": NOTE}]))


def test_an_audit_goes_on_with_every_way_of_writing_a_call(fresh: Session):
    ways = [ONE[name] for name in ("a closing tag alone", "a block after words", "tags for all")]
    parts = [{"type": "text", "text": NOTE[:9]}, {"type": "text", "text": NOTE[9:]}]

    def script(asked: Asked) -> Reaction:
        if asked.n_replies < len(ways):
            return Say(ways[asked.n_replies])
        if asked.n_replies == len(ways):
            message = {"role": "assistant", "content": parts}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return Raw(json.dumps({"id": "x", "model": "m", "choices": [choice]}).encode())
        return json_say(*report())

    with serving(script, tools=False) as server:
        endpoint = Endpoint(server.settings(stream=False))
        state = start_audit(fresh, endpoint, AuditPlan(model="scripted"))
        endpoint.close()
    assert state.stopped_by == "report"
    assert [one.body.text for one in fresh.state.notes] == ["one"] * 4
    assert len(server.asked) == 6
