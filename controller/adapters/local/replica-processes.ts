import type { ChildProcess } from 'node:child_process';
import { type FSWatcher, mkdirSync, watch } from 'node:fs';
import { join } from 'node:path';
import type { RuntimeState } from '../../../contracts/admin.ts';
import { PilotlightError } from '../../../contracts/errors.ts';
import type { Logger } from '../../../process/logger.ts';
import type { Clock, ObservedReplica, PlatformEvent } from '../../ports.ts';
import { RuntimeAdmin } from '../runtime-admin.ts';
import {
  type Launch,
  type LaunchSettings,
  launch,
  type OwnerFile,
  observedAtStart,
  ownerPath,
  ownerRuns,
  readOwner,
  readRecord,
  recordPath,
} from './replica-process.ts';
import { listJson, removeFile, type StateFolder, writeJson } from './state-folder.ts';

/** SIGTERM drains; what has not ended by then is killed. The activators drain before, and all of it is to fit in 5 s. */
const TERMINATION_GRACE_MS = 2_000;
/** Adopted processes are no children of this controller: nothing tells when they end, so they are looked at. */
const LOOK_INTERVAL_MS = 200;
/** A process that has not said that it listens by then hangs. A hundred started at once on two cores take 6.4 s. */
const LISTEN_TIMEOUT_MS = 30_000;

interface Managed {
  owner: OwnerFile;
  observed: ObservedReplica;
  admin?: RuntimeAdmin;
  child?: ChildProcess;
  /** Incarnation that `admin` talks to, as the runtime names it, and the one that was recycled last. */
  current?: string;
  left?: string;
  /** True once its end was asked for: its exit is no failure. */
  removing: boolean;
  gone: Promise<void>;
  markGone: () => void;
}

/**
 * The child processes of the local platform. Each one is known by its owner file (ours) and its record (its
 * own); what they say is turned into platform events.
 */
export class ReplicaProcesses {
  readonly #byHost = new Map<string, Managed>();
  readonly #state: StateFolder;
  readonly #settings: LaunchSettings;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #emit: (event: PlatformEvent) => void;
  #watcher: FSWatcher | undefined;
  #lookTimer: NodeJS.Timeout | undefined;

