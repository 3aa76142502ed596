import type { AutoscalerSpec } from './spec.ts';

/** How long things have been as they must be for the last replica to go. */
export interface Idleness {
  /** Since the last request, or since the load has been known without a break. */
  readonly idleForMs: number;
  /** Since idle was established; 0 when it is established only now. */
  readonly inactiveForMs: number;
  /** Since requests have gone through an activator. */
  readonly proxiedForMs: number;
  readonly activatorProved: boolean;
}

export type HoldCode = 'idle-window' | 'keep-alive' | 'activator-unproved' | 'retention' | 'grace';

/** `inactive`: requests have to go through an activator from now on. */
export type ToZero =
  | { readonly go: true; readonly inactive: true }
  | { readonly go: false; readonly inactive: boolean; readonly code: HoldCode; readonly leftMs: number };

/**
 * The way to zero: idle for a whole stable window → an activator in the path → it answers → retention and
 * grace over → 0. Source: KPA's `handleScaleToZero`. A revision that has been proxied all along (its burst
 * capacity never sufficed) has its grace behind it already, so it goes as soon as it is idle.
 *
 * The keep-alive counts from the last request to zero itself, so the grace runs inside it: 300 s of
 * keep-alive and 30 s of grace put the activator in the path after 270 s.
 */
export function stepToZero(spec: AutoscalerSpec, idleness: Idleness): ToZero {
  const { idleForMs, inactiveForMs, proxiedForMs } = idleness;
  const untilProxiedMs = spec.keepAliveMs - spec.scaleToZeroGraceMs;
  if (idleForMs < spec.stableWindowMs) return hold(false, 'idle-window', spec.stableWindowMs - idleForMs);
  if (idleForMs < untilProxiedMs) return hold(false, 'keep-alive', spec.keepAliveMs - idleForMs);
  if (!idleness.activatorProved) return hold(true, 'activator-unproved', 0);
  if (inactiveForMs < spec.scaleToZeroRetentionMs) {
    return hold(true, 'retention', spec.scaleToZeroRetentionMs - inactiveForMs);
  }
  if (proxiedForMs < spec.scaleToZeroGraceMs) {
    return hold(true, 'grace', spec.scaleToZeroGraceMs - proxiedForMs);
  }
  if (idleForMs < spec.keepAliveMs) return hold(true, 'keep-alive', spec.keepAliveMs - idleForMs);
  return { go: true, inactive: true };
}

function hold(inactive: boolean, code: HoldCode, leftMs: number): ToZero {
  return { go: false, inactive, code, leftMs };
}
