import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { StorageAccess } from '../../contracts/storage-access.ts';
import { AwsCredentials } from '../../runtime/storage/credentials/aws.ts';
import { GoogleCredentials } from '../../runtime/storage/credentials/google.ts';
import { openModel } from '../../runtime/storage/open-model.ts';
import { Secrets } from '../../runtime/storage/secrets.ts';
import { SILERO_PATH } from '../../runtime/storage/test-models.ts';
import { IdentityServer } from '../storage/identity-server.ts';
import { ACCESS_KEY, SECRET_KEY, Versitygw, versitygwMissing } from '../storage/versitygw.ts';

const missing = await versitygwMissing();

if (missing !== undefined) {
  test.skip(`the pod's own identity at a real S3 server was not tested: ${missing}`, () => undefined);
}

/** Keys of a role, as STS writes them; those that the store knows. */
const STS_ANSWER = `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleWithWebIdentityResult><Credentials>
    <AccessKeyId>${ACCESS_KEY}</AccessKeyId><SecretAccessKey>${SECRET_KEY}</SecretAccessKey>
    <Expiration>${new Date(Date.now() + 3_600_000).toISOString()}</Expiration>
  </Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>`;

const keysOfAnHour = (accessKeyId: string, secretAccessKey: string, token = '') =>
  JSON.stringify({
    AccessKeyId: accessKeyId,
    SecretAccessKey: secretAccessKey,
    Token: token,
    Expiration: new Date(Date.now() + 3_600_000).toISOString(),
  });

describe.skipIf(missing !== undefined)('a service that brings no credentials reads S3 as its pod is', () => {
  let folder: string;
  let cacheDir: string;
  let server: Versitygw;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'pilotlight-identity-'));
    server = await Versitygw.start(folder);
    await server.createBucket('models');
    await server.putObject('models', 'silero.onnx', new Uint8Array(await readFile(SILERO_PATH)));
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

  const open = async (
    environment: Record<string, string>,
    credentials: StorageAccess = {},
  ): Promise<void> => {
    const model = await openModel({
      uri: 's3://models/silero.onnx',
      cacheDir,
      credentials,
      environment: { AWS_ENDPOINT_URL_S3: server.endpoint, ...environment },
      limits: { attempts: 1 },
    });
    await model.release();
  };

  test('with the keys in its environment', async () => {
    await open({ AWS_ACCESS_KEY_ID: ACCESS_KEY, AWS_SECRET_ACCESS_KEY: SECRET_KEY });
  });

  test('with none at all it asks as nobody, and the store says no', async () => {
    await expect(open({})).rejects.toMatchObject({ code: 'model-forbidden' });
  });

  test('not at all where the service wants to be nobody', async () => {
    const environment = { AWS_ACCESS_KEY_ID: ACCESS_KEY, AWS_SECRET_ACCESS_KEY: SECRET_KEY };
    const s3 = { endpoint: server.endpoint, anonymous: true };
    await expect(open(environment, { s3 })).rejects.toMatchObject({ code: 'model-forbidden' });
  });

  test('with the keys of a role that STS gives for a token of the cluster', async () => {
    const sts = await IdentityServer.start(() => ({ text: STS_ANSWER }));
    const tokenFile = join(cacheDir, 'token');
    await writeFile(tokenFile, 'token-of-the-cluster\n');
    try {
      await open({
        AWS_ROLE_ARN: 'arn:aws:iam::1:role/reader',
        AWS_WEB_IDENTITY_TOKEN_FILE: tokenFile,
        AWS_ENDPOINT_URL_STS: sts.url(),
      });
      expect(sts.seen).toHaveLength(1);
      // In the body: a URL would end in the logs of whatever lies between.
      expect(sts.seen[0]).toMatchObject({ method: 'POST', path: '/' });
      expect(Object.fromEntries(new URLSearchParams(sts.seen[0]?.body))).toMatchObject({
        Action: 'AssumeRoleWithWebIdentity',
        RoleArn: 'arn:aws:iam::1:role/reader',
        WebIdentityToken: 'token-of-the-cluster',
      });
    } finally {
      await sts.stop();
    }
  });

  test('a token that STS refuses is told by its code alone', async () => {
    const sts = await IdentityServer.start(({ body }) => ({
      status: 403,
      text: `<ErrorResponse><Error><Code>AccessDenied</Code><Message>not ${body}</Message></Error></ErrorResponse>`,
    }));
    const tokenFile = join(cacheDir, 'token');
    await writeFile(tokenFile, 'PLANTED-TOKEN');
    const error = await open({
      AWS_ROLE_ARN: 'arn:aws:iam::1:role/reader',
      AWS_WEB_IDENTITY_TOKEN_FILE: tokenFile,
      AWS_ENDPOINT_URL_STS: sts.url(),
    }).catch((thrown: unknown) => thrown);
    await sts.stop();
    expect(error).toMatchObject({
      code: 'model-forbidden',
      message: expect.stringContaining('403 AccessDenied'),
    });
    expect(String(error)).not.toContain('PLANTED-TOKEN');
  });

  test('with the keys that the agent of its node gives out, to whom bears the token that it mounted', async () => {
    const agent = await IdentityServer.start(({ headers }) =>
      headers.authorization === 'token-of-the-pod'
        ? { text: keysOfAnHour(ACCESS_KEY, SECRET_KEY) }
        : undefined,
    );
    const tokenFile = join(cacheDir, 'token');
    await writeFile(tokenFile, 'token-of-the-pod\n');
    try {
      await open({
        AWS_CONTAINER_CREDENTIALS_FULL_URI: agent.url('/v1/credentials'),
        AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: tokenFile,
      });
      expect(agent.seen.map(({ path }) => path)).toEqual(['/v1/credentials']);
    } finally {
      await agent.stop();
    }
  });

  test('an agent elsewhere than on the node or behind https is not asked', async () => {
    await expect(
      open({
        AWS_CONTAINER_CREDENTIALS_FULL_URI: 'http://agent.example/credentials',
        AWS_CONTAINER_AUTHORIZATION_TOKEN: 'PLANTED-TOKEN',
      }),
    ).rejects.toMatchObject({ code: 'model-forbidden', message: expect.not.stringContaining('PLANTED') });
  });

  test('keys that the service brings come before all of these', async () => {
    const s3 = { endpoint: server.endpoint, accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY };
    await open({ AWS_ACCESS_KEY_ID: 'other', AWS_SECRET_ACCESS_KEY: 'other-secret' }, { s3 });
  });
});

