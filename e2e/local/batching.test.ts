import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type GrpcClient, openGrpcClient } from '../../runtime/server/grpc/test-grpc-client.ts';
import { call, type Reply } from '../../runtime/server/test-client.ts';
import { matMulChain } from '../models/onnx-models.ts';
import { writeOnnxFile } from '../models/onnx-writer.ts';
import { type RuntimeProcess, startRuntime, startTellingRuntime } from './testing/runtime-process.ts';

/** A runtime that waits for eight rows, so that what is sent together is run together, on any machine. */
const BATCH = 8;
const WIDTH = 64;

let folder = '';
let runtime: RuntimeProcess;
let alone: RuntimeProcess;
let grpc: GrpcClient;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pilotlight-batching-'));
  const path = join(folder, 'chain.onnx');
  writeOnnxFile(path, matMulChain({ layers: 3, width: WIDTH }));
  runtime = await startRuntime(
    path,
    join(folder, 'cache'),
    '--max-batch-size',
    String(BATCH),
    '--max-latency-ms',
    '20000',
  );
  alone = await startRuntime(path, join(folder, 'cache'), '--max-batch-size', '1');
  grpc = await openGrpcClient(runtime.port);
}, 60_000);
afterAll(async () => {
  grpc?.close();
  await Promise.all([runtime?.stop(), alone?.stop()]);
  rmSync(folder, { recursive: true, force: true });
});

const rowOf = (value: number): number[] => Array.from({ length: WIDTH }, (_, column) => value + column / 100);

function ask(port: number, value: number, rows = 1, parameters: object = {}): Promise<Reply> {
  const data = Array.from({ length: rows }, () => rowOf(value)).flat();
  const input = { name: 'x', datatype: 'FP32', shape: [rows, WIDTH], data };
  return call(port, '/v2/models/chain/infer', { body: JSON.stringify({ inputs: [input], parameters }) });
}

function outputOf(reply: Reply): { shape: number[]; data: number[] } {
  const [output] = reply.json()['outputs'] as { shape: number[]; data: number[] }[];
  return output ?? { shape: [], data: [] };
}

async function statistics(): Promise<Record<string, unknown>> {
  const reply = await call(runtime.port, '/v2/models/chain/stats');
  return (reply.json()['model_stats'] as Record<string, unknown>[])[0] ?? {};
}

test('requests that come together are one run, and each gets its own answer', async () => {
  const before = await statistics();
  const sizes = [1, 2, 1, 3, 1];
  const replies = await Promise.all(sizes.map((rows, index) => ask(runtime.port, index, rows)));
  for (const [index, reply] of replies.entries()) {
    expect(reply.status, reply.body.toString()).toBe(200);
    const { shape, data } = outputOf(reply);
    expect(shape).toEqual([sizes[index], WIDTH]);
    const expected = outputOf(await ask(alone.port, index, sizes[index])).data;
    data.forEach((value, at) => expect(value).toBeCloseTo(expected[at] ?? Number.NaN, 3));
  }
  const after = await statistics();
  const grown = (name: string): number => Number(after[name]) - Number(before[name]);
  expect(grown('inference_count')).toBe(BATCH);
  expect(grown('execution_count')).toBe(1);
  expect(after['batch_stats']).toMatchObject([{ batch_size: BATCH, compute_infer: { count: 1 } }]);
});

test('the configuration says so, and metadata keeps the batch dimension', async () => {
  const config = (await call(runtime.port, '/v2/models/chain/config')).json();
  expect(config).toMatchObject({
    max_batch_size: BATCH,
    input: [{ dims: [WIDTH] }],
    output: [{ dims: [WIDTH] }],
    dynamic_batching: { max_queue_delay_microseconds: 20_000_000 },
  });
  const metadata = (await call(runtime.port, '/v2/models/chain')).json();
  expect(metadata).toMatchObject({ inputs: [{ shape: [-1, WIDTH] }], outputs: [{ shape: [-1, WIDTH] }] });
  const off = (await call(alone.port, '/v2/models/chain/config')).json();
  expect(off).toMatchObject({ max_batch_size: 0, input: [{ dims: [-1, WIDTH] }] });
  expect(off).not.toHaveProperty('dynamic_batching');
  const overGrpc = (await grpc.ask('ModelConfig', { name: 'chain' })) as {
    config: { maxBatchSize: number; dynamicBatching: { maxQueueDelayMicroseconds: string } };
  };
  expect(overGrpc.config.maxBatchSize).toBe(BATCH);
  expect(Number(overGrpc.config.dynamicBatching.maxQueueDelayMicroseconds)).toBe(20_000_000);
});

test('without being asked, a model that names its batch and gains is served in batches behind its first answer', async () => {
  const path = join(folder, 'wide.onnx');
  writeOnnxFile(path, matMulChain({ layers: 4, width: 1024 }));
  const own = await startTellingRuntime(path, join(folder, 'cache'));
  try {
    const data = Array.from({ length: 1024 }, (_, index) => index / 1024);
    const body = JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 1024], data }] });
    const infer = (): Promise<Reply> => call(own.port, '/v2/models/wide/infer', { body });
    const first = outputOf(await infer()).data;
    const maxBatchSize = async (): Promise<unknown> =>
      (await call(own.port, '/v2/models/wide/config')).json()['max_batch_size'];
    // Its log gives the times that were measured, and what else kept it from being tried.
    await expect
      .poll(() => own.said(), { timeout: 30_000 })
      .toMatch(/requests are run (together|one by one)/);
    expect(own.said()).toContain('requests are run together');
    expect(await maxBatchSize()).toBeGreaterThan(1);
    const replies = await Promise.all(Array.from({ length: 12 }, infer));
    for (const reply of replies) {
      expect(reply.status).toBe(200);
      outputOf(reply).data.forEach((value, at) => expect(value).toBeCloseTo(first[at] ?? Number.NaN, 3));
    }
  } finally {
    await own.stop();
  }
}, 60_000);

test('a priority is a whole number, over REST and gRPC', async () => {
  expect((await ask(alone.port, 1, 1, { priority: 1 })).status).toBe(200);
  expect((await ask(alone.port, 1, 1, { priority: 0 })).status).toBe(200);
  for (const priority of ['high', -1, 1.5, true]) {
    const reply = await ask(alone.port, 1, 1, { priority });
    expect(reply.status).toBe(400);
    expect(reply.json()['error']).toMatch(/"priority": expected a whole number/);
  }
  const infer = (parameter: object): Promise<unknown> =>
    grpc.ask('ModelInfer', {
      modelName: 'chain',
      parameters: { priority: parameter },
      inputs: [
        {
          name: 'x',
          datatype: 'FP32',
          shape: [BATCH, WIDTH],
          contents: { fp32Contents: Array.from({ length: BATCH }, () => rowOf(1)).flat() },
        },
      ],
    });
  await infer({ uint64Param: 2 });
  await infer({ int64Param: 2 });
  await expect(infer({ stringParam: '2' })).rejects.toThrow(/"priority": expected a whole number/);
  await expect(infer({ int64Param: -2 })).rejects.toThrow(/"priority": expected a whole number/);
});
