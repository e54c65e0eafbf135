/** Owns the clients that tests call with: one of each protocol, and gRPC's own library. */

import { type DescMessage, fromBinary, type MessageShape } from "@bufbuild/protobuf";
import { ConnectError, type Transport } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import * as grpc from "@grpc/grpc-js";
import {
  BadRequestSchema,
  type ErrorInfo,
  ErrorInfoSchema,
  RetryInfoSchema,
} from "../../gen/google/rpc/error_details_pb.js";

export const protocols = {
  grpc: (baseUrl: string): Transport => createGrpcTransport({ baseUrl }),
  "grpc-web": (baseUrl: string): Transport => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
  connect: (baseUrl: string): Transport => createConnectTransport({ baseUrl, httpVersion: "2" }),
  "connect JSON": (baseUrl: string): Transport =>
    createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
} as const;

/** What the call failed with. */
export async function errorOf(call: Promise<unknown>): Promise<ConnectError> {
  try {
    await call;
  } catch (error) {
    if (error instanceof ConnectError) return error;
    throw error;
  }
  throw new Error("the call succeeded");
}

export function errorInfo(error: ConnectError): ErrorInfo {
  const infos = error.findDetails(ErrorInfoSchema);
  if (infos.length !== 1) throw new Error(`${infos.length} ErrorInfo in ${error.message}`);
  return infos[0] as ErrorInfo;
}

/** Names of the fields that BadRequest tells, in its order. */
export function wrongFields(error: ConnectError): string[] {
  return error
    .findDetails(BadRequestSchema)
    .flatMap(({ fieldViolations }) => fieldViolations.map(({ field }) => field));
}

export function retryDelayMs(error: ConnectError): number | undefined {
  const [info] = error.findDetails(RetryInfoSchema);
  return info?.retryDelay ? Number(info.retryDelay.seconds) * 1000 + info.retryDelay.nanos / 1e6 : undefined;
}

/** One unary call by @grpc/grpc-js, with bytes in and out. */
export function callByGrpcJs(
  address: string,
  path: string,
  request: Uint8Array,
  options: grpc.CallOptions = {},
  metadata = new grpc.Metadata(),
): Promise<{ readonly response?: Buffer; readonly error?: grpc.ServiceError }> {
  const client = new grpc.Client(address, grpc.credentials.createInsecure());
  return new Promise((resolve) => {
    client.makeUnaryRequest(
      path,
      (bytes: Uint8Array) => Buffer.from(bytes),
      (bytes: Buffer) => bytes,
      request,
      metadata,
      options,
      (error, response) => {
        client.close();
        resolve({ ...(response && { response }), ...(error && { error }) });
      },
    );
  });
}

/** Decodes one detail out of `grpc-status-details-bin`: google.rpc.Status is { code = 1, message = 2, details = 3 }. */
export function detailOf<D extends DescMessage>(error: grpc.ServiceError, desc: D): MessageShape<D> | undefined {
  const [raw] = error.metadata.get("grpc-status-details-bin");
  if (!Buffer.isBuffer(raw)) return undefined;
  for (const any of fieldsOf(raw, 3)) {
    const [url] = fieldsOf(any, 1);
    const [value] = fieldsOf(any, 2);
    if (url?.toString().endsWith(`/${desc.typeName}`)) return fromBinary(desc, value ?? new Uint8Array());
  }
  return undefined;
}

/** The length-delimited fields of one number; other fields are skipped. */
function fieldsOf(message: Buffer, wanted: number): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < message.length; ) {
    const tag = message[at++] as number;
    let size = 0;
    for (let shift = 0, more = true; more; shift += 7) {
      const byte = message[at++] as number;
      size |= (byte & 127) << shift;
      more = byte > 127;
    }
    if ((tag & 7) !== 2) continue;
    if (tag >> 3 === wanted) found.push(message.subarray(at, at + size));
    at += size;
  }
  return found;
}
