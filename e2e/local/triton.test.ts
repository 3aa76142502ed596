import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { openGrpcClient } from '../../runtime/server/grpc/test-grpc-client.ts';
import { call, type Reply } from '../../runtime/server/test-client.ts';
import { openModel } from '../../runtime/storage/open-model.ts';
import { matMulChain } from '../models/onnx-models.ts';
import { writeOnnxFile } from '../models/onnx-writer.ts';
import { ACCESS_KEY, SECRET_KEY, Versitygw, versitygwMissing } from '../storage/versitygw.ts';
import { modelManifest } from './testing/manifests.ts';
import { TestPlatform } from './testing/platform.ts';
import { type RuntimeProcess, startRuntime } from './testing/runtime-process.ts';

const WIDTH = 16;
const CONFIG = `
name: "chain"
platform: "onnxruntime_onnx"
max_batch_size: 4
input [ { name: "x" data_type: TYPE_FP32 dims: [ ${WIDTH} ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ ${WIDTH} ] } ]
instance_group [ { count: 2 kind: KIND_CPU } ]
dynamic_batching { max_queue_delay_microseconds: 500 }
`;

let folder = '';
/** A repository with versions 1, 2 (two layers more) and 10 (no model in it). */
let repository = '';
const running = new Set<RuntimeProcess>();

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pilotlight-triton-'));
  repository = repositoryOf('repository', CONFIG);
});
afterEach(async () => {
  await Promise.all([...running].map((runtime) => runtime.stop()));
  running.clear();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function repositoryOf(name: string, config: string): string {
  const path = join(folder, name);
  for (const [version, layers] of [
    ['1', 1],
    ['2', 3],
  ] as const) {
    mkdirSync(join(path, 'chain', version), { recursive: true });
    writeOnnxFile(join(path, 'chain', version, 'model.onnx'), matMulChain({ layers, width: WIDTH }));
  }
  writeFileSync(join(path, 'chain', 'config.pbtxt'), config);
  return path;
}

async function serve(uri: string, ...more: string[]): Promise<RuntimeProcess> {
  const runtime = await startRuntime(uri, join(folder, 'cache'), '--name', 'net', ...more);
  running.add(runtime);
  return runtime;
}

function ask(port: number, rows: number, name = 'net'): Promise<Reply> {
  const data = Array.from({ length: rows * WIDTH }, (_, index) => index / 100);
  const inputs = [{ name: 'x', datatype: 'FP32', shape: [rows, WIDTH], data }];
  return call(port, `/v2/models/${name}/infer`, { body: JSON.stringify({ inputs }) });
}

async function answer(port: number, rows: number): Promise<unknown> {
  const reply = await ask(port, rows);
  expect(reply.status, reply.body.toString()).toBe(200);
  return reply.json()['outputs'];
}

test('a repository is served as it is configured: its highest version, its batches, its instances', async () => {
  const runtime = await serve(repository);
  const plain = await serve(join(repository, 'chain', '2', 'model.onnx'));
  expect(await answer(runtime.port, 3)).toEqual(await answer(plain.port, 3));

  expect((await call(runtime.port, '/v2/models/net')).json()).toMatchObject({ versions: ['2'] });
  const config = {
    name: 'net',
    platform: 'onnxruntime_onnx',
    backend: 'onnxruntime',
    max_batch_size: 4,
    input: [{ name: 'x', data_type: 'TYPE_FP32', dims: [WIDTH] }],
    output: [{ name: 'y', data_type: 'TYPE_FP32', dims: [WIDTH] }],
    instance_group: [{ kind: 'KIND_CPU', count: 2 }],
    dynamic_batching: { max_queue_delay_microseconds: 500 },
  };
  expect((await call(runtime.port, '/v2/models/net/config')).json()).toEqual(config);
  const grpc = await openGrpcClient(runtime.port);
  const overGrpc = await grpc.ask('ModelConfig', { name: 'net' });
  grpc.close();
  expect(overGrpc).toMatchObject({
    config: { maxBatchSize: 4, instanceGroup: [{ kind: 2, count: 2 }] },
  });

  const tooLarge = await ask(runtime.port, 5);
  expect(tooLarge.status).toBe(400);
  expect(tooLarge.json()['error']).toContain("input 'x': 5 rows are more than the max_batch_size of 4");
  expect((await call(runtime.port, '/v2/models/net/versions/1/ready')).status).not.toBe(200);
});

test('of the versions that a policy allows the highest is served, from the model’s own folder', async () => {
  const policy = 'version_policy { specific { versions: [ 1, 7 ] } }';
  const path = join(repositoryOf('pinned', `${policy} max_batch_size: 2`), 'chain');
  const runtime = await serve(path);
  const plain = await serve(join(path, '1', 'model.onnx'));
  expect(await answer(runtime.port, 2)).toEqual(await answer(plain.port, 2));
  const config = (await call(runtime.port, '/v2/models/net/config')).json();
  expect(config).toMatchObject({ max_batch_size: 2, input: [{ dims: [WIDTH] }] });
  // Nothing was said of batches: the rows of a request are its client's, and nobody puts requests together.
  expect(config).not.toHaveProperty('dynamic_batching');
});

test('a model is warmed up with the samples beside it, and with none that it can’t take', async () => {
  const sample = (dims: number) =>
    `max_batch_size: 4 model_warmup { name: "one" batch_size: 3 count: 2 inputs { key: "x" value {
       data_type: TYPE_FP32 dims: ${dims} input_data_file: "x.bin" } } }`;
  const path = repositoryOf('warm', sample(WIDTH));
  mkdirSync(join(path, 'chain', 'warmup'));
  writeFileSync(join(path, 'chain', 'warmup', 'x.bin'), new Uint8Array(WIDTH * 4));
  const runtime = await serve(path);
  await answer(runtime.port, 1);
  const wrong = repositoryOf('warm', sample(3));
  await expect(serve(wrong)).rejects.toThrow(
    "model_warmup 'one': input 'x' is FP32 of shape [3, 3] there, and the model takes FP32 of shape",
  );
});

describe('what can’t be had is refused before anything is served', () => {
  test.each([
    ['backend: "python"', 'chain/config.pbtxt: line 1, column 10: backend "python" is not supported'],
    ['sequence_batching { }', "config.pbtxt: line 1, column 1: 'sequence_batching' is not supported"],
    ['max_batch_size: 4\ninput { name: "x" dims: [ 3 ] }', 'write dims: [16]'],
    ['input { name: "image" }', "the model has no input 'image'; it has 'x'"],
    ['version_policy { specific { versions: 9 } }', 'allows versions 9 alone; found versions'],
    [
      'default_model_filename: "net.onnx"',
      'no 2/net.onnx, which default_model_filename of config.pbtxt names',
    ],
    ['instance_group { kind: KIND_GPU }', "the execution provider 'cuda' can't be had here"],
    ['max_batch_size 4', "line 1, column 16: expected ':' or '{' after 'max_batch_size'"],
  ])('%j', async (config, message) => {
    rmSync(join(folder, 'refused'), { recursive: true, force: true });
    await expect(serve(repositoryOf('refused', config))).rejects.toThrow(message);
  });

  test('a repository of several models, by their names', async () => {
    const path = repositoryOf('several', CONFIG);
    cpSync(join(path, 'chain'), join(path, 'other'), { recursive: true });
    await expect(serve(path)).rejects.toThrow('holds several models (chain/, other/)');
  });
});

test('on a platform a folder sleeps and wakes like any model, and one that can’t be had says why to its caller', async () => {
  const refused = repositoryOf('refused-there', 'max_batch_size: 4 sequence_batching { }');
  const scaling = { initialScale: 0 };
  const platform = await TestPlatform.start({
    manifests: {
      'net.json': modelManifest('net', repository, { scaling }),
      'refused.json': modelManifest('refused', refused, { scaling }),
    },
  });
  try {
    const askThere = (name: string) => ask(Number(new URL(platform.url).port), 2, name);
    const first = await askThere('net');
    expect(first.status, first.body.toString()).toBe(200);
    await platform.waitForZero('net');
    const again = await askThere('net');
    expect(again.json()['outputs']).toEqual(first.json()['outputs']);
    const failed = await askThere('refused');
    expect(failed.status).toBe(503);
    expect(failed.json()['error']).toContain("'sequence_batching' is not supported: requests of a sequence");
  } finally {
    await platform.stop();
  }
});

const missing = await versitygwMissing();
if (missing !== undefined) test.skip(`repositories in S3 were not tested: ${missing}`, () => undefined);

describe.skipIf(missing !== undefined)('a repository in S3', () => {
  let server: Versitygw;
  beforeAll(async () => {
    server = await Versitygw.start(folder);
    await server.createBucket('models');
    for (const path of ['config.pbtxt', '1/model.onnx', '2/model.onnx']) {
      const bytes = new Uint8Array(readFileSync(join(repository, 'chain', path)));
      await server.putObject('models', `repository/chain/${path}`, bytes);
    }
  }, 60_000);
  afterAll(async () => {
    vi.unstubAllEnvs();
    await server?.stop();
  });

  test('is served as from disk, and again from the cache once the configuration has changed', async () => {
    vi.stubEnv('AWS_ENDPOINT_URL', server.endpoint);
    vi.stubEnv('AWS_ACCESS_KEY_ID', ACCESS_KEY);
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', SECRET_KEY);
    const uri = 's3://models/repository';
    const first = await serve(uri);
    const plain = await serve(join(repository, 'chain', '2', 'model.onnx'));
    expect(await answer(first.port, 4)).toEqual(await answer(plain.port, 4));
    expect((await ask(first.port, 5)).status).toBe(400);

    await server.putObject(
      'models',
      'repository/chain/config.pbtxt',
      new TextEncoder().encode(CONFIG.replace('max_batch_size: 4', 'max_batch_size: 8')),
    );
    const second = await serve(uri);
    expect((await ask(second.port, 5)).status).toBe(200);
    expect((await call(second.port, '/v2/models/net/config')).json()).toMatchObject({ max_batch_size: 8 });
  });

  test('comes back by its identity with its configuration, to a node that has never seen it', async () => {
    const credentials = {
      s3: { endpoint: server.endpoint, accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY },
    };
    const uri = 's3://models/repository';
    const here = join(folder, 'here');
    const first = await openModel({ uri, cacheDir: here, credentials });
    const { identity, contentKey } = first;
    expect(identity.files.map(({ path, companion }) => [path, companion])).toEqual([
      ['chain/2/model.onnx', undefined],
      ['chain/config.pbtxt', true],
    ]);
    expect(first.files).toHaveLength(1);
    const there = await openModel({ uri, cacheDir: join(folder, 'there'), credentials, identity });
    expect(there.companions[0]?.path).toMatch(/config\.pbtxt$/);
    const cached = await openModel({ uri, cacheDir: here, credentials, identity });
    expect(cached).toMatchObject({ fromCache: true, identity, contentKey });
    await Promise.all([first, there, cached].map((model) => model.release()));
  });
});
