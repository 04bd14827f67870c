// Lines of a history (rollproof/history.py), and their summary under the names that the published experiment uses.

const GONE = ["not found", "terminated", "no valid session", "missing session", "unknown session"];

export class Records {
  #startedAt = Date.now() / 1000;
  #startedMs = performance.now();
  #write;
  #era;
  #calls = [];

  /** `write` takes one line, its newline included. */
  constructor(write, era) {
    this.#write = write;
    this.#era = era;
  }

  /** Seconds since the start. */
  now() {
    return (performance.now() - this.#startedMs) / 1000;
  }

  /** The same for a value of performance.now(); now for none. */
  timeOf(ms) {
    return ms == null ? this.now() : (ms - this.#startedMs) / 1000;
  }

  /** `what`: {session, number, tool, startedT, finishedT}. What `verdict` says wins over the answer. */
  call(what, answer, verdict, fields) {
    const signature = verdict.signature ?? answer.signature;
    const ok = signature === "ok";
    const { task_id: taskId, state, state_size: stateSize } = answer.payload;
    const size = state && typeof state === "object" ? Object.keys(state).length : stateSize;
    const record = given({
      session: what.session,
      call_number: what.number,
      tool: what.tool,
      http_status: answer.status,
      rpc_error: answer.rpcError,
      task_id: taskId ? String(taskId).split("/").at(-1) : null,
      latency_s: rounded(what.finishedT - what.startedT),
      state_size: size,
      ok,
      error: ok ? null : verdict.error || answer.error || signature,
      signature,
      started_t: rounded(what.startedT),
      era: this.#era,
      ...fields,
    });
    this.#calls.push(record);
    this.#line("call", record);
  }

  session(session, event, fields) {
    this.#line("session", { session, event, ...fields });
  }

  /** Writes the summary's line and returns it. */
  summary(fields) {
    const found = { ...summarise(this.#calls), ...fields };
    this.#line("summary", found);
    return found;
  }

  #line(kind, fields) {
    const t = this.now();
    const at = new Date((this.#startedAt + t) * 1000).toISOString().replace("Z", "000Z");
    this.#write(JSON.stringify({ t: rounded(t), at, kind, ...fields }) + "\n");
  }
}

/** A session is complete if its last call was well and no read of its state showed a defect. Pure. */
export function summarise(calls) {
  const statuses = {};
  for (const call of calls) statuses[call.http_status ?? "none"] = (statuses[call.http_status ?? "none"] ?? 0) + 1;
  const tasks = calls.map((call) => call.task_id).filter(Boolean);
  const last = new Map(calls.map((call) => [call.session, call]));
  const defective = new Set(calls.filter((call) => call.signature.startsWith("state-")).map((call) => call.session));
  const kept = [...last.values()].filter((call) => call.ok && !defective.has(call.session));
  return {
    http_status_counts: Object.fromEntries(Object.entries(statuses).sort()),
    unique_task_ids: [...new Set(tasks)],
    first_task_id: tasks[0] ?? null,
    last_task_id: tasks.at(-1) ?? null,
    max_state_size: Math.max(0, ...calls.map((call) => call.state_size ?? 0)),
    session_not_found_count: calls.filter(isSessionGone).length,
    error_rows: calls.filter((call) => !call.ok).length,
    sessions: last.size,
    sessions_kept: kept.length,
    session_complete: calls.length > 0 && kept.length === last.size,
  };
}

function isSessionGone(call) {
  const words = `${call.rpc_error?.message ?? ""} ${call.error ?? ""} ${call.signature}`.toLowerCase();
  return !call.ok && words.includes("session") && GONE.some((word) => words.includes(word));
}

/** Only what is known: no field of a record is null. */
function given(fields) {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== null && value !== undefined));
}

function rounded(seconds) {
  return Math.round(seconds * 1e6) / 1e6;
}
