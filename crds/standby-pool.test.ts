import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { podShape } from './pod-fields.ts';
import { MAX_POOL_NAME_LENGTH, parseStandbyPool } from './standby-pool.ts';

function parse(spec: unknown, rest: object = {}) {
  return parseStandbyPool({
    apiVersion: 'serving.pilotlight.dev/v1alpha1',
    kind: 'StandbyPool',
    metadata: { name: 'small' },
    ...(spec === undefined ? {} : { spec }),
    ...rest,
  });
}

function problemsOf(spec: unknown, rest: object = {}): [string, string][] {
  const result = parse(spec, rest);
  return result.ok ? [] : result.problems.map(({ path, message }) => [path, message]);
}

describe('a StandbyPool', () => {
  it('needs nothing but a name: one pod, its cache in a folder of its own', () => {
    expect(parse(undefined)).toEqual({
      ok: true,
      pool: {
        apiVersion: 'serving.pilotlight.dev/v1alpha1',
        kind: 'StandbyPool',
        metadata: { name: 'small', namespace: 'default', labels: {}, annotations: {} },
        spec: {
          size: 1,
          cache: { kind: 'emptyDir' },
          env: [],
          envFrom: [],
          resources: { requests: {}, limits: {} },
        },
      },
    });
  });

  it('takes quantities, and every pod field that a service takes', () => {
    const given = {
      size: 2,
      resources: { limits: { memory: '2Gi', 'nvidia.com/gpu': 1 } },
      cache: { emptyDir: { sizeLimit: '20Gi' } },
      serviceAccountName: 'reader',
      tolerations: [{ key: 'gpu', operator: 'Exists' }],
      runtimeClassName: 'nvidia',
      envFrom: [{ secretRef: { name: 's' } }],
    };
    expect(parse(given)).toMatchObject({
      ok: true,
      pool: {
        spec: {
          ...given,
          resources: { limits: { memory: 2 * 2 ** 30, 'nvidia.com/gpu': 1 } },
          cache: { kind: 'emptyDir', sizeLimitBytes: 20 * 2 ** 30 },
        },
      },
    });
  });

  it.each<[object, object]>([
    [{ hostPath: { path: '/var/cache/models' } }, { kind: 'hostPath', path: '/var/cache/models' }],
    [
      { persistentVolumeClaim: { claimName: 'models' } },
      { kind: 'persistentVolumeClaim', claimName: 'models' },
    ],
    [{ emptyDir: {} }, { kind: 'emptyDir' }],
  ])('may have its cache on %j', (cache, parsed) => {
    expect(parse({ cache })).toMatchObject({ ok: true, pool: { spec: { cache: parsed } } });
  });

  it.each<[string, unknown, [string, string]]>([
    [
      'two caches',
      { cache: { emptyDir: {}, hostPath: { path: '/a' } } },
      [
        'spec.cache.hostPath',
        'expected at most one of emptyDir, hostPath, persistentVolumeClaim, got emptyDir and hostPath',
      ],
    ],
    [
      'a relative path',
      { cache: { hostPath: { path: 'a' } } },
      ['spec.cache.hostPath.path', 'expected an absolute path without ":", got "a"'],
    ],
    [
      'a way up',
      { cache: { hostPath: { path: '/a/../etc' } } },
      ['spec.cache.hostPath.path', 'expected a path without ".."'],
    ],
    ['too many pods', { size: 1_001 }, ['spec.size', 'expected at most 1000, got 1001']],
    ['no pod of a node', { perNode: 0 }, ['spec.perNode', 'expected at least 1, got 0']],
    ['a field of another kind', { minReplicas: 1 }, ['spec.minReplicas', 'unknown field']],
    [
      'a pod field that no pod may have',
      { hostNetwork: true },
      ['spec.hostNetwork', 'not supported yet: spec.hostNetwork; leave it out'],
    ],
    [
      'a request over its limit',
      { resources: { requests: { cpu: 2 }, limits: { cpu: 1 } } },
      ['spec.resources.requests.cpu', 'expected a request of at most the limit (1), got 2'],
    ],
  ])('is refused with %s', (_what, spec, problem) => {
    expect(problemsOf(spec)).toContainEqual(problem);
  });

  it('of another version is told so alone', () => {
    expect(problemsOf({ size: -1 }, { apiVersion: 'serving.pilotlight.dev/v1' })).toEqual([
      [
        'apiVersion',
        'expected "serving.pilotlight.dev/v1alpha1", got "serving.pilotlight.dev/v1"; did you mean "serving.pilotlight.dev/v1alpha1"?',
      ],
    ]);
  });

  it('has a name that leaves room for those of its pods', () => {
    const named = (length: number) => problemsOf({}, { metadata: { name: 'a'.repeat(length) } });
    expect(named(MAX_POOL_NAME_LENGTH)).toEqual([]);
    expect(named(MAX_POOL_NAME_LENGTH + 1)).toEqual([
      ['metadata.name', 'expected at most 57 characters, got 58'],
    ]);
  });

  it('knows each pod field, to take it or to refuse it by name', () => {
    fc.assert(
      fc.property(fc.constantFrom(...Object.keys(podShape)), (name) => {
        expect(problemsOf({ [name]: {} }).map(([, message]) => message)).not.toContain('unknown field');
      }),
    );
  });
});
