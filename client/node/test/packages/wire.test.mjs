import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { Wire } from "../../wire.mjs";

// A balancer's habit: another sticky cookie with every answer. It remembers what it was sent.
let received = [];
let answers = 0;
const server = createServer((request, response) => {
  received.push(request.headers.cookie ?? "");
  answers += 1;
  const isGone = request.url === "/gone";
  const headers = { "set-cookie": `AWSALB=v${answers}; Path=/`, "content-type": "application/json" };
  response.writeHead(isGone ? 404 : 200, headers);
  response.end(isGone ? '{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Session not found"}}' : "{}");
});
let base = "";

before(async () => {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${server.address().port}`;
});
after(() => server.close());

async function sent(mode) {
  received = [];
  answers = 0;
  const wire = new Wire(mode);
  for (let n = 0; n < 3; n += 1) await wire.fetch(`${base}/mcp`, { method: "POST", body: '{"method":"ping"}' });
  return received;
}

test("full: follows every rotation", async () => assert.deepEqual(await sent("full"), ["", "AWSALB=v1", "AWSALB=v2"]));
test("first: sends what came first, for ever", async () => {
  assert.deepEqual(await sent("first"), ["", "AWSALB=v1", "AWSALB=v1"]);
});
test("none: sends none", async () => assert.deepEqual(await sent("none"), ["", "", ""]));

test("each session has a jar of its own, given a URL as the SDK gives it", async () => {
  await sent("full");
  received = [];
  await new Wire("full").fetch(new URL(`${base}/mcp`), { method: "GET" });
  assert.deepEqual(received, [""]);
});

test("it notes status and JSON-RPC error by method, and the SDK can still read the answer", async () => {
  const wire = new Wire("none");
  const response = await wire.fetch(`${base}/gone`, { method: "POST", body: '{"method":"tools/call"}' });
  assert.match(await response.text(), /Session not found/);
  const { status, rpcError } = wire.seen("tools/call");
  assert.deepEqual([status, rpcError], [404, { code: -32600, message: "Session not found" }]);
  assert.equal(wire.seen("initialize"), null);
  wire.begin();
  assert.equal(wire.seen("tools/call"), null);
});

test("what was not answered has no status", async () => {
  const wire = new Wire("none");
  await assert.rejects(wire.fetch("http://127.0.0.1:9/mcp", { method: "POST", body: '{"method":"tools/call"}' }));
  assert.equal(wire.seen("tools/call").status, null);
});
