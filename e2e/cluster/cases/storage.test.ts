import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { objectPath, RESOURCES } from '../../../controller/adapters/kube/api/paths.ts';
import { LABELS } from '../../../controller/adapters/kube/core/labels.ts';
import { TEXT_RECOGNISER } from '../../models/real-models.ts';
import { run } from '../command.ts';
import { GCS_BUCKET, gcsEndpoint, gcsImage, gcsManifest } from '../gcs-store.ts';
import { RELEASE_NAMESPACE } from '../install.ts';
import { BUCKET, CHAIN_WIDTH, PUBLIC_BUCKET, STORE_ENDPOINT, STORE_KEYS } from '../object-store.ts';
import { condition, json, onPlatform } from './testing/platform.ts';
import { modelService, type ServiceOptions } from './testing/services.ts';
import { EXPECTED_TEXT, imageRequest, textIn } from './testing/text-image.ts';

const on = onPlatform('storage');
const { accessKeyId, secretAccessKey } = STORE_KEYS;
/** Credentials that no store takes; these and the good ones must show up nowhere. */
const WRONG = { secretKey: 'PLANTED-wrong-secret-key', header: 'PLANTED-web-token' };

const secret = (name: string, stringData: object, annotations: object = {}): object => ({
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name, annotations },
  type: 'Opaque',
  stringData,
});
const account = (name: string, ...secrets: string[]): object => ({
  apiVersion: 'v1',
  kind: 'ServiceAccount',
  metadata: { name },
  secrets: secrets.map((one) => ({ name: one })),
});
const keys = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
const place = (prefix: string): object => ({
  [`${prefix}/s3-endpoint`]: STORE_ENDPOINT,
  [`${prefix}/s3-usehttps`]: '0',
  [`${prefix}/s3-region`]: 'us-east-1',
});

/** A text recogniser from the bucket that needs the keys, unless the options say otherwise. */
function recogniser(name: string, options: ServiceOptions): object {
  const { model, ...rest } = options;
  return modelService(name, '', {
    ...rest,
    model: { storageUri: `s3://${BUCKET}/ocr/rec.onnx`, env: [], ...model },
  });
}

/** What is wrong with a service, as its status tells a user. */
async function problemOf(name: string): Promise<string> {
  const service = await on.waitForService(
    name,
    'says what is wrong',
    (one) =>
      one.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'False') === true,
  );
  return JSON.stringify(service.status?.conditions);
}

async function readsText(name: string): Promise<void> {
  await on.waitForReady(name);
  const answer = await on.call(name, `/v2/models/${name}/infer`, await imageRequest());
  expect(await textIn(answer)).toBe(EXPECTED_TEXT);
}

/** Which pool the pod comes from that serves; undefined for one of its own. */
async function poolOf(name: string): Promise<string | undefined> {
  const pod = await on.servingPod(name);
  return pod.metadata?.labels?.[LABELS.pool];
}

describe('a model from S3', () => {
  test.each([
    ['kserve', 'serving.kserve.io'],
    ['ours', 'serving.pilotlight.dev'],
  ])(
    'with the Secret of its ServiceAccount, annotated as %s, is served by a standby',
    async (name, prefix) => {
      await on.apply(
        secret(`${name}-keys`, keys, place(prefix)),
        account(`${name}-reader`, `${name}-keys`),
        recogniser(`s3-${name}`, { predictor: { serviceAccountName: `${name}-reader` } }),
      );
      await on.waitForStandby();
      await readsText(`s3-${name}`);
      expect(await poolOf(`s3-${name}`)).toBeDefined();
    },
  );

  test('with an entry of the Secret storage-config', async () => {
    const entry = {
      type: 's3',
      access_key_id: accessKeyId,
      secret_access_key: secretAccessKey,
      endpoint_url: `http://${STORE_ENDPOINT}`,
      bucket: BUCKET,
      region: 'us-east-1',
    };
    await on.apply(
      secret('storage-config', { store: JSON.stringify(entry) }),
      recogniser('s3-config', {
        model: { storageUri: undefined, storage: { key: 'store', path: 'ocr/rec.onnx' } },
      }),
    );
    await readsText('s3-config');
  });

  test('that is quantised and open to everybody, as nobody', async () => {
    const storage = {
      path: 'chain/int8.onnx',
      parameters: {
        type: 's3',
        bucket: PUBLIC_BUCKET,
        endpoint_url: `http://${STORE_ENDPOINT}`,
        anonymous: 'true',
      },
    };
    await on.apply(recogniser('s3-open', { model: { storageUri: undefined, storage } }));
    await on.waitForReady('s3-open');
    const data = Array.from({ length: CHAIN_WIDTH }, (_, index) => Math.sin(index));
    const request = { inputs: [{ name: 'x', shape: [1, CHAIN_WIDTH], datatype: 'FP32', data }] };
    expect(json(await on.infer('s3-open', request))).toMatchObject({
      outputs: [{ shape: [1, CHAIN_WIDTH] }],
    });
  });

  test('as whoever the pod is: a pool with the account and the standard AWS environment', async () => {
    const fromSecret = (name: string) => ({
      name,
      valueFrom: { secretKeyRef: { name: 'pod-keys', key: name } },
    });
    await on.apply(
      secret('pod-keys', keys),
      account('pod-reader'),
      recogniser('s3-pod', {
        predictor: { serviceAccountName: 'pod-reader' },
        model: { storageUri: `s3://${BUCKET}/ocr/rec.onnx` },
      }),
    );
    // Without the pool it starts a pod of its own, as whom the store knows nobody.
    const before = await on.waitForService(
      's3-pod',
      'says what keeps it from a standby',
      (service) => condition(service, 'StandbyFit').status === 'False',
    );
    expect(condition(before, 'StandbyFit').message).toContain('serviceAccountName');
    await on.apply({
      apiVersion: 'serving.pilotlight.dev/v1alpha1',
      kind: 'StandbyPool',
      metadata: { name: 'readers' },
      spec: {
        size: 1,
        serviceAccountName: 'pod-reader',
        env: [
          { name: 'AWS_ENDPOINT_URL', value: `http://${STORE_ENDPOINT}` },
          fromSecret('AWS_ACCESS_KEY_ID'),
          fromSecret('AWS_SECRET_ACCESS_KEY'),
        ],
        resources: { requests: { cpu: '10m', memory: '64Mi' } },
      },
    });
    await on.waitForService(
      's3-pod',
      'fits the pool',
      (service) => condition(service, 'StandbyFit').status === 'True',
    );
    await readsText('s3-pod');
    expect(await poolOf('s3-pod')).toBe('readers');
  });
});

