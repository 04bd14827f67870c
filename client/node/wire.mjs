// The fetch that an SDK client is given: with or without cookies, and with a note of what came back.
//
// It is the SDK's own seam (the transport's option `fetch`); the client itself is unmodified. No value of a cookie and
// no session id leaves it.

import { Cookie, CookieJar } from "tough-cookie";

export class Wire {
  #jar;
  #mode;
  #seen = new Map();

  /** `mode`: full, first or none. */
  constructor(mode) {
    this.#mode = mode;
    this.#jar = new CookieJar();
    this.fetch = this.fetch.bind(this);
  }

  /** Forget what was seen. */
  begin() {
    this.#seen.clear();
  }

  /**
   * Of the last exchange of this JSON-RPC method since `begin`: {sentMs, status, rpcError, answeredMs}; status is null
   * where no response came. null where nothing was sent.
   */
  seen(method) {
    return this.#seen.get(method) ?? null;
  }

  /** The methods sent since `begin`, in order of their first exchange. */
  methods() {
    return [...this.#seen.keys()];
  }

  async fetch(input, init = {}) {
    const url = String(input instanceof Request ? input.url : input);
    const method = methodOf(init);
    const note = { sentMs: performance.now(), status: null, rpcError: null, answeredMs: null };
    if (method) this.#seen.set(method, note);
    const headers = new Headers(init.headers);
    const cookie = this.#mode === "none" ? "" : await this.#jar.getCookieString(url);
    if (cookie) headers.set("cookie", cookie);
    const response = await fetch(input, { ...init, headers });
    await this.#keep(response.headers.getSetCookie(), url);
    Object.assign(note, { status: response.status, answeredMs: performance.now() });
    note.rpcError = await rpcErrorOf(response);
    return response;
  }

  async #keep(lines, url) {
    if (this.#mode === "none") return;
    const known = new Set((await this.#jar.getCookies(url)).map((cookie) => cookie.key));
    for (const line of lines) {
      const name = Cookie.parse(line)?.key;
      if (this.#mode === "first" && known.has(name)) continue;
      await this.#jar.setCookie(line, url, { ignoreError: true });
    }
  }
}

/** What a POST asks for; "DELETE" for the end of a session; "" for streams and for the client's own answers. */
function methodOf(init) {
  if (init.method === "DELETE") return "DELETE";
  try {
    return init.method === "POST" ? (JSON.parse(init.body).method ?? "") : "";
  } catch {
    return "";
  }
}

async function rpcErrorOf(response) {
  if (response.ok) return null;
  try {
    const { error } = JSON.parse(await response.clone().text());
    return error ? { code: Number(error.code) || 0, message: String(error.message ?? "").slice(0, 500) } : null;
  } catch {
    return null;
  }
}
