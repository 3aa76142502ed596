import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { commandFlags } from '../../../process/command-flags.ts';
import { compileCacheEnvironment } from '../../../process/compile-cache.ts';
import { NODE_FLAGS, RUNTIME_ENVIRONMENT } from '../../../process/node-flags.ts';
import { identify, stillRuns } from '../../../process/process-identity.ts';
import type { ObservedReplica, ReplicaOrigin } from '../../ports.ts';
import { readJson, type StateFolder, writeJson } from './state-folder.ts';

/**
 * What the controller writes down about a child before it starts it, so that the next controller finds it
 * again: a child without such a file can't exist, and one whose file names a dead process is forgotten.
 */
export const ownerFileSchema = z.object({
  /** Name of the process, stays over recycles. */
  host: z.string(),
  /** Identity of the present incarnation, as the engine and the activators know it. */
  id: z.string(),
  /** Counts incarnations, for the next id. */
  incarnations: z.number().int(),
  token: z.string(),
  origin: z.enum(['standby', 'runtime', 'container']),
  startedFor: z.object({ serviceUid: z.string(), revision: z.string() }).optional(),
  pid: z.number().int().optional(),
  startTimeTicks: z.number().optional(),
  startedAtMs: z.number(),
});
export type OwnerFile = z.infer<typeof ownerFileSchema>;

/** What the child writes about itself once it listens. */
export const recordFileSchema = z.object({
  pid: z.number().int(),
  incarnation: z.string(),
  host: z.string(),
  servingPort: z.number().int(),
  /** Absent for a foreign server, which has no admin port. */
  adminPort: z.number().int().optional(),
});
export type RecordFile = z.infer<typeof recordFileSchema>;

export interface LaunchSettings {
  /** Program files that Node runs as they are. */
  runtimeProgram: string;
  containerProgram: string;
  cacheDir: string;
  cacheMaxBytes: number;
  lifelinePath: string;
  lifelineGraceMs: number;
}

/** What to run in a container's place: the user's own command. */
export interface Command {
  argv: readonly string[];
  workingDir?: string;
  /** How long it may take until its port answers. */
  startTimeoutMs: number;
}

export function ownerPath(state: StateFolder, host: string): string {
  return join(state.replicas, `${host}.json`);
}

export function recordPath(state: StateFolder, host: string): string {
  return join(state.path, 'records', `${host}.json`);
}

export function readOwner(state: StateFolder, host: string): OwnerFile | undefined {
  return ownerFileSchema.safeParse(readJson(ownerPath(state, host))).data;
}

/** The child's own record, when it is of the process that the owner file names. */
export function readRecord(state: StateFolder, owner: OwnerFile): RecordFile | undefined {
  const record = recordFileSchema.safeParse(readJson(recordPath(state, owner.host))).data;
  return record?.pid === owner.pid ? record : undefined;
}

export function ownerRuns(owner: OwnerFile): boolean {
  if (owner.pid === undefined) return false;
  return stillRuns({
    pid: owner.pid,
    ...(owner.startTimeTicks !== undefined && { startTimeTicks: owner.startTimeTicks }),
  });
}

export interface Launch {
  origin: ReplicaOrigin;
  startedFor?: { serviceUid: string; revision: string };
  env: Readonly<Record<string, string>>;
  command?: Command;
}

/**
 * Starts a child process: owner file first, then the process, then its pid into the file. The child hangs on
 * the lifeline, so that it ends by itself should the controller die between the last two steps.
 */
export function launch(
  state: StateFolder,
  settings: LaunchSettings,
  wanted: Launch,
  nowMs: number,
): { owner: OwnerFile; child: ChildProcess } {
  const host = `${wanted.origin}-${randomBytes(4).toString('hex')}`;
  const owner: OwnerFile = {
    host,
    id: `${host}.0`,
    incarnations: 1,
    token: randomBytes(24).toString('base64url'),
    origin: wanted.origin,
    ...(wanted.startedFor && { startedFor: wanted.startedFor }),
    startedAtMs: nowMs,
  };
  writeJson(ownerPath(state, host), owner);
  const child = spawn(process.execPath, programArguments(state, settings, host, wanted), {
    // Its own process group: a Ctrl-C on the terminal goes to the parent alone, which drains and ends its children.
    detached: true,
    // The parent's standard error is inherited, not piped: it outlives this controller.
    stdio: ['ignore', 'ignore', 'inherit'],
    env: {
      ...(wanted.command === undefined && RUNTIME_ENVIRONMENT),
      ...inheritedEnvironment(),
      ...wanted.env,
      PILOTLIGHT_ADMIN_TOKEN: owner.token,
    },
  });
  if (child.pid !== undefined) Object.assign(owner, identify(child.pid) ?? { pid: child.pid });
  writeJson(ownerPath(state, host), owner);
  return { owner, child };
}

/** The controller's environment without its own secrets: a replica may run a user's code. */
function inheritedEnvironment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !/^PILOTLIGHT_.*TOKEN$/.test(name));
  return { ...compileCacheEnvironment(), ...Object.fromEntries(kept) };
}

function programArguments(
  state: StateFolder,
  settings: LaunchSettings,
  host: string,
  { command }: Launch,
): string[] {
  const common = {
    host: '127.0.0.1',
    record: recordPath(state, host),
    lifeline: settings.lifelinePath,
    'lifeline-grace-ms': settings.lifelineGraceMs,
  };
  if (command !== undefined) {
    const place = command.workingDir === undefined ? {} : { 'working-dir': command.workingDir };
    const start = { 'start-timeout-ms': command.startTimeoutMs };
    return [
      settings.containerProgram,
      ...commandFlags({ ...common, ...place, ...start }),
      '--',
      ...command.argv,
    ];
  }
  const cache = { 'cache-dir': settings.cacheDir, 'cache-max-bytes': settings.cacheMaxBytes };
  return [
    ...NODE_FLAGS.runtime,
    settings.runtimeProgram,
    '--standby',
    ...commandFlags({ ...common, port: 0, 'admin-port': 0, ...cache }),
  ];
}

/** The one pool of a machine. */
export const LOCAL_POOL = 'local';

/** A replica as the engine sees it right after its start. */
export function observedAtStart(owner: OwnerFile): ObservedReplica {
  return {
    id: owner.id,
    host: owner.host,
    origin: owner.origin,
    state: 'starting',
    ...(owner.origin === 'standby' && { pool: LOCAL_POOL }),
    ...(owner.startedFor && { startedFor: owner.startedFor }),
    ...(owner.pid !== undefined && { pid: owner.pid }),
    cachedModels: [],
    sinceMs: owner.startedAtMs,
  };
}
