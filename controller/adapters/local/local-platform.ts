import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import type { SpecialiseEvent, SpecialiseRequest } from '../../../contracts/admin.ts';
import { PilotlightError } from '../../../contracts/errors.ts';
import type { InferenceServiceStatus } from '../../../crds/schema.ts';
import type { Logger } from '../../../process/logger.ts';
import type {
  Clock,
  Platform,
  PlatformEvent,
  ReplicaTemplate,
  ResolvedService,
  ServiceEvent,
  StandbyFit,
  StoredRevision,
} from '../../ports.ts';
import { watchFolder } from './manifest-folder.ts';
import { openConnections } from './open-connections.ts';
import { type Command, type LaunchSettings, LOCAL_POOL } from './replica-process.ts';
import { ReplicaProcesses } from './replica-processes.ts';
import {
  diffServices,
  type Known,
  type KnownService,
  NOTHING_KNOWN,
  type Scan,
  tellAll,
} from './service-diff.ts';
import { readJson, removeFile, type StateFolder, writeJson } from './state-folder.ts';

export interface LocalPlatformOptions {
  /** Folder of manifests. */
  dir: string;
  /** Namespaces whose services may run code of their own; `*`: all. */
  allowTransforms: readonly string[];
  state: StateFolder;
  launch: LaunchSettings;
  /** Port of the activator, for the URLs that people see. */
  urlPort: number;
  /** Generic standbys to keep ready. */
  standbys: number;
  clock: Clock;
  logger: Logger;
}

/** How often a server that drains is looked at. */
const LOOK_AT_CONNECTIONS_MS = 100;

/**
 * The `Platform` of one machine: manifests are files of a folder, replicas are child processes, what
 * Kubernetes would keep in etcd is a folder of small files.
 */
export class LocalPlatform implements Platform {
  readonly epoch: number;
  readonly #options: LocalPlatformOptions;
  readonly #replicas: ReplicaProcesses;
  readonly #logged = new Set<string>();
  #known: Known;
  #folder: { close(): void } | undefined;
  #emit: (event: PlatformEvent) => void = () => undefined;

