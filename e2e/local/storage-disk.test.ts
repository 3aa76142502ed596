import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openModel } from '../../runtime/storage/open-model.ts';
import { paddedModel, SILERO_PATH } from '../../runtime/storage/test-models.ts';
import { TestServer, type Turn } from '../../runtime/storage/test-server.ts';
import { lastLine, startOpener } from '../storage/opener.ts';

const MIB = 1024 ** 2;
const LIMITS = { attempts: 2, backoffMs: 5 };

/** Mounts of a test's own need a user namespace, which some machines forbid. */
function mountsForbidden(): string | undefined {
  try {
    execFileSync('unshare', ['-Urm', 'mount', '-t', 'tmpfs', 'none', '/mnt'], { stdio: 'pipe' });
    return undefined;
  } catch (error) {
    return `this machine does not let a user mount a file system of their own (${String(error).split('\n')[0]})`;
  }
}

const forbidden = mountsForbidden();
if (forbidden !== undefined) {
  test.skip(`a full and a read-only cache disk were not tested: ${forbidden}`, () => undefined);
}

describe.skipIf(forbidden !== undefined)('the disk of the model cache', () => {
  let folder: string;
  let cacheDir: string;
  let server: TestServer | undefined;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pilotlight-disk-'));
    cacheDir = join(folder, 'cache');
    await mkdir(cacheDir);
  });
  afterEach(async () => {
    await server?.stop();
    server = undefined;
    await rm(folder, { recursive: true, force: true });
  });

  async function start(content: Uint8Array, handler?: (turn: Turn) => void): Promise<TestServer> {
    server = await TestServer.start(content, handler);
    return server;
  }

  /** Runs a process for which `mount` has been done on the cache folder ($0). */
  const within = (mount: string) => ['unshare', '-Urm', 'sh', '-c', `${mount} && exec "$@"`, cacheDir];
  const FOUR_MIB = 'mount -t tmpfs -o size=4m none "$0"';

  test('too small for a model of known size is found out before anything is fetched', async () => {
    const from = await start(paddedModel(8 * MIB));
    const result = await lastLine(
      startOpener({ uri: from.url(), cacheDir, limits: LIMITS }, within(FOUR_MIB)),
    );
    expect(result).toEqual({ event: 'failed', code: 'cache-full' });
    expect(from.seen.map((request) => request.range)).toEqual(['bytes=0-0']);
  });

  test('that fills up while a model of unknown size comes is a full cache, not a broken model', async () => {
    const content = paddedModel(8 * MIB);
    const from = await start(content, (turn) => {
      turn.response.writeHead(200, { etag: '"v1"' });
      turn.response.end(content);
    });
    const result = await lastLine(
      startOpener({ uri: from.url(), cacheDir, limits: LIMITS }, within(FOUR_MIB)),
    );
    expect(result).toEqual({ event: 'failed', code: 'cache-full' });
  });

  test('with room to spare takes the model', async () => {
    const from = await start(await readFile(SILERO_PATH));
    const result = await lastLine(
      startOpener({ uri: from.url(), cacheDir, limits: LIMITS }, within(FOUR_MIB)),
    );
    expect(result).toMatchObject({ event: 'opened', fromCache: false });
  });

  test('mounted read-only serves the models that it has and names what is wrong for others', async () => {
    const from = await start(await readFile(SILERO_PATH));
    const model = await openModel({ uri: from.url(), cacheDir });
    await model.release();
    const readOnly = within('mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"');
    const again = await lastLine(startOpener({ uri: from.url(), cacheDir, limits: LIMITS }, readOnly));
    expect(again).toMatchObject({ event: 'opened', fromCache: true });
    const other = await lastLine(
      startOpener({ uri: from.url('/other.onnx'), cacheDir, limits: LIMITS }, readOnly),
    );
    expect(other).toEqual({ event: 'failed', code: 'cache-not-writable' });
  });
});
