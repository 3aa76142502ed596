import type { AutoscalerSpec } from './spec.ts';
import { targetOf } from './spec.ts';
import type { HoldCode } from './to-zero.ts';
import type { Wanted } from './wanted.ts';
import type { Average } from './windows.ts';

/** `8.4 concurrent requests over 60 s / target 3.5 per replica` */
export function loadPhrase(load: Average, spec: AutoscalerSpec): string {
  const requests = load.value === 1 ? 'request' : 'requests';
  const unit = spec.metric === 'rps' ? `${requests}/s` : `concurrent ${requests}`;
  return `${number(load.value)} ${unit} over ${seconds(load.overMs)} / target ${number(targetOf(spec))} per replica`;
}

/** `10 wanted: <basis> would be 43; maxReplicas is 10; 2 ready` */
export function wantedReason(wanted: Wanted, basis: string, unlimited: number, ready: number): string {
  const isHeld = wanted.code === 'panic-hold' || wanted.code === 'scale-down-delay';
  const verb = isHeld ? `holding ${wanted.count}` : `${wanted.count} wanted`;
  const parts = wanted.notes.length === 0 ? [basis] : [`${basis} would be ${unlimited}`, ...wanted.notes];
  return `${verb}: ${[...parts, `${ready} ready`].join('; ')}`;
}

/** The words for the last replica on the way to zero. */
export function holdReason(
  count: number,
  code: HoldCode,
  idleForMs: number,
  leftMs: number,
  spec: AutoscalerSpec,
): string {
  const idle = `idle for ${seconds(idleForMs)}`;
  const left = `${seconds(leftMs)} left`;
  switch (code) {
    case 'idle-window':
      return `holding ${count}: ${idle}, to zero only after a stable window of ${seconds(spec.stableWindowMs)}; ${left}`;
    case 'keep-alive':
      return `holding ${count}: ${idle}, keep-alive of ${seconds(spec.keepAliveMs)}; ${left}`;
    case 'activator-unproved':
      return `holding ${count}: ${idle}, no proof yet that an activator answers for it`;
    case 'retention':
      return `holding ${count}: ${idle}, activator answered, retention of ${seconds(spec.scaleToZeroRetentionMs)}; ${left}`;
    case 'grace':
      return `holding ${count}: ${idle}, activator answered, grace of ${seconds(spec.scaleToZeroGraceMs)}; ${left}`;
  }
}

/** `0 wanted: idle for 60 s, activator answered, grace of 30 s over` */
export function toZeroReason(idleForMs: number, spec: AutoscalerSpec): string {
  return `0 wanted: idle for ${seconds(idleForMs)}, activator answered, grace of ${seconds(spec.scaleToZeroGraceMs)} over`;
}

export function atZeroReason(quietForMs: number | undefined): string {
  return quietForMs === undefined
    ? '0 wanted: no request has been seen'
    : `0 wanted: no request for ${seconds(quietForMs)}`;
}

/** Milliseconds as whole seconds, or one decimal below ten: `0.4 s`, `12 s`. Never more digits than help. */
export function seconds(ms: number): string {
  const value = ms / 1000;
  return `${value < 10 ? Math.round(value * 10) / 10 : Math.round(value)} s`;
}

/** At most two decimals, and what is not 0 is never shown as 0. */
export function number(value: number): string {
  if (value > 0 && value < 0.01) return 'less than 0.01';
  return String(Math.round(value * 100) / 100);
}
