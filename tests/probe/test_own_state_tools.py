"""A session's state through tools of the user's own: what was written is looked for in what is read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollproof.core.errors import UsageError
from rollproof.probe.answer import Answer
from rollproof.probe.checker import STATE_MISSING, SessionTruth
from rollproof.probe.judge import judge
from rollproof.probe.options import ProbeOptions
from rollproof.probe.plan import Read, Write, choose_plan

OPTIONS = ProbeOptions("http://localhost/mcp", write_tool="note_down", read_tool="recall")


def tool(name: str, **arguments: str) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"properties": {key: {"type": kind} for key, kind in arguments.items()}}}


RECALL = tool("recall")


def answer(text: str) -> Answer:
    return Answer(0.0, 1.0, http_status=200, result={"content": [{"type": "text", "text": text}]})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"text": "string"}, {"text": "call_2/s1"}),
        ({"title": "string", "stars": "integer", "text": "string"}, {"title": "seq_2", "text": "call_2/s1"}),
        ({"value": "string", "key": "string"}, {"key": "seq_2", "value": "call_2/s1"}),
    ],
)
def test_a_write_fills_the_text_arguments(arguments: dict[str, str], said: dict[str, str]) -> None:
    plan = choose_plan(OPTIONS, [tool("note_down", **arguments), RECALL])
    write, read = plan.steps("s1", 2)
    assert (write.tool, write.arguments, read) == ("note_down", said, Read("recall", {}, is_by_text=True))
    assert plan.last_read() == read


def test_a_read_has_to_show_all_that_was_acknowledged() -> None:
    truth = SessionTruth()
    for number in (1, 2):
        judge(Write("note_down", {}, f"seq_{number}", f"call_{number}/s1"), answer("noted"), truth)
    read = Read("recall", {}, is_by_text=True)
    whole = judge(read, answer('["call_1/s1", "call_2/s1", "of somebody else"]'), truth)
    assert (whole.ok, whole.fields) == (True, {"step": "read", "expected_size": 2})
    half = judge(read, answer("call_2/s1"), truth)
    assert (half.signature, half.error) == (STATE_MISSING, "1 acknowledged and gone: seq_1")
    gone = judge(read, Answer(0.0, 1.0, http_status=404), truth)
    assert (gone.signature, gone.fields) == ("404", {"step": "read"})


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ([RECALL], "the server has no tool 'note_down'"),
        ([tool("note_down", text="string")], "the server has no tool 'recall'"),
        ([tool("note_down", stars="integer"), RECALL], "the tool 'note_down' takes no text"),
    ],
)
def test_tools_that_are_not_there_or_cannot_be_written_with(tools: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        choose_plan(OPTIONS, tools)


def test_one_without_the_other_is_refused() -> None:
    with pytest.raises(UsageError, match="write_tool and read_tool go together"):
        replace(OPTIONS, read_tool="").validate()
    with pytest.raises(UsageError, match="write_tool and read_tool go together"):
        replace(OPTIONS, tool="other").validate()
