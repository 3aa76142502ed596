import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { inferenceServiceCrd } from './crd.ts';
import { formatDuration } from './durations.ts';
import { formatPath, type PathSegment } from './problems.ts';
import {
  canonicalJson,
  type InferenceService,
  parseInferenceService,
  revisionSpec,
  toManifest,
} from './schema.ts';

const name = fc.stringMatching(/^[a-z]([-a-z0-9]{0,20}[a-z0-9])?$/);
const label = fc.dictionary(
  fc.stringMatching(/^[a-z]{1,8}(\.[a-z]{1,8}\/[a-z]{1,8})?$/),
  fc.stringMatching(/^[a-z0-9]{0,8}$/),
  {
    maxKeys: 3,
  },
);
const durationBetween = (minMs: number, maxMs: number) =>
  fc.integer({ min: minMs, max: maxMs }).map(formatDuration);
const quantity = fc.oneof(
  fc.constantFrom('100m', '1', '1.5', '64Mi', '2Gi', '1e3'),
  fc.integer({ min: 0, max: 64 }),
);

const envVar = fc.oneof(
  fc.record({ name: fc.stringMatching(/^[A-Z_]{1,12}$/), value: fc.string({ maxLength: 20 }) }),
  fc.record({
    name: fc.stringMatching(/^[A-Z_]{1,12}$/),
    valueFrom: fc.oneof(
      fc.record({ secretKeyRef: fc.record({ name, key: name }) }),
      fc.record({ configMapKeyRef: fc.record({ name, key: name, optional: fc.boolean() }) }),
    ),
  }),
);

const process = {
  env: fc.array(envVar, { maxLength: 3 }),
  envFrom: fc.array(fc.record({ secretRef: fc.record({ name }), prefix: fc.constant('P_') }), {
    maxLength: 2,
  }),
  resources: fc.record({
    limits: fc.dictionary(fc.constantFrom('cpu', 'memory', 'example.com/gpu'), quantity),
  }),
};

const transform = fc.record(
  {
    module: fc.constantFrom('transform.mjs', 'code/a-b.js'),
    sha256: fc.constant('0f'.repeat(32)),
    timeout: durationBetween(1, 3_600_000),
    memory: fc.constantFrom('32Mi', '1Gi', '64Gi', 100_000_000),
  },
  { requiredKeys: ['module'] },
);

const model = fc
  .tuple(
    fc.record(
      { ...process, transform, args: fc.constantFrom([], ['--instances=2'], ['--model_name', 'm']) },
      { requiredKeys: [] },
    ),
    fc.oneof(
      fc.record({
        storageUri: fc.constantFrom('s3://bucket/m', 'https://example.com/m.onnx', 'file:m.onnx', 'gs://b/m'),
      }),
      fc.record({ storage: fc.record({ path: fc.constant('a/b'), key: name, parameters: label }) }),
    ),
  )
  .map(([rest, source]) => ({ modelFormat: { name: 'onnx' as const }, ...rest, ...source }));

const container = fc.record(
  {
    ...process,
    image: fc.constant('example/app:1'),
    command: fc.array(fc.string({ maxLength: 9 }), { maxLength: 3 }),
  },
  { requiredKeys: ['image'] },
);

const scaling = fc.record(
  {
    stableWindow: durationBetween(6_000, 3_600_000),
    panicWindowPercentage: fc.integer({ min: 1, max: 100 }),
    panicThresholdPercentage: fc.integer({ min: 110, max: 1_000 }),
    maxScaleUpRate: fc.integer({ min: 2, max: 5_000 }),
    targetUtilizationPercentage: fc.integer({ min: 1, max: 100 }),
    scaleToZeroGracePeriod: durationBetween(0, 3_600_000),
    keepAlive: durationBetween(0, 604_800_000),
    initialScale: fc.integer({ min: 0, max: 10 }),
    startTimeout: durationBetween(1_000, 3_600_000),
    queue: fc.record({ maxRequests: fc.nat(100_000), maxBytes: quantity }, { requiredKeys: [] }),
    burstCapacity: fc.integer({ min: -1, max: 1_000 }),
    retryAll: fc.boolean(),
  },
  { requiredKeys: [] },
);

const predictor = fc
  .tuple(
    fc.oneof(
      model.map((one) => ({ model: one })),
      container.map((one) => ({ containers: [one] })),
    ),
    fc.record(
      {
        minReplicas: fc.nat(5),
        maxReplicas: fc.constantFrom(0, 5, 9),
        scaleTarget: fc.integer({ min: 1, max: 500 }),
        scaleMetric: fc.constantFrom('concurrency', 'rps'),
        containerConcurrency: fc.nat(1_000),
        timeout: fc.oneof(fc.integer({ min: 1, max: 86_400 }), durationBetween(1, 86_400_000)),
        canaryTrafficPercent: fc.integer({ min: 0, max: 100 }),
        scaling,
        labels: label,
        serviceAccountName: name,
        nodeSelector: label,
        affinity: fc.constant({ nodeAffinity: { free: [1, null, 'x'] } }),
      },
      { requiredKeys: [] },
    ),
  )
  .map(([workload, rest]) => ({ ...workload, ...rest }));

