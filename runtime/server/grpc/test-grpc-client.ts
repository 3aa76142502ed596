import { type Client, credentials, Metadata, makeClientConstructor, type ServiceError } from '@grpc/grpc-js';
import protobuf from 'protobufjs';

/**
 * The protocol through the real client of gRPC, with messages by protobufjs from the protocol's own file: what
 * our own reader and writer of it are held against.
 */
export interface GrpcClient {
  /** Calls a method, whether the protocol has it or not; rejects with a ServiceError. */
  ask(name: string, message: object, options?: GrpcOptions): Promise<Record<string, unknown>>;
  /** Opens ModelStreamInfer, or another method of which both sides send any number of messages. */
  stream(method?: StreamMethod): TestStream;
  close(): void;
}

/** Where a streamed method is, and its messages. */
export interface StreamMethod {
  path: string;
  request: protobuf.Type;
  response: protobuf.Type;
}

export interface TestStream {
  send(message: object): void;
  /** Says that no more will come. */
  end(): void;
  cancel(): void;
  /** The next answer; undefined at the end. Rejects with a ServiceError. */
  next(): Promise<Record<string, unknown> | undefined>;
}

export interface GrpcOptions {
  metadata?: Record<string, string>;
  deadlineMs?: number;
  signal?: AbortSignal;
}

/** The root of the protocol's messages. */
export function loadProtocol(file = '../../../contracts/inference.proto'): Promise<protobuf.Root> {
  return protobuf.load(new URL(file, import.meta.url).pathname);
}

export async function openGrpcClient(port: number, channelOptions: object = {}): Promise<GrpcClient> {
  const root = await loadProtocol();
  const service = root.lookupService('inference.GRPCInferenceService');
  const client: Client = new (makeClientConstructor({}, 'GRPCInferenceService'))(
    `127.0.0.1:${port}`,
    credentials.createInsecure(),
    {
      'grpc.max_receive_message_length': -1,
      'grpc.max_send_message_length': -1,
      'grpc.enable_retries': 0,
      ...channelOptions,
    },
  );
  const ask = (
    name: string,
    message: object,
    options: GrpcOptions = {},
  ): Promise<Record<string, unknown>> => {
    const method = service.methods[name];
    const requestType = root.lookupType(`inference.${method?.requestType ?? 'ServerLiveRequest'}`);
    const responseType = root.lookupType(`inference.${method?.responseType ?? 'ServerLiveResponse'}`);
    const metadata = new Metadata();
    for (const [key, value] of Object.entries(options.metadata ?? {})) metadata.set(key, value);
    return new Promise((resolve, reject) => {
      const call = client.makeUnaryRequest(
        `/inference.GRPCInferenceService/${name}`,
        (value: object) => Buffer.from(requestType.encode(requestType.fromObject(value)).finish()),
        (bytes: Buffer) =>
          responseType.toObject(responseType.decode(bytes), { longs: String, bytes: Buffer, defaults: true }),
        message,
        metadata,
        options.deadlineMs === undefined ? {} : { deadline: Date.now() + options.deadlineMs },
        (error: ServiceError | null, answer?: Record<string, unknown>) => {
          if (error === null) resolve(answer ?? {});
          else reject(error);
        },
      );
      options.signal?.addEventListener('abort', () => call.cancel());
    });
  };
  const inferStream: StreamMethod = {
    path: '/inference.GRPCInferenceService/ModelStreamInfer',
    request: root.lookupType('inference.ModelInferRequest'),
    response: root.lookupType('inference.ModelStreamInferResponse'),
  };
  const stream = ({ path, request, response }: StreamMethod = inferStream): TestStream => {
    const call = client.makeBidiStreamRequest(
      path,
      (value: object) => Buffer.from(request.encode(request.fromObject(value)).finish()),
      (bytes: Buffer) =>
        response.toObject(response.decode(bytes), { longs: String, bytes: Buffer, defaults: true }),
    );
    const answers = call[Symbol.asyncIterator]() as AsyncIterator<Record<string, unknown>>;
    return {
      send: (message) => {
        call.write(message);
      },
      end: () => call.end(),
      cancel: () => call.cancel(),
      next: async () => {
        const { done, value } = await answers.next();
        return done === true ? undefined : value;
      },
    };
  };
  return { ask, stream, close: () => client.close() };
}