describe('the identity of the machine', () => {
  const imds = (refuse = false) =>
    IdentityServer.start(({ method, path, headers }) => {
      if (refuse) return undefined;
      if (method === 'PUT' && path === '/latest/api/token') return { text: 'token-of-imds' };
      if (headers['x-aws-ec2-metadata-token'] !== 'token-of-imds') return { status: 401, text: '' };
      if (path.endsWith('/security-credentials/')) return { text: 'node-role' };
      if (path.endsWith('/security-credentials/node-role'))
        return { text: keysOfAnHour('ASIA', 'machine-secret', 'machine-token') };
      return undefined;
    });

  test('is asked for only once AWS has refused nobody, by IMDSv2', async () => {
    const metadata = await imds();
    const secrets = new Secrets();
    const environment = { AWS_EC2_METADATA_SERVICE_ENDPOINT: metadata.url() };
    try {
      const credentials = new AwsCredentials({}, environment, secrets);
      expect(await credentials.keys()).toBeUndefined();
      expect(metadata.seen).toEqual([]);
      expect(await credentials.afterRefusal()).toBe(true);
      expect(await credentials.keys()).toEqual({
        accessKeyId: 'ASIA',
        secretAccessKey: 'machine-secret',
        sessionToken: 'machine-token',
      });
      // A second refusal is the last word.
      expect(await credentials.afterRefusal()).toBe(false);
      expect(secrets.hide('machine-secret machine-token')).toBe('*** ***');
    } finally {
      await metadata.stop();
    }
  });

  test.each([
    ['at a store that is not AWS', { endpoint: 'http://minio.example' }, {}],
    ['where it is turned off', {}, { AWS_EC2_METADATA_DISABLED: 'true' }],
    ['for whom wants to be nobody', { anonymous: true }, {}],
    ['where the service has keys', { accessKeyId: 'a', secretAccessKey: 'b' }, {}],
  ])('is not asked for %s', async (_where, access, more) => {
    const metadata = await imds();
    const environment = { AWS_EC2_METADATA_SERVICE_ENDPOINT: metadata.url(), ...more };
    const credentials = new AwsCredentials(access, environment, new Secrets());
    expect(await credentials.afterRefusal()).toBe(false);
    expect(metadata.seen).toEqual([]);
    await metadata.stop();
  });

  test('that a machine does not have leaves the request as nobody’s', async () => {
    const metadata = await imds(true);
    const environment = { AWS_EC2_METADATA_SERVICE_ENDPOINT: metadata.url() };
    const credentials = new AwsCredentials({}, environment, new Secrets());
    expect(await credentials.afterRefusal()).toBe(false);
    await metadata.stop();
  });

  test('at Google comes from the metadata server, once the store has refused nobody', async () => {
    const metadata = await IdentityServer.start(({ headers }) =>
      headers['metadata-flavor'] === 'Google'
        ? { text: JSON.stringify({ access_token: 'ya29.of-the-machine', expires_in: 3599 }) }
        : undefined,
    );
    const credentials = new GoogleCredentials({}, { GCE_METADATA_HOST: metadata.host }, new Secrets());
    expect(await credentials.headers()).toEqual({});
    expect(metadata.seen).toEqual([]);
    expect(await credentials.afterRefusal()).toBe(true);
    expect(await credentials.headers()).toEqual({ authorization: 'Bearer ya29.of-the-machine' });
    expect(metadata.seen).toHaveLength(1);
    expect(metadata.seen[0]?.path).toMatch(
      /^\/computeMetadata\/v1\/instance\/service-accounts\/default\/token\?scopes=/,
    );
    await metadata.stop();
  });

  test('at Google is not for another endpoint to see', async () => {
    const credentials = new GoogleCredentials({ endpoint: 'http://fake:4443' }, {}, new Secrets());
    expect(await credentials.afterRefusal()).toBe(false);
  });
});
