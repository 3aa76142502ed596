import type { KubeObject } from './wire.ts';

/**
 * Leader election on a Lease, as decisions without clock and I/O.
 *
 * What makes it safe: a holder leads only until `renewDeadlineMs` after it *sent* its last successful renewal.
 * Anyone else waits until a whole lease duration has gone by since it *saw* the record change, by its own
 * clock. A change is seen after it was sent, and the duration is longer than the deadline, so the one has
 * stopped before the other begins, whatever was delayed in between. Remote clocks play no part, and writes are
 * guarded by resourceVersion. Clocks may differ in speed by the ratio of the two (a fifth with the defaults).
 */
export interface Lease extends KubeObject {
  readonly spec?: LeaseSpec;
}

export interface LeaseSpec {
  /** Absent or empty: released. */
  readonly holderIdentity?: string;
  readonly leaseDurationSeconds?: number;
  /** RFC 3339 with microseconds. */
  readonly acquireTime?: string;
  readonly renewTime?: string;
  /** Counts the changes of holder; ours count a restart under the same identity as well. */
  readonly leaseTransitions?: number;
}

export interface ElectionSettings {
  readonly identity: string;
  readonly leaseDurationMs: number;
  readonly renewDeadlineMs: number;
  readonly retryMs: number;
}

export interface ElectionState {
  /** The Lease as last read or written, and since when its record is known to be as it is. */
  readonly seen: { readonly lease: Lease | undefined; readonly sinceMs: number } | undefined;
  /** Set while this process leads. */
  readonly tenure: Tenure | undefined;
}

export interface Tenure {
  readonly epoch: number;
  /** Leading ends here unless renewed. */
  readonly untilMs: number;
}

/** What to do next: write this spec over what was seen, or wait. */
export type Intent =
  | { readonly type: 'write'; readonly spec: LeaseSpec; readonly epoch: number }
  | { readonly type: 'wait'; readonly forMs: number };

export const NOT_STARTED: ElectionState = { seen: undefined, tenure: undefined };

/** The only question that counts before anything is done in a leader's name. */
export function leads({ tenure }: ElectionState, nowMs: number): boolean {
  return tenure !== undefined && nowMs < tenure.untilMs;
}

/** The Lease was read; undefined: there is none. Whoever led and isn't named in it any more has lost. */
export function afterRead(
  state: ElectionState,
  lease: Lease | undefined,
  nowMs: number,
  { identity }: Pick<ElectionSettings, 'identity'>,
): ElectionState {
  const same = state.seen !== undefined && record(state.seen.lease) === record(lease);
  const sinceMs = same && state.seen !== undefined ? state.seen.sinceMs : nowMs;
  const stillOurs =
    lease?.spec?.holderIdentity === identity && lease.spec.leaseTransitions === state.tenure?.epoch;
  return { seen: { lease, sinceMs }, tenure: stillOurs ? state.tenure : undefined };
}

/** A write was accepted that had been sent at `sentMs`. */
export function afterWrite(
  state: ElectionState,
  lease: Lease,
  epoch: number,
  sentMs: number,
  { renewDeadlineMs }: Pick<ElectionSettings, 'renewDeadlineMs'>,
): ElectionState {
  // A renewal that is confirmed only after the tenure was given up does not bring it back: its end was told.
  const renewsLost = state.tenure === undefined && state.seen?.lease?.spec?.leaseTransitions === epoch;
  const tenure = renewsLost ? undefined : { epoch, untilMs: sentMs + renewDeadlineMs };
  return { seen: { lease, sinceMs: sentMs }, tenure };
}

/** Time has gone by. */
export function afterTime(state: ElectionState, nowMs: number): ElectionState {
  return state.tenure === undefined || leads(state, nowMs) ? state : { ...state, tenure: undefined };
}

/** What to do at `nowMs`, for a Lease that has been read. Whoever leads renews. */
export function intentOf(state: ElectionState, nowMs: number, settings: ElectionSettings): Intent {
  const { identity, leaseDurationMs, retryMs } = settings;
  const spec = state.seen?.lease?.spec ?? {};
  const renewal: LeaseSpec = {
    ...spec,
    holderIdentity: identity,
    leaseDurationSeconds: Math.ceil(leaseDurationMs / 1000),
    renewTime: microTime(nowMs),
  };
  if (state.tenure !== undefined) return { type: 'write', spec: renewal, epoch: state.tenure.epoch };
  const freeAtMs = takeableAtMs(state, settings);
  if (nowMs < freeAtMs) return { type: 'wait', forMs: Math.min(retryMs, freeAtMs - nowMs) };
  const epoch = nextEpoch(spec, nowMs);
  return {
    type: 'write',
    epoch,
    spec: { ...renewal, acquireTime: microTime(nowMs), leaseTransitions: epoch },
  };
}

/** The spec that gives the Lease up: nobody holds it, and the count goes on from where it was. */
export function released(lease: Lease, nowMs: number): LeaseSpec {
  const { leaseTransitions = 0 } = lease.spec ?? {};
  return { leaseDurationSeconds: 1, leaseTransitions, renewTime: microTime(nowMs) };
}

/** Local time from which the Lease may be taken. */
function takeableAtMs({ seen }: ElectionState, { identity, leaseDurationMs }: ElectionSettings): number {
  const { holderIdentity = '', leaseDurationSeconds } = seen?.lease?.spec ?? {};
  // Our own identity without a tenure: this process in an earlier life, or a write whose answer was lost.
  if (holderIdentity === '' || holderIdentity === identity) return Number.NEGATIVE_INFINITY;
  // What the holder promised counts, as it may run with other settings during an upgrade.
  const promisedMs = leaseDurationSeconds === undefined ? leaseDurationMs : leaseDurationSeconds * 1000;
  return (seen?.sinceMs ?? 0) + promisedMs;
}

/**
 * One more than the last. A Lease without a count starts at the minutes since 1970: had it been deleted, a
 * count from zero would give out epochs again that replicas have seen and so refuse. (Fits its 32 bits.)
 */
function nextEpoch({ leaseTransitions }: LeaseSpec, nowMs: number): number {
  return leaseTransitions === undefined ? Math.floor(nowMs / 60_000) : leaseTransitions + 1;
}

/** What must change for a Lease to count as renewed; labels and the like don't. */
function record(lease: Lease | undefined): string {
  const { holderIdentity, renewTime, leaseTransitions } = lease?.spec ?? {};
  return JSON.stringify([lease === undefined, holderIdentity, renewTime, leaseTransitions]);
}

/** RFC 3339 with just six digits of a second, the only form that a Lease takes. */
export function microTime(epochMs: number): string {
  const micros = Math.floor((epochMs - Math.floor(epochMs)) * 1000);
  return new Date(Math.floor(epochMs)).toISOString().replace('Z', `${String(micros).padStart(3, '0')}Z`);
}
