import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { S3Access } from '../../contracts/storage-access.ts';
import { listCached } from '../../runtime/storage/model-cache.ts';
import { type OpenedModel, openModel } from '../../runtime/storage/open-model.ts';
import { modelWithExternalData, paddedModel, SILERO_PATH } from '../../runtime/storage/test-models.ts';
import { lastLine, startOpener } from '../storage/opener.ts';
import { recordedBytes } from '../storage/recorded-bytes.ts';
import { StallingProxy } from '../storage/stalling-proxy.ts';
import { ACCESS_KEY, SECRET_KEY, Versitygw, versitygwMissing } from '../storage/versitygw.ts';

const missing = await versitygwMissing();
const PADDING_BYTES = 64 * 1024 ** 2;

if (missing !== undefined) {
  test.skip(`models from S3 were not tested at all: ${missing}`, () => undefined);
}

describe.skipIf(missing !== undefined)('models from a real S3 server (versitygw)', () => {
  let folder: string;
  let server: Versitygw;
  let cacheDir: string;
  let access: S3Access;
  let silero: Uint8Array<ArrayBuffer>;
  let big: Uint8Array<ArrayBuffer>;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pilotlight-s3-'));
    server = await Versitygw.start(folder);
    access = { endpoint: server.endpoint, accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY };
    silero = new Uint8Array(await readFile(SILERO_PATH));
    big = new Uint8Array(paddedModel(PADDING_BYTES));
    await server.createBucket('models');
    await server.putObject('models', 'silero.onnx', silero);
    await server.putObject('models', 'big/model.onnx', big);
  }, 10 * 60_000);

  afterAll(async () => {
    await server?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  beforeEach(async () => {
    cacheDir = await mkdtemp(join(tmpdir(), 'pilotlight-cache-'));
  });

  afterEach(async () => {
    await rm(cacheDir, { recursive: true, force: true });
  });

  const open = (uri: string, s3: S3Access = access, more: { version?: string } = {}): Promise<OpenedModel> =>
    openModel({ uri, cacheDir, credentials: { s3 }, limits: { attempts: 2, backoffMs: 10 }, ...more });

  test('a signed request fetches an object, and a second one finds it in the cache', async () => {
    const first = await open('s3://models/silero.onnx');
    expect(first.fromCache).toBe(false);
    expect(digest(await readFile(first.modelPath))).toBe(digest(silero));
    expect(first.identity.files).toEqual([
      { path: 'silero.onnx', sizeBytes: silero.length, version: expect.stringMatching(/^"[0-9a-f]{32}"$/) },
    ]);
    await first.release();
    const second = await open('s3://models/silero.onnx');
    expect(second).toMatchObject({ fromCache: true, modelPath: first.modelPath });
    await second.release();
  });

  test('keys with spaces, plus, percent, quotes and letters of all scripts are signed as the server expects', async () => {
    const key = `odd names/a b+c%41'(1)~é模型/m&.onnx`;
    await server.putObject('models', key, silero);
    const model = await open(`s3://models/${key}`);
    expect(digest(await readFile(model.modelPath))).toBe(digest(silero));
    await model.release();
    const below = await open(`s3://models/odd names/a b+c%41'(1)~é模型`);
    expect(digest(await readFile(below.modelPath))).toBe(digest(silero));
    await below.release();
  });

  test('a wrong secret, an unknown access key and no key at all are no permission, in words', async () => {
    await expect(
      open('s3://models/silero.onnx', { ...access, secretAccessKey: 'wrong' }),
    ).rejects.toMatchObject({
      code: 'model-forbidden',
      message: expect.stringContaining('secret key is wrong'),
    });
    await expect(open('s3://models/silero.onnx', { ...access, accessKeyId: 'nobody' })).rejects.toMatchObject(
      {
        code: 'model-forbidden',
        message: expect.stringContaining('access key is not known'),
      },
    );
    await expect(open('s3://models/silero.onnx', { endpoint: server.endpoint })).rejects.toMatchObject({
      code: 'model-forbidden',
    });
  });

  test('a public bucket is read without credentials, as an object and as a folder', async () => {
    await server.createBucket('public-models');
    await server.putObject('public-models', 'vad/model.onnx', silero);
    await server.makePublic('public-models');
    const anonymous = { endpoint: server.endpoint, anonymous: true };
    for (const uri of ['s3://public-models/vad/model.onnx', 's3://public-models/vad']) {
      const model = await open(uri, anonymous);
      expect(model.sizeBytes).toBe(silero.length);
      await model.release();
    }
  });

  test('the bucket travels in the host name in virtual-host style', async () => {
    const endpoint = `http://localhost:${server.port}`;
    const model = await open('s3://models/silero.onnx', { ...access, endpoint, virtualHosted: true });
    expect(digest(await readFile(model.modelPath))).toBe(digest(silero));
    await model.release();
  });

  test('a region that the server does not have is corrected by what it answers', async () => {
    const model = await open('s3://models/silero.onnx', { ...access, region: 'eu-central-1' });
    expect(model.fromCache).toBe(false);
    await model.release();
  });

  test('a missing object, a missing bucket and a server that is not there are told apart', async () => {
    await expect(open('s3://models/nothing.onnx')).rejects.toMatchObject({ code: 'model-not-found' });
    await expect(open('s3://no-such-bucket/m.onnx')).rejects.toMatchObject({
      code: 'model-not-found',
      message: expect.stringContaining('no bucket no-such-bucket'),
    });
    await expect(
      open('s3://models/silero.onnx', { ...access, endpoint: 'http://127.0.0.1:1' }),
    ).rejects.toMatchObject({
      code: 'model-unreachable',
      message: expect.stringContaining('refuses connections'),
    });
  });

  test('a folder with external data brings both files, in the version that is asked for', async () => {
    const weights = new Uint8Array(Buffer.alloc(16, 1));
    const model = new Uint8Array(
      modelWithExternalData({ location: 'weights.bin', offset: '0', length: '16' }),
    );
    await server.putObject('models', 'versions/2/model.onnx', silero);
    await server.putObject('models', 'versions/10/model.onnx', model);
    await server.putObject('models', 'versions/10/weights.bin', weights);
    const highest = await open('s3://models/versions/');
    expect(highest.identity.files.map((file) => file.path)).toEqual(['10/model.onnx', '10/weights.bin']);
    expect(await readFile(highest.files[1] ?? '')).toEqual(Buffer.alloc(16, 1));
    await highest.release();
    const pinned = await open('s3://models/versions', access, { version: '2' });
    expect(pinned.sizeBytes).toBe(silero.length);
    await pinned.release();
    await expect(open('s3://models/versions', access, { version: '3' })).rejects.toMatchObject({
      code: 'model-not-found',
      message: expect.stringContaining('found versions 2, 10'),
    });
    const byName = await open('s3://models/versions/10/model.onnx');
    expect(byName.files).toHaveLength(2);
    await byName.release();
  });

  test('new external data at the store is fetched although the model file is the same', async () => {
    const model = new Uint8Array(modelWithExternalData({ location: 'w.bin', length: '8' }));
    await server.putObject('models', 'ext/model.onnx', model);
    await server.putObject('models', 'ext/w.bin', new Uint8Array(Buffer.alloc(8, 1)));
    const before = await open('s3://models/ext');
    await before.release();
    await server.putObject('models', 'ext/w.bin', new Uint8Array(Buffer.alloc(8, 2)));
    const after = await open('s3://models/ext');
    expect(await readFile(after.files[1] ?? '')).toEqual(Buffer.alloc(8, 2));
    await after.release();
  });

  test('a listing of more than a thousand objects is followed to its end', async () => {
    const tiny = new Uint8Array([1]);
    const names = Array.from({ length: 1_050 }, (_, index) => `many/${String(index).padStart(4, '0')}.txt`);
    for (let start = 0; start < names.length; start += 50) {
      await Promise.all(names.slice(start, start + 50).map((name) => server.putObject('models', name, tiny)));
    }
    await server.putObject('models', 'many/z.onnx', silero);
    const model = await open('s3://models/many/');
    expect(model.identity.files.map((file) => file.path)).toEqual(['z.onnx']);
    await model.release();
  });

  test('64 MB in parallel ranges arrive byte for byte', async () => {
    const model = await open('s3://models/big/model.onnx');
    expect(digest(await readFile(model.modelPath))).toBe(digest(big));
    await model.release();
  });

  test('an identity that was resolved before opens from the cache without asking the store', async () => {
    const first = await open('s3://models/silero.onnx');
    await first.release();
    expect(await listCached(cacheDir)).toMatchObject([
      { uri: 's3://models/silero.onnx', identity: first.identity },
    ]);
    // With a key that the store refuses: any request would fail.
    const again = await openModel({
      uri: 's3://models/silero.onnx',
      cacheDir,
      credentials: { s3: { ...access, secretAccessKey: 'wrong' } },
      identity: first.identity,
    });
    expect(again).toMatchObject({ fromCache: true, identity: first.identity });
    await again.release();
  });

  test.each(['s3://models/versions', 's3://models/versions/', 's3://models/versions/2/model.onnx'])(
    'an identity that was resolved before is fetched again where the cache has lost it: %s',
    async (uri) => {
      await server.putObject('models', 'versions/2/model.onnx', silero);
      const first = await open(uri, access, uri.endsWith('.onnx') ? {} : { version: '2' });
      await first.release();
      await rm(cacheDir, { recursive: true });
      const again = await openModel({
        uri,
        cacheDir,
        credentials: { s3: access },
        identity: first.identity,
        limits: { attempts: 1 },
      });
      expect(digest(await readFile(again.modelPath))).toBe(digest(silero));
      await again.release();
    },
  );

  test('an object replaced since it was resolved is refused for the pinned identity', async () => {
    await server.putObject('models', 'moving/model.onnx', silero);
    const first = await open('s3://models/moving/model.onnx');
    await first.release();
    await rm(cacheDir, { recursive: true });
    await server.putObject('models', 'moving/model.onnx', new Uint8Array(paddedModel(10)));
    await expect(
      openModel({
        uri: 's3://models/moving/model.onnx',
        cacheDir,
        credentials: { s3: access },
        identity: first.identity,
      }),
    ).rejects.toMatchObject({ code: 'model-changed' });
  });

  test('a process killed in the middle of a fetch leaves what the next one goes on from', async () => {
    const proxy = await StallingProxy.start(server.port, 40 * 1024 ** 2);
    const options = {
      uri: 's3://models/big/model.onnx',
      cacheDir,
      credentials: { s3: { ...access, endpoint: proxy.endpoint } },
    };
    try {
      const victim = startOpener(options);
      await expect.poll(() => recordedBytes(cacheDir), { timeout: 20_000 }).toBeGreaterThan(30 * 1024 ** 2);
      victim.child.kill('SIGKILL');
      await victim.ended;
      const recorded = await recordedBytes(cacheDir);
      proxy.flow();
      const progress: number[] = [];
      const model = await openModel({
        ...options,
        onProgress: ({ bytesDone }) => void progress.push(bytesDone),
      });
      expect(progress[0]).toBe(recorded);
      expect(digest(await readFile(model.modelPath))).toBe(digest(big));
      await model.release();
    } finally {
      await proxy.stop();
    }
  });

  test('six processes that want one model at once share one fetch and one entry', async () => {
    const options = { uri: 's3://models/big/model.onnx', cacheDir, credentials: { s3: access } };
    const openers = Array.from({ length: 6 }, () => startOpener(options));
    const results = await Promise.all(openers.map((opener) => lastLine(opener)));
    expect(results.map((result) => result['event'])).toEqual(Array.from({ length: 6 }, () => 'opened'));
    expect(results.filter((result) => result['fromCache'] === false)).toHaveLength(1);
    expect(new Set(results.map((result) => result['modelPath'])).size).toBe(1);
    expect(await listCached(cacheDir)).toHaveLength(1);
    expect(digest(await readFile(String(results[0]?.['modelPath'])))).toBe(digest(big));
  });
});

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
