import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ConfigObject, isConfigKind, parseConfigObject } from './config-objects.ts';
import { expandReferences } from './env.ts';
import { type ReferenceResult, referenceObjects, resolveReferences } from './references.ts';
import { parseInferenceService } from './schema.ts';

function object(
  kind: string,
  name: string,
  rest: object,
  annotations: Record<string, string> = {},
): ConfigObject {
  if (!isConfigKind(kind)) throw new Error(kind);
  const parsed = parseConfigObject(kind, {
    apiVersion: 'v1',
    kind,
    metadata: { name, annotations },
    ...rest,
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return parsed.object;
}

function resolve(
  predictor: object,
  objects: ConfigObject[],
  annotations: Record<string, string> = {},
): ReferenceResult {
  const parsed = parseInferenceService({
    apiVersion: 'serving.pilotlight.dev/v1alpha1',
    kind: 'InferenceService',
    metadata: { name: 'digits', annotations },
    spec: { predictor },
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  return resolveReferences(parsed.service, referenceObjects('default', objects));
}

function model(rest: object): { model: object } {
  return { model: { modelFormat: { name: 'onnx' }, ...rest } };
}

const URI = { storageUri: 's3://models/digits' };
const KEYS = { stringData: { AWS_ACCESS_KEY_ID: 'id', AWS_SECRET_ACCESS_KEY: 'secret' } };

function problemsOf(result: ReferenceResult): [string, string][] {
  return result.ok ? [] : result.problems.map(({ path, message }) => [path, message]);
}

describe('the environment', () => {
  it('comes from values, ConfigMaps and Secrets, later ones over earlier ones', () => {
    const result = resolve(
      model({
        storageUri: 'file:///m.onnx',
        envFrom: [{ configMapRef: { name: 'settings' }, prefix: 'APP_' }, { secretRef: { name: 'keys' } }],
        env: [
          { name: 'PLAIN', value: 'x' },
          { name: 'TOKEN', valueFrom: { secretKeyRef: { name: 'keys', key: 'token' } } },
          { name: 'LEVEL', valueFrom: { configMapKeyRef: { name: 'settings', key: 'level' } } },
          { name: 'BOTH', value: '$(PLAIN)-$(TOKEN)-$(LATER)-$$(PLAIN)' },
          { name: 'LATER', value: 'z' },
          { name: 'NONE', valueFrom: { secretKeyRef: { name: 'absent', key: 'k', optional: true } } },
          { name: 'token', value: 'own' },
        ],
      }),
      [
        object('ConfigMap', 'settings', { data: { level: 'debug' } }),
        object('Secret', 'keys', { stringData: { token: 't' } }),
      ],
    );
    expect(result.ok && { ...result.value.env }).toEqual({
      APP_level: 'debug',
      token: 'own',
      PLAIN: 'x',
      TOKEN: 't',
      LEVEL: 'debug',
      BOTH: 'x-t-$(LATER)-$(PLAIN)',
      LATER: 'z',
    });
  });

  it('names each missing object and key, with the keys that are there and no value', () => {
    const result = resolve(
      model({
        storageUri: 'file:///m.onnx',
        envFrom: [{ configMapRef: { name: 'nowhere' } }],
        env: [
          { name: 'A', valueFrom: { secretKeyRef: { name: 'keys', key: 'tokn' } } },
          { name: 'B', valueFrom: { secretKeyRef: { name: 'absent', key: 'k' } } },
        ],
      }),
      [object('Secret', 'keys', { stringData: { token: 'hunter2' } })],
    );
    expect(problemsOf(result)).toEqual([
      ['spec.predictor.model.envFrom[0].configMapRef', 'ConfigMap "nowhere" is not in namespace "default"'],
      [
        'spec.predictor.model.env[0].valueFrom.secretKeyRef.key',
        'Secret "keys" has no key "tokn"; it has token',
      ],
      [
        'spec.predictor.model.env[1].valueFrom.secretKeyRef.name',
        'Secret "absent" is not in namespace "default"',
      ],
    ]);
  });

  it('of a container is resolved as well, and there is no storage', () => {
    expect(resolve({ containers: [{ image: 'a', env: [{ name: 'A', value: '1' }] }] }, [])).toEqual({
      ok: true,
      value: { env: { A: '1' } },
    });
  });

  it('objects of another namespace are not seen', () => {
    const other = object('Secret', 'keys', {});
    const moved = { ...other, metadata: { ...other.metadata, namespace: 'other' } };
    const result = resolve(model({ storageUri: 'file:///m', envFrom: [{ secretRef: { name: 'keys' } }] }), [
      moved,
    ]);
    expect(problemsOf(result)).toHaveLength(1);
  });

  it('does not take what every object has for a variable', () => {
    expect(expandReferences('$(constructor)', { A: 'x' })).toBe('$(constructor)');
  });

  it('expands references without touching anything else', () => {
    fc.assert(
      fc.property(
        fc.string().filter((text) => !text.includes('$')),
        (text) => {
          expect(expandReferences(text, { A: 'x' })).toBe(text);
          expect(expandReferences(`${text}$(A)${text}`, { A: text })).toBe(text.repeat(3));
        },
      ),
    );
  });
});

describe('S3 credentials from a service account', () => {
  const account = object('ServiceAccount', 'reader', { secrets: [{ name: 'other' }, { name: 's3' }] });
  const other = object('Secret', 'other', { stringData: { token: 'x' } });

  function settingsWith(
    annotations: Record<string, string>,
    accountAnnotations: Record<string, string> = {},
  ) {
    const result = resolve({ ...model(URI), serviceAccountName: 'reader' }, [
      { ...account, metadata: { ...account.metadata, annotations: accountAnnotations } },
      other,
      object('Secret', 's3', KEYS, annotations),
    ]);
    if (!result.ok) throw new Error(JSON.stringify(result.problems));
    return result.value.storage;
  }

  it('are those of its first Secret with AWS keys, with KServe’s annotations', () => {
    expect(
      settingsWith({
        'serving.kserve.io/s3-endpoint': 'minio.example:9000',
        'serving.kserve.io/s3-usehttps': '0',
        'serving.kserve.io/s3-verifyssl': '0',
        'serving.kserve.io/s3-region': 'eu-central-2',
        'serving.kserve.io/s3-useanoncredential': 'false',
        'serving.kserve.io/s3-cabundle': '',
      }),
    ).toEqual({
      uri: 's3://models/digits',
      access: {
        s3: {
          accessKeyId: 'id',
          secretAccessKey: 'secret',
          endpoint: 'http://minio.example:9000',
          region: 'eu-central-2',
          useHttps: false,
          verifySsl: false,
          virtualHosted: false,
        },
      },
      carriesCredentials: true,
    });
  });

  it('without an endpoint leave it to the runtime where the bucket’s name goes, at AWS into the host name', () => {
    expect(settingsWith({})?.access?.s3).not.toHaveProperty('virtualHosted');
    expect(
      settingsWith({ 'serving.kserve.io/s3-endpoint': 's3.eu-west-1.amazonaws.com' })?.access?.s3,
    ).toMatchObject({ virtualHosted: true });
  });

  it('our annotations win over KServe’s, the Secret’s over the account’s', () => {
    const settings = settingsWith(
      { 'serving.kserve.io/s3-region': 'a', 'serving.pilotlight.dev/s3-region': 'b' },
      { 'serving.kserve.io/s3-region': 'c', 'serving.kserve.io/s3-usevirtualbucket': 'false' },
    );
    expect(settings).toMatchObject({ access: { s3: { region: 'b', virtualHosted: false } } });
  });

  it('anonymous access leaves the keys out', () => {
    const storage = settingsWith({ 'serving.kserve.io/s3-useanoncredential': 'true' });
    expect(storage?.access?.s3).toEqual({
      useHttps: true,
      verifySsl: true,
      anonymous: true,
    });
    expect(storage?.carriesCredentials).toBe(true);
  });

  it.each<[string, ConfigObject[], string]>([
    ['a missing account', [], 'ServiceAccount "reader" is not in namespace "default"'],
    [
      'a missing Secret',
      [account],
      'Secret "other" is not in namespace "default"; ServiceAccount "reader" lists it',
    ],
    [
      'half of the keys',
      [account, other, object('Secret', 's3', { stringData: { AWS_ACCESS_KEY_ID: 'id' } })],
      'Secret "s3" has no key "AWS_SECRET_ACCESS_KEY"; it has AWS_ACCESS_KEY_ID',
    ],
    [
      'a switch that is neither on nor off',
      [account, other, object('Secret', 's3', KEYS, { 'serving.kserve.io/s3-usehttps': 'maybe' })],
      'expected "1" or "0" for the S3 setting useHttps, got "maybe"',
    ],
    [
      'a CA bundle',
      [account, other, object('Secret', 's3', KEYS, { 'serving.kserve.io/s3-cabundle': '/ca' })],
      'not supported yet: a CA bundle for S3 (s3-verifyssl "0" accepts any certificate)',
    ],
  ])('%s is named', (_what, objects, message) => {
    const result = resolve({ ...model(URI), serviceAccountName: 'reader' }, objects);
    expect(problemsOf(result)).toEqual([['spec.predictor.serviceAccountName', message]]);
  });
});

describe('storage without a service account', () => {
  it('is the pod’s own to reach, or takes AWS variables of the model’s environment', () => {
    expect(resolve(model(URI), [])).toEqual({
      ok: true,
      value: {
        env: {},
        storage: {
          uri: 's3://models/digits',
          access: { s3: { useHttps: true, verifySsl: true } },
        },
      },
    });
    const env = Object.entries({
      AWS_ACCESS_KEY_ID: 'a',
      AWS_SECRET_ACCESS_KEY: 'b',
      AWS_ENDPOINT_URL: 'http://s3.local:7070/',
    });
    expect(resolve(model({ ...URI, env: env.map(([name, value]) => ({ name, value })) }), [])).toMatchObject({
      value: {
        storage: {
          access: {
            s3: { accessKeyId: 'a', endpoint: 'http://s3.local:7070', virtualHosted: false, useHttps: false },
          },
        },
      },
    });
  });

  it.each(['https://example.com/m.onnx', 'file:///m.onnx'])('%s needs no settings', (storageUri) => {
    expect(resolve(model({ storageUri }), [])).toEqual({
      ok: true,
      value: { env: {}, storage: { uri: storageUri } },
    });
  });
});

/** What a service with these Secrets in its account is told of the way to its model. */
function storageOf(storageUri: string, secrets: ConfigObject[], env: Record<string, string> = {}) {
  const account = object('ServiceAccount', 'reader', {
    secrets: secrets.map(({ metadata }) => ({ name: metadata.name })),
  });
  const variables = Object.entries(env).map(([name, value]) => ({ name, value }));
  const result = resolve({ ...model({ storageUri, env: variables }), serviceAccountName: 'reader' }, [
    account,
    ...secrets,
  ]);
  return result.ok ? result.value.storage : problemsOf(result);
}

describe('Google Cloud Storage', () => {
  const key = {
    type: 'service_account',
    client_email: 'a@b.example',
    private_key: 'PEM-PLANTED',
    private_key_id: 'k1',
    token_uri: 'https://oauth2.example/token',
  };
  const secretWith = (text: string) =>
    object('Secret', 'gcs', { stringData: { 'gcloud-application-credentials.json': text } });

  it('is read with the key of the account’s Secret, as in KServe', () => {
    expect(storageOf('gs://models/m.onnx', [secretWith(JSON.stringify(key))])).toEqual({
      uri: 'gs://models/m.onnx',
      access: {
        gcs: {
          serviceAccount: {
            clientEmail: 'a@b.example',
            privateKey: 'PEM-PLANTED',
            privateKeyId: 'k1',
            tokenUri: 'https://oauth2.example/token',
          },
        },
      },
      carriesCredentials: true,
    });
  });

  it('without one is for the pod to reach, at an emulator where the environment says so', () => {
    expect(storageOf('gs://models/m.onnx', [])).toEqual({ uri: 'gs://models/m.onnx', access: { gcs: {} } });
    expect(storageOf('gs://models/m.onnx', [], { STORAGE_EMULATOR_HOST: 'fake:4443' })).toEqual({
      uri: 'gs://models/m.onnx',
      access: { gcs: { endpoint: 'fake:4443' } },
    });
  });

  it('with HMAC keys is read through its S3-compatible endpoint', () => {
    expect(storageOf('gs://models/m.onnx', [object('Secret', 'hmac', KEYS)])).toMatchObject({
      uri: 's3://models/m.onnx',
      access: { s3: { endpoint: 'https://storage.googleapis.com', accessKeyId: 'id', virtualHosted: false } },
    });
  });

  it.each([
    ['no JSON', 'PLANTED {', 'expected the JSON key of a Google service account under'],
    ['another kind of key', JSON.stringify({ ...key, type: 'external_account' }), 'use workload identity'],
    ['half a key', JSON.stringify({ type: 'service_account', client_email: 'PLANTED' }), 'private_key'],
    ['an odd address', JSON.stringify({ ...key, token_uri: 'PLANTED' }), 'expected a URL as token_uri'],
  ])('with %s in the Secret is a problem that shows none of it', (_what, text, message) => {
    const [[path, said] = []] = storageOf('gs://models/m', [secretWith(text)]) as [string, string][];
    expect(path).toBe('spec.predictor.serviceAccountName');
    expect(said).toContain(message);
    expect(said).toContain('Secret "gcs"');
    expect(said).not.toContain('PLANTED');
  });
});

describe('Azure Blob Storage', () => {
  const uri = 'https://account1.blob.core.windows.net/models/m.onnx';
  const azure = (stringData: Record<string, string>) =>
    storageOf(uri, [object('Secret', 'azcreds', { stringData })]);

  it.each([
    [
      'a service principal',
      { AZ_CLIENT_ID: 'c', AZ_CLIENT_SECRET: 's', AZ_TENANT_ID: 't', AZ_SUBSCRIPTION_ID: 'x' },
      { servicePrincipal: { clientId: 'c', clientSecret: 's', tenantId: 't' } },
    ],
    [
      'a service principal under Azure’s own names',
      { AZURE_CLIENT_ID: 'c', AZURE_CLIENT_SECRET: 's', AZURE_TENANT_ID: 't' },
      { servicePrincipal: { clientId: 'c', clientSecret: 's', tenantId: 't' } },
    ],
    ['the account’s key', { AZURE_STORAGE_ACCESS_KEY: 'a2V5' }, { accountKey: 'a2V5' }],
    ['a shared access signature', { AZURE_STORAGE_SAS_TOKEN: '?sv=1&sig=x' }, { sasToken: 'sv=1&sig=x' }],
    [
      'another endpoint',
      { AZURE_STORAGE_ACCESS_KEY: 'a2V5', AZURE_SERVICE_URL: 'http://azurite:10000/account1' },
      { accountKey: 'a2V5', endpoint: 'http://azurite:10000/account1' },
    ],
  ])('is read with %s', (_what, data, access) => {
    expect(azure(data)).toEqual({ uri, access: { azure: access }, carriesCredentials: true });
  });

  it('is for the pod to reach where nothing is said, or only who the pod is', () => {
    expect(storageOf(uri, [])).toEqual({ uri, access: { azure: {} } });
    expect(azure({ AZURE_CLIENT_ID: 'c' })).toEqual({ uri, access: { azure: {} } });
  });

  it('takes variables of the model’s environment', () => {
    const fileSystem = 'abfss://models@account1.dfs.core.windows.net/m.onnx';
    expect(storageOf(fileSystem, [], { AZURE_STORAGE_ACCESS_KEY: 'a2V5' })).toMatchObject({
      access: { azure: { accountKey: 'a2V5' } },
    });
  });

  it('names what is missing and shows no value', () => {
    expect(azure({ AZ_CLIENT_ID: 'PLANTED', AZ_CLIENT_SECRET: 'PLANTED' })).toEqual([
      [
        'spec.predictor.serviceAccountName',
        'expected AZURE_TENANT_ID beside the client secret of an Azure service principal (Secret "azcreds")',
      ],
    ]);
  });

  it('with a signature in its URI is fetched as it is', () => {
    expect(storageOf(`${uri}?sv=1&sig=x`, [])).toEqual({ uri: `${uri}?sv=1&sig=x` });
  });
});

describe('a plain web server', () => {
  const secretWith = (headers: string, host = 'models.example') =>
    object('Secret', 'web', { stringData: { 'https-host': host, headers } });

  it('gets the headers of the Secret with its name, as in KServe, and no other server does', () => {
    const secret = secretWith('{"Authorization": "Bearer t"}');
    expect(storageOf('https://models.example/m.onnx', [secret])).toEqual({
      uri: 'https://models.example/m.onnx',
      access: { http: { headers: { authorization: 'Bearer t' } } },
      carriesCredentials: true,
    });
    for (const uri of ['https://other.example/m.onnx', 'https://models.example.evil.example/m.onnx'])
      expect(storageOf(uri, [secret])).toEqual({ uri });
  });

  it.each([
    ['no JSON', '{PLANTED'],
    ['a line break in a value', JSON.stringify({ a: 'PLANTED\r\nx: y' })],
    ['a value that is no text', JSON.stringify({ a: { b: 'PLANTED' } })],
    ['a header that is not theirs to set', JSON.stringify({ Host: 'PLANTED' })],
  ])('with %s is a problem that shows none of it', (_what, text) => {
    const said = JSON.stringify(storageOf('https://models.example/m.onnx', [secretWith(text)]));
    expect(said).toContain('key \\"headers\\" of Secret \\"web\\"');
    expect(said).not.toContain('PLANTED');
  });
});

describe('a claim', () => {
  it('is the file that is mounted', () => {
    expect(storageOf('pvc://weights/a b/m#1.onnx', [])).toEqual({
      uri: 'file:///mnt/claims/weights/a%20b/m%231.onnx',
    });
    expect(storageOf('pvc://weights', [])).toEqual({ uri: 'file:///mnt/claims/weights/' });
  });
});

describe('the Secret that an annotation of the service names', () => {
  it.each(['serving.kserve.io/storageSecretName', 'serving.pilotlight.dev/storageSecretName'])(
    '(%s) counts in place of those of the account',
    (annotation) => {
      const account = object('ServiceAccount', 'default', { secrets: [{ name: 'other' }] });
      const other = object('Secret', 'other', {
        stringData: { AWS_ACCESS_KEY_ID: 'not', AWS_SECRET_ACCESS_KEY: 'this' },
      });
      const mine = object('Secret', 'mine', KEYS);
      expect(resolve(model(URI), [account, other, mine], { [annotation]: 'mine' })).toMatchObject({
        value: { storage: { access: { s3: { accessKeyId: 'id' } } } },
      });
      expect(problemsOf(resolve(model(URI), [account, other], { [annotation]: 'mine' }))).toEqual([
        [
          'metadata.annotations',
          'Secret "mine" is not in namespace "default"; an annotation of the service names it',
        ],
      ]);
    },
  );
});

describe('a storage key', () => {
  const entry = {
    type: 's3',
    access_key_id: 'id',
    secret_access_key: 'secret',
    endpoint_url: 'http://minio:9000',
    bucket: 'models',
    region: 'eu',
  };
  const config = object('Secret', 'storage-config', {
    stringData: {
      localMinIO: JSON.stringify(entry),
      default_s3: JSON.stringify({ ...entry, bucket: 'standard' }),
      broken: '{hunter2',
    },
  });
  const storage = (rest: object) => model({ storage: { path: '/digits/m.onnx', ...rest } });

  it('says where the model lies and with which credentials', () => {
    expect(resolve(storage({ key: 'localMinIO' }), [config])).toMatchObject({
      ok: true,
      value: {
        storage: {
          uri: 's3://models/digits/m.onnx',
          access: {
            s3: {
              accessKeyId: 'id',
              secretAccessKey: 'secret',
              endpoint: 'http://minio:9000',
              region: 'eu',
              useHttps: false,
            },
          },
          carriesCredentials: true,
        },
      },
    });
  });

  it('is the default one when left out, and parameters go over it', () => {
    expect(resolve(storage({ parameters: { region: 'us' } }), [config])).toMatchObject({
      value: { storage: { uri: 's3://standard/digits/m.onnx', access: { s3: { region: 'us' } } } },
    });
  });

  it.each([
    [
      'gs',
      {
        type: 'gs',
        bucket: 'b',
        base64_service_account: Buffer.from(
          JSON.stringify({ type: 'service_account', client_email: 'e', private_key: 'k' }),
        ).toString('base64'),
      },
      {
        uri: 'gs://b/digits/m.onnx',
        access: { gcs: { serviceAccount: { clientEmail: 'e', privateKey: 'k' } } },
      },
    ],
    [
      'azure',
      { type: 'azure', account_name: 'account1', container: 'c', access_key: 'a2V5' },
      {
        uri: 'abfss://c@account1.dfs.core.windows.net/digits/m.onnx',
        access: { azure: { accountKey: 'a2V5' } },
      },
    ],
  ])('may be of type %s', (_type, settings, found) => {
    const secret = object('Secret', 'storage-config', { stringData: { mine: JSON.stringify(settings) } });
    expect(resolve(storage({ key: 'mine' }), [secret])).toMatchObject({
      value: { storage: { ...found, carriesCredentials: true } },
    });
  });

  it('may be missing altogether where parameters say all', () => {
    expect(resolve(storage({ parameters: { bucket: 'public' } }), [])).toMatchObject({
      value: { storage: { uri: 's3://public/digits/m.onnx', access: { s3: { useHttps: true } } } },
    });
  });

  it('may lie in another Secret, named by KServe’s annotation', () => {
    const renamed = { ...config, metadata: { ...config.metadata, name: 'mine' } };
    const annotations = { 'serving.kserve.io/storageSecretName': 'mine' };
    expect(resolve(storage({ key: 'localMinIO' }), [renamed], annotations).ok).toBe(true);
  });

  it.each<[string, object, ConfigObject[], string, string]>([
    [
      'without its Secret',
      { key: 'a' },
      [],
      'storage.key',
      'Secret "storage-config" is not in namespace "default"',
    ],
    [
      'that is not there',
      { key: 'a' },
      [config],
      'storage.key',
      'Secret "storage-config" has no key "a"; it has localMinIO, default_s3, broken',
    ],
    [
      'that is not JSON',
      { key: 'broken' },
      [config],
      'storage.key',
      'expected a JSON object under key "broken" of Secret "storage-config"',
    ],
    [
      'without a bucket',
      {},
      [],
      'storage.parameters',
      'expected a bucket in storage.parameters or in the entry of the storage Secret',
    ],
    [
      'of another type',
      { parameters: { type: 'hdfs' } },
      [],
      'storage.parameters',
      'not supported yet: storage of type "hdfs" (s3, gs, azure are)',
    ],
  ])('%s is a problem that names it', (_what, rest, objects, path, message) => {
    expect(problemsOf(resolve(storage(rest), objects))).toEqual([[`spec.predictor.model.${path}`, message]]);
  });
});