test('a model from Google Cloud Storage, by its own API', async () => {
  const image = await on.cluster.loadImage(await gcsImage());
  await on.apply(...gcsManifest(image));
  await on.kubectl('wait', '--for=condition=Ready', 'pod/gcs', '--timeout=60s');
  const env = [{ name: 'STORAGE_EMULATOR_HOST', value: gcsEndpoint(on.namespace) }];
  await on.apply(recogniser('gs', { model: { storageUri: `gs://${GCS_BUCKET}/ocr/rec.onnx`, env } }));
  await readsText('gs');
});

describe('a model on a claim', () => {
  const volume = (): string => `${on.namespace}-weights`;
  const folder = (): string => `/var/lib/${volume()}`;

  beforeAll(async () => {
    const [node = ''] = on.cluster.nodes.filter((one) => !one.endsWith('control-plane'));
    await on.cluster.execOnNode(node, ['mkdir', '-p', `${folder()}/ocr`]);
    await run('docker', ['cp', TEXT_RECOGNISER, `${node}:${folder()}/ocr/rec.onnx`]);
    await on.cluster.execOnNode(node, ['chmod', '-R', 'a+rX', folder()]);
    const shared = { accessModes: ['ReadOnlyMany'], storageClassName: '' };
    await on.apply(
      {
        apiVersion: 'v1',
        kind: 'PersistentVolume',
        metadata: { name: volume() },
        spec: {
          ...shared,
          capacity: { storage: '1Gi' },
          hostPath: { path: folder(), type: 'Directory' },
          claimRef: { namespace: on.namespace, name: 'weights' },
          nodeAffinity: {
            required: {
              nodeSelectorTerms: [
                { matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: [node] }] },
              ],
            },
          },
        },
      },
      {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: { name: 'weights' },
        spec: { ...shared, volumeName: volume(), resources: { requests: { storage: '1Gi' } } },
      },
    );
  });

  afterAll(async () => {
    await on.cluster.kubectl(['delete', 'persistentvolume', volume(), '--ignore-not-found', '--wait=false']);
  });

  test('is served by a pod of its own that mounts it read-only', async () => {
    const storageUri = 'pvc://weights/ocr/rec.onnx';
    await on.apply(recogniser('claim', { model: { storageUri } }));
    const service = await on.waitForService(
      'claim',
      'says what keeps it from a standby',
      (one) => condition(one, 'StandbyFit').status === 'False',
    );
    expect(condition(service, 'StandbyFit').message).toContain('spec.predictor.model.storageUri');
    await readsText('claim');
    const pod = await on.servingPod('claim');
    expect(pod?.metadata?.labels?.[LABELS.pool]).toBeUndefined();
    expect(pod?.spec?.containers[0]?.volumeMounts).toContainEqual(
      expect.objectContaining({ mountPath: '/mnt/claims/weights', readOnly: true }),
    );
  });

  test('is served by a standby of a pool that has it among its volumes', async () => {
    await on.apply({
      apiVersion: 'serving.pilotlight.dev/v1alpha1',
      kind: 'StandbyPool',
      metadata: { name: 'weights' },
      spec: {
        size: 1,
        volumes: [{ name: 'weights', persistentVolumeClaim: { claimName: 'weights', readOnly: true } }],
        resources: { requests: { cpu: '10m', memory: '64Mi' } },
      },
    });
    await on.apply(recogniser('claim-standby', { model: { storageUri: 'pvc://weights/ocr/' } }));
    await on.waitForService(
      'claim-standby',
      'fits the pool',
      (one) => condition(one, 'StandbyFit').status === 'True',
    );
    await readsText('claim-standby');
    expect(await poolOf('claim-standby')).toBe('weights');
  });
});

