import { once } from 'node:events';
import { connect } from 'node:http2';
import { compressionAlgorithms, type ServiceError, status } from '@grpc/grpc-js';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { identityModel, type PlainEngine, type PlainModel, readyWith, sumModel } from '../plain-engine.ts';
import type { RuntimeServer } from '../server.ts';
import { callHttp2, gate, openTestServer, sumBody } from '../test-client.ts';
import { type GrpcClient, type GrpcOptions, openGrpcClient } from './test-grpc-client.ts';

/** TYPE_FP32 in the protocol's enum. */
const DATA_TYPE_FP32 = 11;

let engine: PlainEngine;
let model: PlainModel;
let server: RuntimeServer;
let client: GrpcClient;

const ask = (name: string, message: object, options?: GrpcOptions): Promise<Record<string, unknown>> =>
  client.ask(name, message, options);

function sumRequest(a: readonly number[], b: readonly number[]): object {
  const input = (name: string, data: readonly number[]): object => ({
    name,
    datatype: 'FP32',
    shape: ['1', String(data.length)],
    contents: { fp32Contents: data },
  });
  return { modelName: 'sum', id: 'x', inputs: [input('a', a), input('b', b)] };
}

beforeEach(async () => {
  model = sumModel();
  engine = readyWith(model);
  server = await openTestServer({ engine, version: '1.2.3', limits: { maxBodyBytes: 5_000_000 } });
  client = await openGrpcClient(server.port);
});
afterEach(async () => {
  client.close();
  await server.stop();
});

test('health and metadata are told', async () => {
  expect(await ask('ServerLive', {})).toEqual({ live: true });
  expect(await ask('ServerReady', {})).toEqual({ ready: true });
  expect(await ask('ModelReady', { name: 'sum' })).toEqual({ ready: true });
  expect(await ask('ModelReady', { name: 'other' })).toEqual({ ready: false });
  expect(await ask('ServerMetadata', {})).toMatchObject({ name: 'pilotlight', version: '1.2.3' });
  expect(await ask('ModelMetadata', { name: 'sum', version: '3' })).toMatchObject({
    name: 'sum',
    versions: ['3'],
    platform: 'onnxruntime_onnx',
    inputs: [{ name: 'a', datatype: 'FP32', shape: ['-1', '-1'] }, { name: 'b' }],
    outputs: [{ name: 'sum' }],
  });
  engine.current = { phase: 'standby' };
  expect(await ask('ServerReady', {})).toEqual({ ready: false });
  expect(await ask('ModelReady', { name: 'sum' })).toEqual({ ready: false });
});

test("what Triton's clients ask for beyond the protocol is told: configuration, statistics, index", async () => {
  expect(await ask('ModelConfig', { name: 'sum' })).toMatchObject({
    config: {
      name: 'sum',
      platform: 'onnxruntime_onnx',
      backend: 'onnxruntime',
      maxBatchSize: 8,
      input: [{ name: 'a', dataType: DATA_TYPE_FP32, dims: ['-1'] }, { name: 'b' }],
      output: [{ name: 'sum', dataType: DATA_TYPE_FP32, dims: ['-1'] }],
    },
  });
  await ask('ModelInfer', sumRequest([1], [2]));
  await ask('ModelInfer', sumRequest([1], [2, 3])).catch(() => undefined);
  for (const name of ['sum', '']) {
    const { modelStats } = (await ask('ModelStatistics', { name })) as { modelStats: object[] };
    expect(modelStats).toMatchObject([
      {
        name: 'sum',
        version: '3',
        executionCount: '1',
        inferenceStats: { success: { count: '1' }, fail: { count: '1' }, computeInfer: { ns: '500000' } },
      },
    ]);
  }
  expect(await ask('RepositoryIndex', {})).toMatchObject({
    models: [{ name: 'sum', version: '3', state: 'READY' }],
  });
  engine.current = { phase: 'specialising', modelName: 'sum', claim: undefined };
  expect(await ask('RepositoryIndex', {})).toMatchObject({
    models: [{ state: 'UNAVAILABLE', reason: 'being loaded' }],
  });
  expect(await ask('RepositoryIndex', { ready: true })).toEqual({ models: [] });
  await expect(ask('ModelConfig', { name: 'sum' })).rejects.toMatchObject({ code: status.UNAVAILABLE });
});

