import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { chainOfSize } from '../../e2e/models/onnx-models.ts';
import { encodeOnnx, writeOnnxFile } from '../../e2e/models/onnx-writer.ts';
import { externalFormKey, externaliseModel } from './external-form.ts';
import { FormCache } from './form-cache.ts';
import { type OpenedModel, type OpenModelOptions, openModel } from './open-model.ts';
import { TestServer, type Turn } from './test-server.ts';

const model = encodeOnnx(chainOfSize(20e6));
const digest = createHash('sha256').update(model).digest('hex');

let folder: string;
let cacheDir: string;
let server: TestServer | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pilotlight-form-'));
  cacheDir = join(folder, 'cache');
});
afterEach(async () => {
  await server?.stop();
  server = undefined;
  rmSync(folder, { recursive: true, force: true });
});

async function fetched(
  handler?: (turn: Turn) => void,
  more: Partial<OpenModelOptions> = {},
): Promise<OpenedModel> {
  server ??= await TestServer.start(model, handler);
  return openModel({
    uri: server.url(),
    cacheDir,
    ...more,
    limits: { attempts: 3, backoffMs: 5, ...more.limits },
  });
}

interface FormFile {
  sizeBytes: number;
  sha256: string;
}

function look(path: string): FormFile {
  const bytes = readFileSync(path);
  return { sizeBytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
}

/** The files of the form that belongs to what was opened. */
async function formOf({ contentKey }: OpenedModel): Promise<FormFile[] | undefined> {
  const form = await new FormCache(cacheDir).find(externalFormKey(contentKey));
  await form?.release();
  return form?.files.map(look);
}

/** As it is made from a file that lies there. */
async function expectedForm(): Promise<FormFile[]> {
  const path = join(folder, 'model.onnx');
  writeFileSync(path, model);
  const place = { cacheDir: join(folder, 'other'), cacheBytes: 1e9 };
  expect(await externaliseModel(place, 'key', [path])).toMatchObject({ kind: 'externalised' });
  const form = await new FormCache(place.cacheDir).find(externalFormKey('key'));
  return (form?.files ?? []).map(look);
}

test('a model that arrives in parallel ranges is there with its weights outside when it is there at all', async () => {
  const opened = await fetched();
  expect(opened.externalised).toMatchObject({ kind: 'externalised', tensors: 10 });
  expect(await formOf(opened)).toEqual(await expectedForm());
  // The model itself is kept as it came.
  expect(readFileSync(opened.modelPath).equals(model)).toBe(true);
});

test('broken connections make no difference', async () => {
  let broken = 0;
  const breaking = (turn: Turn): void => {
    const { request, response } = turn;
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    const from = Number(first);
    const to = Number(last) + 1;
    if (broken === 3 || !(to - from > 1_000_000)) {
      turn.serve();
      return;
    }
    broken += 1;
    const headers = {
      etag: '"v1"',
      'content-length': to - from,
      'content-range': `bytes ${from}-${to - 1}/${model.length}`,
    };
    response.writeHead(206, headers);
    response.write(model.subarray(from, from + 700_000), () => response.destroy());
  };
  const opened = await fetched(breaking, { limits: { attempts: 8 } });
  expect(broken).toBe(3);
  expect(await formOf(opened)).toEqual(await expectedForm());
});

test('nothing of it is published before the digest is checked', async () => {
  const wrong = fetched(undefined, { sha256: '0'.repeat(64) });
  await expect(wrong).rejects.toMatchObject({ code: 'model-digest-mismatch' });
  expect(await new FormCache(cacheDir).list()).toEqual([]);
  expect(readdirSync(join(cacheDir, 'forms/drafts'))).toEqual([]);
  const right = await fetched(undefined, { sha256: digest });
  expect(await formOf(right)).toHaveLength(2);
});

test('where there is no room for it the model comes all the same', async () => {
  const opened = await fetched(undefined, { limits: { cacheBytes: model.length + 1_000_000 } });
  expect(opened.externalised).toBeUndefined();
  expect(await formOf(opened)).toBeUndefined();
});

test('room for another model is made from forms before models', async () => {
  const limits = { cacheBytes: Math.ceil(model.length * 2.5) };
  const first = await fetched(undefined, { limits });
  await first.release();
  expect(await formOf(first)).toHaveLength(2);
  const second = await openModel({ uri: `${server?.url()}?another`, cacheDir, limits });
  expect(await formOf(first)).toBeUndefined();
  expect(statSync(first.modelPath).size).toBe(model.length);
  await second.release();
});

test('of a model that has a part of its weights outside already, that part is found beside the form', async () => {
  const path = join(folder, 'mixed.onnx');
  // 1 MB tensors outside, the biases of 4 KiB inside; and 3 MB of ballast inside, so that it is worth it.
  const mixed = chainOfSize(8e6);
  const ballast = {
    name: 'ballast',
    type: 'FLOAT' as const,
    dims: [786_432],
    data: Buffer.alloc(3_145_728, 1),
  };
  const files = writeOnnxFile(
    path,
    { ...mixed, initializers: [...(mixed.initializers ?? []), ballast] },
    { external: true, minimumBytes: 3_500_000 },
  );
  expect(statSync(files[1] ?? '').size).toBeGreaterThan(3_000_000);
  const opened = await openModel({ uri: pathToFileURL(path).href, cacheDir });
  expect(
    await externaliseModel({ cacheDir, cacheBytes: 1e9 }, opened.contentKey, opened.files),
  ).toMatchObject({ kind: 'externalised' });
  const [graph, ...others] = (await formOf(opened)) ?? [];
  expect(others.map(({ sizeBytes }) => sizeBytes)).toContain(statSync(files[1] ?? '').size);
  expect(graph?.sizeBytes).toBeLessThan(100_000);
});
