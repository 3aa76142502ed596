import { describe, expect, it } from 'vitest';
import { type Problem, parseInferenceService } from './schema.ts';

const MODEL = { modelFormat: { name: 'onnx' }, storageUri: 's3://bucket/model.onnx' };

function manifest(predictor: object, rest: { spec?: object; metadata?: object } = {}): object {
  return {
    apiVersion: 'serving.pilotlight.dev/v1alpha1',
    kind: 'InferenceService',
    metadata: { name: 'digits', ...rest.metadata },
    spec: { predictor, ...rest.spec },
  };
}

function problems(value: unknown): Problem[] {
  const result = parseInferenceService(value);
  return result.ok ? [] : result.problems;
}

function messages(value: unknown): Record<string, string> {
  return Object.fromEntries(problems(value).map(({ path, message }) => [path, message]));
}

function parsed(predictor: object) {
  const result = parseInferenceService(manifest(predictor));
  if (!result.ok) throw new Error(JSON.stringify(result.problems));
  return result.service.spec.predictor;
}

describe('a valid service', () => {
  it('gets the defaults of Knative’s autoscaler', () => {
    expect(parsed({ model: MODEL })).toMatchObject({
      minReplicas: 0,
      maxReplicas: 0,
      scaleMetric: 'concurrency',
      containerConcurrency: 0,
      timeoutMs: 300_000,
      scaling: {
        stableWindowMs: 60_000,
        panicWindowPercentage: 10,
        panicThresholdPercentage: 200,
        targetUtilizationPercentage: 70,
        maxScaleUpRate: 1_000,
        maxScaleDownRate: 2,
        burstCapacity: 211,
        scaleToZeroGracePeriodMs: 30_000,
        scaleToZeroRetentionMs: 0,
        scaleDownDelayMs: 0,
        keepAliveMs: 0,
        initialScale: 1,
        activationScale: 1,
        startTimeoutMs: 120_000,
        queue: { maxRequests: 10_000, maxBytes: 4 * 2 ** 30 },
        schedules: [],
        retryAll: false,
      },
    });
  });

  it('has durations in milliseconds, KServe’s seconds included', () => {
    expect(parsed({ model: MODEL, timeout: 60 }).timeoutMs).toBe(60_000);
    expect(parsed({ model: MODEL, timeout: '2m' }).timeoutMs).toBe(120_000);
    expect(parsed({ model: MODEL, scaling: { stableWindow: '90s' } }).scaling.stableWindowMs).toBe(90_000);
  });

  it('has quantities as numbers in cores and bytes', () => {
    const resources = { requests: { cpu: '500m', memory: '1Gi' }, limits: { cpu: 2, 'nvidia.com/gpu': 1 } };
    expect(parsed({ model: { ...MODEL, resources } }).model?.resources).toEqual({
      requests: { cpu: 0.5, memory: 2 ** 30 },
      limits: { cpu: 2, 'nvidia.com/gpu': 1 },
    });
  });

  it('keeps pod fields that it does not read as they are', () => {
    const tolerations = [{ key: 'gpu', operator: 'Exists' }];
    const affinity = { nodeAffinity: { anything: [1, { deep: null }] } };
    expect(parsed({ model: MODEL, tolerations, affinity })).toMatchObject({ tolerations, affinity });
  });

  it('may run a container of its own', () => {
    const { containers, model } = parsed({
      containers: [
        { image: 'example/app:1', ports: [{ containerPort: 9000 }], readinessProbe: { httpGet: {} } },
      ],
    });
    expect(model).toBeUndefined();
    expect(containers?.[0]).toMatchObject({ image: 'example/app:1', ports: [{ containerPort: 9000 }] });
  });

  it('is accepted as the API server returns it, and without what only the server writes', () => {
    const result = parseInferenceService({
      ...manifest({ model: MODEL }),
      metadata: {
        name: 'digits',
        namespace: 'team',
        uid: 'u',
        generation: 3,
        creationTimestamp: null,
        managedFields: [],
      },
      status: { conditions: [{ type: 'Ready' }] },
    });
    expect(result).toMatchObject({
      ok: true,
      service: { metadata: { namespace: 'team', uid: 'u', generation: 3 } },
    });
    expect(result.ok && Object.keys(result.service)).toEqual(['apiVersion', 'kind', 'metadata', 'spec']);
  });
});

