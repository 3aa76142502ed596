import { createHash, createPublicKey, createVerify, generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { GcsAccess } from '../../contracts/storage-access.ts';
import { type OpenedModel, type OpenModelOptions, openModel } from '../../runtime/storage/open-model.ts';
import { modelWithExternalData, paddedModel, SILERO_PATH } from '../../runtime/storage/test-models.ts';
import { tool } from '../cluster/tools.ts';
import { FakeGcs } from '../storage/fake-gcs.ts';
import { IdentityServer } from '../storage/identity-server.ts';
import { missingTool } from '../storage/missing-tool.ts';
import { RecordingProxy } from '../storage/recording-proxy.ts';

const missing = await missingTool(() => tool('fake-gcs-server'), 'fake-gcs-server');

if (missing !== undefined) {
  test.skip(`models from Google Cloud Storage were not tested at all: ${missing}`, () => undefined);
}

describe.skipIf(missing !== undefined)('models from a server of Google Cloud Storage’s API', () => {
  let server: FakeGcs;
  let cacheDir: string;
  let silero: Uint8Array<ArrayBuffer>;
  const big = new Uint8Array(paddedModel(24 * 1024 ** 2));

  beforeAll(async () => {
    server = await FakeGcs.start();
    silero = new Uint8Array(await readFile(SILERO_PATH));
    await server.createBucket('models');
    await server.putObject('models', 'silero.onnx', silero);
    await server.putObject('models', 'big/model.onnx', big);
  }, 10 * 60_000);

  afterAll(async () => server?.stop());

  beforeEach(async () => {
    cacheDir = await mkdtemp(join(tmpdir(), 'pilotlight-cache-'));
  });

  afterEach(async () => {
    await rm(cacheDir, { recursive: true, force: true });
  });

  const open = (
    uri: string,
    gcs: GcsAccess = {},
    more: Partial<OpenModelOptions> = {},
  ): Promise<OpenedModel> =>
    openModel({
      uri,
      cacheDir,
      credentials: { gcs: { endpoint: server.endpoint, ...gcs } },
      environment: {},
      limits: { attempts: 2, backoffMs: 10 },
      ...more,
    });

  test('an object is fetched once, with generation and MD5 as its identity', async () => {
    const first = await open('gs://models/silero.onnx');
    expect(first.fromCache).toBe(false);
    expect(digest(await readFile(first.modelPath))).toBe(digest(silero));
    const md5 = createHash('md5').update(silero).digest('base64');
    expect(first.identity.files).toEqual([
      {
        path: 'silero.onnx',
        sizeBytes: silero.length,
        version: expect.stringMatching(new RegExp(`^generation:\\d+;md5:${md5.replaceAll('+', '\\+')}$`)),
      },
    ]);
    await first.release();
    const second = await open('gs://models/silero.onnx');
    expect(second).toMatchObject({ fromCache: true, modelPath: first.modelPath });
    await second.release();
  });

  test('STORAGE_EMULATOR_HOST of the environment stands for the endpoint, with a scheme or without', async () => {
    for (const host of [server.endpoint, server.endpoint.replace('http://', '')]) {
      const model = await openModel({
        uri: 'gs://models/silero.onnx',
        cacheDir,
        environment: { STORAGE_EMULATOR_HOST: host },
      });
      expect(model.sizeBytes).toBe(silero.length);
      await model.release();
    }
  });

  test('names with slashes, spaces, plus, percent and letters of all scripts are found', async () => {
    const key = `odd names/a b+c%41'(1)~é模型/m&?#.onnx`;
    await server.putObject('models', key, silero);
    const model = await open(`gs://models/${key}`);
    expect(digest(await readFile(model.modelPath))).toBe(digest(silero));
    await model.release();
  });

  test('24 MB in parallel ranges arrive byte for byte', async () => {
    const model = await open('gs://models/big');
    expect(digest(await readFile(model.modelPath))).toBe(digest(big));
    await model.release();
  });

  test('a folder with external data brings both files, of the highest version', async () => {
    const model = new Uint8Array(modelWithExternalData({ location: 'w.bin', offset: '0', length: '16' }));
    await server.putObject('models', 'versions/2/model.onnx', silero);
    await server.putObject('models', 'versions/10/model.onnx', model);
    await server.putObject('models', 'versions/10/w.bin', new Uint8Array(Buffer.alloc(16, 1)));
    const highest = await open('gs://models/versions/');
    expect(highest.identity.files.map((file) => file.path)).toEqual(['10/model.onnx', '10/w.bin']);
    await highest.release();
  });

  test('a listing of more than a thousand objects is followed to its end', async () => {
    const names = Array.from({ length: 1_050 }, (_, index) => `many/${String(index).padStart(4, '0')}.txt`);
    for (let start = 0; start < names.length; start += 50) {
      const some = names.slice(start, start + 50);
      await Promise.all(some.map((name) => server.putObject('models', name, new Uint8Array([1]))));
    }
    await server.putObject('models', 'many/z.onnx', silero);
    const model = await open('gs://models/many');
    expect(model.identity.files.map((file) => file.path)).toEqual(['z.onnx']);
    await model.release();
  });

  test('a missing object, a missing bucket and a server that is not there are told apart', async () => {
    await expect(open('gs://models/nothing.onnx')).rejects.toMatchObject({
      code: 'model-not-found',
      message: expect.stringContaining('no object of that name and none below it'),
    });
    await expect(open('gs://no-such-bucket/m.onnx')).rejects.toMatchObject({
      code: 'model-not-found',
      message: expect.stringContaining('no bucket no-such-bucket'),
    });
    await expect(open('gs://models/silero.onnx', { endpoint: 'http://127.0.0.1:1' })).rejects.toMatchObject({
      code: 'model-unreachable',
    });
  });

  test('an object replaced since it was resolved is refused for the pinned identity', async () => {
    await server.putObject('models', 'moving/model.onnx', silero);
    const first = await open('gs://models/moving/model.onnx');
    await first.release();
    await rm(cacheDir, { recursive: true });
    await server.putObject('models', 'moving/model.onnx', new Uint8Array(paddedModel(10)));
    await expect(
      open('gs://models/moving/model.onnx', {}, { identity: first.identity }),
    ).rejects.toMatchObject({ code: 'model-changed' });
  });

  test('an object that is stored compressed is refused: its size and ranges mean other bytes', async () => {
    await server.putEncoded('models', 'packed.onnx', 'gzip', new Uint8Array(gzipSync(silero)));
    await expect(open('gs://models/packed.onnx')).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('content-encoding gzip'),
    });
  });

  test('a service account’s key gets a token that every request bears', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
    const google = await IdentityServer.start(() => ({
      text: JSON.stringify({
        access_token: 'ya29.token-of-the-test',
        expires_in: 3600,
        token_type: 'Bearer',
      }),
    }));
    const store = await RecordingProxy.start(server.endpoint);
    try {
      const serviceAccount = {
        clientEmail: 'reader@project.example',
        privateKey: pem,
        tokenUri: google.url('/token'),
      };
      const model = await open('gs://models/silero.onnx', { endpoint: store.endpoint, serviceAccount });
      await model.release();
      expect(new Set(store.seen.map(({ headers }) => headers.authorization))).toEqual(
        new Set(['Bearer ya29.token-of-the-test']),
      );
      expect(google.seen).toHaveLength(1);
      const form = new URLSearchParams(google.seen[0]?.body);
      const [head = '', claims = '', signature = ''] = form.get('assertion')?.split('.') ?? [];
      expect(JSON.parse(Buffer.from(claims, 'base64url').toString())).toMatchObject({
        iss: 'reader@project.example',
        aud: google.url('/token'),
        scope: 'https://www.googleapis.com/auth/devstorage.read_only',
      });
      const verify = createVerify('RSA-SHA256').update(`${head}.${claims}`);
      expect(
        verify.verify(
          createPublicKey(publicKey.export({ type: 'spki', format: 'pem' })),
          signature,
          'base64url',
        ),
      ).toBe(true);
      // The same from the key file that a pod has mounted.
      const file = join(cacheDir, 'key.json');
      const { clientEmail: client_email, privateKey: private_key, tokenUri: token_uri } = serviceAccount;
      await writeFile(
        file,
        JSON.stringify({ type: 'service_account', client_email, private_key, token_uri }),
      );
      const again = await open(
        'gs://models/big',
        { endpoint: store.endpoint },
        { environment: { GOOGLE_APPLICATION_CREDENTIALS: file } },
      );
      await again.release();
      expect(google.seen).toHaveLength(2);
    } finally {
      await google.stop();
      await store.stop();
    }
  });

  test('a refused key says so without showing it', async () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' });
    const google = await IdentityServer.start(({ body }) => ({
      status: 400,
      text: JSON.stringify({ error: 'invalid_grant', error_description: `bad ${body}` }),
    }));
    try {
      const serviceAccount = {
        clientEmail: 'reader@project.example',
        privateKey: pem,
        tokenUri: google.url('/token'),
      };
      const error = await open('gs://models/silero.onnx', { serviceAccount }).catch(
        (thrown: unknown) => thrown,
      );
      expect(error).toMatchObject({
        code: 'model-forbidden',
        message: expect.stringContaining('invalid_grant'),
      });
      expect(String(error)).not.toContain('assertion');
      const broken = { ...serviceAccount, privateKey: 'PLANTED-KEY' };
      const other = await open('gs://models/silero.onnx', { serviceAccount: broken }).catch(
        (thrown: unknown) => thrown,
      );
      expect(other).toMatchObject({ code: 'model-forbidden' });
      expect(String(other)).not.toContain('PLANTED-KEY');
    } finally {
      await google.stop();
    }
  });
});

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