const manifest = fc.tuple(name, label, predictor).map(([serviceName, labels, one]) => ({
  apiVersion: 'serving.pilotlight.dev/v1alpha1',
  kind: 'InferenceService',
  metadata: { name: serviceName, labels },
  spec: { predictor: one },
}));

function parse(value: unknown): InferenceService {
  const result = parseInferenceService(value);
  if (!result.ok) throw new Error(JSON.stringify(result.problems));
  return result.service;
}

/** Paths of all mappings with fixed fields: not of labels and the like, nor of preserved pod fields. */
function typedObjects(value: unknown, path: PathSegment[] = []): PathSegment[][] {
  if (typeof value !== 'object' || value === null) return [];
  if (Array.isArray(value)) return value.flatMap((child, index) => typedObjects(child, [...path, index]));
  if (/^(labels|parameters|limits|nodeSelector|affinity)$/.test(String(path.at(-1)))) return [];
  return [path, ...Object.entries(value).flatMap(([key, child]) => typedObjects(child, [...path, key]))];
}

type Schema = { default?: unknown; properties?: Record<string, Schema>; items?: Schema };

function rootSchema(): Schema {
  const crd = inferenceServiceCrd() as { spec: { versions: { schema: { openAPIV3Schema: Schema } }[] } };
  return crd.spec.versions[0]?.schema.openAPIV3Schema ?? {};
}

/** Defaulting as the API server does it: from the outside in, wherever the parent is there. */
function withDefaults(schema: Schema, value: unknown): unknown {
  if (Array.isArray(value)) return value.map((child) => withDefaults(schema.items ?? {}, child));
  if (typeof value !== 'object' || value === null || schema.properties === undefined) return value;
  const result: Record<string, unknown> = { ...value };
  for (const [field, child] of Object.entries(schema.properties)) {
    const given = result[field] ?? structuredClone(child.default);
    if (given !== undefined) result[field] = withDefaults(child, given);
  }
  return result;
}

function withField(value: unknown, path: readonly PathSegment[], field: string): unknown {
  const copy: unknown = structuredClone(value);
  let target = copy as Record<PathSegment, unknown>;
  for (const segment of path) target = target[segment] as Record<PathSegment, unknown>;
  target[field] = 1;
  return copy;
}

describe('any valid service', () => {
  it('is read back to itself from the manifest that toManifest writes', () => {
    fc.assert(
      fc.property(manifest, (value) => {
        const service = parse(value);
        expect(parse(toManifest(service))).toEqual(service);
      }),
    );
  });

  it('names an unknown field anywhere by its exact path, and nothing else', () => {
    const unknownField = fc.stringMatching(/^[a-z]{3,9}$/).map((word) => `zz${word}`);
    fc.assert(
      fc.property(manifest, unknownField, fc.nat(), (value, field, pick) => {
        const places = typedObjects(value);
        const place = places[pick % places.length] ?? [];
        const result = parseInferenceService(withField(value, place, field));
        expect(result.ok ? [] : result.problems.map(({ path }) => path)).toEqual([
          formatPath([...place, field]),
        ]);
      }),
      { numRuns: 300 },
    );
  });

  it('means the same after the API server has filled in the defaults of the CRD', () => {
    fc.assert(
      fc.property(manifest, (value) => {
        expect(parse(withDefaults(rootSchema(), value))).toEqual(parse(value));
      }),
    );
  });

  it('has the same revision whatever the order of its fields', () => {
    const reversed = (value: unknown): unknown => {
      if (Array.isArray(value)) return value.map(reversed);
      if (typeof value !== 'object' || value === null) return value;
      return Object.fromEntries(
        Object.entries(value)
          .toReversed()
          .map(([key, child]) => [key, reversed(child)]),
      );
    };
    fc.assert(
      fc.property(manifest, (value) => {
        const revision = revisionSpec(parse(value));
        expect(JSON.stringify(revisionSpec(parse(reversed(value))))).toBe(JSON.stringify(revision));
        expect(canonicalJson(revision)).toBe(JSON.stringify(revision));
      }),
    );
  });
});

it('anything at all is refused with problems and never thrown at', () => {
  fc.assert(
    fc.property(fc.anything(), (value) => {
      expect(parseInferenceService(value).ok).toBe(false);
    }),
  );
});
