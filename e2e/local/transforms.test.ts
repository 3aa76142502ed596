import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GrpcInferenceClient } from '../../client/grpc.ts';
import type { SpecialiseRequest } from '../../contracts/admin.ts';
import { identity } from '../models/onnx-models.ts';
import { writeOnnxFile } from '../models/onnx-writer.ts';
import { modelManifest } from './testing/manifests.ts';
import { TestPlatform } from './testing/platform.ts';
import { type RuntimeProcess, startRuntime } from './testing/runtime-process.ts';
import { claimOf, StandbyProcess } from './testing/standby-process.ts';
import { waitFor } from './testing/wait-for.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'transforms-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A folder with `y = x` of FP32 [batch, 4], and a module beside it. */
function modelWith(name: string, module: string): string {
  const path = join(folder, name);
  mkdirSync(path);
  writeOnnxFile(join(path, 'model.onnx'), identity('FLOAT'));
  writeFileSync(join(path, 'transform.mjs'), module);
  return path;
}

/** The module that the documentation shows. */
function documented(): string {
  const docs = readFileSync(join(import.meta.dirname, '../../docs/transforms.md'), 'utf8');
  const code = /```js\n([\s\S]*?)```/.exec(docs)?.[1];
  if (code === undefined) throw new Error('docs/transforms.md shows no module');
  return code;
}

const post = (
  url: string,
  body: string | Uint8Array<ArrayBuffer>,
  contentType = 'application/json',
): Promise<Response> => fetch(url, { method: 'POST', body, headers: { 'content-type': contentType } });

describe('the module of the documentation', () => {
  let runtime: RuntimeProcess;
  let url: string;
  beforeAll(async () => {
    runtime = await startRuntime(
      modelWith('readings', documented()),
      join(folder, 'cache'),
      '--transform',
      'transform.mjs',
    );
    url = `http://127.0.0.1:${runtime.port}/v2/models/readings/infer`;
  });
  afterAll(() => runtime.stop());

  test('answers as it says, and tells what its hooks took', async () => {
    const answer = await post(url, '1,2,9,4\n8,1,1,1', 'text/csv');
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'application/json']);
    expect(await answer.json()).toEqual(['speed', 'pressure']);
    expect(answer.headers.get('server-timing')).toMatch(
      /^preprocess;dur=.*queue;dur=.*compute;dur=.*postprocess;dur=/,
    );
  });

  test('its refusals are the caller’s', async () => {
    const broken = await post(url, '1,2\n', 'text/csv');
    expect([broken.status, broken.headers.get('pilotlight-error')]).toEqual([400, 'transform-refused']);
    expect(await broken.json()).toEqual({
      error: expect.stringContaining('expected four numbers in each line'),
    });
    expect((await post(url, '<x/>', 'text/xml')).status).toBe(415);
  });
});

const EVERY_PROTOCOL = `
export const rawContentTypes = ['application/vnd.rows+json'];
export function preprocess({ protocol, body, inputs, parameters, headers }) {
  const rows = body === undefined ? [[...inputs[0].data].map(Number)] : JSON.parse(new TextDecoder().decode(body));
  const values = (rows.instances ?? rows).flat();
  if (parameters.fail !== undefined) throw new TypeError('asked to fail');
  if (parameters.hang !== undefined) for (;;);
  return {
    inputs: [{ name: 'x', datatype: 'FP32', shape: [values.length / 4, 4], data: values }],
    state: [protocol, headers['x-of-the-caller'] ?? '', headers.authorization ?? ''],
  };
}
export function postprocess({ outputs: [y], state, id }) {
  return {
    outputs: [
      { name: 'sum', datatype: 'FP32', shape: [y.shape[0]], data: Array.from({ length: y.shape[0] }, (_, row) =>
        y.data.subarray(row * 4, row * 4 + 4).reduce((sum, value) => sum + value, 0)) },
      { name: 'said', datatype: 'BYTES', shape: [y.shape[0]], data: Array(y.shape[0]).fill(state.join('|')) },
    ],
    parameters: { seen: id ?? 'nobody' },
  };
}`;

