import { describe, expect, it } from 'vitest';
import { cacheProblem, type PoolStatusInput, poolStatus } from './pool-status.ts';
import { kubeSettings, poolObject } from './testing/pods.ts';

const NOON_MS = Date.UTC(2026, 10, 24, 12);

function status(
  counts: Partial<PoolStatusInput['report']>,
  rest: Partial<Omit<PoolStatusInput, 'report'>> = {},
) {
  const report = { ready: 0, starting: 0, serving: 0, quarantined: 0, ...counts };
  return poolStatus({ generation: 4, size: 3, report, ...rest }, undefined, NOON_MS);
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
    expect(status({}, { size: 0 }).conditions).toMatchObject([{ status: 'True' }]);
  });

  it('that isn’t says that pods start', () => {
    expect(status({ ready: 1, starting: 2 }).conditions).toMatchObject([
      { status: 'False', reason: 'Starting', message: '1 of 3 ready, 2 starting' },
    ]);
  });

  it('that isn’t says Kubernetes’ own reason', () => {
    const trouble = { code: 'ExceededQuota', message: 'exceeded quota: small' };
    expect(status({ ready: 1, trouble }).conditions).toMatchObject([
      { status: 'False', reason: 'ExceededQuota', message: '1 of 3 ready: exceeded quota: small' },
    ]);
    expect(status({ ready: 3, trouble }).conditions).toMatchObject([{ status: 'True' }]);
  });

  it('that is refused says why, whatever pods of it are left', () => {
    const message = cacheProblem(poolObject({ cache: { hostPath: { path: '/a' } } }).spec, kubeSettings());
    expect(message).toBe(
      'spec.cache.hostPath is not allowed by the operator of this platform (allowCache.hostPath of the controller’s configuration): use emptyDir',
    );
    const refusal = { reason: 'CacheNotAllowed', message: message ?? '' } as const;
    expect(status({ ready: 3 }, { refusal }).conditions).toMatchObject([
      { status: 'False', reason: 'CacheNotAllowed', message },
    ]);
  });

  it('keeps the time of its condition until that changes', () => {
    const before = status({ ready: 3 });
    const later = (ready: number) =>
      poolStatus(
        { generation: 4, size: 3, report: { ready, starting: 0, serving: 0, quarantined: 0 } },
        before,
        NOON_MS + 60_000,
      );
    expect(later(4).conditions?.[0]?.lastTransitionTime).toBe('2026-11-24T12:00:00Z');
    expect(later(2).conditions?.[0]?.lastTransitionTime).toBe('2026-11-24T12:01:00Z');
  });
});
