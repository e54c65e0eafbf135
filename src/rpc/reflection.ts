/**
 * Owns grpc.reflection.v1 and v1alpha, from the descriptors of the generated code.
 *
 * Invariants:
 * 1. A file is answered with all it imports, but for those that this stream was sent before.
 * 2. Both versions are one implementation: their messages have the same shape.
 */
import { type DescFile, type DescService, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, type ConnectRouter } from "@connectrpc/connect";
import { type ServerReflectionRequest, ServerReflection as V1 } from "../../gen/grpc/reflection/v1/reflection_pb.js";
import {
  type ServerReflectionRequest as AlphaRequest,
  ServerReflection as V1Alpha,
} from "../../gen/grpc/reflection/v1alpha/reflection_pb.js";
import { DescriptorIndex } from "./descriptor-index.js";

type Query = (ServerReflectionRequest | AlphaRequest)["messageRequest"];

/** Registers reflection of the services, and of itself. `files` can be found too though no service imports them. */
export function reflection(router: ConnectRouter, services: readonly DescService[], files: readonly DescFile[]): void {
  const all = [...services, V1, V1Alpha];
  const index = new DescriptorIndex([...all.map((service) => service.file), ...files]);
  const names = all.map(({ typeName }) => ({ name: typeName })).sort((a, b) => (a.name < b.name ? -1 : 1));

  async function* info<R extends ServerReflectionRequest | AlphaRequest>(requests: AsyncIterable<R>) {
    const sent = new Set<string>();
    for await (const request of requests) {
      const messageResponse = answer(request.messageRequest, index, names, sent);
      yield { validHost: request.host, originalRequest: request, messageResponse };
    }
  }
  router.service(V1, { serverReflectionInfo: (requests) => info(requests) });
  router.service(V1Alpha, { serverReflectionInfo: (requests) => info(requests) });
}

function answer(query: Query, index: DescriptorIndex, names: { name: string }[], sent: Set<string>) {
  switch (query.case) {
    case "listServices":
      return { case: "listServicesResponse" as const, value: { service: names } };
    case "fileByFilename":
      return files(index.file(query.value), query.value, sent);
    case "fileContainingSymbol":
      return files(index.symbol(query.value), query.value, sent);
    case "fileContainingExtension": {
      const { containingType, extensionNumber } = query.value;
      return files(index.extension(containingType, extensionNumber), `${containingType}:${extensionNumber}`, sent);
    }
    case "allExtensionNumbersOfType": {
      if (!index.symbol(query.value)) return failed(Code.NotFound, `not found: ${query.value}`);
      const extensionNumber = index.extensionNumbers(query.value);
      return { case: "allExtensionNumbersResponse" as const, value: { baseTypeName: query.value, extensionNumber } };
    }
    default:
      return failed(Code.InvalidArgument, "the request asks for nothing");
  }
}

function failed(errorCode: Code, errorMessage: string) {
  return { case: "errorResponse" as const, value: { errorCode, errorMessage } };
}

/** Invariant 1. */
function files(wanted: DescFile | undefined, asked: string, sent: Set<string>) {
  if (!wanted) return failed(Code.NotFound, `not found: ${asked}`);
  const fileDescriptorProto: Uint8Array[] = [];
  const seen = new Set<string>();
  const queue = [wanted];
  for (let file = queue.shift(); file; file = queue.shift()) {
    const { name } = file.proto;
    if (seen.has(name)) continue;
    seen.add(name);
    // the file that was asked for is always sent
    if (file === wanted || !sent.has(name)) fileDescriptorProto.push(toBinary(FileDescriptorProtoSchema, file.proto));
    sent.add(name);
    queue.push(...file.dependencies);
  }
  return { case: "fileDescriptorResponse" as const, value: { fileDescriptorProto } };
}
