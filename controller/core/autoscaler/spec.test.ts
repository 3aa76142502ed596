import { describe, expect, it } from 'vitest';
import { autoscalerSpec, panicBuckets, resolveTargetCapacity, stableBuckets, targetOf } from './spec.ts';

describe('the settings', () => {
  it('are those of KPA where nothing is given', () => {
    expect(autoscalerSpec()).toEqual({
      metric: 'concurrency',
      targetCapacity: 100,
      targetUtilisation: 0.7,
      stableWindowMs: 60_000,
      panicWindowPercentage: 10,
      panicThresholdPercentage: 200,
      maxScaleUpRate: 1000,
      maxScaleDownRate: 2,
      targetBurstCapacity: 211,
      scaleToZeroGraceMs: 30_000,
      scaleToZeroRetentionMs: 0,
      keepAliveMs: 0,
      scaleDownDelayMs: 0,
      initialScale: 1,
      activationScale: 1,
      minReplicas: 0,
      maxReplicas: 0,
    });
    expect(autoscalerSpec({ metric: 'rps' }).targetCapacity).toBe(200);
  });

  it('aim for 70 % of the capacity and never for nothing', () => {
    expect(targetOf(autoscalerSpec())).toBe(70);
    expect(targetOf(autoscalerSpec({ targetCapacity: 0.001 }))).toBe(0.01);
  });

  it.each([
    [60_000, 10, 6],
    [60_000, 11, 7], // 6.6 s
    [6_000, 10, 1], // 0.6 s
    [6_000, 1, 1], // 0.06 s, but at least one bucket
    [15_000, 10, 2], // 1.5 s is rounded up
    [3_600_000, 100, 3600],
  ])('round the panic window: %i ms at %i %% is %i s', (stableWindowMs, panicWindowPercentage, expected) => {
    expect(panicBuckets(autoscalerSpec({ stableWindowMs, panicWindowPercentage }))).toBe(expected);
  });

  it('bound the window by an hour, so that the state has a size', () => {
    expect(stableBuckets(autoscalerSpec({ stableWindowMs: 1e12 }))).toBe(3600);
    expect(stableBuckets(autoscalerSpec({ stableWindowMs: 0 }))).toBe(1);
  });
});

describe('the capacity of a replica', () => {
  it('is 100 at once, or 200 a second, when the manifest is silent', () => {
    expect(resolveTargetCapacity('concurrency', undefined, undefined)).toBe(100);
    expect(resolveTargetCapacity('concurrency', 0, undefined)).toBe(100);
    expect(resolveTargetCapacity('rps', 8, undefined)).toBe(200);
  });

  it('is what the container takes at once', () => {
    expect(resolveTargetCapacity('concurrency', 4, undefined)).toBe(4);
  });

  it('is the target that the manifest names, but never more than the container takes', () => {
    expect(resolveTargetCapacity('concurrency', 0, 10)).toBe(10);
    expect(resolveTargetCapacity('concurrency', 4, 3)).toBe(3);
    expect(resolveTargetCapacity('concurrency', 4, 10)).toBe(4);
    expect(resolveTargetCapacity('rps', 4, 50)).toBe(50);
  });
});
