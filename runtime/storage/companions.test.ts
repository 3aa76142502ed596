import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type OpenModelOptions, openModel } from './open-model.ts';
import { SILERO_PATH } from './test-models.ts';
import { TestServer, type Turn } from './test-server.ts';

const silero = await readFile(SILERO_PATH);
const CODE = 'export const preprocess = (request) => request;';
const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex');

let folder: string;
let server: TestServer | undefined;
/** What lies beside the model, by name. */
let beside: Map<string, string>;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pilotlight-companions-'));
  beside = new Map([['transform.mjs', CODE]]);
});
afterEach(async () => {
  await server?.stop();
  server = undefined;
  await rm(folder, { recursive: true, force: true });
});

const open = (uri: string, more: Partial<OpenModelOptions> = {}) =>
  openModel({
    uri,
    cacheDir: join(folder, 'cache'),
    companions: [{ path: 'transform.mjs' }],
    ...more,
    limits: { attempts: 2, backoffMs: 5 },
  });

/** A store with a model and what lies beside it. */
async function store(): Promise<string> {
  server = await TestServer.start(silero, (turn: Turn) => {
    const { request, response } = turn;
    const name = (request.url ?? '').split('/').at(-1) ?? '';
    if (name === 'model.onnx') return turn.serve();
    const text = beside.get(name);
    if (text === undefined) return void response.writeHead(404).end();
    const etag = `"${digestOf(text)}"`;
    response
      .writeHead(200, { etag, 'content-length': Buffer.byteLength(text) })
      .end(request.method === 'HEAD' ? undefined : text);
  });
  return server.url('/models/model.onnx');
}

test('a file beside the model comes with it, is hashed, and counts for nothing in the size of the model', async () => {
  const uri = await store();
  const model = await open(uri);
  expect(model.files).toHaveLength(1);
  expect(model.sizeBytes).toBe(silero.length);
  expect(model.companions).toEqual([
    { path: expect.stringMatching(/\/transform\.mjs$/), sha256: digestOf(CODE) },
  ]);
  expect(await readFile(model.companions[0]?.path ?? '', 'utf8')).toBe(CODE);
  expect(model.identity.files[1]).toMatchObject({
    path: 'transform.mjs',
    sha256: digestOf(CODE),
    companion: true,
  });
  // Forms of the model don't depend on what lies beside it.
  const alone = await open(uri, { companions: [] });
  expect(alone.companions).toEqual([]);
  expect(alone.identity.files).toHaveLength(1);
  expect(alone.contentKey).toBe(model.contentKey);
});

test('with the identity of a load before, a cached start asks nobody, and other code is refused', async () => {
  const uri = await store();
  const first = await open(uri);
  const { identity } = first;
  const asked = server?.seen.length;
  const again = await open(uri, { identity });
  expect([again.fromCache, server?.seen.length]).toEqual([true, asked]);
  await Promise.all([first.release(), again.release()]);
  beside.set('transform.mjs', 'export const preprocess = () => 1;');
  const elsewhere = open(uri, { identity, cacheDir: join(folder, 'other-cache') });
  await expect(elsewhere).rejects.toMatchObject({
    code: expect.stringMatching(/^model-(changed|digest-mismatch)$/),
  });
});

test('other code at the same place is taken by who has no identity yet', async () => {
  const uri = await store();
  await open(uri);
  beside.set('transform.mjs', 'export const preprocess = () => 1;');
  const { companions } = await open(uri);
  expect(companions[0]?.sha256).toBe(digestOf('export const preprocess = () => 1;'));
});

test.each(['store', 'disk'])('a digest that was asked for is held against a file of a %s', async (where) => {
  await writeFile(join(folder, 'model.onnx'), silero);
  await writeFile(join(folder, 'transform.mjs'), CODE);
  const uri = where === 'store' ? await store() : pathToFileURL(folder).href;
  const wanted = (sha256: string) => open(uri, { companions: [{ path: 'transform.mjs', sha256 }] });
  await expect(wanted('0'.repeat(64))).rejects.toMatchObject({ code: 'model-digest-mismatch' });
  expect((await wanted(digestOf(CODE))).companions[0]?.sha256).toBe(digestOf(CODE));
});

test.each(['store', 'disk'])('a file that is missing in a %s is named', async (where) => {
  beside.clear();
  await writeFile(join(folder, 'model.onnx'), silero);
  const uri = where === 'store' ? await store() : pathToFileURL(folder).href;
  await expect(open(uri)).rejects.toMatchObject({
    code: 'model-not-found',
    message: expect.stringContaining('holds no transform.mjs beside model.onnx'),
  });
});

test('beside the version that is served comes before the folder above', async () => {
  for (const version of ['1', '2']) {
    await mkdir(join(folder, 'm', version), { recursive: true });
    await writeFile(join(folder, 'm', version, 'model.onnx'), silero);
  }
  const uri = pathToFileURL(join(folder, 'm')).href;
  await writeFile(join(folder, 'm', 'transform.mjs'), CODE);
  expect((await open(uri)).companions[0]?.path).toBe(join(folder, 'm', 'transform.mjs'));
  await writeFile(join(folder, 'm', '2', 'transform.mjs'), CODE);
  expect((await open(uri)).companions[0]?.path).toBe(join(folder, 'm', '2', 'transform.mjs'));
});

test('no path leads out of the model’s folder', async () => {
  await writeFile(join(folder, 'model.onnx'), silero);
  const uri = pathToFileURL(folder).href;
  await expect(open(uri, { companions: [{ path: '../secret' }] })).rejects.toMatchObject({
    code: 'invalid-uri',
    message: expect.stringContaining('climbs with ".."'),
  });
});
