import { readFileSync } from 'node:fs';

/** A process told apart from a later one that got the same pid. */
export interface ProcessIdentity {
  pid: number;
  /** Start time in clock ticks since boot, field 22 of `/proc/<pid>/stat`; absent where there is no /proc. */
  startTimeTicks?: number;
}

/** Identity of a living process, or undefined when there is none with that pid. */
export function identify(pid: number): ProcessIdentity | undefined {
  if (!isAlive(pid)) return undefined;
  const fields = statFields(pid);
  if (fields === undefined) return { pid };
  // A zombie has ended; only its parent has not looked yet.
  if (fields.state === 'Z' || fields.state === 'X') return undefined;
  return { pid, startTimeTicks: fields.startTimeTicks };
}

/** Whether the very process that was identified before still runs. `execve` keeps pid and start time. */
export function stillRuns(identity: ProcessIdentity): boolean {
  const now = identify(identity.pid);
  if (now === undefined) return false;
  return identity.startTimeTicks === undefined || now.startTimeTicks === identity.startTimeTicks;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function statFields(pid: number): { state: string; startTimeTicks: number } | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  // The second field is the command in parentheses and may hold spaces: count from the last parenthesis.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const state = fields[0];
  const startTimeTicks = Number(fields[19]);
  return state === undefined || !Number.isFinite(startTimeTicks) ? undefined : { state, startTimeTicks };
}
