import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { GrpcInferenceClient, type StreamedRequest } from '../../client/grpc.ts';
import { InferenceClient, type InferenceError, type Tensor } from '../../client/rest.ts';
import {
  identityModel,
  PlainEngine,
  type PlainModel,
  readyWith,
  sumModel,
} from '../../runtime/server/plain-engine.ts';
import type { RuntimeServer } from '../../runtime/server/server.ts';
import { gate, openTestServer } from '../../runtime/server/test-client.ts';

/** The client of ours against the real serving port, and against a server that behaves badly. */

const A: Tensor = { name: 'a', datatype: 'FP32', shape: [1, 2], data: Float32Array.of(1, 2) };
const B: Tensor = { name: 'b', datatype: 'FP32', shape: [1, 2], data: Float32Array.of(3, Number.NaN) };
const SUM = { name: 'sum', datatype: 'FP32', shape: [1, 2], data: Float32Array.of(4, Number.NaN) };

let model: PlainModel;
let engine: PlainEngine;
let server: RuntimeServer;
beforeEach(async () => {
  model = sumModel();
  engine = readyWith(model);
  server = await openTestServer({ engine });
});
afterEach(() => server.stop());

const codeOf = async (call: Promise<unknown>): Promise<unknown[]> => {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown as InferenceError,
  );
  return [error?.name, error?.code, error?.status];
};

interface EitherClient {
  infer: InferenceClient['infer'];
  isReady: InferenceClient['isReady'];
  close(): void;
}

const REST = (name: string): EitherClient => {
  const client = new InferenceClient({ url: `http://127.0.0.1:${server.port}`, model: name });
  return { infer: client.infer.bind(client), isReady: client.isReady.bind(client), close: () => undefined };
};
const GRPC = (name: string): EitherClient =>
  new GrpcInferenceClient({ address: `127.0.0.1:${server.port}`, model: name });

describe.each([
  ['REST', REST],
  ['gRPC', GRPC],
])('over %s', (_protocol, open) => {
  test('a model is run with typed tensors, its outputs chosen, the id given back', async () => {
    const client = open('sum');
    expect(await client.infer([A, B], { outputs: ['sum'], id: 'x', parameters: { n: 1 } })).toMatchObject({
      modelName: 'sum',
      modelVersion: '3',
      id: 'x',
      outputs: [SUM],
    });
    expect(await client.isReady()).toBe(true);
    client.close();
  });

  test('texts, 64-bit integers and half floats go through as what they are', async () => {
    const tensors: Tensor[] = [
      { name: 'in', datatype: 'BYTES', shape: [2], data: ['Zürich', '🙂'] },
      { name: 'in', datatype: 'INT64', shape: [2], data: BigInt64Array.of(-1n, 2n ** 63n - 1n) },
      { name: 'in', datatype: 'FP16', shape: [2], data: Float16Array.of(1, -2) },
      { name: 'in', datatype: 'BOOL', shape: [2], data: [true, false] },
    ];
    for (const tensor of tensors) {
      engine.current = { phase: 'ready', model: identityModel(tensor.datatype), claim: undefined };
      const client = open('identity');
      const { outputs } = await client.infer([tensor]);
      expect(outputs).toEqual([{ ...tensor, name: 'out' }]);
      client.close();
    }
  });

  test('a refusal has its stable code, and a mistake is not repeated', async () => {
    const client = open('sum');
    expect(await codeOf(client.infer([A]))).toEqual(['InferenceError', 'invalid-request', 400]);
    const other = open('other');
    expect(await codeOf(other.infer([A, B]))).toEqual(['InferenceError', 'unknown-model', 404]);
    expect(await other.isReady()).toBe(false);
    client.close();
    other.close();
  });

  test('a server that is not ready is asked again when it says so', async () => {
    engine.current = { phase: 'specialising', modelName: 'sum', claim: undefined };
    const client = open('sum');
    const answered = client.infer([A, B]);
    engine.current = readyWith(model).current;
    expect((await answered).outputs).toEqual([SUM]);
    client.close();
  });

  test('a call that its caller aborts rejects with the reason, one that takes too long with a timeout', async () => {
    const { opened, open: release } = gate();
    model.gate = opened;
    const client = open('sum');
    const leaving = new AbortController();
    const aborted = client.infer([A, B], { signal: leaving.signal }).catch((error: unknown) => error);
    await expect.poll(() => model.calls).toBe(1);
    leaving.abort(new Error('changed my mind'));
    expect(await aborted).toMatchObject({ message: 'changed my mind' });
    expect(await codeOf(client.infer([A, B], { timeoutMs: 50 }))).toEqual([
      'InferenceError',
      'timeout',
      undefined,
    ]);
    release();
    client.close();
  });

  test('where nobody listens is told', async () => {
    await server.stop();
    const client = open('sum');
    expect(await codeOf(client.infer([A, B], { timeoutMs: 5_000 }))).toEqual([
      'InferenceError',
      'unreachable',
      undefined,
    ]);
    expect(await client.isReady()).toBe(false);
    client.close();
  });
});

