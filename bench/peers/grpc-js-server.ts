/**
 * A bare `@grpc/grpc-js` server that answers `grpc.health.v1.Health/Check`, in a process of its own:
 * the peer of the row `empty-call`. Prints its port. Ends when its standard input does.
 */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { Server, ServerCredentials, type ServiceDefinition, type UntypedHandleCall } from "@grpc/grpc-js";
import {
  type HealthCheckRequest,
  HealthCheckRequestSchema,
  type HealthCheckResponse,
  HealthCheckResponse_ServingStatus,
  HealthCheckResponseSchema,
} from "../../gen/health/v1/health_pb.js";

const definition: ServiceDefinition = {
  Check: {
    path: "/grpc.health.v1.Health/Check",
    requestStream: false,
    responseStream: false,
    requestSerialize: (request: HealthCheckRequest) => Buffer.from(toBinary(HealthCheckRequestSchema, request)),
    requestDeserialize: (bytes: Buffer) => fromBinary(HealthCheckRequestSchema, bytes),
    responseSerialize: (answer: HealthCheckResponse) => Buffer.from(toBinary(HealthCheckResponseSchema, answer)),
    responseDeserialize: (bytes: Buffer) => fromBinary(HealthCheckResponseSchema, bytes),
  },
};
const check: UntypedHandleCall = (_call: unknown, answer: (error: null, value: HealthCheckResponse) => void): void =>
  answer(null, create(HealthCheckResponseSchema, { status: HealthCheckResponse_ServingStatus.SERVING }));

const server = new Server();
server.addService(definition, { Check: check });
server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  process.stdout.write(`${port}\n`);
});
process.stdin.resume().once("end", () => process.exit(0));