  constructor(options: {
    state: StateFolder;
    settings: LaunchSettings;
    clock: Clock;
    logger: Logger;
    emit: (event: PlatformEvent) => void;
  }) {
    this.#state = options.state;
    this.#settings = options.settings;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#emit = options.emit;
    mkdirSync(join(this.#state.path, 'records'), { recursive: true, mode: 0o700 });
  }

  /** Finds the children of an earlier controller, tells of them, and begins to observe. */
  async start(): Promise<void> {
    this.#watcher = watch(join(this.#state.path, 'records'), (_event, name) => {
      if (name?.endsWith('.json')) void this.#recordChanged(name.slice(0, -'.json'.length));
    });
    this.#lookTimer = setInterval(() => this.#look(), LOOK_INTERVAL_MS);
    await Promise.all(listJson(this.#state.replicas).map((host) => this.#adopt(host)));
  }

  launch(wanted: Launch): { id: string } {
    const { owner, child } = launch(this.#state, this.#settings, wanted, this.#clock.nowMs());
    const managed = this.#manage(owner, child);
    child.once('error', (error) => {
      this.#logger.error({ host: owner.host, err: error }, 'a replica process could not be started');
      this.#ended(managed, `could not be started: ${error.message}`);
    });
    child.once('exit', (code, killedBy) => {
      this.#ended(managed, killedBy === null ? `exited with code ${code}` : `was killed by ${killedBy}`);
    });
    this.#tell(managed);
    return { id: owner.id };
  }

  /**
   * Admin client of a replica.
   * @throws PilotlightError `replica-failed` when there is none: it is gone, starting, or a foreign server.
   */
  admin(id: string): RuntimeAdmin {
    const managed = this.#byId(id);
    if (managed?.admin === undefined) {
      throw new PilotlightError('replica-failed', `replica ${id} is gone or not listening yet`);
    }
    return managed.admin;
  }

  /** Serving port of a foreign server; undefined for our own runtimes, which have an admin port. */
  foreignPort(id: string): number | undefined {
    const managed = this.#byId(id);
    const port = managed?.observed.address?.split(':').at(-1);
    return managed?.owner.origin === 'container' && port !== undefined ? Number(port) : undefined;
  }

  has(id: string): boolean {
    return this.#byId(id) !== undefined;
  }

  /** The process is about to replace itself: what was known of its incarnation ends here. */
  recycling(id: string): void {
    const managed = this.#byId(id);
    if (managed === undefined) return;
    managed.admin?.close();
    delete managed.admin;
    if (managed.current !== undefined) managed.left = managed.current;
    delete managed.current;
    const { owner } = managed;
    owner.id = `${owner.host}.${owner.incarnations}`;
    owner.incarnations += 1;
    writeJson(ownerPath(this.#state, owner.host), owner);
    const { cachedModels } = managed.observed;
    managed.observed = { ...observedAtStart(owner), cachedModels, sinceMs: this.#clock.nowMs() };
    this.#emit({ type: 'replica-gone', id, reason: 'recycled' });
    this.#tell(managed);
    void this.#recordChanged(owner.host);
  }

  /** Ends the process: SIGTERM, SIGKILL after a grace time. Resolves when it is gone. */
  async remove(id: string): Promise<void> {
    const managed = this.#byId(id);
    if (managed === undefined) return;
    await this.#terminate(managed);
  }

  async removeAll(): Promise<void> {
    await Promise.all([...this.#byHost.values()].map((managed) => this.#terminate(managed)));
  }

  /** Stops observing; the processes stay. */
  stop(): void {
    this.#watcher?.close();
    clearInterval(this.#lookTimer);
    for (const managed of this.#byHost.values()) managed.admin?.close();
  }

  #byId(id: string): Managed | undefined {
    for (const managed of this.#byHost.values()) if (managed.owner.id === id) return managed;
    return undefined;
  }

  #manage(owner: OwnerFile, child?: ChildProcess): Managed {
    const { promise, resolve } = Promise.withResolvers<void>();
    const managed: Managed = {
      owner,
      observed: observedAtStart(owner),
      removing: false,
      gone: promise,
      markGone: resolve,
      ...(child && { child }),
    };
    this.#byHost.set(owner.host, managed);
    return managed;
  }

  async #adopt(host: string): Promise<void> {
    const owner = readOwner(this.#state, host);
    if (owner === undefined || !ownerRuns(owner)) {
      removeFile(ownerPath(this.#state, host));
      removeFile(recordPath(this.#state, host));
      return;
    }
    this.#logger.info({ host, pid: owner.pid }, 'found a running replica of an earlier controller');
    const managed = this.#manage(owner);
    this.#tell(managed);
    // One that doesn't answer must not keep the controller from its work.
    await this.#recordChanged(host);
  }

  async #recordChanged(host: string): Promise<void> {
    const managed = this.#byHost.get(host);
    if (managed === undefined) return;
    try {
      await this.#readRecord(managed);
    } catch (error) {
      // Asked again at the next look: on a machine that is busy enough an answer may come too late once.
      delete managed.current;
      if (managed.removing) return;
      this.#logger.warn({ host, err: error }, 'a replica wrote its record but does not answer');
    }
  }

  async #readRecord(managed: Managed): Promise<void> {
    const { owner } = managed;
    const record = readRecord(this.#state, owner);
    if (record === undefined || managed.removing) return;
    const address = `${record.host}:${record.servingPort}`;
    if (record.adminPort === undefined) {
      managed.observed = { ...managed.observed, state: 'ready', address };
      this.#tell(managed);
      return;
    }
    // After a recycle the old record still stands until the new incarnation has written its own.
    if (record.incarnation === managed.current || record.incarnation === managed.left) return;
    managed.current = record.incarnation;
    const admin = new RuntimeAdmin({ host: record.host, port: record.adminPort }, () => owner.token);
    managed.admin?.close();
    managed.admin = admin;
    const { id } = owner;
    const state = await admin.state();
    if (owner.id !== id || managed.removing) return;
    managed.observed = { ...managed.observed, ...observedOf(state), address };
    this.#tell(managed);
  }

  /** Notes what a call to the replica has shown, and tells it. */
  update(id: string, seen: Partial<Pick<ObservedReplica, 'state' | 'claim' | 'capacity' | 'failure'>>): void {
    const managed = this.#byId(id);
    if (managed === undefined) return;
    const sinceMs = seen.state === undefined ? managed.observed.sinceMs : this.#clock.nowMs();
    managed.observed = { ...managed.observed, ...seen, sinceMs };
    this.#tell(managed);
  }

  /** Looks for what no event tells: the end of an adopted process, a record whose change was missed. */
  #look(): void {
    const nowMs = this.#clock.nowMs();
    for (const managed of this.#byHost.values()) {
      if (managed.child === undefined && !ownerRuns(managed.owner)) {
        this.#ended(managed, 'ended');
        continue;
      }
      if (managed.observed.state === 'starting') void this.#recordChanged(managed.owner.host);
      if (managed.observed.state === 'starting' && nowMs - managed.observed.sinceMs > LISTEN_TIMEOUT_MS) {
        if (managed.owner.origin !== 'container' && !managed.removing) {
          this.#logger.error({ host: managed.owner.host }, 'a replica process does not listen, ending it');
          void this.#terminate(managed);
        }
      }
    }
  }

  async #terminate(managed: Managed): Promise<void> {
    const { pid } = managed.owner;
    if (!managed.removing) {
      managed.removing = true;
      if (pid !== undefined) signal(pid, 'SIGTERM');
    }
    const kill = setTimeout(() => {
      if (pid !== undefined && ownerRuns(managed.owner)) signal(pid, 'SIGKILL');
    }, TERMINATION_GRACE_MS);
    await managed.gone;
    clearTimeout(kill);
  }

  #ended(managed: Managed, reason: string): void {
    if (!this.#byHost.delete(managed.owner.host)) return;
    managed.admin?.close();
    removeFile(ownerPath(this.#state, managed.owner.host));
    removeFile(recordPath(this.#state, managed.owner.host));
    managed.markGone();
    this.#emit({ type: 'replica-gone', id: managed.owner.id, reason: managed.removing ? 'removed' : reason });
  }

  #tell(managed: Managed): void {
    this.#emit({ type: 'replica-changed', replica: managed.observed });
  }
}

function observedOf(state: RuntimeState): Partial<ObservedReplica> & Pick<ObservedReplica, 'state'> {
  return {
    state: state.state,
    cachedModels: state.cachedModels,
    ...(state.claim && {
      claim: {
        claimId: state.claim.claimId,
        epoch: state.claim.epoch,
        serviceUid: state.claim.serviceUid,
        revision: state.claim.revision,
      },
      ...(state.claim.capacity !== undefined && { capacity: state.claim.capacity }),
    }),
    ...(state.failure && { failure: state.failure }),
  };
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