describe('a module that makes tensors', () => {
  let runtime: RuntimeProcess;
  let url: string;
  beforeAll(async () => {
    const path = modelWith('sums', EVERY_PROTOCOL);
    runtime = await startRuntime(
      path,
      join(folder, 'cache'),
      '--transform',
      'transform.mjs',
      '--transform-timeout-ms',
      '500',
    );
    url = `http://127.0.0.1:${runtime.port}`;
  });
  afterAll(() => runtime.stop());

  const request = (more: object = {}): string =>
    JSON.stringify({
      id: 'a',
      inputs: [{ name: 'words', datatype: 'INT64', shape: [4], data: [1, 2, 3, 4] }],
      ...more,
    });

  test('gets tensors that the model doesn’t take, and gives others than the model', async () => {
    const answer = await fetch(`${url}/v2/models/sums/infer`, {
      method: 'POST',
      body: request(),
      headers: {
        'content-type': 'application/json',
        'x-of-the-caller': 'yes',
        authorization: 'Bearer secret',
      },
    });
    expect(await answer.json()).toEqual({
      model_name: 'sums',
      model_version: '1',
      id: 'a',
      parameters: { seen: 'a' },
      outputs: [
        { name: 'sum', datatype: 'FP32', shape: [1], data: [10] },
        { name: 'said', datatype: 'BYTES', shape: [1], data: ['v2|yes|'] },
      ],
    });
  });

  test('gives the outputs that were asked for, binary where that was asked', async () => {
    const answer = await post(
      `${url}/v2/models/sums/infer`,
      request({ outputs: [{ name: 'sum', parameters: { binary_data: true } }] }),
    );
    const length = Number(answer.headers.get('inference-header-content-length'));
    const bytes = Buffer.from(await answer.arrayBuffer());
    expect(bytes.subarray(length).readFloatLE()).toBe(10);
    const unknown = await post(`${url}/v2/models/sums/infer`, request({ outputs: [{ name: 'y' }] }));
    expect(await unknown.json()).toEqual({ error: "unknown output 'y'; the service gives 'sum', 'said'" });
  });

  test('reads bodies of its own kind, and those of V1', async () => {
    const own = await post(
      `${url}/v2/models/sums/infer`,
      '[[1,1,1,1],[2,2,2,2]]',
      'application/vnd.rows+json',
    );
    expect(((await own.json()) as { outputs: { data: number[] }[] }).outputs[0]?.data).toEqual([4, 8]);
    const v1 = await post(
      `${url}/v1/models/sums:predict`,
      '{"instances":[[1,1,1,1],[2,2,2,2]]}',
      'application/json',
    );
    expect(await v1.json()).toEqual({
      predictions: [
        { sum: 4, said: 'v1||' },
        { sum: 8, said: 'v1||' },
      ],
    });
  });

  test('serves gRPC as well, its errors with their status', async () => {
    const client = new GrpcInferenceClient({
      address: `127.0.0.1:${runtime.port}`,
      model: 'sums',
      retry: { attempts: 1 },
    });
    try {
      const inputs = [
        { name: 'words', datatype: 'INT64' as const, shape: [4], data: BigInt64Array.of(1n, 2n, 3n, 4n) },
      ];
      const { outputs } = await client.infer(inputs);
      expect(outputs.map(({ name, data }) => [name, ...data])).toEqual([
        ['sum', 10],
        ['said', 'grpc||'],
      ]);
    } finally {
      client.close();
    }
  });

  test('a failing hook is a 500 with its line, a hanging one a 504, and the next request is served', async () => {
    const failed = await post(`${url}/v2/models/sums/infer`, request({ parameters: { fail: true } }));
    expect([failed.status, failed.headers.get('pilotlight-error')]).toEqual([500, 'transform-failed']);
    expect(await failed.json()).toEqual({
      error: expect.stringMatching(
        /^preprocess of transform\.mjs failed: TypeError: asked to fail \(transform\.mjs:6:/,
      ),
    });
    const hung = await post(`${url}/v2/models/sums/infer`, request({ parameters: { hang: true } }));
    expect([hung.status, hung.headers.get('pilotlight-error')]).toEqual([504, 'transform-timeout']);
    expect((await post(`${url}/v2/models/sums/infer`, request())).status).toBe(200);
  });

  test('inputs that the model doesn’t take are the module’s mistake', async () => {
    const answer = await post(`${url}/v2/models/sums/infer`, '[]', 'application/vnd.rows+json');
    expect((await post(`${url}/v2/models/sums/infer`, '[[1,2]]', 'application/vnd.rows+json')).status).toBe(
      500,
    );
    expect(answer.status).toBe(200);
  });
});

describe('a standby that took a service with code', () => {
  const running: StandbyProcess[] = [];
  afterAll(() => Promise.all(running.map((standby) => standby.kill())));

  async function claimed(name: string, module: string, sha256?: string) {
    const standby = await StandbyProcess.start(mkdtempSync(join(folder, 'standby-')));
    running.push(standby);
    const transform: SpecialiseRequest['model']['transform'] = {
      module: { path: 'transform.mjs', ...(sha256 !== undefined && { sha256 }) },
      timeoutMs: 5_000,
      memoryBytes: 64 * 1024 ** 2,
    };
    const uri = pathToFileURL(modelWith(name, module)).href;
    const events = await standby.specialise(claimOf(uri, { model: { name: 'test', uri, transform } }));
    return { standby, events };
  }

  test('is never recycled', async () => {
    const { standby, events } = await claimed('kept', documented());
    expect(events.at(-1)).toMatchObject({ event: 'ready' });
    const fetched = events.find((event) => event.event === 'fetched');
    expect(fetched?.event === 'fetched' && fetched.identity.files).toMatchObject([
      { path: 'model.onnx' },
      { path: 'transform.mjs', companion: true, sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
    ]);
    const call = { claimId: 'claim-1', epoch: 1, deadlineMs: 1_000 };
    expect((await standby.admin('/admin/drain', call)).status).toBe(200);
    const refused = await standby.admin('/admin/recycle', call);
    expect([refused.status, refused.headers['pilotlight-error']]).toEqual([409, 'not-recyclable']);
    expect(refused.text).toContain('end the process or pod instead');
  });

  test('fails with the module’s own words where that can’t be loaded, and isn’t recycled either', async () => {
    const { standby, events } = await claimed('broken', "throw new Error('no dictionary here');");
    expect(events.at(-1)).toMatchObject({
      event: 'failed',
      code: 'transform-invalid',
      message: expect.stringContaining('no dictionary here (transform.mjs:1'),
    });
    const call = { claimId: 'claim-1', epoch: 1, deadlineMs: 1_000 };
    expect((await standby.admin('/admin/recycle', call)).status).toBe(409);
  });

  test('runs nothing of a module with another digest than it must have, and is as good as new', async () => {
    const { standby, events } = await claimed('changed', "throw new Error('ran');", 'f'.repeat(64));
    expect(events.at(-1)).toMatchObject({ event: 'failed', code: 'model-digest-mismatch' });
    await standby.recycle('claim-1');
  });
});

describe('on a platform', () => {
  let platform: TestPlatform;
  const model = { transform: { module: 'transform.mjs' } };
  beforeAll(async () => {
    const path = modelWith('platform', documented());
    platform = await TestPlatform.start({
      args: ['--allow-transforms', 'trusted'],
      manifests: {
        'allowed.json': modelManifest('allowed', path, {
          namespace: 'trusted',
          model,
          scaling: { initialScale: 0 },
        }),
        'refused.json': modelManifest('refused', path, { namespace: 'others', model }),
      },
    });
  });
  afterAll(() => platform.stop());

  test('a service with code is refused in a namespace that may not have it, with what to do', async () => {
    const problem = await waitFor('the refusal', () =>
      platform.log.find((line) => line.includes('is not allowed in namespace')),
    );
    expect(problem).toContain('spec.predictor.model.transform');
    expect(problem).toContain('--allow-transforms of pilotlight serve');
  });

  test('where it is allowed it serves, and its process is ended instead of recycled', async () => {
    const [standby] = await platform.waitForStandbys(1);
    const answer = await post(`${platform.url}/v2/models/allowed/infer`, '1,2,9,4', 'text/csv');
    expect([answer.status, await answer.text()]).toEqual([200, '["speed"]']);
    const [serving] = await platform.replicas('allowed');
    expect(serving?.pid).toBe(standby?.pid);
    await platform.waitForZero('allowed');
    await waitFor('the process is gone', () => platform.runtimes().every(({ pid }) => pid !== serving?.pid));
    const [next] = await platform.waitForStandbys(1);
    expect(next?.pid).not.toBe(serving?.pid);
  });
});
