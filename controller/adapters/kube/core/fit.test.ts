import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FIT_TABLE, fitAmong, misfits, WORKING_SET_BYTES } from './fit.ts';
import { kubeSettings, poolObject, replicaTemplate } from './testing/pods.ts';

const settings = kubeSettings();
const GIB = 2 ** 30;

type Fields = Record<string, unknown>;

function found(predictor: Fields, model: Fields, pool: Fields, weightsBytes?: number): readonly string[] {
  return misfits(replicaTemplate(predictor, model).spec, poolObject(pool).spec, settings, { weightsBytes });
}

const secretEnv = (name: string) => ({ name, valueFrom: { secretKeyRef: { name: 's', key: 'k' } } });

/**
 * One line a case of the table: its subject, what the service says of its pod and of its model's process, what the
 * pool says, and the fields that don't fit.
 */
const CASES: readonly [subject: string, predictor: Fields, model: Fields, pool: Fields, misfits: string[]][] =
  [
    [
      'service account',
      { serviceAccountName: 'a' },
      {},
      {},
      ['serviceAccountName', 'automountServiceAccountToken'],
    ],
    [
      'service account',
      {},
      {},
      { serviceAccountName: 'a' },
      ['serviceAccountName', 'automountServiceAccountToken'],
    ],
    ['service account', { serviceAccountName: 'a' }, {}, { serviceAccountName: 'a' }, []],
    ['service account', { serviceAccountName: 'default', automountServiceAccountToken: false }, {}, {}, []],
    ['service account', {}, {}, { automountServiceAccountToken: true }, ['automountServiceAccountToken']],
    ['claim of the model', {}, { storageUri: 'pvc://weights/m.onnx' }, {}, ['model.storageUri']],
    [
      'claim of the model',
      {},
      { storageUri: 'pvc://weights/m.onnx' },
      { volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'weights' } }] },
      [],
    ],
    [
      'claim of the model',
      {},
      { storageUri: 'pvc://weights/m.onnx' },
      { volumes: [{ name: 'weights', persistentVolumeClaim: { claimName: 'other' } }] },
      ['model.storageUri'],
    ],
    ['env', {}, { env: [{ name: 'A', value: '1' }] }, {}, ['model.env']],
    ['env', {}, { env: [{ name: 'A', value: '1' }] }, { env: [{ name: 'A', value: '2' }] }, ['model.env']],
    [
      'env',
      {},
      { env: [{ name: 'A', value: '1' }] },
      {
        env: [
          { name: 'B', value: '2' },
          { name: 'A', value: '1' },
        ],
      },
      [],
    ],
    ['env', {}, {}, { env: [{ name: 'HTTPS_PROXY', value: 'p' }] }, []],
    [
      'env',
      {},
      { env: [{ name: 'A', value: '$(B)' }] },
      {
        env: [
          { name: 'B', value: 'x' },
          { name: 'A', value: '$(B)' },
        ],
      },
      ['model.env'],
    ],
    [
      'env',
      {},
      {
        storageUri: 's3://b/m',
        env: [secretEnv('AWS_SECRET_ACCESS_KEY'), { name: 'AWS_REGION', value: 'x' }],
      },
      {},
      [],
    ],
    [
      'env',
      {},
      { storageUri: 'https://h/m.onnx', env: [secretEnv('AWS_SECRET_ACCESS_KEY')] },
      {},
      ['model.env'],
    ],
    ['env', {}, { envFrom: [{ secretRef: { name: 's' } }] }, {}, ['model.envFrom']],
    ['env', {}, { envFrom: [{ secretRef: { name: 's' } }] }, { envFrom: [{ secretRef: { name: 's' } }] }, []],
    // The pool's variable would go over the one that the Secret brings.
    [
      'env',
      {},
      { envFrom: [{ secretRef: { name: 's' } }] },
      { envFrom: [{ secretRef: { name: 's' } }], env: [{ name: 'A', value: '1' }] },
      ['model.env'],
    ],
    ['node placement', { nodeSelector: { gpu: 'a100' } }, {}, {}, ['nodeSelector']],
    [
      'node placement',
      { nodeSelector: { gpu: 'a100' } },
      {},
      { nodeSelector: { gpu: 'a100', zone: 'b' } },
      [],
    ],
    ['node placement', {}, {}, { nodeSelector: { gpu: 'a100' } }, []],
    ['node placement', { tolerations: [{ key: 'a' }] }, {}, {}, ['tolerations']],
    [
      'node placement',
      { tolerations: [{ key: 'a' }] },
      {},
      { tolerations: [{ key: 'b' }, { key: 'a' }] },
      [],
    ],
    ['node placement', { affinity: { nodeAffinity: {} } }, {}, {}, ['affinity']],
    ['node placement', { affinity: { a: 1, b: 2 } }, {}, { affinity: { b: 2, a: 1 } }, []],
    [
      'node placement',
      { topologySpreadConstraints: [{ maxSkew: 1 }] },
      {},
      {},
      ['topologySpreadConstraints'],
    ],
    ['node placement', { schedulerName: 'x' }, {}, {}, ['schedulerName']],
    ['pull secrets', { imagePullSecrets: [{ name: 's' }] }, {}, {}, ['imagePullSecrets']],
    [
      'pull secrets',
      { imagePullSecrets: [{ name: 's' }] },
      {},
      { imagePullSecrets: [{ name: 't' }, { name: 's' }] },
      [],
    ],
    ['volumes', { volumes: [{ name: 'v', emptyDir: {} }] }, {}, {}, ['volumes']],
    ['security context', { securityContext: { runAsUser: 7 } }, {}, {}, ['securityContext']],
    [
      'security context',
      { securityContext: { runAsUser: 7 } },
      {},
      { securityContext: { runAsUser: 7 } },
      [],
    ],
    [
      'priority class',
      { priorityClassName: 'high' },
      {},
      { priorityClassName: 'low' },
      ['priorityClassName'],
    ],
    ['runtime class', { runtimeClassName: 'gvisor' }, {}, {}, ['runtimeClassName']],
    ['runtime class', {}, {}, { runtimeClassName: 'gvisor' }, []],
    [
      'network',
      { dnsPolicy: 'Default', hostAliases: [{ ip: '1.2.3.4' }] },
      {},
      {},
      ['dnsPolicy', 'hostAliases'],
    ],
    ['grace period', { terminationGracePeriodSeconds: 601 }, {}, {}, ['terminationGracePeriodSeconds']],
    ['grace period', { terminationGracePeriodSeconds: 600 }, {}, {}, []],
    [
      'labels and annotations that are read when a pod is created',
      { labels: { 'azure.workload.identity/use': 'true', team: 'a' } },
      {},
      {},
      ['labels'],
    ],
    ['labels and annotations that are read when a pod is created', { labels: { team: 'a' } }, {}, {}, []],
    [
      'labels and annotations that are read when a pod is created',
      { annotations: { 'sidecar.istio.io/inject': 'false' } },
      {},
      {},
      ['annotations'],
    ],
    ['resources', {}, { resources: { requests: { cpu: 1 } } }, {}, ['model.resources.requests.cpu']],
    ['resources', {}, { resources: { limits: { memory: '1Gi' } } }, {}, ['model.resources.limits.memory']],
    [
      'resources',
      {},
      { resources: { limits: { memory: '1Gi' } } },
      { resources: { limits: { memory: '2Gi' } } },
      [],
    ],
    [
      'resources',
      {},
      { resources: { requests: { memory: '1Gi' }, limits: { memory: '4Gi' } } },
      { resources: { requests: { memory: '1Gi' }, limits: { memory: '2Gi' } } },
      ['model.resources.limits.memory'],
    ],
    [
      'resources',
      {},
      { resources: { requests: { memory: '1Gi' }, limits: { memory: '4Gi' } } },
      { resources: { requests: { memory: '1Gi' } } },
      [],
    ],
    [
      'resources',
      {},
      { resources: { limits: { 'nvidia.com/gpu': 1 } } },
      {},
      ['model.resources.limits.nvidia.com/gpu'],
    ],
    // Whoever asks for no GPU is not to have one that others wait for.
    [
      'resources',
      {},
      {},
      { resources: { limits: { 'nvidia.com/gpu': 1 } } },
      ['model.resources.limits.nvidia.com/gpu'],
    ],
  ];

