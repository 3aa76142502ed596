import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { condition, onPlatform } from './testing/platform.ts';
import { markedService } from './testing/services.ts';

/** What the API server itself refuses, by the schema and the CEL rules of the CRDs, as `kubectl apply` shows it. */
const on = onPlatform('refusals');

const MODEL = { modelFormat: { name: 'onnx' }, storageUri: 's3://bucket/model.onnx' };
const IMAGE = 'registry.example/server:1';

interface Predictor {
  readonly [field: string]: unknown;
}

function service(predictor: Predictor, spec: object = {}, name = 'refused'): object {
  return {
    apiVersion: 'serving.pilotlight.dev/v1alpha1',
    kind: 'InferenceService',
    metadata: { name },
    spec: { predictor, ...spec },
  };
}

const withModel = (model: object, predictor: object = {}): object =>
  service({ model: { ...MODEL, ...model }, ...predictor });
const withPredictor = (predictor: object): object => service({ model: MODEL, ...predictor });
const withScaling = (scaling: object): object => withPredictor({ scaling });
const withContainer = (container: object, predictor: object = {}): object =>
  service({ containers: [{ image: IMAGE, ...container }], ...predictor });

function pool(spec: object, name = 'refused'): object {
  return { apiVersion: 'serving.pilotlight.dev/v1alpha1', kind: 'StandbyPool', metadata: { name }, spec };
}

/** `kubectl apply --dry-run=server`. @returns what it said, and whether the API server took it. */
async function tryOut(manifest: object, ...flags: string[]): Promise<{ isTaken: boolean; said: string }> {
  const command = ['--namespace', on.namespace, 'apply', '--dry-run=server', ...flags, '--filename', '-'];
  return on.cluster.kubectl(command, JSON.stringify(manifest)).then(
    (said) => ({ isTaken: true, said }),
    (error: unknown) => ({ isTaken: false, said: String(error) }),
  );
}

/** What, the manifest, the field's path, and the words that say what is to be done. */
type Row = readonly [what: string, manifest: object, path: string, words: string | RegExp];

