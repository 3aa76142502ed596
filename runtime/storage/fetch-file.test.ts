import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { fetchFile } from './fetch-file.ts';
import { HttpSource } from './sources/http.ts';
import { DEFAULT_STORAGE_LIMITS, type StorageLimits, type StoredFile } from './storage-types.ts';
import { parseRange, TestServer, type Turn } from './test-server.ts';

const MIB = 1024 ** 2;
const content = randomBytes(6 * MIB + 12_345);
const digest = createHash('sha256').update(content).digest('hex');

let folder: string;
let server: TestServer | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pilotlight-fetch-'));
});
afterEach(async () => {
  await server?.stop();
  server = undefined;
  await rm(folder, { recursive: true, force: true });
});

const path = () => join(folder, 'part', 'model.onnx');
const file = (more: Partial<StoredFile> = {}): StoredFile => ({
  path: 'model.onnx',
  sizeBytes: content.length,
  version: '"v1"',
  ...more,
});

async function start(handler?: (turn: Turn) => void, bytes: Uint8Array = content): Promise<TestServer> {
  server = await TestServer.start(bytes, handler);
  return server;
}

function fetchFrom(
  from: TestServer,
  more: {
    limits?: Partial<StorageLimits>;
    file?: StoredFile;
    sha256?: string;
    signal?: AbortSignal;
    onProgress?: (bytesDone: number) => void;
  } = {},
) {
  const limits = { ...DEFAULT_STORAGE_LIMITS, backoffMs: 5, idleTimeoutMs: 2_000, ...more.limits };
  return fetchFile({
    source: new HttpSource(from.url(), {}, limits),
    file: more.file ?? file(),
    destination: { path: path(), sidecar: join(folder, 'part', 'ranges', 'model.json') },
    limits,
    signal: more.signal ?? new AbortController().signal,
    sha256: more.sha256,
    onProgress: more.onProgress,
  });
}

async function expectWhole(): Promise<void> {
  expect(
    createHash('sha256')
      .update(await readFile(path()))
      .digest('hex'),
  ).toBe(digest);
}

/** Sends the head of a range answer and only part of its bytes, then cuts the connection. */
const cutAfter = (turn: Turn, bytes: number) => {
  const range = parseRange(turn.request.headers.range, content.length) ?? {
    first: 0,
    last: content.length - 1,
  };
  turn.response.writeHead(206, {
    etag: '"v1"',
    'content-range': `bytes ${range.first}-${range.last}/${content.length}`,
    'content-length': range.last - range.first + 1,
  });
  turn.response.write(content.subarray(range.first, range.first + bytes), () =>
    turn.request.socket.destroy(),
  );
};

describe('a server that behaves', () => {
  test('is asked for ranges in parallel, each under If-Match, and the digest is checked', async () => {
    const from = await start();
    expect(await fetchFrom(from, { sha256: digest })).toEqual({
      sizeBytes: content.length,
      fetchedBytes: content.length,
    });
    await expectWhole();
    expect(from.seen.length).toBeGreaterThanOrEqual(4);
    expect(from.seen.every((request) => request.ifMatch === '"v1"' && request.range !== undefined)).toBe(
      true,
    );
  });

  test('is not asked at all when everything is there already', async () => {
    const from = await start();
    await fetchFrom(from);
    const before = from.seen.length;
    expect(await fetchFrom(from)).toEqual({ sizeBytes: content.length, fetchedBytes: 0 });
    expect(from.seen.length).toBe(before);
  });

  test('tells progress that only grows and ends at the size', async () => {
    const from = await start();
    const progress: number[] = [];
    await fetchFrom(from, { onProgress: (bytes) => void progress.push(bytes) });
    expect(progress[0]).toBe(0);
    expect(progress.at(-1)).toBe(content.length);
    expect(progress.toSorted((a, b) => a - b)).toEqual(progress);
  });

  test('an empty file needs no request', async () => {
    const from = await start(undefined, new Uint8Array());
    expect(await fetchFrom(from, { file: file({ sizeBytes: 0 }) })).toEqual({
      sizeBytes: 0,
      fetchedBytes: 0,
    });
    expect((await stat(path())).size).toBe(0);
  });
});