describe('the fit table', () => {
  it.each(CASES)('%s: %j with %j in a pool of %j', (subject, predictor, model, pool, fields) => {
    const paths = fields.map((field) => `spec.predictor.${field}`);
    expect(found(predictor, model, pool)).toEqual(paths);
    const spec = replicaTemplate(predictor, model).spec;
    if (spec.model === undefined) throw new TypeError('expected a model');
    const input = { predictor: spec, pool: poolObject(pool).spec, settings };
    const rows = FIT_TABLE.filter((row) => row.subject === subject);
    expect(rows.flatMap((row) => row.misfits(input))).toEqual(paths);
  });

  it('has a case that fails for each of its rows', () => {
    const failing = new Set(
      CASES.filter(([, , , , fields]) => fields.length > 0).map(([subject]) => subject),
    );
    const rows = new Set(FIT_TABLE.map(({ subject }) => subject));
    expect([...rows].filter((subject) => !failing.has(subject))).toEqual(['size of the model']);
  });

  it('wants memory for the weights and the working set, where both are known', () => {
    const pool = { resources: { limits: { memory: '1Gi' } } };
    expect(found({}, {}, pool)).toEqual([]);
    expect(found({}, {}, pool, GIB - WORKING_SET_BYTES)).toEqual([]);
    expect(found({}, {}, pool, GIB - WORKING_SET_BYTES + 1)).toEqual([
      'the model’s size (769Mi of weights, a standby has 1Gi of memory)',
    ]);
    expect(found({}, {}, {}, 100 * GIB)).toEqual([]);
  });

  it('lets an account go that was there for its Secrets, unless the service wants the account itself', () => {
    const known = { carriesCredentials: true };
    const of = (predictor: Fields, pool: Fields = {}) =>
      misfits(replicaTemplate(predictor).spec, poolObject(pool).spec, settings, known);
    expect(of({ serviceAccountName: 'reader' })).toEqual([]);
    expect(of({ serviceAccountName: 'reader' }, { serviceAccountName: 'other' })).toEqual([]);
    expect(of({ serviceAccountName: 'reader', automountServiceAccountToken: true })).toEqual([
      'spec.predictor.serviceAccountName',
      'spec.predictor.automountServiceAccountToken',
    ]);
    // Without an account of its own a service is not to have that of a pool.
    expect(of({}, { serviceAccountName: 'other' })).toEqual([
      'spec.predictor.serviceAccountName',
      'spec.predictor.automountServiceAccountToken',
    ]);
    expect(found({ serviceAccountName: 'reader' }, {}, {})).toContain('spec.predictor.serviceAccountName');
  });

  it.each([
    ['s3://b/m', 'AWS_SECRET_ACCESS_KEY', true],
    ['gs://b/m', 'STORAGE_EMULATOR_HOST', true],
    ['https://account1.blob.core.windows.net/c/m', 'AZURE_STORAGE_ACCESS_KEY', true],
    ['abfss://c@account1.dfs.core.windows.net/m', 'AZURE_CLIENT_SECRET', true],
    ['s3://b/m', 'AZURE_CLIENT_SECRET', false],
    ['https://example.com/m', 'AZURE_STORAGE_ACCESS_KEY', false],
    ['pvc://b/m', 'AWS_SECRET_ACCESS_KEY', false],
  ])('of a model at %s the variable %s travels with the claim: %j', (storageUri, name, travels) => {
    const fields = found({}, { storageUri, env: [secretEnv(name)] }, {});
    expect(!fields.includes('spec.predictor.model.env')).toBe(travels);
  });

  it('says of a user’s own container just that', () => {
    const predictor = { containers: [{ image: 'a' }], nodeSelector: { a: 'b' } };
    expect(found(predictor, {}, {})).toEqual(['spec.predictor.containers']);
  });
});

