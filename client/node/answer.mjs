// What came of one call, in the words of rollproof/probe/answer.py: the same fault gets the same signature. Pure.

const IDS = /\b(?=[0-9a-f-]*\d)[0-9a-f]{8,}(?:-[0-9a-f]{4,})*\b/gi;
const NOT_CONNECTED = new Set(["ECONNREFUSED", "ENOTFOUND", "EHOSTUNREACH", "ENETUNREACH", "UND_ERR_CONNECT_TIMEOUT"]);
const TIMEOUT_CODES = new Set([-32001, "REQUEST_TIMEOUT"]);
const CLOSED_CODES = new Set([-32000, "CONNECTION_CLOSED", "NOT_CONNECTED", "SEND_FAILED"]);

/**
 * `seen` is what the wire showed ({status, rpcError}; status is null where no response came; null where nothing was
 * sent); one of `result` and `error` is what the SDK made of it. Returns {ok, signature, error, status, rpcError,
 * payload}.
 */
export function answerOf(seen, { result = null, error = null }) {
  const status = seen?.status ?? null;
  if (error === null) {
    const text = textOf(result);
    const signature = result?.isError ? `tool-error: ${shorten(text)}` : "ok";
    const said = signature === "ok" ? "" : text.slice(0, 500);
    return { ok: signature === "ok", signature, error: said, status, rpcError: null, payload: payloadOf(result) };
  }
  const rpcError = seen?.rpcError ?? rpcErrorOf(error, status);
  const signature = faultOf(status, rpcError, error);
  return { ok: false, signature, error: rpcError?.message ?? messageOf(error), status, rpcError, payload: {} };
}

function faultOf(status, rpcError, error) {
  if (status !== null && rpcError) return `${status}/${rpcError.code} ${shorten(rpcError.message)}`.trimEnd();
  if (status !== null && (status < 200 || status >= 300)) return String(status);
  if (TIMEOUT_CODES.has(error.code)) return "timeout";
  if (causes(error).some((code) => NOT_CONNECTED.has(code))) return "connect-error";
  if (status === null) return "connection-closed";
  return CLOSED_CODES.has(error.code) ? "stream-ended-without-response" : `client-error: ${shorten(error.message)}`;
}

/** A JSON-RPC error that came with 200; not the SDK's own, which use the same class. */
function rpcErrorOf(error, status) {
  if (status === null || typeof error.code !== "number" || error.code > -1) return null;
  if (TIMEOUT_CODES.has(error.code) || CLOSED_CODES.has(error.code)) return null;
  return { code: error.code, message: messageOf(error) };
}

function messageOf(error) {
  return String(error.message ?? error).replace(/^MCP error -?\d+: /, "").slice(0, 500);
}

function causes(error) {
  const codes = [];
  for (let at = error; at && codes.length < 10; at = at.cause) {
    codes.push(at.code, ...(at.errors ?? []).map((one) => one.code));
  }
  return codes;
}

function textOf(result) {
  return (result?.content ?? []).filter((part) => "text" in part).map((part) => part.text).join("\n");
}

function payloadOf(result) {
  const structured = result?.structuredContent ?? objectOf(textOf(result));
  const isWrapped = Object.keys(structured).join() === "result" && typeof structured.result === "object";
  return isWrapped ? (structured.result ?? {}) : structured;
}

function objectOf(text) {
  try {
    const found = text.trimStart().startsWith("{") ? JSON.parse(text) : {};
    return typeof found === "object" && found !== null ? found : {};
  } catch {
    return {};
  }
}

export function shorten(message) {
  return String(message).split(/\s+/).filter(Boolean).join(" ").replace(IDS, "*").slice(0, 80);
}
