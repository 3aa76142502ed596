import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { listCached } from './model-cache.ts';
import { type OpenModelOptions, openModel } from './open-model.ts';
import { modelWithExternalData, paddedModel, SILERO_PATH } from './test-models.ts';
import { TestServer, type Turn } from './test-server.ts';

const MIB = 1024 ** 2;
const silero = await readFile(SILERO_PATH);
const digest = createHash('sha256').update(silero).digest('hex');

let folder: string;
let cacheDir: string;
const servers: TestServer[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pilotlight-open-'));
  cacheDir = join(folder, 'cache');
});
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.stop()));
  await rm(folder, { recursive: true, force: true });
});

async function start(content: Uint8Array = silero, handler?: (turn: Turn) => void): Promise<TestServer> {
  const server = await TestServer.start(content, handler);
  servers.push(server);
  return server;
}

const open = (uri: string, more: Partial<OpenModelOptions> = {}) =>
  openModel({ uri, cacheDir, ...more, limits: { attempts: 2, backoffMs: 5, ...more.limits } });
const fileUri = (...parts: string[]) => pathToFileURL(join(folder, ...parts)).href;

describe('a model on this disk', () => {
  test('is used where it lies, and no cache folder is made', async () => {
    const model = await open(pathToFileURL(SILERO_PATH).href);
    expect(model).toMatchObject({ modelPath: SILERO_PATH, fromCache: true, sizeBytes: silero.length });
    await model.release();
    expect(await readdir(folder)).toEqual([]);
  });

  test('is found in numeric folders, with its external data', async () => {
    await mkdir(join(folder, 'm', '1'), { recursive: true });
    await mkdir(join(folder, 'm', '2'), { recursive: true });
    await writeFile(join(folder, 'm', '1', 'model.onnx'), silero);
    await writeFile(
      join(folder, 'm', '2', 'model.onnx'),
      modelWithExternalData({ location: 'w.bin', length: '4' }),
    );
    await expect(open(fileUri('m'))).rejects.toMatchObject({
      code: 'model-not-found',
      message: expect.stringContaining('keeps weights in 2/w.bin'),
    });
    await writeFile(join(folder, 'm', '2', 'w.bin'), 'ab');
    await expect(open(fileUri('m'))).rejects.toMatchObject({
      code: 'model-layout',
      message: expect.stringContaining('tensors reach to byte 4'),
    });
    await writeFile(join(folder, 'm', '2', 'w.bin'), 'abcd');
    const highest = await open(fileUri('m'));
    expect(highest.files).toEqual([join(folder, 'm', '2', 'model.onnx'), join(folder, 'm', '2', 'w.bin')]);
    const pinned = await open(fileUri('m'), { version: '1' });
    expect(pinned.modelPath).toBe(join(folder, 'm', '1', 'model.onnx'));
  });

  test('may be a link, as downloaders of model hubs make them', async () => {
    await mkdir(join(folder, 'snapshot'));
    await symlink(SILERO_PATH, join(folder, 'snapshot', 'model.onnx'));
    expect((await open(fileUri('snapshot'))).sizeBytes).toBe(silero.length);
  });

  test('that changed since its identity was taken is refused', async () => {
    await writeFile(join(folder, 'm.onnx'), silero);
    const { identity } = await open(fileUri('m.onnx'));
    expect((await open(fileUri('m.onnx'), { identity })).identity).toEqual(identity);
    await writeFile(join(folder, 'm.onnx'), paddedModel(10));
    await expect(open(fileUri('m.onnx'), { identity })).rejects.toMatchObject({ code: 'model-changed' });
  });

  test.each<[string, string | Uint8Array | undefined, string]>([
    ['missing.onnx', undefined, 'model-not-found'],
    ['half.onnx', silero.subarray(0, MIB), 'model-not-onnx'],
    ['page.onnx', '<html>no</html>', 'model-not-onnx'],
    ['empty.onnx', '', 'model-not-onnx'],
  ])('%s fails by name', async (name, content, code) => {
    if (content !== undefined) await writeFile(join(folder, name), content);
    await expect(open(fileUri(name))).rejects.toMatchObject({ code });
  });

  test('has its digest checked where one is given', async () => {
    const uri = pathToFileURL(SILERO_PATH).href;
    await expect(open(`${uri}#sha256=${'0'.repeat(64)}`)).rejects.toMatchObject({
      code: 'model-digest-mismatch',
    });
    expect((await open(`${uri}#sha256=${digest}`)).identity.files[0]?.sha256).toBe(digest);
    await expect(open(uri, { sha256: 'abc' })).rejects.toMatchObject({ code: 'invalid-uri' });
  });
});