describe('a pool with the settings of a service', () => {
  const name = fc.stringMatching(/^[a-z]{1,5}$/);
  const texts = fc.dictionary(name, name, { maxKeys: 3 });
  const objects = fc.array(texts, { maxLength: 2 });
  const amounts = fc.dictionary(
    fc.constantFrom('cpu', 'memory', 'nvidia.com/gpu'),
    fc.integer({ min: 1, max: 9 }),
  );
  const podFields = fc.record(
    {
      serviceAccountName: name,
      automountServiceAccountToken: fc.boolean(),
      nodeSelector: texts,
      tolerations: objects,
      affinity: texts,
      topologySpreadConstraints: objects,
      volumes: objects,
      imagePullSecrets: objects,
      securityContext: texts,
      dnsConfig: texts,
      hostAliases: objects,
      overhead: texts,
      priorityClassName: name,
      runtimeClassName: name,
      schedulerName: name,
      enableServiceLinks: fc.boolean(),
      terminationGracePeriodSeconds: fc.integer({ min: 0, max: 9_999 }),
      labels: fc.dictionary(fc.constantFrom('azure.workload.identity/use', 'team'), name),
      annotations: fc.dictionary(fc.constantFrom('sidecar.istio.io/inject', 'note'), name),
    },
    { requiredKeys: [] },
  );
  const processFields = fc.record(
    {
      env: fc.array(
        fc.record({
          name: fc.constantFrom('A', 'B', 'AWS_REGION'),
          value: fc.constantFrom('1', '2', '$(A)'),
        }),
        { maxLength: 4 },
      ),
      envFrom: fc.array(fc.record({ secretRef: fc.record({ name }) }), { maxLength: 2 }),
      resources: fc.oneof(fc.record({ requests: amounts }), fc.record({ limits: amounts })),
    },
    { requiredKeys: [] },
  );
  const uri = fc.constantFrom('s3://bucket/m', 'https://example.com/m.onnx');

  it('fits it, whatever they are', () => {
    fc.assert(
      fc.property(podFields, processFields, uri, (fields, process, storageUri) => {
        expect(found(fields, { ...process, storageUri }, { ...fields, ...process })).toEqual([]);
      }),
    );
  });
});

