/**
 * Owns the errors that connect answers with before any interceptor runs: a body that is too large or cannot be read,
 * a timeout or a compression that it does not know. They are given their ErrorInfo here, as all others have.
 *
 * Invariants:
 * 1. An answer that is no error, or has its ErrorInfo already, passes through unchanged.
 */
import { Code, ConnectError } from "@connectrpc/connect";
import { encodeEnvelope, type UniversalServerResponse } from "@connectrpc/connect/protocol";
import {
  endStreamFlag,
  endStreamFromJson,
  endStreamToJson,
  errorFromJsonBytes,
  errorToJsonBytes,
} from "@connectrpc/connect/protocol-connect";
import { findTrailerError, setTrailerStatus } from "@connectrpc/connect/protocol-grpc";
import { trailerFlag, trailerParse, trailerSerialize } from "@connectrpc/connect/protocol-grpc-web";
import type { Failure } from "../domain/failure.js";
import { isComplete, toConnectError, toFailure } from "./errors.js";

const envelopeHead = 5;

/** The response, complete. `onError` is told of each error that was completed, for the log. */
export function completed(
  response: UniversalServerResponse,
  onError: (failure: Failure) => void,
): UniversalServerResponse {
  const { body, header, trailer, status } = response;
  if (!body) return response;
  const complete = (error: ConnectError): ConnectError => {
    if (isComplete(error)) return error;
    const failure = toFailure(error);
    onError(failure);
    return toConnectError(failure);
  };
  const type = header?.get("content-type") ?? "";
  if (type.startsWith("application/grpc-web"))
    return { ...response, body: mapped(body, (chunk) => webTrailer(chunk, complete)) };
  if (type.startsWith("application/grpc")) return { ...response, body: thenTrailer(body, trailer, complete) };
  if (type.startsWith("application/connect+"))
    return { ...response, body: mapped(body, (chunk) => endOfStream(chunk, complete)) };
  if (status === 200) return response;
  return { ...response, body: mapped(body, (chunk) => unaryError(chunk, header, complete)) };
}

type Complete = (error: ConnectError) => ConnectError;

async function* mapped(
  body: AsyncIterable<Uint8Array>,
  map: (chunk: Uint8Array) => Uint8Array,
): AsyncIterable<Uint8Array> {
  for await (const chunk of body) yield map(chunk);
}

async function* thenTrailer(
  body: AsyncIterable<Uint8Array>,
  trailer: Headers | undefined,
  complete: Complete,
): AsyncIterable<Uint8Array> {
  yield* body;
  if (trailer) completeTrailer(trailer, complete);
}

function completeTrailer(trailer: Headers, complete: Complete): void {
  if ((trailer.get("grpc-status") ?? "0") === "0" || trailer.has("grpc-status-details-bin")) return;
  const error = findTrailerError(trailer);
  if (error) setTrailerStatus(trailer, complete(new ConnectError(error.rawMessage, error.code)));
}

function webTrailer(chunk: Uint8Array, complete: Complete): Uint8Array {
  if (chunk[0] !== trailerFlag) return chunk;
  const trailer = trailerParse(chunk.subarray(envelopeHead));
  if ((trailer.get("grpc-status") ?? "0") === "0" || trailer.has("grpc-status-details-bin")) return chunk;
  completeTrailer(trailer, complete);
  return encodeEnvelope(trailerFlag, trailerSerialize(trailer));
}

function endOfStream(chunk: Uint8Array, complete: Complete): Uint8Array {
  if (chunk[0] !== endStreamFlag) return chunk;
  const { metadata, error } = endStreamFromJson(chunk.subarray(envelopeHead));
  if (!error || isComplete(error)) return chunk;
  const json = JSON.stringify(endStreamToJson(metadata, complete(error), undefined));
  return encodeEnvelope(endStreamFlag, new TextEncoder().encode(json));
}

function unaryError(chunk: Uint8Array, header: Headers | undefined, complete: Complete): Uint8Array {
  const error = errorFromJsonBytes(chunk, undefined, new ConnectError("", Code.Unknown));
  if (isComplete(error)) return chunk;
  const bytes = errorToJsonBytes(complete(error), undefined);
  header?.set("content-length", String(bytes.byteLength));
  return bytes;
}
