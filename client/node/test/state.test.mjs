import assert from "node:assert/strict";
import { test } from "node:test";

import { summarise } from "../records.mjs";
import { SessionTruth } from "../truth.mjs";

function truthOf(...writes) {
  const truth = new SessionTruth();
  for (const [key, value, isAcknowledged] of writes) truth.wrote(key, value, isAcknowledged);
  return truth;
}

test("what was acknowledged must be there; what was not may be", () => {
  const truth = truthOf(["seq_1", "a", true], ["seq_2", "b", false]);
  assert.equal(truth.check({ seq_1: "a" }).signature, "ok");
  assert.equal(truth.check({ seq_1: "a", seq_2: "b" }).signature, "ok");
  assert.equal(truth.check({ seq_2: "b" }).signature, "state-missing");
});

test("a changed value and another session's are told apart", () => {
  assert.equal(truthOf(["seq_1", "a", true]).check({ seq_1: "z" }).signature, "state-wrong");
  assert.equal(truthOf(["seq_1", "a", true]).check({ seq_1: "a", seq_9: "x" }).signature, "state-foreign");
  assert.equal(truthOf(["seq_1", "a", true]).check(undefined).signature, "tool-error: no state in the answer");
});

test("the whole state is written once, where it is first wrong", () => {
  const truth = truthOf(["seq_1", "a", true]);
  const first = truth.check({});
  assert.deepEqual(first.fields, {
    expected_size: 1, missing: ["seq_1"], missing_count: 1, state: {}, expected: { seq_1: "a" },
  });
  assert.equal(first.error, "1 acknowledged and gone: seq_1");
  assert.ok(!("state" in truth.check({}).fields));
});

const CALL = { session: "a", tool: "ping", ok: true, signature: "ok", http_status: 200, task_id: "t1" };
const GONE = { ...CALL, ok: false, signature: "404/-32600 Session not found", http_status: 404, task_id: undefined };

test("the summary counts under the experiment's names", () => {
  const [b, gone] = [{ ...CALL, session: "b" }, { ...GONE, session: "b" }];
  const calls = [{ ...CALL, state_size: 3 }, { ...CALL, task_id: "t2" }, b, gone];
  assert.deepEqual(summarise(calls), {
    http_status_counts: { 200: 3, 404: 1 },
    unique_task_ids: ["t1", "t2"],
    first_task_id: "t1",
    last_task_id: "t1",
    max_state_size: 3,
    session_not_found_count: 1,
    error_rows: 1,
    sessions: 2,
    sessions_kept: 1,
    session_complete: false,
  });
});

test("a session whose last call is well is kept, whatever came before; not so with a defect of its state", () => {
  assert.equal(summarise([GONE, CALL]).session_complete, true);
  const defect = { ...CALL, ok: false, signature: "state-missing" };
  assert.equal(summarise([defect, CALL]).session_complete, false);
  assert.equal(summarise([]).session_complete, false);
});

test("a call without an answer is counted under none", () => {
  const unanswered = { ...CALL, http_status: undefined, ok: false, signature: "connect-error" };
  assert.deepEqual(summarise([unanswered]).http_status_counts, { none: 1 });
});