describe('an unknown field', () => {
  it('is named with its path and with the field that it may mean', () => {
    expect(
      messages(
        manifest({ model: { ...MODEL, storageURl: 'x', env: [{ name: 'A', valeu: '1' }] }, minReplica: 1 }),
      ),
    ).toEqual({
      'spec.predictor.model.storageURl': 'unknown field; did you mean "storageUri"?',
      'spec.predictor.model.env[0].valeu': 'unknown field; did you mean "value"?',
      'spec.predictor.minReplica': 'unknown field; did you mean "minReplicas"?',
    });
  });

  it('that stands in the wrong place is told where it belongs', () => {
    expect(messages(manifest({ model: { ...MODEL, stableWindow: '60s' } }))).toEqual({
      'spec.predictor.model.stableWindow': 'unknown field; did you mean spec.predictor.scaling.stableWindow?',
    });
  });

  it('is refused in metadata and at the top as well', () => {
    expect(messages({ ...manifest({ model: MODEL }, { metadata: { lables: {} } }), sepc: {} })).toEqual({
      'metadata.lables': 'unknown field; did you mean "labels"?',
      sepc: 'unknown field; did you mean "spec"?',
    });
  });

  it('of the name __proto__ is refused and not lost', () => {
    const value: unknown = JSON.parse(
      JSON.stringify(manifest({ model: MODEL })).replace(
        '"predictor":{',
        '"predictor":{"__proto__":{"a":1},',
      ),
    );
    expect(messages(value)).toEqual({ 'spec.predictor.__proto__': 'unknown field' });
  });
});

describe('the batcher', () => {
  const batcher = (value: object) => problems(manifest({ model: MODEL, batcher: value }));

  it('has KServe’s words, batches of 32, and waits for nobody unless told to', () => {
    expect(parsed({ model: MODEL, batcher: {} }).batcher).toEqual({
      maxBatchSize: 32,
      maxLatency: 0,
    });
    expect(parsed({ model: MODEL }).batcher).toBeUndefined();
  });

  it('has bounds', () => {
    expect(batcher({ maxBatchSize: 0 })).toMatchObject([{ path: 'spec.predictor.batcher.maxBatchSize' }]);
    expect(batcher({ maxBatchSize: 5_000 })).toMatchObject([{ path: 'spec.predictor.batcher.maxBatchSize' }]);
    expect(batcher({ maxLatency: -1 })).toMatchObject([{ path: 'spec.predictor.batcher.maxLatency' }]);
  });

  it('has no timeout of its own, and nothing to do beside a container', () => {
    expect(batcher({ timeout: 60 })).toMatchObject([
      {
        path: 'spec.predictor.batcher.timeout',
        message: expect.stringContaining('spec.predictor.timeout bounds each request'),
      },
    ]);
    const own = manifest({ containers: [{ name: 'c', image: 'i' }], batcher: {} });
    expect(problems(own)).toMatchObject([
      { path: 'spec.predictor.batcher', message: expect.stringContaining('only requests for a model') },
    ]);
  });
});

