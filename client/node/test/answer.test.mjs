import assert from "node:assert/strict";
import { test } from "node:test";

import { answerOf, shorten } from "../answer.mjs";

const text = (words, more = {}) => ({ content: [{ type: "text", text: words }], ...more });
const thrown = (message, code, cause) => Object.assign(new Error(message, { cause }), { code });
const GONE = { code: -32600, message: "Session not found" };

const SIGNATURES = [
  ["an answer", { status: 200 }, { result: text("{}") }, "ok"],
  ["a tool that says no", { status: 200 }, { result: text("no", { isError: true }) }, "tool-error: no"],
  ["a session that is gone", { status: 404, rpcError: GONE }, { error: thrown("Error POSTing", 404) },
    "404/-32600 Session not found"],
  ["a gateway's error", { status: 502, rpcError: null }, { error: thrown("Error POSTing", 502) }, "502"],
  ["an error inside 200, v1", { status: 200 }, { error: thrown("MCP error -32602: bad", -32602) }, "200/-32602 bad"],
  ["no answer in time, v1", { status: 200 }, { error: thrown("MCP error -32001: timed out", -32001) }, "timeout"],
  ["no answer in time, v2", { status: 200 }, { error: thrown("timed out", "REQUEST_TIMEOUT") }, "timeout"],
  ["nobody listens", { status: null }, { error: thrown("fetch failed", undefined, thrown("x", "ECONNREFUSED")) },
    "connect-error"],
  ["cut before the answer", { status: null }, { error: thrown("fetch failed", undefined, thrown("x", "ECONNRESET")) },
    "connection-closed"],
  ["closed within the answer", { status: 200 }, { error: thrown("MCP error -32000: closed", -32000) },
    "stream-ended-without-response"],
  ["what the SDK cannot read", { status: 200 }, { error: thrown("Unexpected content type: text/html") },
    "client-error: Unexpected content type: text/html"],
];

for (const [what, seen, outcome, signature] of SIGNATURES) {
  test(what, () => {
    const answer = answerOf(seen, outcome);
    assert.equal(answer.signature, signature);
    assert.equal(answer.ok, signature === "ok");
  });
}

test("the server's words are the error, not the SDK's wrapping", () => {
  const error = thrown("Error POSTing: {...}", 404);
  assert.equal(answerOf({ status: 404, rpcError: GONE }, { error }).error, "Session not found");
});

test("the payload is structured content, or JSON in the text, unwrapped", () => {
  const payload = (result) => answerOf({ status: 200 }, { result }).payload;
  assert.deepEqual(payload(text("", { structuredContent: { task_id: "a" } })), { task_id: "a" });
  assert.deepEqual(payload(text('{"task_id": "a"}')), { task_id: "a" });
  assert.deepEqual(payload(text("", { structuredContent: { result: { n: 1 } } })), { n: 1 });
  assert.deepEqual(payload(text("pong")), {});
  assert.deepEqual(payload(text("{broken")), {});
});

test("equal faults get equal signatures: ids are left out, and all but eighty characters", () => {
  assert.equal(shorten("no task 0a1b2c3d4e5f\n here"), "no task * here");
  assert.equal(shorten("x".repeat(99)).length, 80);
});