async function isRefused(manifest: object, path: string, words: string | RegExp): Promise<void> {
  const { isTaken, said } = await tryOut(manifest);
  expect(isTaken, said).toBe(false);
  // A list of several begins a line of its own for each.
  const lines = said.split(/\n\* |, (?=spec\.|metadata\.)|invalid: \[?/);
  const own = lines.filter((line) => line.startsWith(`${path}: `));
  expect(own, said).not.toEqual([]);
  expect(own.join('\n')).toMatch(words);
}

test('what the refused manifests are made from is taken as it is', async () => {
  for (const manifest of [
    withModel({}),
    withContainer({}),
    pool({}),
    pool({ size: 2, perNode: 1, cache: { emptyDir: { sizeLimit: '5Gi' } } }),
    service({ model: MODEL }, {}, `s${'x'.repeat(44)}`),
    pool({}, `p${'x'.repeat(56)}`),
  ]) {
    const { isTaken, said } = await tryOut(manifest);
    expect(isTaken, said).toBe(true);
    expect(said).toMatch(/created \(server dry run\)/);
  }
});

const TYPES_AND_RANGES: Row[] = [
  [
    'a batch of nothing',
    withPredictor({ batcher: { maxBatchSize: 0 } }),
    'spec.predictor.batcher.maxBatchSize',
    'should be greater than or equal to 1',
  ],
  ['text for a number', withPredictor({ minReplicas: 'two' }), 'spec.predictor.minReplicas', 'integer'],
  ['a fraction for a count', withPredictor({ maxReplicas: 1.5 }), 'spec.predictor.maxReplicas', 'integer'],
  [
    'a negative count',
    withPredictor({ minReplicas: -1 }),
    'spec.predictor.minReplicas',
    'greater than or equal to 0',
  ],
  [
    'more replicas than there can be',
    withPredictor({ maxReplicas: 10_001 }),
    'spec.predictor.maxReplicas',
    'less than or equal to 10000',
  ],
  [
    'a share above 100',
    withPredictor({ canaryTrafficPercent: 101 }),
    'spec.predictor.canaryTrafficPercent',
    'less than or equal to 100',
  ],
  [
    'a target of nothing',
    withPredictor({ scaleTarget: 0 }),
    'spec.predictor.scaleTarget',
    'greater than or equal to 1',
  ],
  [
    'more requests at once than one replica takes',
    withPredictor({ containerConcurrency: 1_001 }),
    'spec.predictor.containerConcurrency',
    'less than or equal to 1000',
  ],
  [
    'a panic threshold that is always passed',
    withScaling({ panicThresholdPercentage: 100 }),
    'spec.predictor.scaling.panicThresholdPercentage',
    'greater than or equal to 110',
  ],
  [
    'a rate of one',
    withScaling({ maxScaleUpRate: 1 }),
    'spec.predictor.scaling.maxScaleUpRate',
    'greater than 1',
  ],
  ['a list for a mapping', withPredictor({ scaling: [] }), 'spec.predictor.scaling', 'object'],
  ['text for a list', withModel({ args: '--verbose' }), 'spec.predictor.model.args', 'array'],
  [
    'a number for the value of a variable',
    withModel({ env: [{ name: 'A', value: 1 }] }),
    'spec.predictor.model.env[0].value',
    'string',
  ],
  [
    'a variable whose name begins with a digit',
    withModel({ env: [{ name: '1A', value: 'x' }] }),
    'spec.predictor.model.env[0].name',
    'should match',
  ],
  [
    'an unknown metric',
    withPredictor({ scaleMetric: 'latency' }),
    'spec.predictor.scaleMetric',
    '"concurrency", "rps"',
  ],
  [
    'an unknown protocol',
    withModel({ protocolVersion: 'v3' }),
    'spec.predictor.model.protocolVersion',
    '"v1", "v2", "grpc-v2"',
  ],
  [
    'an unknown pull policy',
    withContainer({ imagePullPolicy: 'Sometimes' }),
    'spec.predictor.containers[0].imagePullPolicy',
    '"Always", "IfNotPresent", "Never"',
  ],
  [
    'an unknown DNS policy',
    withPredictor({ dnsPolicy: 'None of it' }),
    'spec.predictor.dnsPolicy',
    '"ClusterFirst"',
  ],
];

const DURATIONS_QUANTITIES_PORTS: Row[] = [
  [
    'a duration without a unit',
    withScaling({ stableWindow: '60' }),
    'spec.predictor.scaling.stableWindow',
    'should match',
  ],
  [
    'a number for a duration',
    withScaling({ stableWindow: 60 }),
    'spec.predictor.scaling.stableWindow',
    'string',
  ],
  [
    'a window that is too short',
    withScaling({ stableWindow: '5s' }),
    'spec.predictor.scaling.stableWindow',
    'expected at least 6s, got 5s',
  ],
  [
    'a window that is too long',
    withScaling({ stableWindow: '1h1s' }),
    'spec.predictor.scaling.stableWindow',
    'expected at most 1h, got 1h1s',
  ],
  [
    'a start timeout of nothing',
    withScaling({ startTimeout: '0' }),
    'spec.predictor.scaling.startTimeout',
    'expected at least 1s, got 0',
  ],
  [
    'a request timeout in seconds that is too long',
    withPredictor({ timeout: 86_401 }),
    'spec.predictor.timeout',
    'expected at most 24h, got 86401',
  ],
  [
    'a request timeout that is negative',
    withPredictor({ timeout: -5 }),
    'spec.predictor.timeout',
    'expected at least 1ms, got -5',
  ],
  [
    'a unit of memory that there is not',
    withModel({ resources: { limits: { memory: '2GB' } } }),
    'spec.predictor.model.resources.limits.memory',
    'should match',
  ],
  [
    'a fraction as a number for a quantity',
    withModel({ resources: { requests: { cpu: 0.5 } } }),
    'spec.predictor.model.resources.requests.cpu',
    'integer,string',
  ],
  [
    'a request above its limit',
    withModel({ resources: { requests: { memory: '2Gi' }, limits: { memory: '1Gi' } } }),
    'spec.predictor.model.resources.requests',
    'expected requests of at most the limits of the same names',
  ],
  [
    'a port that there is not',
    withContainer({ ports: [{ containerPort: 65_536 }] }),
    'spec.predictor.containers[0].ports[0].containerPort',
    'less than or equal to 65535',
  ],
  [
    'a second port',
    withContainer({ ports: [{ containerPort: 80 }, { containerPort: 81 }] }),
    'spec.predictor.containers[0].ports',
    'must have at most 1 item',
  ],
];

const CONTRADICTIONS: Row[] = [
  [
    'a batcher beside containers',
    withContainer({}, { batcher: { maxBatchSize: 8 } }),
    'spec.predictor.batcher',
    'only requests for a model are put together',
  ],
  [
    'an image that is both contained and scaled by its shorter side',
    withModel({ imageInput: { fit: 'contain', shorterSide: 256 } }),
    'spec.predictor.model.imageInput',
    'give either shorterSide or fit',
  ],
  [
    'labels outside the folder of the model',
    withModel({ labels: { file: '../labels.txt' } }),
    'spec.predictor.model.labels.file',
    "expected a path of a file in the model's folder",
  ],
  [
    'more replicas at least than at most',
    withPredictor({ minReplicas: 3, maxReplicas: 2 }),
    'spec.predictor.maxReplicas',
    'expected at least minReplicas, or 0 for no bound',
  ],
  [
    'a model and a container',
    withModel({}, { containers: [{ image: IMAGE }] }),
    'spec.predictor',
    'expected exactly one of model, onnx and containers',
  ],
  [
    'neither a model nor a container',
    service({ minReplicas: 1 }),
    'spec.predictor',
    'expected exactly one of model, onnx and containers',
  ],
  [
    'two containers',
    service({ containers: [{ image: IMAGE }, { image: IMAGE }] }),
    'spec.predictor.containers',
    'must have at most 1 item',
  ],
  [
    'a model from nowhere',
    service({ model: { modelFormat: { name: 'onnx' } } }),
    'spec.predictor.model',
    'expected either storageUri or storage',
  ],
  [
    'a model from two places',
    withModel({ storage: { path: 'model.onnx' } }),
    'spec.predictor.model',
    'expected either storageUri or storage',
  ],
  [
    'a variable with a value and a source',
    withModel({
      env: [{ name: 'A', value: 'b', valueFrom: { secretKeyRef: { name: 'keys', key: 'a' } } }],
    }),
    'spec.predictor.model.env[0].valueFrom',
    'give either value or valueFrom, not both',
  ],
  [
    'a variable with two sources',
    withModel({
      env: [
        {
          name: 'A',
          valueFrom: {
            secretKeyRef: { name: 'keys', key: 'a' },
            configMapKeyRef: { name: 'settings', key: 'a' },
          },
        },
      ],
    }),
    'spec.predictor.model.env[0].valueFrom',
    'expected exactly one of configMapKeyRef and secretKeyRef',
  ],
  [
    'variables from nowhere',
    withContainer({ envFrom: [{ prefix: 'A_' }] }),
    'spec.predictor.containers[0].envFrom[0]',
    'expected exactly one of configMapRef and secretRef',
  ],
  [
    'a container without an image',
    service({ containers: [{ args: ['serve'] }] }),
    'spec.predictor.containers[0].image',
    'Required value',
  ],
  ['no predictor', { ...service({}), spec: {} }, 'spec.predictor', 'Required value'],
];

const NOT_SUPPORTED: Row[] = [
  ...['transformer', 'explainer'].map(
    (field): Row => [
      `spec.${field}`,
      service({ model: MODEL }, { [field]: { containers: [{ image: IMAGE }] } }),
      `spec.${field}`,
      `Forbidden: not supported yet: spec.${field}; leave it out`,
    ],
  ),
  ...Object.entries({
    workerSpec: { pipelineParallelSize: 2 },
    logger: { mode: 'all' },
    autoScaling: { metrics: [] },
    deploymentStrategy: { type: 'Recreate' },
    storageUris: [{ uri: 's3://bucket/a' }],
    initContainers: [{ name: 'first', image: IMAGE }],
    hostNetwork: true,
    nodeName: 'a-node',
  }).map(
    ([field, value]): Row => [
      `spec.predictor.${field}`,
      withPredictor({ [field]: value }),
      `spec.predictor.${field}`,
      `Forbidden: not supported yet: spec.predictor.${field}; leave it out`,
    ],
  ),
  ...['sklearn', 'xgboost', 'tensorflow', 'pytorch', 'triton', 'huggingface', 'lightgbm'].map(
    (framework): Row => [
      `spec.predictor.${framework}`,
      service({ [framework]: { storageUri: 's3://bucket/model' } }),
      `spec.predictor.${framework}`,
      'only ONNX is supported: convert the model',
    ],
  ),
  [
    'the model format sklearn',
    withModel({ modelFormat: { name: 'sklearn' } }),
    'spec.predictor.model.modelFormat.name',
    'only ONNX is supported: convert the model and say modelFormat {name: onnx}, got "sklearn"',
  ],
  [
    'an image for the runtime',
    withModel({ image: IMAGE }),
    'spec.predictor.model.image',
    'not supported yet: spec.predictor.model.image; leave it out',
  ],
  [
    'the metric cpu',
    withPredictor({ scaleMetric: 'cpu' }),
    'spec.predictor.scaleMetric',
    '(concurrency and rps are)',
  ],
  [
    'a port of the node',
    withContainer({ ports: [{ containerPort: 80, hostPort: 80 }] }),
    'spec.predictor.containers[0].ports[0].hostPort',
    /not supported yet: .*leave it out/,
  ],
];

const PLACES: Row[] = [
  ['ftp://host/model.onnx', /not supported yet: storageUri of another scheme .* copy the model/],
  ['hdfs://host/model.onnx', /not supported yet: storageUri of another scheme/],
  ['/models/model.onnx', /another scheme than file:/],
  ['s3:bucket/model.onnx', 'expected "s3://bucket/path"'],
  ['gs:///model.onnx', 'or "gs://bucket/path"'],
  ['https:/host/model.onnx', 'expected a URL such as "https://host/path"'],
  ['https://user:secret@host/model.onnx', 'expected a URL without user name and password'],
].map(
  ([storageUri, words = '']): Row => [
    `storageUri ${String(storageUri)}`,
    withModel({ storageUri }),
    'spec.predictor.model.storageUri',
    words,
  ],
);

const NAMES: Row[] = [
  [
    'a service’s name that is too long for the names of its pods',
    service({ model: MODEL }, {}, `s${'x'.repeat(45)}`),
    'metadata.name',
    'may not be more than 45 bytes',
  ],
  [
    'a service’s name that begins with a digit',
    service({ model: MODEL }, {}, '1st'),
    'metadata.name',
    'should match',
  ],
  [
    'a service’s name with dots, which a Service can’t have',
    service({ model: MODEL }, {}, 'a.b'),
    'metadata.name',
    'should match',
  ],
  [
    'a pool’s name that is too long for the names of its pods',
    pool({}, `p${'x'.repeat(57)}`),
    'metadata.name',
    'may not be more than 57 bytes',
  ],
  [
    'a service account that can’t be one',
    withPredictor({ serviceAccountName: 'My_Account' }),
    'spec.predictor.serviceAccountName',
    'should match',
  ],
];

const POOLS: Row[] = [
  ['a pool of less than nothing', pool({ size: -1 }), 'spec.size', 'greater than or equal to 0'],
  ['a pool’s size in words', pool({ size: 'two' }), 'spec.size', 'integer'],
  ['a pool of no pod to a node', pool({ perNode: 0 }), 'spec.perNode', 'greater than or equal to 1'],
  [
    'two places for a pool’s cache',
    pool({ cache: { emptyDir: {}, hostPath: { path: '/cache' } } }),
    'spec.cache',
    'expected at most one of emptyDir, hostPath and persistentVolumeClaim',
  ],
  [
    'a relative path for a pool’s cache',
    pool({ cache: { hostPath: { path: 'cache' } } }),
    'spec.cache.hostPath.path',
    'should match',
  ],
  [
    'a path that leads upwards',
    pool({ cache: { hostPath: { path: '/cache/../etc' } } }),
    'spec.cache.hostPath.path',
    'expected a path without ".."',
  ],
  [
    'a size of a pool’s cache that is none',
    pool({ cache: { emptyDir: { sizeLimit: 'large' } } }),
    'spec.cache.emptyDir.sizeLimit',
    'should match',
  ],
  [
    'a pool’s request above its limit',
    pool({ resources: { requests: { cpu: '2' }, limits: { cpu: '1500m' } } }),
    'spec.resources.requests',
    'expected requests of at most the limits of the same names',
  ],
  [
    'a pool on the network of its nodes',
    pool({ hostNetwork: true }),
    'spec.hostNetwork',
    'Forbidden: not supported yet: spec.hostNetwork; leave it out',
  ],
];

describe('kubectl apply is refused with the field and what to do', () => {
  const all = [
    ...TYPES_AND_RANGES,
    ...DURATIONS_QUANTITIES_PORTS,
    ...CONTRADICTIONS,
    ...NOT_SUPPORTED,
    ...PLACES,
    ...NAMES,
    ...POOLS,
  ];
  test.each(all)('%s', (_what, manifest, path, words) => isRefused(manifest, path, words));
});

/** KServe's v1beta1 samples, with nothing changed but their `apiVersion`. */
const KSERVE_SAMPLES = `
metadata: { name: style-sample }
spec:
  predictor:
    model:
      protocolVersion: v2
      modelFormat: { name: onnx }
      storageUri: gs://kfserving-examples/models/onnx
---
metadata: { name: old-style }
spec:
  predictor:
    serviceAccountName: sa
    timeout: 60
    onnx:
      storageUri: s3://models/style
      runtimeVersion: v1.5.3
      resources:
        requests: { cpu: 100m, memory: 1Gi }
        limits: { cpu: "1", memory: 1Gi }
---
metadata:
  name: digits
  annotations: { serving.kserve.io/enable-tag-routing: "true" }
spec:
  predictor:
    canaryTrafficPercent: 10
    minReplicas: 1
    maxReplicas: 3
    scaleTarget: 2
    scaleMetric: concurrency
    containerConcurrency: 4
    nodeSelector: { disktype: ssd }
    model:
      modelFormat: { name: onnx, version: "1" }
      storage:
        key: localMinIO
        path: digits/model.onnx
        parameters: { bucket: models }
---
metadata: { name: custom-model }
spec:
  predictor:
    containers:
      - name: kserve-container
        image: example/custom-model:v1
        env: [{ name: PROTOCOL, value: v2 }]
        ports: [{ containerPort: 8080, protocol: TCP }]
        readinessProbe: { httpGet: { path: /ready, port: 8080 }, periodSeconds: 5 }
---
metadata: { name: gpu-sample }
spec:
  predictor:
    tolerations: [{ key: nvidia.com/gpu, operator: Exists, effect: NoSchedule }]
    affinity:
      nodeAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          nodeSelectorTerms: [{ matchExpressions: [{ key: gpu, operator: In, values: [a100] }] }]
    model:
      modelFormat: { name: onnx }
      storageUri: https://example.com/model.onnx
      resources: { limits: { nvidia.com/gpu: "1" } }
`;

test('manifests of KServe are taken once their apiVersion is changed', async () => {
  for (const document of parseAllDocuments(KSERVE_SAMPLES)) {
    const sample = document.toJS() as object;
    const manifest = {
      apiVersion: 'serving.pilotlight.dev/v1alpha1',
      kind: 'InferenceService',
      ...sample,
    };
    const { isTaken, said } = await tryOut(manifest);
    expect(isTaken, said).toBe(true);
    expect(said).toMatch(/created \(server dry run\)/);
  }
});

describe('a field that there is not', () => {
  const misspelt = (name: string): object => markedService(name, 1, { predictor: { minReplica: 1 } });

  test('is refused by kubectl with its path', async () => {
    const { isTaken, said } = await tryOut(misspelt('misspelt'));
    expect(isTaken).toBe(false);
    expect(said).toContain('unknown field "spec.predictor.minReplica"');
  });

  test('is a warning in the status where kubectl was told to let it pass', async () => {
    const command = ['--namespace', on.namespace, 'apply', '--validate=false', '--filename', '-'];
    await on.cluster.kubectl(command, JSON.stringify(misspelt('let-pass')));
    const passed = await on.waitForService(
      'let-pass',
      'has a warning',
      (one) => condition(one, 'Warnings').status === 'True',
    );
    expect(condition(passed, 'Warnings').message).toBe(
      'spec.predictor.minReplica: left out by the API server: unknown field; did you mean "minReplicas"?',
    );
    // It is served all the same.
    await on.waitForReady('let-pass');
  });
});

describe('kubectl explain reads like documentation', () => {
  test.each([
    ['isvc.spec.predictor.model', 10],
    ['isvc.spec.predictor.scaling', 15],
    ['isvc.spec.predictor.containers', 15],
    ['isvc.status', 8],
    ['standbypool.spec', 15],
    ['standbypool.status', 4],
  ])('%s: every field has a sentence', async (path, least) => {
    const explained = await on.kubectl('explain', path);
    const fields = explained
      .slice(explained.indexOf('FIELDS:'))
      .split(/\n {2}(?=\S+\t<)/)
      .slice(1);
    expect(fields.length).toBeGreaterThanOrEqual(least);
    const bare = fields.filter((field) => {
      const text = field
        .split('\n')
        .slice(1)
        .filter((line) => !line.trim().startsWith('enum:'))
        .join(' ')
        .trim();
      return !/^\S+ .*[.:)]$/.test(text.replaceAll(/\s+/g, ' '));
    });
    expect(bare, 'fields without a sentence').toEqual([]);
  });
});
