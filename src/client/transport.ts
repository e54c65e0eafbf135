/**
 * Owns the connections to a server.
 *
 * Invariants:
 * 1. Heartbeats have a connection of their own, so that nothing that happens to the other one delays them,
 *    and one that does not answer is dropped, not waited for.
 * 2. A connection that has gone silent is noticed by pings while calls run on it.
 */
import * as net from "node:net";
import type { Interceptor, Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import type { Address } from "./address.js";

/** gRPC over HTTP/2, or Connect over HTTP/1.1 where a proxy in between knows nothing else. */
export type Protocol = "grpc" | "connect";

/** PEM texts, for https. The usual authorities are trusted unless `ca` is given. */
export interface TlsOptions {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

export interface TransportOptions {
  readonly address: Address;
  readonly protocol: Protocol;
  readonly token: string | undefined;
  readonly tls: TlsOptions;
}

/** One connection, made when it is needed and made again when it is lost. */
export interface Link {
  readonly transport: Transport;
  /** Closes the connection; calls that run on it fail, the next one makes a new one. */
  readonly drop: () => void;
}

/** How long a connection may be silent while calls run on it, and how long a ping's answer may take, in milliseconds. */
const pingIntervalMs = 10_000;
const pingTimeoutMs = 5_000;

export function openLink(options: TransportOptions): Link {
  const { address, tls } = options;
  const common = { baseUrl: address.baseUrl, interceptors: [authorize(options.token)] };
  const { socketPath } = address;
  if (options.protocol === "connect") {
    const nodeOptions = socketPath === undefined ? tls : { socketPath };
    return { transport: createConnectTransport({ ...common, httpVersion: "1.1", nodeOptions }), drop: () => undefined };
  }
  const nodeOptions = socketPath === undefined ? tls : { createConnection: () => net.connect(socketPath) };
  const sessionManager = new Http2SessionManager(address.baseUrl, { pingIntervalMs, pingTimeoutMs }, nodeOptions);
  return {
    transport: createGrpcTransport({ ...common, sessionManager }),
    drop: () => sessionManager.abort(),
  };
}

function authorize(token: string | undefined): Interceptor {
  return (next) => (request) => {
    if (token !== undefined) request.header.set("authorization", `Bearer ${token}`);
    return next(request);
  };
}
