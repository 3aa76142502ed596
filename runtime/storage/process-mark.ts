import { randomUUID } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { getEnvironmentData, setEnvironmentData } from 'node:worker_threads';
import { z } from 'zod';
import { processState } from '../../process/process-identity.ts';

export const processMarkSchema = z.object({
  pid: z.number().int(),
  /** Clock ticks between boot and the start of the process; '' where the system does not say. */
  startTime: z.string(),
  pidNamespace: z.string(),
  bootId: z.string(),
  /** New when the process replaces itself in place (execve keeps pid and start time). */
  image: z.string(),
});
/** Names a process among all that share a cache folder, so that others can see whether it is still there. */
export type ProcessMark = z.infer<typeof processMarkSchema>;

/** Silence after which a process that cannot be looked up (another container or machine) counts as gone. */
export const HEARTBEAT_TIMEOUT_MS = 10_000;
export const HEARTBEAT_MS = 2_000;
/**
 * Silence after which a process that lives counts as not holding the file any longer: it replaced itself in place
 * and forgot it (only the process itself can see that by its image), or it has been stopped for good.
 */
export const FORGOTTEN_MS = 5 * 60_000;

const IMAGE_KEY = 'pilotlight.storage.image';
let own: ProcessMark | undefined;

/** The mark of this process; worker threads started later share it. */
export function ownMark(): ProcessMark {
  own ??= {
    pid: process.pid,
    startTime: startTimeOf(processState(process.pid)),
    pidNamespace: quietly(() => readlinkSync('/proc/self/ns/pid')) ?? '',
    bootId: bootId(),
    image: sharedImage(),
  };
  return own;
}

let knownBootId: string | undefined;

/** Identifies this boot of this machine. Where the system has none, a value that never matches a saved one. */
export function bootId(): string {
  knownBootId ??=
    quietly(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()) ?? `none-${randomUUID()}`;
  return knownBootId;
}

/**
 * True when the process behind a lock or lease is gone. One in our own pid namespace is looked up; any other is
 * judged by its heartbeat, the file's last change. `undefined` (a mark just being written) is too.
 */
export function isGone(mark: ProcessMark | undefined, heartbeatAgeMs: number): boolean {
  const self = ownMark();
  if (mark === undefined || mark.bootId !== self.bootId || mark.pidNamespace !== self.pidNamespace) {
    return heartbeatAgeMs > HEARTBEAT_TIMEOUT_MS;
  }
  if (mark.pid === self.pid && mark.startTime === self.startTime) return mark.image !== self.image;
  const state = processState(mark.pid);
  if (state === undefined) return !existsWithoutProc(mark.pid);
  return startTimeOf(state) !== mark.startTime || state.ended || heartbeatAgeMs > FORGOTTEN_MS;
}

function startTimeOf(state: { startTimeTicks: number } | undefined): string {
  return state === undefined ? '' : String(state.startTimeTicks);
}

/** macOS and others without /proc. */
function existsWithoutProc(pid: number): boolean {
  if (process.platform === 'linux') return false;
  return quietly(() => process.kill(pid, 0)) ?? false;
}

function sharedImage(): string {
  const known = getEnvironmentData(IMAGE_KEY);
  if (typeof known === 'string') return known;
  const image = randomUUID();
  setEnvironmentData(IMAGE_KEY, image);
  return image;
}

function quietly<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