describe('a server that misbehaves', () => {
  test('by dropping connections in the middle is asked again for the rest only', async () => {
    const from = await start((turn) => (turn.number % 2 === 1 ? cutAfter(turn, 300_000) : turn.serve()));
    const { fetchedBytes } = await fetchFrom(from);
    await expectWhole();
    // Not one byte twice.
    expect(fetchedBytes).toBe(content.length);
  });

  test('by dropping every connection at once is given up after the tries that were allowed', async () => {
    const from = await start((turn) => turn.request.socket.destroy());
    await expect(fetchFrom(from, { limits: { attempts: 3, ranges: 2 } })).rejects.toMatchObject({
      code: 'model-unreachable',
    });
    expect(from.seen.length).toBeGreaterThanOrEqual(3);
    expect(from.seen.length).toBeLessThanOrEqual(8);
  });

  test('by a few bytes per connection is given up as well', async () => {
    const from = await start((turn) => cutAfter(turn, 10));
    await expect(fetchFrom(from, { limits: { attempts: 3, ranges: 1 } })).rejects.toMatchObject({
      code: 'model-unreachable',
    });
    expect(from.seen.length).toBe(3);
  });

  test('by ignoring ranges is read as one stream', async () => {
    const from = await start((turn) => {
      turn.response.writeHead(200, { etag: '"v1"', 'content-length': content.length });
      turn.response.end(content);
    });
    await fetchFrom(from, { sha256: digest });
    await expectWhole();
  });

  test('by not telling the length is read as one stream, up to the limit', async () => {
    const from = await start((turn) => {
      turn.response.writeHead(200);
      turn.response.end(content);
    });
    const unknown = file({ sizeBytes: undefined, version: undefined });
    expect(await fetchFrom(from, { file: unknown })).toMatchObject({ sizeBytes: content.length });
    await expectWhole();
    await expect(fetchFrom(from, { file: unknown, limits: { modelBytes: 2 * MIB } })).rejects.toMatchObject({
      code: 'model-too-large',
    });
  });

  test('by changing the file between two ranges is found out, by 412 or by the ETag of the answer', async () => {
    for (const obeysIfMatch of [true, false]) {
      const from = await start((turn) => {
        if (turn.number === 3) from.etag = '"v2"';
        if (!obeysIfMatch) delete turn.request.headers['if-match'];
        turn.serve();
      });
      await expect(fetchFrom(from)).rejects.toMatchObject({ code: 'model-changed' });
      await rm(join(folder, 'part'), { recursive: true });
      await from.stop();
    }
  });

  test('by another total length is found out', async () => {
    const from = await start(undefined, content.subarray(0, content.length - 1));
    await expect(fetchFrom(from)).rejects.toMatchObject({ code: 'model-changed' });
  });

  test('by a shorter answer than its header says, time after time, is an error and never a hole', async () => {
    const from = await start((turn) => {
      const range = parseRange(turn.request.headers.range, content.length);
      if (range === undefined) return turn.serve();
      turn.response.writeHead(206, {
        etag: '"v1"',
        'content-range': `bytes ${range.first}-${range.last}/${content.length}`,
      });
      turn.response.end(content.subarray(range.first, range.first + 10));
    });
    await expect(fetchFrom(from, { limits: { attempts: 2 } })).rejects.toMatchObject({
      code: 'model-unreachable',
      message: expect.stringContaining('ended at byte'),
    });
  });

  test('by more bytes than asked for is an error', async () => {
    const from = await start((turn) => {
      const range = parseRange(turn.request.headers.range, content.length);
      if (range === undefined) return turn.serve();
      turn.response.writeHead(206, {
        etag: '"v1"',
        'content-range': `bytes ${range.first}-${range.last}/${content.length}`,
      });
      turn.response.end(content);
    });
    await expect(fetchFrom(from, { limits: { attempts: 2, ranges: 2 } })).rejects.toMatchObject({
      code: 'model-unreachable',
      message: expect.stringContaining('more bytes'),
    });
  });

  test('by another range than asked for is an error', async () => {
    const from = await start((turn) => {
      turn.response.writeHead(206, { etag: '"v1"', 'content-range': `bytes 5-9/${content.length}` });
      turn.response.end(content.subarray(5, 10));
    });
    await expect(fetchFrom(from, { limits: { attempts: 2, ranges: 1 } })).rejects.toMatchObject({
      code: 'model-unreachable',
      message: expect.stringContaining('asked for bytes 0-'),
    });
  });

  test('by silence is cut off after the idle timeout and asked again', async () => {
    const from = await start((turn) => (turn.number === 1 ? undefined : turn.serve()));
    await fetchFrom(from, { limits: { idleTimeoutMs: 150 } });
    await expectWhole();
  });

  test('by stalling in the middle of a body is cut off too', async () => {
    const from = await start((turn) => {
      if (turn.number !== 1) return turn.serve();
      turn.response.writeHead(206, {
        etag: '"v1"',
        'content-range': `bytes 0-${MIB}/${content.length}`,
        'content-length': MIB + 1,
      });
      turn.response.write(content.subarray(0, 1000));
    });
    await fetchFrom(from, { limits: { idleTimeoutMs: 150, ranges: 1 } });
    await expectWhole();
  });

  test('by 503 is waited for as long as its Retry-After says', async () => {
    const refusedAtMs: number[] = [];
    const from = await start((turn) => {
      if (turn.number > 1) return turn.serve();
      refusedAtMs.push(performance.now());
      turn.response.writeHead(503, { 'retry-after': '1' }).end();
    });
    await fetchFrom(from, { limits: { ranges: 1 } });
    await expectWhole();
    expect(performance.now() - (refusedAtMs[0] ?? 0)).toBeGreaterThanOrEqual(990);
  });

  test.each([
    [403, 'model-forbidden'],
    [401, 'model-forbidden'],
    [404, 'model-not-found'],
    [400, 'model-unreachable'],
  ])('by %i is not asked again: %s', async (status, code) => {
    const from = await start((turn) => turn.response.writeHead(status).end());
    await expect(fetchFrom(from, { limits: { ranges: 1 } })).rejects.toMatchObject({ code });
    expect(from.seen).toHaveLength(1);
  });

  test('by compressing is refused: positions would mean nothing', async () => {
    const from = await start((turn) => {
      turn.response.writeHead(200, { 'content-encoding': 'gzip' }).end('x');
    });
    await expect(fetchFrom(from)).rejects.toMatchObject({ code: 'unsupported' });
    expect(from.seen.length).toBeGreaterThan(0);
  });
});

