import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { StorageAccess } from '../../contracts/storage-access.ts';
import { openModel } from '../../runtime/storage/open-model.ts';

/** Credentials that nothing but these tests would say. */
const PLANTED = {
  s3Secret: 'PLANTED-s3-secret/with+odd=characters',
  s3Token: 'PLANTED-s3-session-token',
  accountKey: Buffer.from('PLANTED-azure-account-key').toString('base64'),
  sas: 'PLANTED+sas/signature==',
  header: 'PLANTED-web-token',
  googleToken: 'PLANTED-google-token',
};

/** Whatever it is asked, this server quotes what the request bears, as a careless or a hostile one may. */
function quoting(request: IncomingMessage, status: number): string {
  const { authorization, 'x-amz-security-token': token, 'x-api-key': key } = request.headers;
  // The secrets first: of a long text only the beginning is shown.
  const said = [token, key, authorization, request.url].join(' ').replaceAll('<', '');
  return request.url?.includes('/storage/v1/') === true
    ? JSON.stringify({ error: { code: status, message: said } })
    : `<?xml version="1.0"?><Error><Code>Refused</Code><Message>${said}</Message></Error>`;
}

async function serve(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<{ server: Server; origin: string; seen: IncomingMessage[] }> {
  const seen: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    seen.push(request);
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, seen, origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

/** The key of a Google service account, and where it gets its token. */
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const PEM = privateKey.export({ type: 'pkcs8', format: 'pem' });
const tokens = await serve((_request, response) =>
  response.end(JSON.stringify({ access_token: PLANTED.googleToken, expires_in: 3600 })),
);
afterAll(() => tokens.server.close());

const WAYS = (origin: string): [kind: string, uri: string, access: StorageAccess][] => [
  [
    's3',
    's3://models/m.onnx',
    {
      s3: {
        endpoint: origin,
        accessKeyId: 'AKIAPLANTEDNOT',
        secretAccessKey: PLANTED.s3Secret,
        sessionToken: PLANTED.s3Token,
      },
    },
  ],
  [
    'an Azure key',
    'https://account1.blob.core.windows.net/models/m.onnx',
    { azure: { endpoint: origin, accountKey: PLANTED.accountKey } },
  ],
  [
    'an Azure signature',
    'https://account1.blob.core.windows.net/models/m.onnx',
    {
      azure: {
        endpoint: origin,
        sasToken: new URLSearchParams({ sv: '2021-12-02', sig: PLANTED.sas }).toString(),
      },
    },
  ],
  [
    'a Google key',
    'gs://models/m.onnx',
    {
      gcs: {
        endpoint: origin,
        serviceAccount: { clientEmail: 'a@b.example', privateKey: PEM, tokenUri: tokens.origin },
      },
    },
  ],
  [
    'a web server',
    `${origin}/m.onnx`,
    { http: { headers: { authorization: `Bearer ${PLANTED.header}`, 'x-api-key': PLANTED.header } } },
  ],
];
const KINDS = WAYS('http://127.0.0.1:1').map(([kind]) => kind);

describe('credentials', () => {
  let cacheDir: string;
  let other: Awaited<ReturnType<typeof serve>>;

  beforeAll(async () => {
    other = await serve((_request, response) => response.writeHead(404).end());
  });
  afterAll(() => other.server.close());
  beforeEach(async () => {
    cacheDir = await mkdtemp(join(tmpdir(), 'pilotlight-cache-'));
    other.seen.length = 0;
  });
  afterEach(async () => {
    await rm(cacheDir, { recursive: true, force: true });
  });

  /** All that is to be known of how it failed: message, stack, causes and properties. */
  async function failure(kind: string, origin: string): Promise<string> {
    const [, uri = '', credentials = {}] = WAYS(origin).find(([name]) => name === kind) ?? [];
    const thrown: unknown = await openModel({
      uri,
      cacheDir,
      credentials,
      environment: {},
      limits: { attempts: 2, backoffMs: 1, connectTimeoutMs: 2_000 },
    }).catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(Error);
    return inspect(thrown, { depth: 10, showHidden: true });
  }

  function expectNoSecret(text: string): void {
    for (const secret of Object.values(PLANTED)) {
      for (const form of [
        secret,
        encodeURIComponent(secret),
        new URLSearchParams({ a: secret }).toString().slice(2),
      ])
        expect(text).not.toContain(form);
    }
  }

  describe.each(KINDS)('of %s', (kind) => {
    test.each([400, 401, 403, 404, 409, 418, 500, 503])(
      'are in no error of a server that quotes the request under status %d',
      async (status) => {
        const store = await serve((request, response) =>
          response.writeHead(status).end(quoting(request, status)),
        );
        const said = await failure(kind, store.origin);
        store.server.close();
        expect(store.seen.length).toBeGreaterThan(0);
        expectNoSecret(said);
      },
    );

    test('are in no error of an endpoint that does not answer, or is none', async () => {
      expectNoSecret(await failure(kind, 'http://127.0.0.1:1'));
      expectNoSecret(await failure(kind, 'http://no-such-host.invalid'));
    });

    test.each([301, 302, 307, 308])('are not sent to where status %d leads', async (status) => {
      const store = await serve((_request, response) =>
        response.writeHead(status, { location: `${other.origin}/elsewhere` }).end(),
      );
      const said = await failure(kind, store.origin);
      store.server.close();
      expectNoSecret(said);
      for (const request of other.seen)
        expectNoSecret(`${request.url} ${JSON.stringify(request.rawHeaders)}`);
      // The store itself was asked with them: else this would show nothing.
      expect(
        store.seen.some(
          ({ headers, url }) => headers.authorization !== undefined || url?.includes('sig=') === true,
        ),
      ).toBe(true);
    });

    test('are not in what is kept on disk', async () => {
      await failure(kind, other.origin);
      for (const entry of await readdir(cacheDir, { recursive: true, withFileTypes: true })) {
        if (entry.isFile()) expectNoSecret(await readFile(join(entry.parentPath, entry.name), 'latin1'));
      }
    });
  });
});
