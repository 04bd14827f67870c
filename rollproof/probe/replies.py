"""What the probe's clients answer when a server asks them: a form, a sampled message, their roots. Pure.

An answer is made of the question's own words, so an answer that reaches somebody else's question is recognised by
whoever asked. In the legacy era a question is a request of the server's (MCP 2025-11-25, client/elicitation,
client/sampling, client/roots), in the modern one a part of an `input_required` result (SEP-2322). The answers are
the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from rollproof.probe.dialect import CLIENT_INFO, METHOD_NOT_FOUND, Message
from rollproof.probe.options import Activity

ELICIT, SAMPLE, ROOTS = "elicitation/create", "sampling/createMessage", "roots/list"

_ASKED: Mapping[Activity, tuple[str, str]] = {  # capability, and the method that it stands for
    Activity.ELICITATION: ("elicitation", ELICIT),
    Activity.SAMPLING: ("sampling", SAMPLE),
    Activity.ROOTS: ("roots", ROOTS),
}


def capabilities(activities: Iterable[Activity]) -> dict[str, Any]:
    """Of a client that does these: nothing is declared that it would not serve. {} is elicitation's form mode."""
    return {_ASKED[activity][0]: {} for activity in activities if activity in _ASKED}


def served_methods(activities: Iterable[Activity]) -> frozenset[str]:
    return frozenset(_ASKED[activity][1] for activity in activities if activity in _ASKED)


def answer_to(question: str) -> str:
    return f"answer to {question}"


def result_for(method: str, params: Mapping[str, Any], root: str) -> dict[str, Any] | None:
    """The result that answers a server's question; None for what the probe does not serve. `root`: a file URI."""
    match method:
        case "ping":
            return {}
        case "elicitation/create":
            answer = answer_to(str(params.get("message", "")))
            return {"action": "accept", "content": dict.fromkeys(_text_fields(params), answer)}
        case "sampling/createMessage":
            content = {"type": "text", "text": answer_to(_prompt(params))}
            return {"role": "assistant", "content": content, "model": CLIENT_INFO["name"], "stopReason": "endTurn"}
        case "roots/list":
            return {"roots": [{"uri": root, "name": "rollproof"}]}
        case _:
            return None


def reply_to_server(message: Message, served: frozenset[str], root: str) -> Message | None:
    """The message that answers a server's request; None for what needs no reply. Its id may be a number or a text.

    `served`: the methods that this client declared; ping is always answered, all else refused.
    """
    if "method" not in message or message.get("id") is None:
        return None
    method, params = str(message["method"]), message.get("params")
    reply = {"jsonrpc": "2.0", "id": message["id"]}
    if method == "ping" or method in served:
        result = result_for(method, params if isinstance(params, Mapping) else {}, root)
        if result is not None:
            return {**reply, "result": result}
    return {**reply, "error": {"code": METHOD_NOT_FOUND, "message": f"the probe does not serve {method}"}}


def mentions(message: Message, mark: str) -> bool:
    """Whether a message is about the call that `mark` stands in; a question for roots has no words of its own."""
    return message.get("method") == ROOTS or mark in json.dumps(message.get("params"), ensure_ascii=False)


def input_responses(result: Mapping[str, Any], root: str) -> dict[str, Any] | None:
    """What answers an `input_required` result, by its keys; None for any other result, or one that cannot be met."""
    if result.get("resultType") != "input_required":
        return None
    requests = result.get("inputRequests") or {}
    if not isinstance(requests, Mapping):
        return None
    responses: dict[str, Any] = {}
    for key, request in requests.items():
        params = request.get("params") if isinstance(request, Mapping) else None
        method = str(request.get("method", "")) if isinstance(request, Mapping) else ""
        response = result_for(method, params if isinstance(params, Mapping) else {}, root)
        if response is None:
            return None
        responses[str(key)] = response
    return responses


def _text_fields(params: Mapping[str, Any]) -> list[str]:
    schema = params.get("requestedSchema")
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping):
        return []
    return [name for name, each in properties.items() if isinstance(each, Mapping) and each.get("type") == "string"]


def _prompt(params: Mapping[str, Any]) -> str:
    """The last message's text; its content is one part or several, by version."""
    messages = params.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else {}
    content = last.get("content") if isinstance(last, Mapping) else None
    parts = content if isinstance(content, list) else [content]
    return "\n".join(str(part["text"]) for part in parts if isinstance(part, Mapping) and "text" in part)