describe('what was fetched before', () => {
  test('is gone on with when the first try failed half-way', async () => {
    const from = await start((turn) => {
      if (turn.number === 1) cutAfter(turn, 3 * MIB);
      else if (turn.number === 2) turn.response.writeHead(403).end();
      else turn.serve();
    });
    await expect(fetchFrom(from, { limits: { ranges: 1 } })).rejects.toMatchObject({
      code: 'model-forbidden',
    });
    const { fetchedBytes } = await fetchFrom(from);
    // What was still in the sender's socket when it was cut is lost, the rest is kept.
    expect(fetchedBytes).toBeLessThan(content.length);
    expect(fetchedBytes).toBeGreaterThanOrEqual(content.length - 3 * MIB);
    await expectWhole();
  });

  test.each<[string, Partial<StoredFile>]>([
    ['another version', { version: '"v2"' }],
    ['another size', { sizeBytes: content.length - 10 }],
    ['no version to compare', { version: undefined }],
  ])('counts for nothing with %s', async (_, change) => {
    const from = await start();
    await fetchFrom(from);
    const wanted = file(change);
    from.etag = wanted.version ?? '"v1"';
    from.content = content.subarray(0, wanted.sizeBytes);
    expect(await fetchFrom(from, { file: wanted })).toMatchObject({ fetchedBytes: wanted.sizeBytes });
  });

  test('is thrown away when its digest is wrong, so that the next try fetches anew', async () => {
    const from = await start();
    await expect(fetchFrom(from, { sha256: '0'.repeat(64) })).rejects.toMatchObject({
      code: 'model-digest-mismatch',
      message: expect.stringContaining(digest),
    });
    expect(await fetchFrom(from, { sha256: digest })).toMatchObject({ fetchedBytes: content.length });
    await expectWhole();
  });
});

test('a file above the limit is refused before the first byte', async () => {
  const from = await start();
  await expect(fetchFrom(from, { limits: { modelBytes: 1000 } })).rejects.toMatchObject({
    code: 'model-too-large',
  });
  expect(from.seen).toHaveLength(0);
});

test('aborting ends a fetch that hangs, with the reason of the abort', async () => {
  const from = await start(() => undefined);
  const controller = new AbortController();
  const fetching = fetchFrom(from, { signal: controller.signal });
  await expect.poll(() => from.seen.length, { timeout: 10_000 }).toBeGreaterThan(0);
  controller.abort(new Error('no longer wanted'));
  await expect(fetching).rejects.toThrow('no longer wanted');
});
