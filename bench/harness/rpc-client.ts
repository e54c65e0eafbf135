/**
 * Owns the client of the benchmark: `@grpc/grpc-js` with the generated messages, the same against every server,
 * so that what differs is the server.
 */
import {
  create,
  type DescMessage,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { Client, credentials } from "@grpc/grpc-js";

const deadlineMs = 120_000;

export class RpcClient {
  readonly #channels: Client[] = [];
  #next = 0;

  /** `address`: HOST:PORT. Calls are spread over the channels, each a connection of its own. */
  constructor(address: string, channels = 1) {
    const options = { "grpc.use_local_subchannel_pool": 1, "grpc.max_receive_message_length": 64 * 1024 * 1024 };
    for (let i = 0; i < channels; i++) {
      this.#channels.push(new Client(address, credentials.createInsecure(), options));
    }
  }

  call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
  ): Promise<MessageShape<O>> {
    return new Promise((resolve, reject) => {
      this.#channel().makeUnaryRequest<MessageShape<I>, MessageShape<O>>(
        pathOf(method),
        (message) => Buffer.from(toBinary(method.input, message)),
        (bytes) => fromBinary(method.output, bytes),
        create(method.input, request),
        { deadline: Date.now() + deadlineMs },
        (error, answer) => (answer ? resolve(answer) : reject(error)),
      );
    });
  }

  /** Opens a stream and hands its messages on as bytes. Answers how to end it. */
  stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
    onMessage: (bytes: Buffer) => void,
    onError: (error: Error) => void,
  ): () => void {
    const stream = this.#channel().makeServerStreamRequest<MessageShape<I>, Buffer>(
      pathOf(method),
      (message) => Buffer.from(toBinary(method.input, message)),
      (bytes) => bytes,
      create(method.input, request),
    );
    let ended = false;
    stream.on("data", onMessage);
    stream.on("error", (error) => !ended && onError(error));
    return () => {
      ended = true;
      stream.cancel();
    };
  }

  close(): void {
    for (const channel of this.#channels) channel.close();
  }

  #channel(): Client {
    this.#next = (this.#next + 1) % this.#channels.length;
    return this.#channels[this.#next] as Client;
  }
}

function pathOf(method: DescMethodUnary | DescMethodServerStreaming): string {
  return `/${method.parent.typeName}/${method.name}`;
}
