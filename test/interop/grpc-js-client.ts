/**
 * Owns: a client made with @grpc/grpc-js from descriptors alone, in the snake_case of the proto.
 *
 * Nothing here is generated: the descriptors come from the running server's reflection, or from proto/.
 */
import { join } from "node:path";
import * as grpc from "@grpc/grpc-js";
import * as loader from "@grpc/proto-loader";
import { root } from "./toolchain.js";

const options: loader.Options = {
  keepCase: true,
  longs: String,
  enums: String,
  defaults: true,
  oneofs: true,
};

export type Message = Record<string, unknown>;

/** What is called: any method of a service, by its proto name. */
export interface Caller {
  unary(method: string, request: Message): Promise<Message>;
  stream(method: string, request: Message): AsyncIterable<Message>;
  /** A map as the descriptors want it. */
  toMap(map: Readonly<Record<string, string>>): unknown;
  fromMap(map: unknown): Record<string, string>;
  close(): void;
}

/** protobufjs reads a map field of a binary descriptor as the repeated entries that it is on the wire. */
export type Maps = "objects" | "entries";

/** A client of `leasehold.v1.WorkspaceService`. */
export function callerOf(target: string, definition: loader.PackageDefinition, maps: Maps = "objects"): Caller {
  const service = definition["leasehold.v1.WorkspaceService"] as grpc.ServiceDefinition;
  const Client = grpc.makeGenericClientConstructor(service, "WorkspaceService");
  const client = new Client(target, grpc.credentials.createInsecure());
  const deadline = () => new Date(Date.now() + 20_000);
  const methodOf = (name: string) => {
    const method = service[name];
    if (method === undefined) throw new Error(`the descriptors have no ${name}`);
    return method;
  };
  return {
    unary: (name, request) => {
      const { path, requestSerialize, responseDeserialize } = methodOf(name);
      return new Promise((resolve, reject) => {
        client.makeUnaryRequest(
          path,
          requestSerialize as (value: Message) => Buffer,
          responseDeserialize as (bytes: Buffer) => Message,
          request,
          { deadline: deadline() },
          (error, answer) => (error ? reject(error) : resolve(answer as Message)),
        );
      });
    },
    stream: (name, request) => {
      const { path, requestSerialize, responseDeserialize } = methodOf(name);
      return client.makeServerStreamRequest(
        path,
        requestSerialize as (value: Message) => Buffer,
        responseDeserialize as (bytes: Buffer) => Message,
        request,
        { deadline: deadline() },
      );
    },
    toMap: (map) => (maps === "objects" ? map : Object.entries(map).map(([key, value]) => ({ key, value }))),
    fromMap: (map) =>
      maps === "objects"
        ? (map as Record<string, string>)
        : Object.fromEntries((map as { key: string; value: string }[]).map(({ key, value }) => [key, value])),
    close: () => client.close(),
  };
}

/** From proto/, as a program that has it in its tree. */
export function fromProtoDirectory(): loader.PackageDefinition {
  const includeDirs = [join(root, "proto")];
  return loader.loadSync("leasehold/v1/workspace_service.proto", { ...options, includeDirs });
}

/** From the running server, with nothing at hand but the reflection protocol itself. */
export async function fromReflection(target: string): Promise<loader.PackageDefinition> {
  const reflection = loader.loadSync("grpc/reflection/v1/reflection.proto", {
    ...options,
    includeDirs: [join(root, "node_modules/@grpc/reflection/build/proto")],
  });
  const service = reflection["grpc.reflection.v1.ServerReflection"] as grpc.ServiceDefinition;
  const Client = grpc.makeGenericClientConstructor(service, "ServerReflection");
  const client = new Client(target, grpc.credentials.createInsecure());
  const info = service.ServerReflectionInfo as grpc.MethodDefinition<Message, Message>;
  const call = client.makeBidiStreamRequest(info.path, info.requestSerialize, info.responseDeserialize);
  call.end({ file_containing_symbol: "leasehold.v1.WorkspaceService" });
  try {
    for await (const answer of call as AsyncIterable<Message>) {
      const found = answer.file_descriptor_response as { file_descriptor_proto: Buffer[] };
      return loader.loadFileDescriptorSetFromBuffer(descriptorSet(found.file_descriptor_proto), options);
    }
  } finally {
    client.close();
  }
  throw new Error("reflection gave no file");
}

/** The file descriptors as a `FileDescriptorSet`: each is its field 1, a length and the bytes. */
function descriptorSet(files: readonly Buffer[]): Buffer {
  return Buffer.concat(files.flatMap((file) => [Buffer.from([0x0a, ...varint(file.length)]), file]));
}

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)];
}
