#!/usr/bin/env node
// MCP sessions of the TypeScript SDK against a server that is being replaced: `node probe.mjs --help`.

import { setMaxListeners } from "node:events";
import process from "node:process";

import { USAGE, UsageError, readFlags } from "./flags.mjs";
import { Records } from "./records.mjs";

const EXIT = { kept: 0, lost: 1, usage: 2, unknown: 3, interrupted: 130 };
const LAST_CALL_S = 2;  // after Ctrl-C, for calls that still run

/** AbortSignals: `asked` at the first SIGINT or SIGTERM, `now` a little later. A second one ends the process. */
function stopSignals() {
  const asked = new AbortController();
  const now = new AbortController();
  setMaxListeners(0, asked.signal, now.signal);  // each session has one
  const onSignal = () => {
    if (asked.signal.aborted) process.exit(EXIT.interrupted);
    process.stderr.write("probe: ending the sessions ...\n");
    asked.abort();
    setTimeout(() => now.abort(), LAST_CALL_S * 1000).unref();
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  return { asked: asked.signal, now: now.signal };
}

async function main(words) {
  const options = readFlags(words);
  if (options.help) {
    process.stdout.write(USAGE);
    return EXIT.kept;
  }
  const { Session, sessionName } = await sessions();
  const stop = stopSignals();
  const records = new Records((line) => process.stdout.write(line), options.era);
  // Begun one after the other within one operation, so that they do not call in step.
  const spreadS = (options.delayS * (2 + options.tools.length)) / options.sessions;
  await Promise.all(
    Array.from({ length: options.sessions }, (_, index) =>
      new Session(sessionName(index), options, records, stop).run(index * spreadS),
    ),
  );
  const { sdk, cookies, era } = options;
  const summary = records.summary({ sdk, cookies, era });
  if (Object.keys(summary.http_status_counts).every((status) => status === "none")) return EXIT.unknown;
  return summary.session_complete ? EXIT.kept : EXIT.lost;
}

/** Loaded late: a wrong flag is said at once, and without the packages. */
async function sessions() {
  try {
    return await import("./session.mjs");
  } catch (error) {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
    throw new UsageError(`${error.message.split("\n")[0]}: run \`npm ci\` in client/node`);
  }
}

// What nobody waits for must not end the run: the SDK opens streams on its own account.
process.on("unhandledRejection", (error) => process.stderr.write(`probe: unhandled: ${error?.message ?? error}\n`));
process.stdout.on("error", () => process.exit(EXIT.unknown));  // whoever read it is gone

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error) => {
    const isUsage = error instanceof UsageError;
    process.stderr.write(isUsage ? `probe: ${error.message}\nhint: node probe.mjs --help\n` : `${error.stack}\n`);
    process.exitCode = isUsage ? EXIT.usage : EXIT.unknown;
  },
);
