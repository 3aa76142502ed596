import type { PlatformCase, Pod } from './platform.ts';

/**
 * Runs a function in the container of a runtime pod, by its own Node: the image has no shell.
 *
 * @param work stands by itself (it is sent as text): what it needs it takes from `process`, and its result is JSON
 */
export async function evaluateInPod<Result>(on: PlatformCase, pod: Pod, work: () => Result): Promise<Result> {
  const program = `process.stdout.write(JSON.stringify((${String(work)})()))`;
  const where = ['exec', pod.metadata?.name ?? '', '--'];
  // What the function returns is what it says, by way of JSON.
  return JSON.parse(await on.kubectl(...where, '/usr/local/bin/node', '--eval', program)) as Result;
}

/** What the runtime's process holds, by the kernel's own account. */
export interface Holdings {
  readonly residentBytes: number;
  /** Files that it has open or mapped. */
  readonly inUse: readonly string[];
  /** Files that lie where it may write, used or not. */
  readonly kept: readonly string[];
}

/** To be evaluated in a runtime pod. */
export function holdings(): Holdings {
  const fs = process.getBuiltinModule('node:fs');
  const pid = fs.readdirSync('/proc').find((entry) => {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) return false;
    return fs.readFileSync(`/proc/${entry}/cmdline`, 'utf8').includes('/app/runtime/main.js');
  });
  if (pid === undefined) throw new Error('no process of the runtime is there');
  const resident = /^VmRSS:\s+(\d+) kB$/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  const mapped = fs
    .readFileSync(`/proc/${pid}/maps`, 'utf8')
    .split('\n')
    .flatMap((line) => /\s(\/.*)$/.exec(line)?.[1] ?? []);
  const open = fs.readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return fs.readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      // Closed since the folder was read.
      return [];
    }
  });
  // All that is not read-only.
  const kept = ['/tmp', '/cache', '/dev/shm'].flatMap((folder) =>
    fs
      .readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => `${entry.parentPath}/${entry.name}`),
  );
  const inUse = new Set([...mapped, ...open.filter((path) => path.startsWith('/'))]);
  return { residentBytes: Number(resident) * 1024, inUse: [...inUse].sort(), kept: kept.sort() };
}
