import type { PoolReport } from '../ports.ts';
import { isOnItsWayOut, type ReplicaRecord } from './replica-record.ts';
import { isQuarantined, type Quarantine } from './replicas.ts';
import type { StartTrouble } from './start-trouble.ts';

export interface PoolReportsInput {
  readonly pools: Iterable<{ readonly key: string; readonly trouble: StartTrouble | undefined }>;
  /** All replicas that there are, of every pool. */
  readonly records: Iterable<ReplicaRecord>;
  readonly quarantine: ReadonlyMap<string, Quarantine>;
  /** Standbys that a pool has asked for and the platform hasn't shown yet. */
  readonly creating: (pool: string) => number;
  readonly nowMs: number;
}

/** How each pool stands, in one pass over the replicas. What is being ended counts nowhere. */
export function poolReports(input: PoolReportsInput): Map<string, PoolReport> {
  const reports = new Map<string, PoolReport>();
  for (const { key, trouble } of input.pools) {
    reports.set(key, {
      ready: 0,
      starting: input.creating(key),
      serving: 0,
      quarantined: 0,
      ...(trouble !== undefined && { trouble: { code: trouble.code, message: trouble.message } }),
    });
  }
  for (const record of input.records) {
    const report = reports.get(record.pool ?? '');
    if (report === undefined) continue;
    const place = placeOf(record, input);
    if (place === undefined) continue;
    report[place] += 1;
    if (record.waitsFor !== undefined) report.trouble ??= { ...record.waitsFor };
  }
  return reports;
}

type Place = 'ready' | 'starting' | 'serving' | 'quarantined';

function placeOf(record: ReplicaRecord, input: PoolReportsInput): Place | undefined {
  if (record.phase === 'recycling' || record.phase === 'starting') return 'starting';
  // One that drains has requests of its service still.
  if (record.owner !== undefined) return record.phase === 'removing' ? undefined : 'serving';
  if (isOnItsWayOut(record)) return undefined;
  return isQuarantined(record, input.quarantine, undefined, input.nowMs) ? 'quarantined' : 'ready';
}
