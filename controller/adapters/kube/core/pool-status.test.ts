import { describe, expect, it } from 'vitest';
import { type PoolStatusInput, poolStatus } from './pool-status.ts';
import { kubeSettings, poolObject } from './testing/pods.ts';

const NOON_MS = Date.UTC(2026, 10, 24, 12);

function status(counts: Partial<PoolStatusInput['counts']>, rest: Partial<PoolStatusInput> = {}) {
  return poolStatus(
    {
      generation: 4,
      spec: poolObject({ size: 3 }).spec,
      settings: kubeSettings(),
      counts: { ready: 0, starting: 0, serving: 0, quarantined: 0, ...counts },
      ...rest,
    },
    undefined,
    NOON_MS,
  );
}

describe('a pool', () => {
  it('is ready when it has its size, however many serve', () => {
    expect(status({ ready: 3, serving: 9 })).toEqual({
      observedGeneration: 4,
      ready: 3,
      starting: 0,
      serving: 9,
      quarantined: 0,
      conditions: [
        { type: 'Ready', status: 'True', observedGeneration: 4, lastTransitionTime: '2026-11-24T12:00:00Z' },
      ],
    });
    expect(status({}, { spec: poolObject({ size: 0 }).spec }).conditions).toMatchObject([{ status: 'True' }]);
  });

  it.each<[string, Partial<PoolStatusInput>, string, string]>([
    ['that pods start', {}, 'Starting', '1 of 3 ready, 2 starting'],
    [
      'Kubernetes’ own reason',
      { trouble: { code: 'ExceededQuota', message: 'exceeded quota: small' } },
      'ExceededQuota',
      '1 of 3 ready: exceeded quota: small',
    ],
    [
      'what the operator doesn’t allow',
      { spec: poolObject({ cache: { hostPath: { path: '/a' } } }).spec },
      'CacheNotAllowed',
      'spec.cache.hostPath is not allowed by the operator of this platform (allowCache.hostPath of the controller’s configuration): use emptyDir',
    ],
  ])('that isn’t says %s', (_what, rest, reason, message) => {
    expect(status({ ready: 1, starting: 2 }, rest).conditions).toMatchObject([
      { status: 'False', reason, message },
    ]);
  });

  it('keeps the time of its condition until that changes', () => {
    const before = status({ ready: 3 });
    const input = { generation: 4, spec: poolObject({ size: 3 }).spec, settings: kubeSettings() };
    const later = (ready: number) =>
      poolStatus(
        { ...input, counts: { ready, starting: 0, serving: 0, quarantined: 0 } },
        before,
        NOON_MS + 60_000,
      );
    expect(later(4).conditions?.[0]?.lastTransitionTime).toBe('2026-11-24T12:00:00Z');
    expect(later(2).conditions?.[0]?.lastTransitionTime).toBe('2026-11-24T12:01:00Z');
  });
});
