import { once } from 'node:events';
import { connect } from 'node:http2';
import { type ServiceError, status } from '@grpc/grpc-js';
import fc from 'fast-check';
import protobuf from 'protobufjs';
import descriptor from 'protobufjs/ext/descriptor.js';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type PlainEngine, type PlainModel, readyWith, sumModel } from '../plain-engine.ts';
import type { RuntimeServer } from '../server.ts';
import { gate, openTestServer } from '../test-client.ts';
import { FrameAssembler, frameHead } from './grpc-framing.ts';
import { type GrpcClient, loadProtocol, openGrpcClient, type StreamMethod } from './test-grpc-client.ts';

let engine: PlainEngine;
let model: PlainModel;
let server: RuntimeServer;
let client: GrpcClient;

const LIMIT_BYTES = 1_000_000;

beforeEach(async () => {
  model = sumModel();
  engine = readyWith(model);
  server = await openTestServer({ engine, limits: { maxBodyBytes: LIMIT_BYTES } });
  client = await openGrpcClient(server.port);
});
afterEach(async () => {
  client.close();
  await server.stop();
});

function sumRequest(id: string, a: readonly number[], b: readonly number[]): object {
  const input = (name: string, data: readonly number[]): object => ({
    name,
    datatype: 'FP32',
    shape: ['1', String(data.length)],
    contents: { fp32Contents: data },
  });
  return { modelName: 'sum', id, inputs: [input('a', a), input('b', b)] };
}

test('requests of a stream are answered in their order, and one that fails does not end it', async () => {
  const stream = client.stream();
  for (let index = 0; index < 20; index++) stream.send(sumRequest(String(index), [index], [1]));
  stream.send(sumRequest('bad', [1], [1, 2]));
  stream.send({ ...sumRequest('elsewhere', [1], [1]), modelName: 'other' });
  stream.send(sumRequest('last', [5], [6]));
  stream.end();
  for (let index = 0; index < 20; index++) {
    expect(await stream.next()).toMatchObject({
      errorMessage: '',
      inferResponse: { id: String(index), outputs: [{ contents: { fp32Contents: [index + 1] } }] },
    });
  }
  expect(await stream.next()).toMatchObject({
    errorMessage: expect.stringContaining("input 'b': expected shape"),
    inferResponse: { id: 'bad', outputs: [] },
  });
  expect(await stream.next()).toMatchObject({
    errorMessage: expect.stringContaining("unknown model 'other'"),
    inferResponse: { id: 'elsewhere' },
  });
  expect(await stream.next()).toMatchObject({ inferResponse: { id: 'last' } });
  expect(await stream.next()).toBeUndefined();
  expect(await server.load.idle(0)).toBe(true);
});

test('an answer comes as soon as it is there, while the stream stays open', async () => {
  const stream = client.stream();
  for (const id of ['one', 'two']) {
    stream.send(sumRequest(id, [1], [1]));
    expect(await stream.next()).toMatchObject({ inferResponse: { id } });
    await expect.poll(() => server.load.snapshot().direct.inFlight).toBe(0);
  }
  stream.end();
  expect(await stream.next()).toBeUndefined();
});

test('a client that wants to know when an answer is the last one is told', async () => {
  const stream = client.stream();
  const parameters = { triton_enable_empty_final_response: { boolParam: true } };
  stream.send({ ...sumRequest('x', [1], [1]), parameters });
  expect(await stream.next()).toMatchObject({
    inferResponse: { parameters: { triton_final_response: { boolParam: true } } },
  });
  stream.cancel();
});

test('a stream has as many in work as the model takes and one more, and the rest waits with its client', async () => {
  const { opened, open } = gate();
  model.gate = opened;
  model.capacity = 2;
  const stream = client.stream();
  for (let index = 0; index < 50; index++) stream.send(sumRequest(String(index), [index], [1]));
  await expect.poll(() => model.calls).toBe(2);
  await expect.poll(() => server.load.snapshot().direct.inFlight).toBe(3);
  open();
  stream.end();
  let answers = 0;
  while ((await stream.next()) !== undefined) answers += 1;
  expect(answers).toBe(50);
});