describe('what is secret', () => {
  test('that a service refers to may come after it', async () => {
    await on.apply(
      account('late-reader', 'late-keys'),
      recogniser('late', { predictor: { serviceAccountName: 'late-reader' } }),
    );
    expect(await problemOf('late')).toContain('Secret \\"late-keys\\" is not in namespace');
    await on.apply(secret('late-keys', keys, place('serving.kserve.io')));
    await readsText('late');
  });

  test('of one namespace is nothing to a service of another', async () => {
    const elsewhere = `${on.namespace}-other`;
    await on.createNamespace(elsewhere);
    try {
      const namespaced = (object: object): object => ({
        ...object,
        metadata: { ...(object as { metadata: object }).metadata, namespace: elsewhere },
      });
      await on.cluster.kubectl(
        ['apply', '--filename', '-'],
        JSON.stringify({
          apiVersion: 'v1',
          kind: 'List',
          items: [secret('their-keys', keys, place('serving.kserve.io'))].map(namespaced),
        }),
      );
      await on.apply(
        account('thief', 'their-keys'),
        recogniser('thief', { predictor: { serviceAccountName: 'thief' } }),
        recogniser('thief-by-name', {
          annotations: { 'serving.kserve.io/storageSecretName': `${elsewhere}/their-keys` },
        }),
      );
      expect(await problemOf('thief')).toContain(
        `Secret \\"their-keys\\" is not in namespace \\"${on.namespace}\\"`,
      );
      expect(await problemOf('thief-by-name')).toContain('is not in namespace');
    } finally {
      await on.cluster.kubectl(['delete', 'namespace', elsewhere, '--wait=false']);
    }
  });

  test('a wrong key, a wrong address and a web server that refuses are told without it', async () => {
    await on.apply(
      secret('wrong-keys', { ...keys, AWS_SECRET_ACCESS_KEY: WRONG.secretKey }, place('serving.kserve.io')),
      account('wrong', 'wrong-keys'),
      recogniser('wrong-key', { predictor: { serviceAccountName: 'wrong', minReplicas: 1 } }),
      secret('lost-keys', keys, {
        ...place('serving.kserve.io'),
        'serving.kserve.io/s3-endpoint': 'nowhere.invalid',
      }),
      account('lost', 'lost-keys'),
      recogniser('wrong-address', { predictor: { serviceAccountName: 'lost', minReplicas: 1 } }),
      secret('web', {
        'https-host': STORE_ENDPOINT,
        headers: JSON.stringify({ authorization: `Bearer ${WRONG.header}` }),
      }),
      account('web', 'web'),
      recogniser('wrong-header', {
        predictor: { serviceAccountName: 'web', minReplicas: 1 },
        model: { storageUri: `http://${STORE_ENDPOINT}/${BUCKET}/ocr/rec.onnx` },
      }),
    );
    expect(await problemOf('wrong-key')).toContain('the secret key is wrong');
    expect(await problemOf('wrong-address')).toContain('nowhere.invalid');
    expect(await problemOf('wrong-header')).toContain('wrong-header');
  });

  test('stands in no log, Event, status, revision, pod, or command line', async () => {
    const planted = [secretAccessKey, WRONG.secretKey, WRONG.header];
    const texts = new Map<string, string>();
    const kinds =
      'inferenceservices,standbypools,controllerrevisions,pods,services,endpointslices,events,configmaps';
    for (const namespace of [on.namespace, RELEASE_NAMESPACE]) {
      const where = ['--namespace', namespace];
      texts.set(
        `objects of ${namespace}`,
        await on.cluster.kubectl(['get', kinds, ...where, '--output', 'yaml']),
      );
      const pods = await on.api.list(objectPath({ ...RESOURCES.pods, namespace }));
      for (const { metadata } of pods.items) {
        const logs = await on.cluster
          .kubectl(['logs', `pod/${metadata?.name}`, ...where, '--all-containers'])
          .catch(String);
        texts.set(`log of ${metadata?.name}`, logs);
      }
    }
    for (const node of on.cluster.nodes) {
      const lines = await on.cluster.execOnNode(node, [
        'sh',
        '-c',
        'cat /proc/[0-9]*/cmdline | tr "\\0" " " || true',
      ]);
      texts.set(`command lines of ${node}`, lines);
    }
    for (const [where, text] of texts) {
      for (const one of planted) expect(text.includes(one), `${where}: ${one.slice(0, 12)}…`).toBe(false);
    }
    // There was something to look through: the services that went wrong are in it.
    expect([...texts.values()].join('\n')).toContain('the secret key is wrong');
  });
});
