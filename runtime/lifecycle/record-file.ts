import { renameSync, writeFileSync } from 'node:fs';
import { identify } from '../../process/process-identity.ts';

/** What a local platform needs to find a runtime again after a restart of its own. */
export interface RuntimeRecord {
  /** The same as `incarnation`. */
  id: string;
  pid: number;
  /** Tells a reused pid apart; absent where there is no /proc. It survives `execve`. */
  startTimeTicks?: number;
  /** New with each `execve`. */
  incarnation: string;
  host: string;
  servingPort: number;
  adminPort?: number;
}

/** Writes the record of this process so that a reader sees the old one or the new one, never half of one. */
export function writeRecord(
  path: string,
  record: Omit<RuntimeRecord, 'id' | 'pid' | 'startTimeTicks'>,
): void {
  const identity = identify(process.pid) ?? { pid: process.pid };
  const whole: RuntimeRecord = { id: record.incarnation, ...identity, ...record };
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, `${JSON.stringify(whole)}\n`);
  renameSync(temporary, path);
}
