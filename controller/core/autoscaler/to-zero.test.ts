import { describe, expect, it } from 'vitest';
import { autoscalerSpec } from './spec.ts';
import type { Idleness } from './to-zero.ts';
import { stepToZero } from './to-zero.ts';

const LONG: Idleness = {
  idleForMs: 1e9,
  inactiveForMs: 1e9,
  proxiedForMs: 1e9,
  activatorProved: true,
};
const spec = autoscalerSpec();

describe('the way to zero', () => {
  it('is free when all has been as it must be for long enough', () => {
    expect(stepToZero(spec, LONG)).toEqual({ go: true, inactive: true });
  });

  it('begins after a whole stable window without a request', () => {
    expect(stepToZero(spec, { ...LONG, idleForMs: 59_999 })).toEqual({
      go: false,
      inactive: false,
      code: 'idle-window',
      leftMs: 1,
    });
  });

  it('needs the proof that an activator answers, however long it takes', () => {
    expect(stepToZero(spec, { ...LONG, activatorProved: false })).toMatchObject({
      inactive: true,
      code: 'activator-unproved',
    });
  });

  it('waits out the grace from the moment that requests go through an activator', () => {
    expect(stepToZero(spec, { ...LONG, inactiveForMs: 10_000, proxiedForMs: 10_000 })).toMatchObject({
      inactive: true,
      code: 'grace',
      leftMs: 20_000,
    });
  });

  it('is short for a revision that was proxied all along: its grace is over', () => {
    expect(stepToZero(spec, { ...LONG, idleForMs: 60_000, inactiveForMs: 0 }).go).toBe(true);
  });

  it('keeps the last replica for the retention, proxied or not', () => {
    const patient = autoscalerSpec({ scaleToZeroRetentionMs: 90_000 });
    expect(stepToZero(patient, { ...LONG, inactiveForMs: 89_000 })).toMatchObject({
      code: 'retention',
      leftMs: 1_000,
    });
    expect(stepToZero(patient, { ...LONG, inactiveForMs: 90_000 }).go).toBe(true);
  });

  it('never ends before the keep-alive, with the grace inside it', () => {
    const warm = autoscalerSpec({ keepAliveMs: 300_000 });
    expect(stepToZero(warm, { ...LONG, idleForMs: 269_000 })).toMatchObject({
      inactive: false,
      code: 'keep-alive',
    });
    expect(stepToZero(warm, { ...LONG, idleForMs: 270_000, proxiedForMs: 0 })).toMatchObject({
      inactive: true,
      code: 'grace',
    });
    expect(stepToZero(warm, { ...LONG, idleForMs: 299_999 })).toMatchObject({
      code: 'keep-alive',
      leftMs: 1,
    });
    expect(stepToZero(warm, { ...LONG, idleForMs: 300_000 }).go).toBe(true);
  });
});