describe('what comes later', () => {
  it.each(['logger', 'workerSpec', 'autoScaling', 'initContainers', 'hostNetwork', 'deploymentStrategy'])(
    'spec.predictor.%s is refused by name',
    (field) => {
      const path = `spec.predictor.${field}`;
      expect(problems(manifest({ model: MODEL, [field]: {} }))).toMatchObject([
        { path, message: `not supported yet: ${path}; leave it out` },
      ]);
    },
  );

  it.each(['transformer', 'explainer'])('spec.%s is refused by name', (field) => {
    expect(messages(manifest({ model: MODEL }, { spec: { [field]: {} } }))).toEqual({
      [`spec.${field}`]: `not supported yet: spec.${field}; leave it out`,
    });
  });

  it.each(['cpu', 'memory'])('scaleMetric %s is refused with what there is', (scaleMetric) => {
    expect(messages(manifest({ model: MODEL, scaleMetric }))).toEqual({
      'spec.predictor.scaleMetric': `not supported yet: spec.predictor.scaleMetric "${scaleMetric}" (concurrency and rps are)`,
    });
  });

  it.each(['hf://org/model', 'oci://registry/m'])('storage %s is refused', (storageUri) => {
    expect(
      messages(manifest({ model: { ...MODEL, storageUri } }))['spec.predictor.model.storageUri'],
    ).toMatch(/^not supported yet: spec\.predictor\.model\.storageUri (hf|oci):/);
  });

  it.each([
    'gs://bucket/m',
    'pvc://claim/m',
    'pvc://claim',
    'abfss://container@account1.dfs.core.windows.net/m',
    'https://account1.blob.core.windows.net/container/folder',
  ])('storage %s is taken', (storageUri) => {
    expect(messages(manifest({ model: { ...MODEL, storageUri } }))).toEqual({});
  });

  it.each([
    ['pvc:///m', 'expected "pvc://claim/path"'],
    ['pvc://claim/../../etc', 'expected "pvc://claim/path"'],
    ['abfss://account1.dfs.core.windows.net/m', 'expected "abfss://container@account'],
    ['abfss://user:secret@account1.dfs.core.windows.net/m', 'expected "abfss://container@account'],
  ])('storage %s is refused with what was expected', (storageUri, message) => {
    expect(
      messages(manifest({ model: { ...MODEL, storageUri } }))['spec.predictor.model.storageUri'],
    ).toContain(message);
  });

  it('schedules are refused, and checked all the same', () => {
    const schedules = [
      { cron: '0 8 * * MON-FRI', minReplicas: 2, timeZone: 'Europe/Zurich' },
      { cron: '0 25 * * *', minReplicas: 0, timeZone: 'Mars/Olympus' },
    ];
    expect(messages(manifest({ model: MODEL, scaling: { schedules } }))).toEqual({
      'spec.predictor.scaling.schedules': 'not supported yet: spec.predictor.scaling.schedules; leave it out',
      'spec.predictor.scaling.schedules[1].cron': expect.stringContaining('got "0 25 * * *"'),
      'spec.predictor.scaling.schedules[1].timeZone': expect.stringContaining('got "Mars/Olympus"'),
    });
  });

  it('a second container is refused by its place', () => {
    expect(messages(manifest({ containers: [{ image: 'a' }, { image: 'b' }] }))).toEqual({
      'spec.predictor.containers[1]': 'not supported yet: spec.predictor.containers[1]; leave it out',
    });
  });
});