test('an inference with typed contents is answered with typed contents', async () => {
  const answer = await ask('ModelInfer', sumRequest([1, 2], [3, 4.5]));
  expect(answer).toMatchObject({
    modelName: 'sum',
    modelVersion: '3',
    id: 'x',
    outputs: [{ name: 'sum', datatype: 'FP32', shape: ['1', '2'], contents: { fp32Contents: [4, 6.5] } }],
    rawOutputContents: [],
  });
});

test('raw contents of megabytes go in and come out', async () => {
  engine.current = { phase: 'ready', model: identityModel('UINT8'), claim: undefined };
  const raw = Buffer.from(Uint8Array.from({ length: 4_000_000 }, (_, index) => index % 251));
  const answer = await ask('ModelInfer', {
    modelName: 'identity',
    inputs: [{ name: 'in', datatype: 'UINT8', shape: [String(raw.length)] }],
    rawInputContents: [raw],
  });
  expect(raw.equals((answer['rawOutputContents'] as Buffer[])[0] ?? Buffer.alloc(0))).toBe(true);
});

test('only the outputs asked for are given', async () => {
  const answer = await ask('ModelInfer', { ...sumRequest([1], [2]), outputs: [{ name: 'sum' }] });
  expect(answer['outputs']).toMatchObject([{ name: 'sum', contents: { fp32Contents: [3] } }]);
  const unknown = ask('ModelInfer', { ...sumRequest([1], [2]), outputs: [{ name: 'product' }] });
  await expect(unknown).rejects.toMatchObject({ details: "unknown output 'product'; the model gives 'sum'" });
});

test('half floats come raw, whatever the request was', async () => {
  engine.current = { phase: 'ready', model: identityModel('FP16'), claim: undefined };
  const answer = await ask('ModelInfer', {
    modelName: 'identity',
    inputs: [{ name: 'in', datatype: 'FP16', shape: ['2'] }],
    rawInputContents: [Buffer.of(0, 0x3c, 0, 0xc0)],
  });
  expect(answer['rawOutputContents']).toEqual([Buffer.of(0, 0x3c, 0, 0xc0)]);
});

test('errors carry the status of gRPC, the text and the stable code', async () => {
  const cases: [object, number, string, string][] = [
    [sumRequest([1], [2, 3]), status.INVALID_ARGUMENT, 'invalid-request', "input 'b': expected shape"],
    [
      { ...sumRequest([1], [2]), modelName: 'naïve' },
      status.NOT_FOUND,
      'unknown-model',
      "unknown model 'naïve'",
    ],
    [
      { ...sumRequest([1], [2]), modelVersion: '9' },
      status.NOT_FOUND,
      'unknown-model',
      "unknown version '9'",
    ],
  ];
  for (const [message, code, stable, text] of cases) {
    const error = await ask('ModelInfer', message).catch((thrown: unknown) => thrown as ServiceError);
    expect(error).toMatchObject({ code, details: expect.stringContaining(text) });
    expect((error as ServiceError).metadata.get('pilotlight-error')).toEqual([stable]);
  }
  const large = sumRequest(
    Array.from({ length: 1_300_000 }, () => 1),
    [1],
  );
  await expect(ask('ModelInfer', large)).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED });
  await expect(ask('RepositoryModelLoad', {})).rejects.toMatchObject({
    code: status.UNIMPLEMENTED,
    details: expect.stringContaining('ModelStreamInfer, ServerLive'),
  });
  engine.current = { phase: 'specialising', modelName: 'sum', claim: undefined };
  await expect(ask('ModelInfer', sumRequest([1], [2]))).rejects.toMatchObject({ code: status.UNAVAILABLE });
});

test('what is meant for another service is refused, and an activator sees 421', async () => {
  const service = { namespace: 'demo', name: 'sum' };
  const claim = { claimId: 'c', epoch: 1, serviceUid: 'uid-1', revision: 'r-2', service };
  engine.current = { phase: 'ready', model, claim };
  const options = { metadata: { 'pilotlight-service-uid': 'uid-9' } };
  await expect(ask('ModelInfer', sumRequest([1], [2]), options)).rejects.toMatchObject({
    code: status.UNAVAILABLE,
  });
  await expect(ask('ModelReady', { name: 'sum' }, options)).rejects.toMatchObject({
    code: status.UNAVAILABLE,
  });
  const answer = await callHttp2(server.port, '/inference.GRPCInferenceService/ModelInfer', {
    headers: {
      'content-type': 'application/grpc',
      'pilotlight-service-uid': 'uid-9',
      'pilotlight-proxied-by': 'a',
    },
    body: Buffer.alloc(5),
  });
  expect([answer.status, answer.headers['pilotlight-error'], answer.headers['grpc-status']]).toEqual([
    421,
    'wrong-service',
    '14',
  ]);
});

