import { createHash, createHmac } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { AzureAccess } from '../../contracts/storage-access.ts';
import { type OpenedModel, type OpenModelOptions, openModel } from '../../runtime/storage/open-model.ts';
import { modelWithExternalData, paddedModel, SILERO_PATH } from '../../runtime/storage/test-models.ts';
import { AZURITE_ACCOUNT, AZURITE_KEY, Azurite, installAzurite } from '../storage/azurite.ts';
import { IdentityServer } from '../storage/identity-server.ts';
import { missingTool } from '../storage/missing-tool.ts';
import { RecordingProxy } from '../storage/recording-proxy.ts';

const missing = await missingTool(installAzurite, 'Azurite');

if (missing !== undefined) {
  test.skip(`models from Azure Blob Storage were not tested at all: ${missing}`, () => undefined);
}

describe.skipIf(missing !== undefined)('models from a server of Azure Blob Storage (Azurite)', () => {
  const base = `https://${AZURITE_ACCOUNT}.blob.core.windows.net`;
  let server: Azurite;
  let cacheDir: string;
  let silero: Uint8Array<ArrayBuffer>;
  const big = new Uint8Array(paddedModel(24 * 1024 ** 2));

  beforeAll(async () => {
    server = await Azurite.start();
    silero = new Uint8Array(await readFile(SILERO_PATH));
    await server.createContainer('models');
    await server.createContainer('open-models', true);
    for (const container of ['models', 'open-models'])
      await server.putBlob(container, 'vad/silero.onnx', silero);
    await server.putBlob('models', 'big/model.onnx', big);
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
    azure: AzureAccess = { accountKey: AZURITE_KEY },
    more: Partial<OpenModelOptions> = {},
  ): Promise<OpenedModel> =>
    openModel({
      uri,
      cacheDir,
      credentials: { azure: { endpoint: server.endpoint, ...azure } },
      environment: {},
      limits: { attempts: 2, backoffMs: 10 },
      ...more,
    });

  test('a request signed with the account’s key fetches a blob once, by each form of its URI', async () => {
    const first = await open(`${base}/models/vad/silero.onnx`);
    expect(first.fromCache).toBe(false);
    expect(digest(await readFile(first.modelPath))).toBe(digest(silero));
    expect(first.identity.files).toEqual([
      { path: 'silero.onnx', sizeBytes: silero.length, version: expect.stringMatching(/^"0x[0-9A-F]+"$/) },
    ]);
    await first.release();
    for (const scheme of ['abfss', 'abfs', 'wasbs']) {
      const host = `${AZURITE_ACCOUNT}.dfs.core.windows.net`;
      const again = await open(`${scheme}://models@${host}/vad/silero.onnx`);
      expect(again).toMatchObject({ fromCache: true, modelPath: first.modelPath });
      await again.release();
    }
  });

  test('names with spaces, plus, percent, quotes and letters of all scripts are signed as the server expects', async () => {
    const name = `odd names/a b+c%41'(1)~é模型/m&.onnx`;
    await server.putBlob('models', name, silero);
    const model = await open(`abfss://models@${AZURITE_ACCOUNT}.dfs.core.windows.net/${name}`);
    expect(digest(await readFile(model.modelPath))).toBe(digest(silero));
    await model.release();
    const encoded = name.split('/').map(encodeURIComponent).join('/');
    const same = await open(`${base}/models/${encoded}`);
    expect(same.fromCache).toBe(true);
    await same.release();
  });

  test('24 MB in parallel ranges arrive byte for byte, from a folder', async () => {
    const model = await open(`${base}/models/big/`);
    expect(digest(await readFile(model.modelPath))).toBe(digest(big));
    await model.release();
  });

  test('a folder with external data brings both files, of the highest version', async () => {
    const model = new Uint8Array(modelWithExternalData({ location: 'w.bin', offset: '0', length: '16' }));
    await server.putBlob('models', 'versions/2/model.onnx', silero);
    await server.putBlob('models', 'versions/10/model.onnx', model);
    await server.putBlob('models', 'versions/10/w.bin', new Uint8Array(Buffer.alloc(16, 1)));
    const highest = await open(`${base}/models/versions`);
    expect(highest.identity.files.map((file) => file.path)).toEqual(['10/model.onnx', '10/w.bin']);
    await highest.release();
  });

  test('a listing of more than five thousand blobs is followed to its end', async () => {
    const names = Array.from({ length: 5_050 }, (_, index) => `many/${String(index).padStart(5, '0')}.txt`);
    for (let start = 0; start < names.length; start += 50) {
      const some = names.slice(start, start + 50);
      await Promise.all(some.map((name) => server.putBlob('models', name, new Uint8Array([1]))));
    }
    await server.putBlob('models', 'many/z.onnx', silero);
    const model = await open(`${base}/models/many`);
    expect(model.identity.files.map((file) => file.path)).toEqual(['z.onnx']);
    await model.release();
  }, 120_000);

  test('a public container is read by anybody, as a blob and as a folder', async () => {
    for (const uri of [`${base}/open-models/vad/silero.onnx`, `${base}/open-models/vad`]) {
      const model = await open(uri, { anonymous: true });
      expect(model.sizeBytes).toBe(silero.length);
      await model.release();
    }
  });

  test('a shared access signature goes into the query of each request and into no message', async () => {
    const sasToken = accountSas('rl');
    const model = await open(`${base}/models/vad`, { sasToken });
    expect(model.sizeBytes).toBe(silero.length);
    await model.release();
    const spoilt = sasToken.replace(/sig=.*/, `sig=${encodeURIComponent('cGxhbnRlZC1zaWduYXR1cmU=')}`);
    const error = await open(`${base}/models/vad/silero.onnx`, { sasToken: spoilt }).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toMatchObject({ code: 'model-forbidden' });
    expect(String(error)).not.toContain('cGxhbnRlZC1zaWduYXR1cmU');
  });

  test('a wrong key, nobody at all, a missing blob and a missing container are told apart', async () => {
    const wrong = Buffer.from('planted-secret-key').toString('base64');
    const refused = await open(`${base}/models/vad/silero.onnx`, { accountKey: wrong }).catch(
      (thrown: unknown) => thrown,
    );
    expect(refused).toMatchObject({ code: 'model-forbidden', message: expect.stringContaining('403') });
    expect(String(refused)).not.toContain(wrong);
    await expect(open(`${base}/models/vad/silero.onnx`, {})).rejects.toMatchObject({
      code: 'model-forbidden',
    });
    await expect(open(`${base}/models/nothing.onnx`)).rejects.toMatchObject({ code: 'model-not-found' });
    await expect(open(`${base}/no-container/m.onnx`)).rejects.toMatchObject({
      code: 'model-not-found',
      message: expect.stringContaining('no container no-container'),
    });
  });

  test('a blob replaced since it was resolved is refused for the pinned identity', async () => {
    await server.putBlob('models', 'moving/model.onnx', silero);
    const first = await open(`${base}/models/moving/model.onnx`);
    await first.release();
    await rm(cacheDir, { recursive: true });
    await server.putBlob('models', 'moving/model.onnx', new Uint8Array(paddedModel(10)));
    await expect(
      open(`${base}/models/moving/model.onnx`, undefined, { identity: first.identity }),
    ).rejects.toMatchObject({ code: 'model-changed' });
  });

  test('a service principal and a workload identity get a token that every request bears', async () => {
    const entra = await IdentityServer.start(() => ({
      text: JSON.stringify({ access_token: 'eyJ.token-of-the-test', expires_in: 3599, token_type: 'Bearer' }),
    }));
    // Azurite checks a token's issuer over HTTPS only, so the public container stands behind.
    const store = await RecordingProxy.start(new URL(server.endpoint).origin);
    const endpoint = `${store.endpoint}/${AZURITE_ACCOUNT}`;
    try {
      const servicePrincipal = {
        tenantId: 'tenant',
        clientId: 'application',
        clientSecret: 'planted-client-secret',
        authorityHost: entra.url(),
      };
      await open(`${base}/open-models/vad`, { endpoint, servicePrincipal }).catch(() => undefined);
      expect(new Set(store.seen.map(({ headers }) => headers.authorization))).toEqual(
        new Set(['Bearer eyJ.token-of-the-test']),
      );
      expect(entra.seen.map(({ path }) => path)).toEqual(['/tenant/oauth2/v2.0/token']);
      expect(Object.fromEntries(new URLSearchParams(entra.seen[0]?.body))).toEqual({
        grant_type: 'client_credentials',
        client_id: 'application',
        client_secret: 'planted-client-secret',
        scope: 'https://storage.azure.com/.default',
      });
      const tokenFile = join(cacheDir, 'token');
      await writeFile(tokenFile, 'token-of-the-cluster\n');
      const environment = {
        AZURE_TENANT_ID: 'tenant',
        AZURE_CLIENT_ID: 'pod',
        AZURE_FEDERATED_TOKEN_FILE: tokenFile,
        AZURE_AUTHORITY_HOST: entra.url('/'),
      };
      await open(`${base}/open-models/vad`, { endpoint }, { environment }).catch(() => undefined);
      expect(Object.fromEntries(new URLSearchParams(entra.seen[1]?.body))).toMatchObject({
        client_id: 'pod',
        client_assertion: 'token-of-the-cluster',
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      });
    } finally {
      await entra.stop();
      await store.stop();
    }
  });
});

/** An account SAS over blobs for an hour (Azure Storage REST, "Create an account SAS", 2020-12-06 on). */
function accountSas(permissions: string): string {
  const version = '2021-12-02';
  const expiry = new Date(Date.now() + 3_600_000).toISOString().replace(/\.\d+Z$/, 'Z');
  const fields = [AZURITE_ACCOUNT, permissions, 'b', 'sco', '', expiry, '', 'https,http', version, '', ''];
  const signature = createHmac('sha256', Buffer.from(AZURITE_KEY, 'base64'))
    .update(fields.join('\n'))
    .digest('base64');
  const query = {
    sv: version,
    ss: 'b',
    srt: 'sco',
    sp: permissions,
    se: expiry,
    spr: 'https,http',
    sig: signature,
  };
  return new URLSearchParams(query).toString();
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
