// What the command line says, checked. Pure.

import { parseArgs } from "node:util";

export const USAGE = `usage: node probe.mjs --endpoint URL [options]

Opens sessions with the TypeScript SDK, writes and reads state in each, and prints one JSON line a call, then a summary.

  --endpoint URL        of the MCP server, e.g. http://127.0.0.1:8080/mcp
  --sdk v1|v2           @modelcontextprotocol/sdk or @modelcontextprotocol/client   (v1)
  --era legacy|modern   2025-11-25, or 2026-07-28 (v2 alone speaks it)              (legacy)
  --cookies full|first|none
                        full: a cookie jar; first: what came first, for ever; none: as the SDK comes   (none)
  --handles             ask the server for a session handle and pass it as the argument "session"
  --sessions N          clients at once                                             (1)
  --calls N             operations a session; 0: until Ctrl-C                       (20)
  --delay S             seconds between two calls of a session                      (0.5)
  --tools A,B           also called in each operation, without arguments
  --reinitialise        open a new session on 404, as the specification asks; the SDK does not
  --request-timeout S   seconds until a call counts as unanswered                   (30)

exit code: 0 every session kept its state, 1 one did not, 2 wrong usage, 3 nothing was answered
`;

const OPTIONS = {
  endpoint: { type: "string" },
  sdk: { type: "string", default: "v1" },
  era: { type: "string", default: "legacy" },
  cookies: { type: "string", default: "none" },
  handles: { type: "boolean", default: false },
  sessions: { type: "string", default: "1" },
  calls: { type: "string", default: "20" },
  delay: { type: "string", default: "0.5" },
  tools: { type: "string", default: "" },
  reinitialise: { type: "boolean", default: false },
  "request-timeout": { type: "string", default: "30" },
  help: { type: "boolean", short: "h", default: false },
};

const CHOICES = { sdk: ["v1", "v2"], era: ["legacy", "modern"], cookies: ["full", "first", "none"] };

export class UsageError extends Error {}

/** The options of a run. Throws UsageError, naming the flag. */
export function readFlags(words) {
  const given = parsed(words);
  if (given.help) return { help: true };
  for (const [name, allowed] of Object.entries(CHOICES)) {
    const value = given[name];
    if (!allowed.includes(value)) throw new UsageError(`--${name} is ${value}: one of ${allowed.join(", ")}`);
  }
  if (given.era === "modern" && given.sdk === "v1") throw new UsageError("--era modern needs --sdk v2");
  if (given.era === "modern" && given.reinitialise) {
    throw new UsageError("--reinitialise: 2026-07-28 has no session to open again");
  }
  return {
    endpoint: httpUrl(given.endpoint),
    sdk: given.sdk,
    era: given.era,
    cookies: given.cookies,
    handles: given.handles,
    sessions: number(given, "sessions", 1, true),
    calls: number(given, "calls", 0, true),
    delayS: number(given, "delay", 0, false),
    tools: given.tools.split(",").map((name) => name.trim()).filter(Boolean),
    reinitialise: given.reinitialise,
    requestTimeoutS: number(given, "request-timeout", 0.1, false),
  };
}

function parsed(words) {
  try {
    return parseArgs({ args: words, options: OPTIONS, allowPositionals: false }).values;
  } catch (error) {
    throw new UsageError(error.message.split(". ")[0]);
  }
}

function httpUrl(text) {
  if (!text) throw new UsageError("--endpoint is missing, e.g. --endpoint http://127.0.0.1:8080/mcp");
  const url = URL.canParse(text) ? new URL(text) : null;
  if (!url || !["http:", "https:"].includes(url.protocol)) throw new UsageError(`--endpoint ${text} is no http URL`);
  return url;
}

function number(given, name, least, isWhole) {
  const value = given[name].trim() === "" ? NaN : Number(given[name]);
  if (!Number.isFinite(value) || value < least || (isWhole && !Number.isInteger(value))) {
    throw new UsageError(`--${name} is ${given[name]}: a ${isWhole ? "whole " : ""}number, ${least} or more`);
  }
  return value;
}
