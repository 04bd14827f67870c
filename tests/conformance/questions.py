"""Tools that ask the client: over the back channel (legacy), or by multi-round-trip results (2026-07-28, SEP-2322).

The names, the keys of the input requests and what an answer must contain are the suite's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import mcp_types as types
from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types.jsonrpc import MISSING_REQUIRED_CLIENT_CAPABILITY
from pydantic import BaseModel

Rounds = str | types.InputRequiredResult
_STATE = "what the first round saw"


class Login(BaseModel):
    username: str
    email: str


class Status(StrEnum):
    ACTIVE = "active"
    INACTIVE = "inactive"
    PENDING = "pending"


class Defaults(BaseModel):
    """One field of each primitive type, each with a default (SEP-1034)."""

    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: Status = Status.ACTIVE
    verified: bool = True


def _choices() -> dict[str, Any]:
    """The five ways to write a choice (SEP-1330)."""

    def titled(word: str) -> list[dict[str, str]]:
        return [
            {"const": f"value{n}", "title": f"{nth} {word}"} for n, nth in enumerate(("First", "Second", "Third"), 1)
        ]

    plain = {"type": "string", "enum": ["option1", "option2", "option3"]}
    legacy = {"enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option One", "Option Two", "Option Three"]}
    properties = {
        "untitledSingle": plain,
        "titledSingle": {"type": "string", "oneOf": titled("Option")},
        "legacyEnum": {"type": "string", **legacy},
        "untitledMulti": {"type": "array", "minItems": 1, "maxItems": 3, "items": plain},
        "titledMulti": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"anyOf": titled("Choice")}},
    }
    return {"type": "object", "properties": properties, "required": []}


# Over the back channel


async def test_sampling(prompt: str, ctx: Context) -> str:
    """Let the client's model answer."""
    messages = [types.SamplingMessage(role="user", content=types.TextContent(type="text", text=prompt))]
    result = await ctx.session.create_message(messages, max_tokens=100, related_request_id=ctx.request_id)
    return f"the model says: {_sampled(result)}"


async def test_elicitation(message: str, ctx: Context) -> str:
    """Ask the user for a name and an address."""
    return f"the user says: {await ctx.elicit(message, Login)}"


async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    """Ask with a form that is filled in already."""
    return f"the user says: {await ctx.elicit('Is this right?', Defaults)}"


async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    """Ask for choices of every kind."""
    result = await ctx.session.elicit("Choose.", _choices(), related_request_id=ctx.request_id)
    return f"the user says: {result.action}, {json.dumps(result.content)}"


# By multi-round-trip results


def ask(message: str, field: str, kind: str = "string") -> types.ElicitRequest:
    schema = {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}
    params = types.ElicitRequestFormParams(message=message, requested_schema=schema)
    return types.ElicitRequest(method="elicitation/create", params=params)


def _sample(text: str) -> types.CreateMessageRequest:
    message = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=text))
    params = types.CreateMessageRequestParams(messages=[message], max_tokens=100)
    return types.CreateMessageRequest(method="sampling/createMessage", params=params)


def _roots() -> types.ListRootsRequest:
    return types.ListRootsRequest(method="roots/list")


NAME = {"user_name": ask("What is your name?", "name")}
CAPITAL = {"capital_question": _sample("What is the capital of France?")}
ROOTS = {"client_roots": _roots()}


def input_required(requests: Mapping[str, Any], state: str | None = None) -> types.InputRequiredResult:
    return types.InputRequiredResult(result_type="input_required", input_requests=dict(requests), request_state=state)


def has_answered(ctx: Context, keys: Sequence[str]) -> bool:
    return ctx.input_responses is not None and all(key in ctx.input_responses for key in keys)


def answer_to(ctx: Context, key: str) -> Any:
    """The client's result for this input request; a ToolError where there is none of the right kind."""
    answer = (ctx.input_responses or {}).get(key)
    if answer is None:
        raise ToolError(f"no answer to {key}")
    return answer


def field_of(answer: Any, field: str) -> str:
    """A field of the form; "" where the user declined, or filled in something else."""
    content = answer.content if isinstance(answer, types.ElicitResult) else None
    return str((content or {}).get(field, ""))


def _sampled(answer: Any) -> str:
    content = answer.content if isinstance(answer, types.CreateMessageResult) else None
    return content.text if isinstance(content, types.TextContent) else ""


async def test_input_required_result_elicitation(ctx: Context) -> Rounds:
    """Ask for a name and greet it. Asked again while the answer is missing."""
    if not has_answered(ctx, [*NAME]):
        return input_required(NAME)
    return f"Hello, {field_of(answer_to(ctx, 'user_name'), 'name')}!"


