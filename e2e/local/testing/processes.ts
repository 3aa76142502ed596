import { readdirSync, readFileSync } from 'node:fs';
import { stillRuns } from '../../../process/process-identity.ts';

export interface FoundProcess {
  pid: number;
  command: string;
}

/** Living processes whose environment holds `name=value`: all descendants of whoever was started with it. */
export function processesMarked(name: string, value: string): FoundProcess[] {
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .flatMap((entry) => {
      const pid = Number(entry);
      try {
        if (!readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`${name}=${value}`)) return [];
        const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
        return stillRuns({ pid }) ? [{ pid, command }] : [];
      } catch {
        return [];
      }
    });
}
