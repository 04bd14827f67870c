"""Tools, resources and prompts that answer without asking anybody: what the suite lists, calls and reads.

The names and what each must return are the suite's (`@modelcontextprotocol/conformance`, src/scenarios/server/*.ts,
"Server Implementation Requirements"); a comment says so where the behaviour is not obvious from the name.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import struct
import wave
import zlib
from typing import Annotated, Any

import mcp_types as types
from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.prompts import Message
from fastmcp.tools.function_tool import FunctionTool
from pydantic import Field

Content = list[types.ContentBlock]


def _png() -> bytes:
    """One red pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\x00\xff\x00\x00")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _wav() -> bytes:
    """A hundredth of a second of silence."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(160))
    return buffer.getvalue()


PNG, WAV = _png(), _wav()


def _text(text: str) -> types.TextContent:
    return types.TextContent(type="text", text=text)


def _image() -> types.ImageContent:
    return types.ImageContent(type="image", data=base64.b64encode(PNG).decode(), mime_type="image/png")


def _embedded(uri: str, mime_type: str, text: str) -> types.EmbeddedResource:
    resource = types.TextResourceContents(uri=uri, mime_type=mime_type, text=text)
    return types.EmbeddedResource(type="resource", resource=resource)


async def test_simple_text() -> str:
    """Answer with a text."""
    return "a text"


async def test_image_content() -> Content:
    """Answer with an image."""
    return [_image()]


async def test_audio_content() -> Content:
    """Answer with a sound."""
    return [types.AudioContent(type="audio", data=base64.b64encode(WAV).decode(), mime_type="audio/wav")]


async def test_embedded_resource() -> Content:
    """Answer with a resource."""
    return [_embedded("test://embedded-resource", "text/plain", "a resource inside an answer")]


async def test_multiple_content_types() -> Content:
    """Answer with a text, an image and a resource."""
    return [_text("one of three"), _image(), _embedded("test://mixed", "application/json", '{"third": true}')]


async def test_error_handling() -> str:
    """Always fail."""
    raise ToolError("this tool fails on purpose")


async def test_tool_with_logging(ctx: Context) -> str:
    """Log three lines to the client, some time apart."""
    for line in ("begun", "half way", "done"):
        await ctx.info(line)
        await asyncio.sleep(0.05)
    return "three lines logged"


async def test_logging_tool(ctx: Context) -> str:
    """Log a line, which only a client that set a log level may be sent (SEP-2575)."""
    await ctx.info("for those who asked")
    return "one line logged"


async def test_tool_with_progress(ctx: Context) -> str:
    """Report progress three times, some time apart."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100)
        await asyncio.sleep(0.05)
    return "progress reported"


async def test_reconnection(ctx: Context) -> str:
    """Close the answer's stream before the answer: only a resumed stream can bring it (SEP-1699)."""
    await ctx.close_sse_stream()
    await asyncio.sleep(0.1)
    return "answered after the stream was closed"


async def test_custom_headers(message: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Message"})]) -> str:
    """An argument that the client also sends as a header (SEP-2243)."""
    return f"message: {message}"


# The schema of json_schema_2020_12_tool, as SEP-1613 and SEP-2106 have it: every keyword must reach the client.
_SCHEMA_2020_12: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


async def _contact(
    name: str = "",
    address: dict[str, str] | None = None,
    contactMethod: str = "",
    phone: str = "",
    email: str = "",
) -> str:
    return f"{name}: {contactMethod or 'either'}, {phone or email}, {address}"


async def static_text() -> str:
    return "a text that never changes"


async def static_binary() -> bytes:
    return PNG


async def of_template(id: str) -> str:
    return json.dumps({"id": id})


async def test_simple_prompt() -> str:
    """A prompt without arguments."""
    return "Say something."


async def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """A prompt that repeats its arguments."""
    return f"Compare {arg1} with {arg2}."


async def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:
    """A prompt with a resource in it."""
    return [Message(_embedded(resourceUri, "text/plain", f"the content of {resourceUri}")), Message("Summarise it.")]


async def test_prompt_with_image() -> list[Message]:
    """A prompt with an image in it."""
    return [Message(_image()), Message("Describe it.")]


async def _complete(ref: Any, argument: types.CompletionArgument, context: Any) -> types.Completion | None:
    """Values for the arguments of test_prompt_with_arguments."""
    if getattr(ref, "name", "") != "test_prompt_with_arguments":
        return None
    values = [value for value in ("test", "testing", "tests") if value.startswith(argument.value)]
    return types.Completion(values=values, total=len(values), has_more=False)


TOOLS = (
    test_simple_text,
    test_image_content,
    test_audio_content,
    test_embedded_resource,
    test_multiple_content_types,
    test_error_handling,
    test_tool_with_logging,
    test_logging_tool,
    test_tool_with_progress,
    test_reconnection,
    test_custom_headers,
)
PROMPTS = (
    test_simple_prompt,
    test_prompt_with_arguments,
    test_prompt_with_embedded_resource,
    test_prompt_with_image,
)


def register(mcp: FastMCP) -> None:
    """Everything of this module, under the suite's names."""
    for tool in TOOLS:
        mcp.tool(tool)
    contact = "Take down how to reach somebody."
    mcp.add_tool(
        FunctionTool(fn=_contact, name="json_schema_2020_12_tool", description=contact, parameters=_SCHEMA_2020_12)
    )
    for prompt in PROMPTS:
        mcp.prompt(prompt)
    mcp.completion(_complete)
    mcp.resource("test://static-text", mime_type="text/plain")(static_text)
    mcp.resource("test://static-binary", mime_type="image/png")(static_binary)
    mcp.resource("test://watched-resource", name="watched", mime_type="text/plain")(static_text)
    mcp.resource("test://template/{id}/data", mime_type="application/json")(of_template)