describe('a wrong value', () => {
  it.each<[string, object, string, string]>([
    ['text for a number', { minReplicas: '1' }, 'minReplicas', 'expected a number, got "1"'],
    [
      'a fraction for a count',
      { minReplicas: 1.5 },
      'minReplicas',
      'expected a whole number, got the number 1.5',
    ],
    ['a negative count', { containerConcurrency: -1 }, 'containerConcurrency', 'expected at least 0, got -1'],
    [
      'a share above 100',
      { canaryTrafficPercent: 101 },
      'canaryTrafficPercent',
      'expected at most 100, got 101',
    ],
    [
      'digits for a duration',
      { timeout: '60' },
      'timeout',
      'expected a duration such as "90s", "2m" or "1h30m", got "60"; write "60s" for seconds',
    ],
    ['an unknown metric', { scaleMetric: 'concurency' }, 'scaleMetric', 'expected one of'],
    ['a null', { minReplicas: null }, 'minReplicas', 'expected a number, got null (an empty value)'],
    ['a list for a mapping', { scaling: [] }, 'scaling', 'expected a mapping, got a list'],
    [
      'a window below 6 s',
      { scaling: { stableWindow: '5s' } },
      'scaling.stableWindow',
      'expected at least 6s, got 5s',
    ],
    [
      'a bare number as a window',
      { scaling: { stableWindow: 60 } },
      'scaling.stableWindow',
      'got the number 60',
    ],
    [
      'a rate of one',
      { scaling: { maxScaleUpRate: 1 } },
      'scaling.maxScaleUpRate',
      'expected more than 1, got 1',
    ],
    [
      'a strange unit',
      { scaling: { queue: { maxBytes: '3GB' } } },
      'scaling.queue.maxBytes',
      'did you mean the unit "Gi"?',
    ],
    [
      'more at least than at most',
      { minReplicas: 3, maxReplicas: 2 },
      'maxReplicas',
      'expected at least minReplicas (3) or 0, got 2',
    ],
  ])('%s says what was expected and what came', (_case, fields, path, message) => {
    const found = problems(manifest({ model: MODEL, ...fields }));
    expect(found.map((problem) => problem.path)).toEqual([`spec.predictor.${path}`]);
    expect(found[0]?.message).toContain(
      message === 'expected one of' ? 'did you mean "concurrency"?' : message,
    );
  });

  it('all problems of a document are told at once', () => {
    expect(problems(manifest({ model: { modelFormat: {} }, minReplicas: -1, foo: 1 }))).toHaveLength(3);
  });

  it.each<[string, object, string]>([
    ['neither model nor container', {}, 'spec.predictor'],
    ['model and container', { model: MODEL, containers: [{ image: 'a' }] }, 'spec.predictor.containers'],
    ['no place of the model', { model: { modelFormat: { name: 'onnx' } } }, 'spec.predictor.model'],
    [
      'two places of the model',
      { model: { ...MODEL, storage: { path: 'm' } } },
      'spec.predictor.model.storage',
    ],
    [
      'a path without scheme',
      { model: { ...MODEL, storageUri: './m.onnx' } },
      'spec.predictor.model.storageUri',
    ],
    [
      'a password in a URL',
      { model: { ...MODEL, storageUri: 'https://u:p@h/m' } },
      'spec.predictor.model.storageUri',
    ],
    [
      'a host in a file URI',
      { model: { ...MODEL, storageUri: 'file://m.onnx' } },
      'spec.predictor.model.storageUri',
    ],
    ['an unknown argument', { model: { ...MODEL, args: ['--x=1'] } }, 'spec.predictor.model.args[0]'],
    [
      'value and valueFrom',
      {
        model: {
          ...MODEL,
          env: [{ name: 'A', value: '', valueFrom: { secretKeyRef: { name: 's', key: 'k' } } }],
        },
      },
      'spec.predictor.model.env[0].valueFrom',
    ],
    [
      'a request above its limit',
      { model: { ...MODEL, resources: { requests: { cpu: 2 }, limits: { cpu: 1 } } } },
      'spec.predictor.model.resources.requests.cpu',
    ],
  ])('%s is refused at its place', (_case, predictor, path) => {
    expect(problems(manifest(predictor)).map((problem) => problem.path)).toEqual([path]);
  });

  it.each(['Digits', '1a', 'a-', 'a.b', 'a'.repeat(46)])('the name %s is refused', (name) => {
    expect(messages(manifest({ model: MODEL }, { metadata: { name } }))).toHaveProperty(['metadata.name']);
  });

  it('is bounded in depth and size before anything looks into it', () => {
    let deep: unknown = 1;
    for (let level = 0; level < 50_000; level++) deep = { a: deep };
    expect(problems(manifest({ model: MODEL, affinity: deep }))[0]?.message).toContain('levels of nesting');
    const wide = Array.from({ length: 100_001 }, () => 1);
    expect(problems(manifest({ model: MODEL, affinity: { wide } }))[0]?.message).toContain(
      'at most 100000 values',
    );
  });

  it.each([undefined, null, 1, 'text', []])('%j in place of a document is refused', (value) => {
    expect(problems(value)).toHaveLength(1);
  });
});

describe('warnings', () => {
  it('name what is accepted without an effect, and the field that has it', () => {
    const result = parseInferenceService(
      manifest(
        { model: { ...MODEL, runtime: 'kserve-tritonserver' } },
        {
          metadata: {
            annotations: {
              'autoscaling.knative.dev/target': '1',
              'serving.kserve.io/deploymentMode': 'Standard',
              'serving.kserve.io/stop': 'true',
            },
          },
        },
      ),
    );
    expect(result.ok && result.warnings.map(({ path, message }) => [path, message])).toEqual([
      [
        'metadata.annotations["autoscaling.knative.dev/target"]',
        'has no effect here: use spec.predictor.scaleTarget',
      ],
      ['metadata.annotations["serving.kserve.io/deploymentMode"]', 'has no effect here'],
      ['spec.predictor.model.runtime', 'has no effect: Pilotlight serves ONNX models with its own runtime'],
    ]);
  });
});