describe('a model from an HTTP server', () => {
  test('is fetched once, then asked about with one small request', async () => {
    const server = await start();
    const first = await open(server.url());
    expect(first).toMatchObject({ fromCache: false, sizeBytes: silero.length });
    expect(await readFile(first.modelPath)).toEqual(silero);
    await first.release();
    server.seen.length = 0;
    const second = await open(server.url());
    expect(second).toMatchObject({ fromCache: true, modelPath: first.modelPath, identity: first.identity });
    expect(server.seen.map((request) => request.range)).toEqual(['bytes=0-0']);
    await second.release();
  });

  test('asks nobody when its identity, or the digest of its only file, is known', async () => {
    const server = await start();
    const uri = server.url();
    const first = await open(`${uri}#sha256=${digest}`);
    await first.release();
    await server.stop();
    servers.length = 0;
    for (const more of [{ identity: first.identity }, { sha256: digest }]) {
      const model = await open(uri, more);
      expect(model).toMatchObject({ fromCache: true, modelPath: first.modelPath });
      await model.release();
    }
    await expect(open(uri)).rejects.toMatchObject({ code: 'model-unreachable' });
  });

  test('that is replaced at the store gets an entry of its own', async () => {
    const server = await start();
    const before = await open(server.url());
    server.content = paddedModel(100);
    server.etag = '"v2"';
    const after = await open(server.url());
    expect(after.fromCache).toBe(false);
    expect(after.modelPath).not.toBe(before.modelPath);
    expect(await readFile(before.modelPath)).toEqual(silero);
    await Promise.all([before.release(), after.release()]);
    expect(await listCached(cacheDir)).toHaveLength(2);
  });

  test('that is replaced while it is fetched comes as the new one', async () => {
    const server = await start(silero, (turn) => {
      if (turn.number === 3) {
        server.content = paddedModel(100);
        server.etag = '"v2"';
      }
      turn.serve();
    });
    const model = await open(server.url());
    expect(await readFile(model.modelPath)).toEqual(Buffer.from(server.content));
    expect(model.identity.files[0]?.version).toBe('"v2"');
    await model.release();
  });

  test('without ETag or date is never taken for the one that was there before', async () => {
    const server = await start();
    server.etag = undefined;
    const first = await open(server.url());
    await first.release();
    server.content = Buffer.concat([silero.subarray(0, -1), Buffer.from([0])]);
    const second = await open(server.url());
    expect(second.fromCache).toBe(false);
    expect(await readFile(second.modelPath)).toEqual(Buffer.from(server.content));
    await second.release();
    const pinned = await open(server.url(), { identity: first.identity });
    expect(pinned.fromCache).toBe(true);
    await pinned.release();
  });

  test('brings the external data that lies beside it', async () => {
    const model = modelWithExternalData({ location: 'data/w.bin', length: '5' });
    const weights = await start(Buffer.from('12345'));
    const server = await start(model, (turn) => {
      if (turn.request.url !== '/dir/data/w.bin') return turn.serve();
      turn.response.writeHead(307, { location: weights.url('/w') }).end();
    });
    const opened = await open(server.url('/dir/model.onnx'), {
      credentials: { http: { headers: { authorization: 'Bearer t' } } },
    });
    expect(await readFile(opened.files[1] ?? '', 'utf8')).toBe('12345');
    await opened.release();
    // A token is for the origin that it was given for.
    expect(server.seen.every((request) => request.authorization === 'Bearer t')).toBe(true);
    expect(weights.seen.length).toBeGreaterThan(0);
    expect(weights.seen.every((request) => request.authorization === undefined)).toBe(true);
  });

  test('presigned URLs of one object share its entry, and no signature is written down', async () => {
    const server = await start();
    const first = await open(server.url('/model.onnx?X-Amz-Signature=secret-one'));
    await first.release();
    const second = await open(server.url('/model.onnx?X-Amz-Signature=secret-two'));
    await second.release();
    expect(second.fromCache).toBe(true);
    const [cached] = await listCached(cacheDir);
    expect(cached?.uri).toBe(server.url());
    expect(JSON.stringify(cached)).not.toContain('secret');
  });

  test('behind something that speaks no TLS, where https was asked for, fails at once', async () => {
    const server = await start();
    await expect(open(server.url().replace('http:', 'https:'))).rejects.toMatchObject({
      code: 'model-unreachable',
      retryable: false,
      message: expect.stringContaining('TLS with'),
    });
  });

  test('redirects without end are refused', async () => {
    const server = await start(silero, (turn) =>
      turn.response.writeHead(302, { location: '/model.onnx' }).end(),
    );
    await expect(open(server.url())).rejects.toMatchObject({
      code: 'model-unreachable',
      message: expect.stringContaining('redirects'),
    });
    expect(server.seen).toHaveLength(6);
  });

  test('a page instead of a model is named, and nothing of it stays', async () => {
    const server = await start(Buffer.from('<!doctype html><title>Sign in</title>'));
    await expect(open(server.url())).rejects.toMatchObject({
      code: 'model-not-onnx',
      message: expect.stringContaining('an HTML page'),
    });
    expect(await readdir(join(cacheDir, 'partial'))).toEqual([]);
    expect(await listCached(cacheDir)).toEqual([]);
  });

  test('external data that leaves the folder is refused before anything of it is asked for', async () => {
    const server = await start(modelWithExternalData({ location: '../../etc/passwd' }));
    await expect(open(server.url())).rejects.toMatchObject({ code: 'model-layout' });
    expect(server.seen.every((request) => request.url === '/model.onnx')).toBe(true);
  });

  test('slower than the overall timeout says so', async () => {
    const server = await start(silero, () => undefined);
    await expect(open(server.url(), { limits: { overallTimeoutMs: 200 } })).rejects.toMatchObject({
      code: 'model-unreachable',
      message: expect.stringContaining('200 ms'),
    });
  });

  test('an abort ends it at once, while it waits for another fetch too', async () => {
    const server = await start(silero, (turn) => (turn.number === 1 ? turn.serve() : undefined));
    const first = new AbortController();
    const fetching = open(server.url(), { signal: first.signal });
    await expect.poll(() => server.seen.length, { timeout: 10_000 }).toBeGreaterThan(1);
    const second = new AbortController();
    const waiting = open(server.url(), { identity: identityOf(silero.length), signal: second.signal });
    second.abort(new Error('second gone'));
    await expect(waiting).rejects.toThrow('second gone');
    first.abort(new Error('first gone'));
    await expect(fetching).rejects.toThrow('first gone');
    expect(await readdir(join(cacheDir, 'locks'))).toEqual([]);
  });

  test('progress counts the bytes of all files and ends at their sum', async () => {
    const server = await start();
    const seen: { bytesDone: number; bytesTotal: number }[] = [];
    const model = await open(server.url(), { onProgress: (progress) => void seen.push(progress) });
    expect(seen.at(-1)).toEqual({ bytesDone: silero.length, bytesTotal: silero.length });
    await model.release();
  });

  test('an identity that points outside the entry is refused', async () => {
    const identity = { files: [{ path: '../../x', sizeBytes: 1 }] };
    await expect(open('http://127.0.0.1:1/m.onnx', { identity })).rejects.toMatchObject({
      code: 'invalid-uri',
    });
    await expect(open('http://127.0.0.1:1/m.onnx', { identity: { files: [] } })).rejects.toMatchObject({
      code: 'invalid-uri',
    });
  });
});

