import { readdir, readFile } from 'node:fs/promises';

/** The command line of a process, its words joined by spaces; empty when it has ended. Linux only. */
export async function commandLine(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  return text.replaceAll('\0', ' ').trim();
}

/** The processes other than this one that have a text in their command line. None where there is no /proc. */
export async function processesWith(text: string): Promise<number[]> {
  const entries = await readdir('/proc').catch(() => []);
  const pids = entries.map(Number).filter((pid) => Number.isInteger(pid) && pid !== process.pid);
  const found: number[] = [];
  for (const pid of pids) if ((await commandLine(pid)).includes(text)) found.push(pid);
  return found;
}

/** Kills a process; one that has ended meanwhile is as good. */
export function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
