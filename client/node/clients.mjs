// SDK clients, unmodified, of either major version, behind one interface.

import { Client as ClientV2, StreamableHTTPClientTransport as TransportV2 } from "@modelcontextprotocol/client";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as TransportV1 } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const INFO = { name: "rollproof-node-probe", version: "1" };
const MODERN = { pin: "2026-07-28" };

/**
 * One that is connected: {hasSession, callTool(name, args, signal), close()}. Throws what the SDK throws.
 * `close` ends the session at the server, where there is one, and then the connections.
 */
export async function connect(options, wire) {
  const isV1 = options.sdk === "v1";
  const settings = options.era === "modern" ? { versionNegotiation: { mode: MODERN } } : {};
  const client = isV1 ? new ClientV1(INFO) : new ClientV2(INFO, settings);
  const transport = new (isV1 ? TransportV1 : TransportV2)(options.endpoint, { fetch: wire.fetch });
  const timeout = options.requestTimeoutS * 1000;
  try {
    await client.connect(transport, { timeout });
  } catch (error) {
    await client.close().catch(() => {});
    throw error;
  }
  return {
    hasSession: transport.sessionId !== undefined,
    callTool(name, args, signal) {
      const call = { name, arguments: args };
      const how = { timeout, signal };
      return isV1 ? client.callTool(call, undefined, how) : client.callTool(call, how);
    },
    async close() {
      await transport.terminateSession().catch(() => {});  // the wire has seen what became of it
      await client.close().catch(() => {});
    },
  };
}