test('a client that leaves its stream frees what waits of it', async () => {
  const { opened, open } = gate();
  model.gate = opened;
  model.capacity = 1;
  const stream = client.stream();
  for (let index = 0; index < 5; index++) stream.send(sumRequest(String(index), [index], [1]));
  await expect.poll(() => server.load.snapshot().direct.inFlight).toBe(2);
  stream.cancel();
  await expect(stream.next()).rejects.toMatchObject({ code: status.CANCELLED });
  await expect.poll(() => server.load.snapshot().direct.inFlight).toBe(1);
  open();
  expect(await server.load.idle(5000)).toBe(true);
  expect(model.calls).toBe(1);
});

test('a replica that leaves answers what it has, and ends its streams, quiet ones too', async () => {
  const quiet = client.stream();
  quiet.send(sumRequest('x', [1], [1]));
  await quiet.next();
  const { opened, open } = gate();
  model.gate = opened;
  const busy = client.stream();
  busy.send(sumRequest('y', [1], [1]));
  await expect.poll(() => model.calls).toBe(2);
  engine.current = { phase: 'draining', model, claim: undefined };
  await expect(quiet.next()).rejects.toMatchObject({ code: status.UNAVAILABLE });
  open();
  expect(await busy.next()).toMatchObject({ inferResponse: { id: 'y' } });
  await expect(busy.next()).rejects.toMatchObject({ code: status.UNAVAILABLE });
  await expect(client.stream().next()).rejects.toMatchObject({ code: status.UNAVAILABLE });
});

test('a message that is too large, and frames that are none, end the stream', async () => {
  const stream = client.stream();
  const ones = Array.from({ length: LIMIT_BYTES / 4 }, () => 1);
  stream.send(sumRequest('large', ones, [1]));
  await expect(stream.next()).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED });
  for (const [bytes, code] of [
    [Buffer.of(2, 0, 0, 0, 0), status.INVALID_ARGUMENT],
    [Buffer.of(0, 0, 0, 0, 9, 1), status.INVALID_ARGUMENT],
    [Buffer.of(0, 0, 0), status.INVALID_ARGUMENT],
    [Buffer.of(1, 0, 0, 0, 1, 1), status.INVALID_ARGUMENT],
  ] as const) {
    const session = connect(`http://127.0.0.1:${server.port}`);
    const raw = session.request({
      ':path': '/inference.GRPCInferenceService/ModelStreamInfer',
      ':method': 'POST',
      'content-type': 'application/grpc',
      'grpc-encoding': 'gzip',
    });
    const ended = once(raw, 'response');
    raw.end(bytes);
    const [head] = (await ended) as [Record<string, string>];
    expect(Number(head['grpc-status'])).toBe(code);
    session.close();
  }
});

test('frames come out whole however they were cut', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 10 }),
      fc.infiniteStream(fc.integer({ min: 1, max: 30 })),
      (messages, sizes) => {
        const bytes = Buffer.concat(messages.flatMap((message) => [frameHead(message.length), message]));
        const assembler = new FrameAssembler(50);
        const out: Buffer[] = [];
        let position = 0;
        for (const size of sizes) {
          if (position >= bytes.length) break;
          out.push(
            ...assembler.push(bytes.subarray(position, position + size)).map(({ payload }) => payload),
          );
          position += size;
        }
        expect(out.map((one) => [...one])).toEqual(messages.map((one) => [...one]));
        expect(assembler.isWithinMessage).toBe(false);
      },
    ),
  );
});

