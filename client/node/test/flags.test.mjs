import assert from "node:assert/strict";
import { test } from "node:test";

import { UsageError, readFlags } from "../flags.mjs";

const ENDPOINT = ["--endpoint", "http://127.0.0.1:8080/mcp"];

test("without flags it is a plain client: no cookies, the SDK most use", () => {
  const { endpoint, ...rest } = readFlags(ENDPOINT);
  assert.equal(endpoint.href, "http://127.0.0.1:8080/mcp");
  assert.deepEqual(rest, {
    sdk: "v1", era: "legacy", cookies: "none", handles: false, sessions: 1, calls: 20, delayS: 0.5, tools: [],
    reinitialise: false, requestTimeoutS: 30,
  });
});

test("every flag is read", () => {
  const words = ["--sdk", "v2", "--cookies", "full", "--handles", "--sessions", "3", "--calls", "0", "--delay", "0"];
  const more = ["--tools", "ping, whoami", "--reinitialise", "--request-timeout", "2.5"];
  const { endpoint, ...rest } = readFlags([...ENDPOINT, ...words, ...more]);
  assert.deepEqual(rest, {
    sdk: "v2", era: "legacy", cookies: "full", handles: true, sessions: 3, calls: 0, delayS: 0,
    tools: ["ping", "whoami"], reinitialise: true, requestTimeoutS: 2.5,
  });
  assert.ok(endpoint);
});

const WRONG = [
  [[], /--endpoint is missing/],
  [["--endpoint", "localhost:8080"], /--endpoint localhost:8080 is no http URL/],
  [[...ENDPOINT, "--sdk", "v3"], /--sdk is v3: one of v1, v2/],
  [[...ENDPOINT, "--cookies", "some"], /--cookies is some: one of full, first, none/],
  [[...ENDPOINT, "--sessions", "0"], /--sessions is 0: a whole number, 1 or more/],
  [[...ENDPOINT, "--calls", "1.5"], /--calls is 1.5: a whole number, 0 or more/],
  [[...ENDPOINT, "--delay", ""], /--delay is : a number, 0 or more/],
  [[...ENDPOINT, "--delay", "-1"], /--delay/],
  [[...ENDPOINT, "--era", "modern"], /--era modern needs --sdk v2/],
  [[...ENDPOINT, "--era", "modern", "--sdk", "v2", "--reinitialise"], /2026-07-28 has no session/],
  [[...ENDPOINT, "--sesions", "3"], /--sesions/],
  [[...ENDPOINT, "stray"], /stray/],
];

for (const [words, message] of WRONG) {
  test(`refused: ${words.slice(2).join(" ") || words.join(" ") || "nothing"}`, () => {
    assert.throws(() => readFlags(words), (error) => error instanceof UsageError && message.test(error.message));
  });
}

test("--help wants no endpoint", () => assert.deepEqual(readFlags(["-h"]), { help: true }));
