import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openModel } from '../../runtime/storage/open-model.ts';
import { SILERO_PATH } from '../../runtime/storage/test-models.ts';
import { TestServer } from '../../runtime/storage/test-server.ts';
import { lastLine, startOpener } from '../storage/opener.ts';

function opensslMissing(): string | undefined {
  try {
    execFileSync('openssl', ['version'], { stdio: 'pipe' });
    return undefined;
  } catch {
    return 'openssl is not installed, so no certificate can be made';
  }
}

const missing = opensslMissing();
if (missing !== undefined) test.skip(`models over TLS were not tested: ${missing}`, () => undefined);

describe.skipIf(missing !== undefined)('a model behind a certificate that no public authority signed', () => {
  let folder: string;
  let cacheDir: string;
  let certificate: string;
  let server: TestServer;
  const limits = { attempts: 3, backoffMs: 5 };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pilotlight-tls-'));
    certificate = join(folder, 'cert.pem');
    const key = join(folder, 'key.pem');
    const request =
      'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost';
    const names = ['-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', certificate];
    execFileSync('openssl', [...request.split(' '), ...names], { stdio: 'pipe' });
    const tls = { key: await readFile(key, 'utf8'), cert: await readFile(certificate, 'utf8') };
    server = await TestServer.start(await readFile(SILERO_PATH), undefined, tls);
  });
  afterAll(async () => {
    await server?.stop();
    await rm(folder, { recursive: true, force: true });
  });
  beforeEach(async () => {
    cacheDir = await mkdtemp(join(folder, 'cache-'));
    server.seen.length = 0;
  });

  test('is refused at once, and the error says how to trust it', async () => {
    await expect(openModel({ uri: server.url(), cacheDir, limits })).rejects.toMatchObject({
      code: 'model-unreachable',
      retryable: false,
      message: expect.stringMatching(/TLS with localhost:\d+ failed .*NODE_EXTRA_CA_CERTS/),
    });
    expect(server.seen).toHaveLength(0);
  });

  test('is fetched once the certificate is trusted', async () => {
    const trusting = startOpener({ uri: server.url(), cacheDir, limits }, [], {
      NODE_EXTRA_CA_CERTS: certificate,
    });
    expect(await lastLine(trusting)).toMatchObject({ event: 'opened', fromCache: false });
  });

  test('is fetched from an S3 endpoint whose certificate is not to be verified', async () => {
    const s3 = {
      endpoint: new URL(server.url()).origin,
      verifySsl: false,
      accessKeyId: 'id',
      secretAccessKey: 'secret',
    };
    const model = await openModel({ uri: 's3://bucket/model.onnx', cacheDir, credentials: { s3 }, limits });
    expect(model.fromCache).toBe(false);
    expect(server.seen[0]).toMatchObject({ url: '/bucket/model.onnx' });
    await model.release();
    await expect(
      openModel({
        uri: 's3://bucket/other.onnx',
        cacheDir,
        credentials: { s3: { ...s3, verifySsl: true } },
        limits,
      }),
    ).rejects.toMatchObject({ code: 'model-unreachable' });
  });
});
