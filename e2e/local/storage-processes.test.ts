import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { listCached } from '../../runtime/storage/model-cache.ts';
import { openModel } from '../../runtime/storage/open-model.ts';
import { paddedModel } from '../../runtime/storage/test-models.ts';
import { parseRange, TestServer, type Turn } from '../../runtime/storage/test-server.ts';
import { lastLine, type Opener, startOpener } from '../storage/opener.ts';
import { recordedBytes } from '../storage/recorded-bytes.ts';

const MIB = 1024 ** 2;
const content = paddedModel(12 * MIB);

describe('processes that share a cache folder', () => {
  let cacheDir: string;
  let server: TestServer;
  const started: Opener[] = [];

  beforeEach(async () => {
    cacheDir = await mkdtemp(join(tmpdir(), 'pilotlight-shared-'));
  });
  afterEach(async () => {
    for (const { child } of started) if (child.exitCode === null) child.kill('SIGKILL');
    await Promise.all(started.splice(0).map((opener) => opener.ended));
    await server.stop();
    await rm(cacheDir, { recursive: true, force: true });
  });

  const serve = async (handler?: (turn: Turn) => void) => {
    server = await TestServer.start(content, handler);
  };
  const start = (more: Record<string, unknown> = {}): Opener => {
    const opener = startOpener({ uri: server.url(), cacheDir, ...more });
    started.push(opener);
    return opener;
  };
  const kill = async (opener: Opener) => {
    opener.child.kill('SIGKILL');
    await opener.ended;
  };
  const requested = () =>
    server.seen.reduce((sum, { range }) => {
      const parsed = parseRange(range, content.length);
      // The one byte by which the size is asked for is no fetch.
      return parsed === undefined || parsed.last === 0 ? sum : sum + parsed.last - parsed.first + 1;
    }, 0);

  test('fetch a model once between them, however many want it at once', async () => {
    await serve();
    const results = await Promise.all(Array.from({ length: 6 }, () => lastLine(start())));
    expect(results.map((result) => result['event'])).toEqual(Array.from({ length: 6 }, () => 'opened'));
    expect(results.filter((result) => result['fromCache'] === false)).toHaveLength(1);
    expect(requested()).toBe(content.length);
    expect(await listCached(cacheDir)).toHaveLength(1);
    expect(digest(await readFile(String(results[0]?.['modelPath'])))).toBe(digest(content));
    expect(await readdir(join(cacheDir, 'partial'))).toEqual([]);
    expect(await readdir(join(cacheDir, 'locks'))).toEqual([]);
  });

  test('go on where a killed one stopped, without fetching again what is there', async () => {
    // The last quarter never comes while the first process lives.
    let stalling = true;
    await serve((turn) => {
      const range = parseRange(turn.request.headers.range, content.length);
      if (!stalling || range === undefined || range.first < content.length * 0.75 - 10) turn.serve();
    });
    const victim = start();
    // Three quarters are there and recorded, as the sidecar's own words show.
    await expect
      .poll(() => recordedBytes(cacheDir), { timeout: 10_000 })
      .toBeGreaterThan(content.length * 0.74);
    const recorded = await recordedBytes(cacheDir);
    await kill(victim);
    stalling = false;
    server.seen.length = 0;
    const model = await openModel({ uri: server.url(), cacheDir });
    expect(model.fromCache).toBe(false);
    expect(requested()).toBe(content.length - recorded);
    expect(digest(await readFile(model.modelPath))).toBe(digest(content));
    await model.release();
  });

  test('take over while they wait when the one that fetches is killed', async () => {
    let stalling = true;
    await serve((turn) => {
      if (!stalling || turn.request.headers.range === 'bytes=0-0') turn.serve();
    });
    const victim = start();
    await expect.poll(() => server.seen.length, { timeout: 10_000 }).toBeGreaterThan(1);
    const waiters = [start(), start(), start()];
    // Each has asked for the size, found no entry, and cannot get the lock: its holder lives.
    const sizeAsked = () => server.seen.filter(({ range }) => range === 'bytes=0-0').length;
    await expect.poll(sizeAsked, { timeout: 10_000 }).toBe(4);
    stalling = false;
    await kill(victim);
    const results = await Promise.all(waiters.map(lastLine));
    expect(results.map((result) => result['event'])).toEqual(['opened', 'opened', 'opened']);
    expect(results.filter((result) => result['fromCache'] === false)).toHaveLength(1);
  });

  test('never take a model from under a process that uses it, and do once that is killed', async () => {
    await serve();
    const limits = { cacheBytes: content.length * 1.5 };
    const holder = start({ holdMs: 60_000 });
    for await (const line of holder.lines) if (line['event'] === 'opened') break;
    const other = { uri: server.url('/other.onnx'), cacheDir, limits };
    await expect(openModel(other)).rejects.toMatchObject({ code: 'cache-full' });
    await kill(holder);
    const model = await openModel(other);
    expect((await listCached(cacheDir)).map((cached) => cached.uri)).toEqual([server.url('/other.onnx')]);
    await model.release();
  });
});

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