describe('the cache', () => {
  test('finds damage when it is opened and fetches again', async () => {
    const server = await start();
    for (const damage of [
      (path: string) => truncate(path, 1000),
      (path: string) => rm(path),
      (path: string) => writeFile(join(path, '..', '..', 'manifest.json'), '{"half":'),
      (path: string) => rm(join(path, '..', '..', 'manifest.json')),
    ]) {
      const model = await open(server.url());
      await model.release();
      await damage(model.modelPath);
      const healed = await open(server.url(), { identity: model.identity });
      expect(healed.fromCache).toBe(false);
      expect(await readFile(healed.modelPath)).toEqual(silero);
      await healed.release();
    }
  });

  test('does not trust what an earlier boot of the machine may not have written out', async () => {
    const server = await start();
    const model = await open(server.url());
    await model.release();
    const mark = join(model.modelPath, '..', '..', 'unsynced');
    await expect.poll(() => existsSync(mark), { timeout: 10_000 }).toBe(false);
    expect((await open(server.url())).fromCache).toBe(true);
    await writeFile(mark, 'another boot');
    expect((await open(server.url())).fromCache).toBe(false);
  });

  test('evicts what was used longest ago, never what is in use, and keeps its bound', async () => {
    const limits = { cacheBytes: 2.5 * silero.length };
    const [a, b, c] = [await start(), await start(), await start()];
    const first = await open(a.url(), { limits });
    await first.release();
    const second = await open(b.url(), { limits });
    await second.release();
    await (await open(a.url(), { limits })).release();
    const third = await open(c.url(), { limits });
    expect((await listCached(cacheDir)).map((model) => model.uri).sort()).toEqual([a.url(), c.url()].sort());
    const held = await open(a.url(), { limits });
    await expect(open(b.url(), { limits })).rejects.toMatchObject({
      code: 'cache-full',
      message: expect.stringContaining('models in use'),
    });
    expect(await readFile(held.modelPath)).toEqual(silero);
    await third.release();
    const fourth = await open(b.url(), { limits });
    expect((await listCached(cacheDir)).map((model) => model.uri).sort()).toEqual([a.url(), b.url()].sort());
    await Promise.all([held.release(), fourth.release()]);
  });

  test('throws abandoned fetches away before models', async () => {
    const server = await start();
    await (await open(server.url())).release();
    const abandoned = join(cacheDir, 'partial', 'abandoned', 'files');
    await mkdir(abandoned, { recursive: true });
    await writeFile(join(abandoned, 'x'), Buffer.alloc(silero.length));
    const other = await start();
    await (await open(other.url(), { limits: { cacheBytes: 2.5 * silero.length } })).release();
    expect(await readdir(join(cacheDir, 'partial'))).toEqual([]);
    expect(await listCached(cacheDir)).toHaveLength(2);
  });

  test('smaller than the model says what to raise', async () => {
    const server = await start();
    await expect(open(server.url(), { limits: { cacheBytes: 1000 } })).rejects.toMatchObject({
      code: 'cache-full',
      message: expect.stringContaining('raise its limit'),
    });
  });

  test('that is no folder, or below one that cannot be made, is not writable', async () => {
    const server = await start();
    await writeFile(join(folder, 'file'), '');
    for (const dir of [join(folder, 'file'), join(folder, 'file', 'below'), '/proc/no-cache-here']) {
      await expect(open(server.url(), { cacheDir: dir })).rejects.toMatchObject({
        code: 'cache-not-writable',
        message: expect.stringContaining('file: URI'),
      });
    }
  });

  test('twenty openings at once in one process fetch once', async () => {
    const server = await start(paddedModel(4 * MIB));
    const models = await Promise.all(Array.from({ length: 20 }, () => open(server.url())));
    expect(models.filter((model) => !model.fromCache)).toHaveLength(1);
    expect(new Set(models.map((model) => model.modelPath)).size).toBe(1);
    await Promise.all(models.map((model) => model.release()));
  });
});

function identityOf(sizeBytes: number) {
  return { files: [{ path: 'model.onnx', sizeBytes, version: '"v1"' }] };
}