test('a call that was not looked at is refused with its HTTP status when it came through an activator', async () => {
  const post = (headers: Record<string, string>): Promise<unknown[]> =>
    callHttp2(server.port, '/inference.GRPCInferenceService/ModelInfer', {
      headers: { 'content-type': 'application/grpc', ...headers },
      body: Buffer.alloc(5),
    }).then(({ status: code, headers: came }) => [code, came['pilotlight-error'], came['grpc-status']]);
  engine.current = { phase: 'draining', model, claim: undefined };
  expect(await post({ 'pilotlight-proxied-by': 'a' })).toEqual([503, 'draining', '14']);
  expect(await post({})).toEqual([200, 'draining', '14']);
  engine.current = { phase: 'standby' };
  expect(await post({ 'pilotlight-proxied-by': 'a' })).toEqual([503, 'not-ready', '14']);
});

test('compressed messages are taken, and one that inflates without end is refused', async () => {
  client.close();
  client = await openGrpcClient(server.port, {
    'grpc.default_compression_algorithm': compressionAlgorithms.gzip,
  });
  const ones = Array.from({ length: 10_000 }, () => 1);
  const answer = await ask('ModelInfer', sumRequest(ones, ones));
  expect((answer['outputs'] as { shape: string[] }[])[0]?.shape).toEqual(['1', '10000']);
  const zeros = Array.from({ length: 1_300_000 }, () => 0);
  await expect(ask('ModelInfer', sumRequest(zeros, zeros))).rejects.toMatchObject({
    code: status.RESOURCE_EXHAUSTED,
  });
});

test("the client's deadline counts, and a client that cancels frees its place", async () => {
  const { opened, open } = gate();
  model.gate = opened;
  model.capacity = 1;
  const late = ask('ModelInfer', sumRequest([1], [2]), { deadlineMs: 100 });
  await expect(late).rejects.toMatchObject({ code: status.DEADLINE_EXCEEDED });
  const leaving = new AbortController();
  const cancelled = ask('ModelInfer', sumRequest([1], [2]), { signal: leaving.signal }).catch(
    (error: unknown) => error,
  );
  await expect.poll(() => server.load.snapshot().direct.requests).toBe(2);
  leaving.abort();
  expect(await cancelled).toMatchObject({ code: status.CANCELLED });
  await expect.poll(() => server.load.snapshot().direct.inFlight).toBe(1);
  open();
  expect(await server.load.idle(5000)).toBe(true);
  expect(model.calls).toBe(1);
});

test('gRPC and REST share one HTTP/2 connection, and the port of its own serves the same', async () => {
  const session = connect(`http://127.0.0.1:${server.port}`);
  const rest = await callHttp2(server.port, '/v2/models/sum/infer', { body: sumBody([1], [2]) }, session);
  expect(rest.status).toBe(200);
  const stream = session.request({
    ':path': '/inference.GRPCInferenceService/ServerLive',
    ':method': 'POST',
    'content-type': 'application/grpc+proto',
    te: 'trailers',
  });
  const trailers = once(stream, 'trailers');
  stream.end(Buffer.alloc(5));
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  expect(Buffer.concat(chunks)).toEqual(Buffer.of(0, 0, 0, 0, 2, 8, 1));
  expect((await trailers)[0]).toMatchObject({ 'grpc-status': '0' });
  session.close();

  await server.stop();
  server = await openTestServer({ engine, grpcPort: 0 });
  client.close();
  client = await openGrpcClient(server.grpcPort ?? 0);
  expect(await ask('ServerLive', {})).toEqual({ live: true });
});

test('frames that are none are refused: empty, short, two messages, an unknown flag', async () => {
  const post = (body: Buffer): Promise<string | string[] | undefined> =>
    callHttp2(server.port, '/inference.GRPCInferenceService/ModelInfer', {
      headers: { 'content-type': 'application/grpc' },
      body,
    }).then(({ headers }) => headers['grpc-status'] as string | undefined);
  for (const body of [
    Buffer.alloc(0),
    Buffer.of(0, 0),
    Buffer.of(0, 0, 0, 0, 9, 1),
    Buffer.alloc(10),
    Buffer.of(2, 0, 0, 0, 0),
  ]) {
    expect(await post(body)).toBe('3');
  }
});
