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
  const state = processState(pid);
  if (state === undefined) return { pid };
  return state.ended ? undefined : { pid, startTimeTicks: state.startTimeTicks };
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

/** What /proc says of a process, or undefined without one or without /proc. An ended one waits for its parent. */
export function processState(pid: number): { ended: boolean; startTimeTicks: number } | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  // The second field is the command in parentheses and may hold spaces: count from the last parenthesis.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const startTimeTicks = Number(fields[19]);
  return Number.isFinite(startTimeTicks)
    ? { ended: /^[ZX]/.test(fields[0] ?? ''), startTimeTicks }
    : undefined;
}
