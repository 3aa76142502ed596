import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { manifestOf, type PlatformSettings, TestPlatform } from '../e2e/local/testing/platform.ts';
import { waitFor } from '../e2e/local/testing/wait-for.ts';

/** CPU time in /proc is counted in ticks of this length. */
const TICK_MS = 10;
const QUIET_WINDOW_MS = 200;
/** So much of a core may be in use: heartbeats, ticks, and looking at /proc. */
const QUIET_CORES = 0.1;

/** A platform for a benchmark, which stops with its scope. Logs only what is wrong: lines cost CPU on both sides. */
export async function openPlatform(
  settings: PlatformSettings,
): Promise<{ platform: TestPlatform } & AsyncDisposable> {
  const platform = await TestPlatform.start({ ...settings, env: { PILOTLIGHT_LOG_LEVEL: 'warn' } });
  return { platform, [Symbol.asyncDispose]: () => platform.stop() };
}

/** A manifest that begins with no replica, unless the predictor says otherwise. */
export function benchManifest(name: string, modelPath: string, predictor: Record<string, unknown>): string {
  const { scaling, ...rest } = predictor;
  return manifestOf(name, modelPath, {
    minReplicas: 0,
    ...rest,
    scaling: {
      initialScale: 0,
      stableWindow: '6s',
      scaleToZeroGracePeriod: '0s',
      ...(scaling as Record<string, unknown> | undefined),
    },
  });
}

/**
 * Waits until no replica is on its way up or down, `standbys` are ready, and the processes of the platform do
 * next to nothing: a cold start comes to a service that nobody calls, not into the cleaning up after the one before.
 */
export async function waitUntilQuiet(platform: TestPlatform, standbys: number): Promise<void> {
  await waitFor(
    'the platform does nothing',
    async () => {
      const replicas = await platform.replicas();
      if (replicas.some(({ state }) => state !== 'standby' && state !== 'ready')) return false;
      if (replicas.filter(({ state }) => state === 'standby').length < standbys) return false;
      const before = cpuTicks(platform);
      await sleep(QUIET_WINDOW_MS);
      return cpuTicks(platform) - before <= (QUIET_WINDOW_MS / TICK_MS) * QUIET_CORES;
    },
    60_000,
  );
}

function cpuTicks(platform: TestPlatform): number {
  return platform.processes().reduce((sum, { pid }) => sum + ticksOf(pid), 0);
}

/** User and system time; the command's name before them may hold spaces. */
function ticksOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(fields[11]) + Number(fields[12]);
  } catch {
    return 0;
  }
}

export interface ProcessMemory {
  /** VmRSS. */
  readonly residentBytes: number;
  /** VmHWM: the most that it has been. */
  readonly peakBytes: number;
}

/** @throws Error when there is no such process. */
export function memoryOf(pid: number): ProcessMemory {
  const sizeBytes = sizesIn(pid, 'status');
  return { residentBytes: sizeBytes('VmRSS'), peakBytes: sizeBytes('VmHWM') };
}

/** Sizes in bytes by their names in a file that the kernel keeps of a process. @throws Error when there is no such */
export function sizesIn(pid: number, file: 'status' | 'smaps_rollup'): (name: string) => number {
  const text = readFileSync(`/proc/${pid}/${file}`, 'utf8');
  return (name) => {
    const kibibytes = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1];
    if (kibibytes === undefined) throw new Error(`process ${pid} tells no ${name}`);
    return Number(kibibytes) * 1024;
  };
}
