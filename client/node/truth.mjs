// What a session has written, and what its reads must show: rollproof/probe/checker.py for a client without increments.

const SHOWN = 10;

export class SessionTruth {
  #acknowledged = new Map();
  #attempted = new Map();
  #isDefective = false;

  wrote(key, value, isAcknowledged) {
    this.#attempted.set(key, value);
    if (isAcknowledged) this.#acknowledged.set(key, value);
  }

  /** {signature, error, fields} of a read that was answered with `state`. */
  check(state) {
    if (typeof state !== "object" || state === null) {
      const error = "the answer holds no object named state";
      return { signature: "tool-error: no state in the answer", error, fields: {} };
    }
    const tried = this.#attempted;
    const found = {
      missing: [...this.#acknowledged.keys()].filter((key) => !(key in state)),
      wrong: Object.keys(state).filter((key) => tried.has(key) && String(state[key]) !== tried.get(key)),
      foreign: Object.keys(state).filter((key) => key.startsWith("seq_") && !tried.has(key)),
    };
    const first = Object.keys(found).find((name) => found[name].length);
    const fields = { expected_size: this.#acknowledged.size };
    for (const [name, keys] of Object.entries(found)) {
      if (keys.length) Object.assign(fields, { [name]: keys.slice(0, SHOWN), [`${name}_count`]: keys.length });
    }
    if (first && !this.#isDefective) {
      this.#isDefective = true;  // the whole state once: a lost session would repeat it in every read
      Object.assign(fields, { state, expected: Object.fromEntries(this.#acknowledged) });
    }
    return { signature: first ? `state-${first}` : "ok", error: first ? describe(found) : "", fields };
  }
}

function describe(found) {
  const words = { missing: "acknowledged and gone", wrong: "changed", foreign: "not ours" };
  return Object.entries(words)
    .filter(([name]) => found[name].length)
    .map(([name, what]) => `${found[name].length} ${what}: ${found[name].slice(0, SHOWN).join(", ")}`)
    .join("; ");
}
