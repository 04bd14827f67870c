// One session: opens, writes and reads until told to stop, closes. It never gives up: what fails is written down, and
// the next call is made, as an agent would.

import { randomBytes } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";

import { answerOf } from "./answer.mjs";
import { connect } from "./clients.mjs";
import { SessionTruth } from "./truth.mjs";
import { Wire } from "./wire.mjs";

const LEAST_PAUSE_S = 0.05;  // before a connect is repeated, whatever the delay
const CLOSE_S = 5;

export class Session {
  #options;
  #name;
  #records;
  #stop;
  #wire;
  #client = null;
  #isNew = false;
  #running = new AbortController();  // of one call: the SDK does not take its listeners off a signal again
  #handle = "";
  #truth = new SessionTruth();
  #number = 0;

  /** `stop`: {asked, now}, two AbortSignals: no more calls, and none that still run. */
  constructor(name, options, records, stop) {
    this.#name = name;
    this.#options = options;
    this.#records = records;
    this.#stop = stop;
    stop.now.addEventListener("abort", () => this.#running.abort());
    this.#wire = new Wire(options.cookies);
  }

  async run(firstPauseS) {
    await this.#wait(firstPauseS);
    if (await this.#openAtLast()) await this.#work();
    await this.#close();
  }

  async #work() {
    const { calls, delayS, tools } = this.#options;
    while (!this.#stop.asked.aborted && (calls === 0 || this.#number < calls)) {
      this.#number += 1;
      await this.#write();
      await this.#wait(delayS);
      await this.#read();
      for (const tool of tools) {
        await this.#wait(delayS);
        await this.#call(tool, {});
      }
      if (this.#number !== calls) await this.#wait(delayS);
    }
  }

  async #write() {
    const key = `seq_${this.#number}`;
    const value = `call_${this.#number}/${this.#name}`;
    const answer = await this.#call("set_session_value", { key, value, ...this.#handleArgument() }, null, { key });
    this.#truth.wrote(key, value, answer?.ok ?? false);
  }

  async #read() {
    const check = (answer) => this.#truth.check(answer.payload.state);
    await this.#call("get_session_state", this.#handleArgument(), check);
  }

  #handleArgument() {
    return this.#handle ? { session: this.#handle } : {};
  }

  /** Connects until it works, as often as there are calls to make. */
  async #openAtLast() {
    for (let failures = 0; !this.#stop.asked.aborted; failures += 1) {
      if (failures && failures === this.#options.calls) return false;
      if (failures) await this.#wait(Math.max(this.#options.delayS, LEAST_PAUSE_S));
      if ((await this.#open()) && (await this.#askForHandle())) {
        this.#records.session(this.#name, "opened", this.#client.hasSession ? { mcp_session_id_by: "server" } : {});
        return true;
      }
    }
    return false;
  }

  async #open() {
    this.#wire.begin();
    let error = null;
    try {
      this.#client = await connect(this.#options, this.#wire);
    } catch (thrown) {
      error = thrown;
    }
    // The SDK connects in steps, and the last one is what failed. A notification that is taken is not worth a line.
    const steps = this.#wire.methods();
    const [first, last = "initialize"] = [steps[0], steps.at(-1)];
    if (first && (error === null || last !== first)) this.#recordStep(first, {});
    if (error !== null) this.#recordStep(last, { error });
    return error === null;
  }

  #recordStep(step, outcome) {
    const seen = this.#wire.seen(step);
    const startedT = this.#records.timeOf(seen?.sentMs);
    const answer = answerOf(seen, outcome);
    this.#record(step, startedT, answer, { fields: {} }, {}, this.#records.timeOf(seen?.answeredMs));
  }

  async #askForHandle() {
    if (!this.#options.handles || this.#handle) return true;
    const answer = await this.#call("create_session", {});
    this.#handle = String(answer?.payload.session ?? "");
    return Boolean(this.#handle);
  }

  /** The answer, or null where we were told to stop meanwhile. `judge` may find fault with one that is well-formed. */
  async #call(tool, args, judge = null, fields = {}) {
    if (this.#stop.now.aborted) return null;
    const startedT = this.#records.now();
    this.#wire.begin();
    this.#running = new AbortController();
    let answer;
    try {
      const result = await this.#client.callTool(tool, args, this.#running.signal);
      answer = answerOf(this.#wire.seen("tools/call"), { result });
    } catch (error) {
      if (this.#stop.now.aborted) return null;  // our own doing
      answer = answerOf(this.#wire.seen("tools/call"), { error });
    }
    const verdict = answer.ok && judge ? judge(answer) : { fields: {} };
    this.#record(tool, startedT, answer, verdict, fields);
    await this.#renewAfter(answer);
    return answer;
  }

  #record(tool, startedT, answer, verdict, fields, finishedT = this.#records.now()) {
    const more = { ...fields, ...verdict.fields, ...(this.#isNew ? { new_session: true } : {}) };
    this.#isNew = false;
    if (this.#handle) answer.error = answer.error.replaceAll(this.#handle, "*");  // whoever knows it has the session
    this.#records.call({ session: this.#name, number: this.#number, tool, startedT, finishedT }, answer, verdict, more);
  }

  /** MCP 2025-11-25: a 404 to a request with a session id means that a new session must be started. */
  async #renewAfter(answer) {
    if (!this.#options.reinitialise || answer.status !== 404 || !this.#client.hasSession) return;
    const old = this.#client;
    if (await this.#open()) {
      this.#isNew = true;
      this.#records.session(this.#name, "reinitialised", { reason: answer.signature });
      await old.close();
    }
  }

  async #close() {
    if (!this.#client) {
      this.#records.session(this.#name, "closed", { reason: "never opened" });
      return;
    }
    this.#wire.begin();
    await Promise.race([this.#client.close(), pause(CLOSE_S * 1000, undefined, { ref: false })]);
    const status = this.#wire.seen("DELETE")?.status;
    const reason = this.#stop.asked.aborted ? "stopped" : "all calls made";
    this.#records.session(this.#name, "closed", { reason, ...(status ? { delete_status: status } : {}) });
  }

  async #wait(seconds) {
    if (seconds > 0) await pause(seconds * 1000, undefined, { signal: this.#stop.asked }).catch(() => {});
  }
}

/** A name that no other run's session has. */
export function sessionName(index, run = randomBytes(2).toString("hex")) {
  return `ts-${run}-${index}`;
}