test('health is told once and as it changes', async () => {
  const root = await loadProtocol('health.proto');
  const method = (name: string): StreamMethod => ({
    path: `/grpc.health.v1.Health/${name}`,
    request: root.lookupType('HealthCheckRequest'),
    response: root.lookupType('HealthCheckResponse'),
  });
  const check = async (service: string): Promise<unknown> => {
    const call = client.stream(method('Check'));
    call.send({ service });
    call.end();
    return (await call.next().catch((error: unknown) => (error as ServiceError).code)) as unknown;
  };
  expect(await check('')).toEqual({ status: 1 });
  expect(await check('inference.GRPCInferenceService')).toEqual({ status: 1 });
  expect(await check('other')).toBe(status.NOT_FOUND);
  const watch = client.stream(method('Watch'));
  watch.send({ service: '' });
  watch.end();
  expect(await watch.next()).toEqual({ status: 1 });
  engine.current = { phase: 'standby' };
  expect(await watch.next()).toEqual({ status: 2 });
  expect(await check('')).toEqual({ status: 2 });
  engine.current = readyWith(model).current;
  expect(await watch.next()).toEqual({ status: 1 });
  watch.cancel();
});

test.each(['v1', 'v1alpha'])('reflection %s hands out the protocol as it is', async (version) => {
  const root = await loadProtocol('reflection.proto');
  const stream = client.stream({
    path: `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
    request: root.lookupType('ServerReflectionRequest'),
    response: root.lookupType('ServerReflectionResponse'),
  });
  const ask = async (question: object): Promise<Record<string, unknown>> => {
    stream.send(question);
    return (await stream.next()) ?? {};
  };
  expect(await ask({ listServices: '*' })).toMatchObject({
    originalRequest: { listServices: '*' },
    listServicesResponse: {
      service: [
        { name: 'inference.GRPCInferenceService' },
        { name: 'grpc.health.v1.Health' },
        { name: 'grpc.reflection.v1.ServerReflection' },
        { name: 'grpc.reflection.v1alpha.ServerReflection' },
      ],
    },
  });
  const own = await loadProtocol();
  for (const symbol of ['inference.GRPCInferenceService', 'inference.ModelInferRequest.InferInputTensor']) {
    const { fileDescriptorResponse } = (await ask({ fileContainingSymbol: symbol })) as {
      fileDescriptorResponse: { fileDescriptorProto: Buffer[] };
    };
    const [bytes] = fileDescriptorResponse.fileDescriptorProto;
    const set = { file: [descriptor.FileDescriptorProto.decode(bytes ?? Buffer.alloc(0))] };
    const theirs = protobuf.Root.fromDescriptor(descriptor.FileDescriptorSet.fromObject(set) as never);
    theirs.resolveAll();
    const fields = (at: protobuf.Root): unknown =>
      at
        .lookupType('inference.ModelInferRequest')
        .fieldsArray.map(({ id, type, repeated }) => [id, type.split('.').pop(), repeated]);
    expect(fields(theirs)).toEqual(fields(own));
    const { ModelStreamInfer } = theirs.lookupService('inference.GRPCInferenceService').methods;
    expect([ModelStreamInfer?.requestStream, ModelStreamInfer?.responseStream]).toEqual([true, true]);
  }
  expect(await ask({ fileByFilename: 'inference.proto' })).toHaveProperty('fileDescriptorResponse');
  expect(await ask({ fileByFilename: 'x.proto' })).toMatchObject({ errorResponse: { errorCode: 5 } });
  expect(await ask({ fileContainingSymbol: 'inference.Nothing' })).toMatchObject({
    errorResponse: { errorCode: 5, errorMessage: "no symbol 'inference.Nothing'" },
  });
  expect(await ask({ allExtensionNumbersOfType: 'x' })).toMatchObject({ errorResponse: { errorCode: 5 } });
  expect(await ask({})).toMatchObject({ errorResponse: { errorCode: 3 } });
  stream.end();
  expect(await stream.next()).toBeUndefined();
});