test('metadata is typed', async () => {
  const client = new InferenceClient({ url: `http://127.0.0.1:${server.port}/`, model: 'sum', version: '3' });
  expect((await client.metadata()).inputs[0]).toEqual({ name: 'a', datatype: 'FP32', shape: [-1, -1] });
});

test('a stream gives results in order, as fast as they are asked for, and ends when its reader leaves', async () => {
  const client = new GrpcInferenceClient({ address: `127.0.0.1:${server.port}`, model: 'sum' });
  let asked = 0;
  async function* requests(): AsyncGenerator<StreamedRequest> {
    for (let index = 0; index < 30; index++) {
      asked += 1;
      yield { id: String(index), inputs: [A, { ...B, data: Float32Array.of(index, 0) } as Tensor] };
    }
  }
  const ids: (string | undefined)[] = [];
  for await (const { id, outputs } of client.inferStream(requests())) {
    expect(outputs[0]?.data).toEqual(Float32Array.of(1 + Number(id), 2));
    ids.push(id);
  }
  expect(ids).toEqual(Array.from({ length: 30 }, (_, index) => String(index)));
  expect(asked).toBe(30);
  for await (const { id } of client.inferStream(requests())) {
    expect(id).toBe('0');
    break;
  }
  await expect.poll(() => server.load.snapshot().direct.inFlight).toBe(0);
  const failing = client.inferStream([{ inputs: [A] }]);
  expect(await codeOf(failing.next())).toEqual(['InferenceError', 'invalid-request', undefined]);
  client.close();
});

describe('with a server that behaves badly', () => {
  let bad: Server;
  let answers: { status: number; headers?: Record<string, string>; body?: string }[];
  let calls: number;
  let client: InferenceClient;
  beforeEach(async () => {
    calls = 0;
    bad = createServer((request, response) => {
      request.resume();
      const {
        status,
        headers = {},
        body = '',
      } = answers[Math.min(calls, answers.length - 1)] ?? { status: 500 };
      calls += 1;
      response.writeHead(status, headers).end(body);
    });
    await new Promise<void>((resolve) => bad.listen(0, '127.0.0.1', resolve));
    const { port } = bad.address() as AddressInfo;
    client = new InferenceClient({ url: `http://127.0.0.1:${port}`, model: 'm', retry: { baseMs: 1 } });
  });
  afterEach(() => new Promise((resolve) => bad.close(resolve)));

  test('what it asks for is waited for, and no more often than the policy says', async () => {
    answers = [
      { status: 503, headers: { 'retry-after': '0' } },
      { status: 502 },
      {
        status: 200,
        body: '{"model_name":"m","outputs":[{"name":"y","datatype":"INT64","shape":[1],"data":[9007199254740993]}]}',
      },
    ];
    const { outputs } = await client.infer([]);
    expect(outputs).toEqual([
      { name: 'y', datatype: 'INT64', shape: [1], data: BigInt64Array.of(9007199254740993n) },
    ]);
    expect(calls).toBe(3);
    answers = [{ status: 503, headers: { 'retry-after': '0' }, body: 'busy' }];
    calls = 0;
    expect(await codeOf(client.infer([]))).toEqual(['InferenceError', '', 503]);
    expect(calls).toBe(4);
  });

  test('an answer that is none of the protocol is told', async () => {
    for (const body of [
      '',
      '<html>',
      '{}',
      '{"outputs":[{"name":"y","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":400}}]}',
    ]) {
      answers = [{ status: 200, body }];
      expect(await codeOf(client.infer([]))).toEqual(['InferenceError', 'bad-answer', undefined]);
    }
  });
});