  constructor(options: LocalPlatformOptions) {
    this.#options = options;
    this.epoch = options.state.nextEpoch();
    this.#known = loadKnown(options.state);
    this.#replicas = new ReplicaProcesses({
      state: options.state,
      settings: options.launch,
      clock: options.clock,
      logger: options.logger,
      emit: (event) => this.#emit(event),
    });
  }

  async start(onEvent: (event: PlatformEvent) => void): Promise<void> {
    this.#emit = onEvent;
    onEvent({ type: 'pool-applied', pool: { key: LOCAL_POOL, size: this.#options.standbys } });
    for (const event of tellAll(this.#known)) onEvent(event);
    const { dir, allowTransforms, logger } = this.#options;
    this.#folder = await watchFolder(dir, allowTransforms, logger, (scan) => this.#scanned(scan));
    await this.#replicas.start();
    onEvent({ type: 'synced' });
  }

  async createStandby(_pool: string): Promise<{ id: string }> {
    return this.#replicas.launch({ origin: 'standby', env: {} });
  }

  async createReplica(template: ReplicaTemplate): Promise<{ id: string }> {
    const { serviceUid, revision, origin, env } = template;
    const startedFor = { serviceUid, revision };
    if (origin === 'runtime') return this.#replicas.launch({ origin, startedFor, env });
    return this.#replicas.launch({ origin, startedFor, env, command: commandOf(template) });
  }

  fit({ service, env }: ResolvedService): StandbyFit {
    const { predictor } = service.spec;
    if (predictor.model === undefined) return { pools: [], misfits: ['spec.predictor.containers'] };
    // A standby's environment is that of its start. On one machine the other fields of a pod have no effect.
    if (Object.keys(env).length > 0) return { pools: [], misfits: ['spec.predictor.model.env'] };
    return { pools: [LOCAL_POOL], misfits: [] };
  }

  async specialise(
    id: string,
    request: SpecialiseRequest,
    onEvent: (event: SpecialiseEvent) => void,
  ): Promise<SpecialiseEvent> {
    const admin = this.#replicas.admin(id);
    const { claimId, epoch, revision } = request;
    const last = await admin.specialise(request, (event) => {
      if (event.event === 'claimed') {
        const claim = { claimId, epoch, serviceUid: request.service.uid, revision };
        this.#replicas.update(id, { state: 'specialising', claim });
      } else if (event.event === 'ready') {
        this.#replicas.update(id, { state: 'ready', capacity: event.capacity });
      } else if (event.event === 'failed') {
        this.#replicas.update(id, { state: 'failed', failure: { code: event.code, message: event.message } });
      }
      onEvent(event);
    });
    return last;
  }

  async drain(id: string, claimId: string, deadlineMs: number): Promise<boolean> {
    const foreign = this.#replicas.foreignPort(id);
    if (foreign !== undefined) {
      this.#replicas.update(id, { state: 'draining' });
      return this.#drainForeign(id, foreign, deadlineMs);
    }
    const admin = this.#replicas.admin(id);
    this.#replicas.update(id, { state: 'draining' });
    return admin.drain({ claimId, epoch: this.epoch, deadlineMs });
  }

  /** A user's own server has no admin port: it has drained when nobody is connected any more. */
  async #drainForeign(id: string, port: number, deadlineMs: number): Promise<boolean> {
    const { clock } = this.#options;
    const endMs = clock.nowMs() + deadlineMs;
    while (this.#replicas.has(id) && (openConnections(port) ?? 0) > 0) {
      if (clock.nowMs() > endMs) return false;
      await new Promise<void>((resolve) => void clock.after(LOOK_AT_CONNECTIONS_MS, resolve));
    }
    return true;
  }

  async recycle(id: string, claimId: string): Promise<void> {
    await this.#replicas.admin(id).recycle({ claimId, epoch: this.epoch, deadlineMs: 0 });
    this.#replicas.recycling(id);
  }

  remove(id: string): Promise<void> {
    return this.#replicas.remove(id);
  }

  addresses(namespace: string, name: string): { hosts: readonly string[]; url: string } {
    const base = `${name}.${namespace}`;
    // Names below `localhost` lead to this machine in browsers, curl and systemd-resolved (RFC 6761 §6.3).
    const local = `${base}.localhost`;
    return {
      hosts: [base, `${base}.svc`, `${base}.svc.cluster.local`, local],
      url: `http://${local}:${this.#options.urlPort}`,
    };
  }

  async writeStatus(uid: string, status: InferenceServiceStatus): Promise<void> {
    const known = this.#byUid(uid);
    if (known !== undefined) writeJson(this.#statusFile(known), status);
  }

  recordEvent(uid: string, event: ServiceEvent): void {
    const known = this.#byUid(uid);
    const fields = { ...known, reason: event.reason, event: event.message };
    if (event.type === 'Warning') this.#options.logger.warn(fields, 'service event');
    else this.#options.logger.info(fields, 'service event');
  }

  async loadRevisions(uid: string): Promise<readonly StoredRevision[]> {
    const stored = readJson(this.#revisionsFile(uid));
    return Array.isArray(stored) ? (stored as StoredRevision[]) : [];
  }

  async saveRevisions(uid: string, revisions: readonly StoredRevision[]): Promise<void> {
    writeJson(this.#revisionsFile(uid), revisions);
  }

  async stop(replicas: 'remove' | 'leave'): Promise<void> {
    this.#folder?.close();
    if (replicas === 'remove') await this.#replicas.removeAll();
    this.#replicas.stop();
  }

  #scanned(scan: Scan): void {
    const before = this.#known;
    const { known, events } = diffServices(before, scan, randomUUID);
    this.#known = known;
    if (events.length > 0) saveKnown(this.#options.state, known);
    for (const { messages } of scan.problems) this.#logProblems(messages);
    for (const event of events) {
      this.#emit(event);
      if (event.type === 'service-deleted') this.#forget(event.uid, before);
    }
  }

  /** A problem is logged when it comes up, not at each scan. */
  #logProblems(messages: readonly string[]): void {
    for (const problem of messages) {
      if (this.#logged.has(problem)) continue;
      if (this.#logged.size > 1_000) this.#logged.clear();
      this.#logged.add(problem);
      this.#options.logger.error({ problem }, 'a manifest is not valid');
    }
  }

  #forget(uid: string, before: Known): void {
    removeFile(this.#revisionsFile(uid));
    const known = [...before.services.values()].find((service) => service.uid === uid);
    if (known !== undefined) removeFile(this.#statusFile(known.applied.service.metadata));
  }

  #byUid(uid: string): { namespace: string; name: string } | undefined {
    for (const service of this.#known.services.values()) {
      if (service.uid !== uid) continue;
      const { namespace, name } = service.applied.service.metadata;
      return { namespace, name };
    }
    return undefined;
  }

  #statusFile({ namespace, name }: { namespace: string; name: string }): string {
    return join(this.#options.state.status, `${namespace}.${name}.json`);
  }

  #revisionsFile(uid: string): string {
    return join(this.#options.state.revisions, `${uid}.json`);
  }
}

/**
 * What to run for a user's own container.
 * @throws PilotlightError `unsupported` without a command: an image can't be run without a container engine.
 */
function commandOf({ spec }: ReplicaTemplate): Command {
  const [container] = spec.containers ?? [];
  const { command = [], args = [], workingDir } = container ?? {};
  if (command.length === 0) {
    const message =
      'the local platform runs processes, not images: give spec.predictor.containers[0].command, ' +
      'a program that serves HTTP on the port in $PORT, or use a cluster';
    throw new PilotlightError('unsupported', message);
  }
  return {
    argv: [...command, ...args],
    startTimeoutMs: spec.scaling.startTimeoutMs,
    ...(workingDir !== undefined && { workingDir }),
  };
}

const knownFile = (state: StateFolder): string => join(state.path, 'services.json');

/** The file is ours and written whole; one that is damaged costs the uids, so services begin anew. */
function loadKnown(state: StateFolder): Known {
  const stored = readJson(knownFile(state));
  if (!Array.isArray(stored)) return NOTHING_KNOWN;
  return { services: new Map(stored as [string, KnownService][]), strangers: new Map() };
}

function saveKnown(state: StateFolder, known: Known): void {
  writeJson(knownFile(state), [...known.services]);
}