async def test_streaming_elicitation(ctx: Context) -> Rounds:
    """Ask after a progress notification: the stream may carry that, and no request (SEP-2575)."""
    await ctx.report_progress(1, 2)
    return await test_input_required_result_elicitation(ctx)


async def test_input_required_result_sampling(ctx: Context) -> Rounds:
    """Let the client's model answer."""
    if not has_answered(ctx, [*CAPITAL]):
        return input_required(CAPITAL)
    return f"the model says: {_sampled(answer_to(ctx, 'capital_question'))}"


async def test_input_required_result_list_roots(ctx: Context) -> Rounds:
    """Ask for the client's roots."""
    if not has_answered(ctx, [*ROOTS]):
        return input_required(ROOTS)
    return f"roots: {[str(root.uri) for root in answer_to(ctx, 'client_roots').roots]}"


async def test_input_required_result_request_state(ctx: Context) -> Rounds:
    """Give the client a state to bring back; "state-ok" if it did."""
    if not has_answered(ctx, ["confirm"]):
        return input_required({"confirm": ask("Go on?", "ok", "boolean")}, _STATE)
    if ctx.request_state != _STATE:
        raise ToolError("another state came back than was given")
    return "state-ok"


async def test_input_required_result_tampered_state(ctx: Context) -> Rounds:
    """The same. A forged state is refused before a tool sees it."""
    return await test_input_required_result_request_state(ctx)


async def test_input_required_result_multiple_inputs(ctx: Context) -> Rounds:
    """Ask for three things at once."""
    requests = {**NAME, "greeting": _sample("Greet somebody."), **ROOTS}
    if not has_answered(ctx, [*requests]):
        return input_required(requests, _STATE)
    return f"{len(requests)} answers for {field_of(answer_to(ctx, 'user_name'), 'name')}"


async def test_input_required_result_multi_round(ctx: Context) -> Rounds:
    """Ask twice; the second round's state carries the first one's answer."""
    if has_answered(ctx, ["step2"]):
        return f"{ctx.request_state} likes {field_of(answer_to(ctx, 'step2'), 'color')}"
    if has_answered(ctx, ["step1"]):
        name = field_of(answer_to(ctx, "step1"), "name")
        return input_required({"step2": ask("Which colour do you like?", "color")}, f"second round: {name}")
    return input_required({"step1": ask("What is your name?", "name")}, "first round")


async def test_input_required_result_capabilities(ctx: Context) -> Rounds:
    """Ask only what this client can answer."""
    possible = {"sampling": CAPITAL, "elicitation": NAME, "roots": ROOTS}
    requests = {k: v for name, request in possible.items() if _has(ctx, name) for k, v in request.items()}
    return input_required(requests) if requests and not ctx.input_responses else "nothing left to ask"


async def test_missing_capability(ctx: Context) -> str:
    """Refuse clients that have not declared sampling with this very request (SEP-2575)."""
    if _has(ctx, "sampling"):
        return "sampling is declared"
    needed = types.ClientCapabilities(sampling=types.SamplingCapability())
    data = types.MissingRequiredClientCapabilityErrorData(required_capabilities=needed)
    raise MCPError(
        code=MISSING_REQUIRED_CLIENT_CAPABILITY,
        message="this tool needs the sampling capability",
        data=data.model_dump(by_alias=True, exclude_none=True),
    )


def _has(ctx: Context, capability: str) -> bool:
    client = ctx.session.client_params
    return client is not None and getattr(client.capabilities, capability) is not None


async def test_input_required_result_prompt(ctx: Context) -> Rounds:
    """A prompt that asks before it answers."""
    if not has_answered(ctx, ["user_context"]):
        return input_required({"user_context": ask("For what?", "context")})
    return f"Write about {field_of(answer_to(ctx, 'user_context'), 'context')}."


TOOLS = (
    test_sampling,
    test_elicitation,
    test_elicitation_sep1034_defaults,
    test_elicitation_sep1330_enums,
    test_input_required_result_elicitation,
    test_streaming_elicitation,
    test_input_required_result_sampling,
    test_input_required_result_list_roots,
    test_input_required_result_request_state,
    test_input_required_result_tampered_state,
    test_input_required_result_multiple_inputs,
    test_input_required_result_multi_round,
    test_input_required_result_capabilities,
    test_missing_capability,
)


def register(mcp: FastMCP) -> None:
    """Everything of this module, under the suite's names."""
    for tool in TOOLS:
        mcp.tool(tool)
    mcp.prompt(test_input_required_result_prompt)