describe('of several pools', () => {
  const big = {
    key: 'team/big',
    spec: poolObject({ resources: { requests: { memory: '4Gi', cpu: 4 } } }).spec,
  };
  const small = { key: 'team/small', spec: poolObject({ resources: { requests: { memory: '1Gi' } } }).spec };
  const empty = { key: 'team/empty', spec: poolObject({ size: 0 }).spec };

  it('the smallest that fits comes first, and those that hold no standbys last', () => {
    expect(fitAmong(replicaTemplate().spec, [big, empty, small], settings)).toEqual({
      pools: ['team/small', 'team/big', 'team/empty'],
      misfits: [],
    });
    const demanding = replicaTemplate({}, { resources: { requests: { memory: '2Gi' } } }).spec;
    expect(fitAmong(demanding, [big, empty, small], settings).pools).toEqual(['team/big']);
  });

  it('the one that lacks least says what is missing', () => {
    const resources = { requests: { memory: '2Gi', cpu: 3 } };
    const demanding = replicaTemplate({ nodeSelector: { a: 'b' } }, { resources }).spec;
    expect(fitAmong(demanding, [small, big], settings)).toEqual({
      pools: [],
      misfits: ['spec.predictor.nodeSelector'],
    });
  });

  it('none counts whose cache the operator doesn’t allow', () => {
    const spec = poolObject({ cache: { hostPath: { path: '/a' } } }).spec;
    const pools = [{ key: 'team/host', spec }];
    expect(fitAmong(replicaTemplate().spec, pools, settings)).toEqual({
      pools: [],
      misfits: ['the namespace having no StandbyPool'],
    });
    const allowed = kubeSettings({ allowCache: { hostPath: true } });
    expect(fitAmong(replicaTemplate().spec, pools, allowed).pools).toEqual(['team/host']);
  });
});
