import type { SpecialiseEvent, SpecialiseRequest } from '../../../contracts/admin.ts';
import { PilotlightError } from '../../../contracts/errors.ts';
import type { InferenceServiceStatus } from '../../../crds/schema.ts';
import type {
  Addresses,
  CallerNetwork,
  Clock,
  ObservedReplica,
  Platform,
  PlatformEvent,
  PoolReport,
  ReplicaOrigin,
  ReplicaTemplate,
  ResolvedService,
  ServiceEvent,
  StandbyFit,
  StoredRevision,
} from '../../ports.ts';
import { type LoadOutcome, POOL, SimulatedRuntime } from './simulated-runtime.ts';

interface WorldOptions {
  /** Size of the pool. */
  standbys: number;
  /** From the start of a process to its being a standby. */
  startMs: number;
  recycleMs: number;
  /** Models up to this size fit a standby. */
  standbyBytes: number;
  outcomeOf: (uri: string) => LoadOutcome;
  mayBeDirect: boolean;
}

/**
 * The world of a platform that lives in memory and outlives the controllers that look at it: services,
 * simulated runtimes, stored revisions and statuses. Used by tests alone.
 */
export class MemoryWorld {
  readonly clock: Clock;
  readonly services = new Map<string, ResolvedService>();
  readonly replicas = new Map<string, SimulatedRuntime>();
  readonly revisions = new Map<string, readonly StoredRevision[]>();
  readonly statuses = new Map<string, InferenceServiceStatus>();
  /** How the pool stood each time that the engine told. */
  readonly poolReports: PoolReport[] = [];
  readonly events: (ServiceEvent & { uid: string })[] = [];
  /** Verbs that were called, in order, as `verb id`. */
  readonly calls: string[] = [];
  /** Pods of activators that callers are led past, each time that the engine says so. */
  readonly avoided: string[][] = [];
  /** Replicas that callers of a service are led to, by its uid. */
  readonly led = new Map<string, readonly string[]>();
  /** Replicas that welcome callers. */
  readonly welcoming = new Set<string>();
  /** Names of verbs that fail once each, in the order given. */
  readonly failing: string[] = [];
  /** With what they fail; undefined: an error that is nobody's. */
  failure: Error | undefined;
  options: WorldOptions;
  #epoch = 0;
  #hosts = 0;
  #observer: ((event: PlatformEvent) => void) | undefined;

  constructor(clock: Clock, options: Partial<WorldOptions> = {}) {
    this.clock = clock;
    this.options = {
      standbys: 1,
      startMs: 300,
      recycleMs: 80,
      standbyBytes: Infinity,
      outcomeOf: () => ({ loadMs: 40, capacity: 4 }),
      mayBeDirect: false,
      ...options,
    };
  }

  /** A controller takes over: it gets a higher epoch, and the one before hears nothing any more. */
  connect(): Platform {
    const epoch = ++this.#epoch;
    return new MemoryPlatform(this, epoch);
  }

  observe(observer: (event: PlatformEvent) => void): void {
    this.#observer = observer;
    observer({ type: 'pool-applied', pool: { key: POOL, size: this.options.standbys } });
    for (const service of this.services.values()) observer({ type: 'service-applied', service });
    for (const replica of this.replicas.values())
      observer({ type: 'replica-changed', replica: replica.observed() });
    observer({ type: 'synced' });
  }

  unobserve(): void {
    this.#observer = undefined;
  }

  apply(service: ResolvedService): void {
    this.services.set(service.uid, service);
    this.#observer?.({ type: 'service-applied', service });
  }

  refuse(
    namespace: string,
    name: string,
    problems: readonly string[],
    object?: { uid: string; generation: number },
  ): void {
    this.#observer?.({ type: 'service-invalid', namespace, name, problems, ...(object && { object }) });
  }

  delete(uid: string): void {
    this.services.delete(uid);
    this.#observer?.({ type: 'service-deleted', uid });
  }

  /** As `kill -9`: calls break, the platform sees it gone. */
  kill(id: string): void {
    this.#end(id, 'was killed by SIGKILL');
  }

  launch(origin: ReplicaOrigin, startedFor?: ObservedReplica['startedFor']): { id: string } {
    const host = `host-${++this.#hosts}`;
    return this.#incarnate(host, 0, origin, startedFor, [], this.options.startMs);
  }

  remove(id: string): void {
    this.#end(id, 'removed');
  }

  recycle(id: string): void {
    const old = this.replicas.get(id);
    if (old === undefined) throw new PilotlightError('replica-failed', `${id} is gone`);
    this.#end(id, 'recycled');
    const incarnation = Number(id.split('.')[1]) + 1;
    this.#incarnate(old.host, incarnation, old.origin, undefined, old.cachedModels, this.options.recycleMs);
  }

  /** Throws for a verb that was said to fail, once. */
  called(verb: string, id: string): void {
    this.calls.push(`${verb} ${id}`);
    const index = this.failing.indexOf(verb);
    if (index === -1) return;
    this.failing.splice(index, 1);
    throw this.failure ?? new Error(`${verb} was told to fail`);
  }

  get(id: string): SimulatedRuntime {
    const replica = this.replicas.get(id);
    if (replica === undefined) throw new PilotlightError('replica-failed', `replica ${id} is gone`);
    return replica;
  }

  #incarnate(
    host: string,
    incarnation: number,
    origin: ReplicaOrigin,
    startedFor: ObservedReplica['startedFor'],
    cachedModels: readonly string[],
    delayMs: number,
  ): { id: string } {
    const id = `${host}.${incarnation}`;
    const replica: SimulatedRuntime = new SimulatedRuntime({
      id,
      host,
      origin,
      ...(startedFor && { startedFor }),
      cachedModels,
      address: `${host}:8080`,
      clock: this.clock,
      changed: () => {
        if (this.replicas.get(id) === replica) this.#tell(replica);
      },
    });
    this.replicas.set(id, replica);
    this.#tell(replica);
    this.clock.after(delayMs, () => {
      if (this.replicas.get(id) === replica) replica.become(origin === 'container' ? 'ready' : 'standby');
    });
    return { id };
  }

  #tell(replica: SimulatedRuntime): void {
    this.#observer?.({ type: 'replica-changed', replica: replica.observed() });
  }

  #end(id: string, reason: string): void {
    const replica = this.replicas.get(id);
    if (replica === undefined) return;
    this.replicas.delete(id);
    replica.break();
    this.#observer?.({ type: 'replica-gone', id, reason });
  }
}

/** The port to such a world: the third adapter, for tests. */
class MemoryPlatform implements Platform {
  readonly epoch: number;
  readonly network: CallerNetwork;
  readonly #world: MemoryWorld;

  constructor(world: MemoryWorld, epoch: number) {
    this.#world = world;
    this.epoch = epoch;
    this.network = memoryNetwork(world);
  }

  async start(onEvent: (event: PlatformEvent) => void): Promise<void> {
    await Promise.resolve();
    this.#world.observe(onEvent);
  }

  async createStandby(_pool: string): Promise<{ id: string }> {
    this.#world.called('createStandby', '');
    return await Promise.resolve(this.#world.launch('standby'));
  }

  async createReplica({ origin, serviceUid, revision }: ReplicaTemplate): Promise<{ id: string }> {
    this.#world.called('createReplica', revision);
    return await Promise.resolve(this.#world.launch(origin, { serviceUid, revision }));
  }

  fit({ service }: ResolvedService, weightsBytes = 0): StandbyFit {
    if (weightsBytes > this.#world.options.standbyBytes) return { pools: [], misfits: ['size'] };
    if (service.spec.predictor.model?.env.length) return { pools: [], misfits: ['env'] };
    return { pools: [POOL], misfits: [] };
  }

  async specialise(
    id: string,
    request: SpecialiseRequest,
    onEvent: (event: SpecialiseEvent) => void,
  ): Promise<SpecialiseEvent> {
    this.#world.called('specialise', id);
    return await this.#world
      .get(id)
      .specialise(request, this.#world.options.outcomeOf(request.model.uri), onEvent);
  }

  async drain(id: string, _claimId: string, deadlineMs: number): Promise<boolean> {
    this.#world.called('drain', id);
    const replica = this.#world.get(id);
    // As on a cluster: a server of the user's own can't be asked what it still does.
    if (replica.origin === 'container') return true;
    replica.become('draining');
    const { clock } = this.#world;
    const untilMs = clock.nowMs() + deadlineMs;
    while (replica.inFlight > 0 && clock.nowMs() < untilMs && this.#world.replicas.has(id)) {
      await new Promise<void>((resolve) => {
        clock.after(10, resolve);
      });
    }
    return replica.inFlight === 0;
  }

  async recycle(id: string): Promise<void> {
    this.#world.called('recycle', id);
    await Promise.resolve(this.#world.recycle(id));
  }

  async remove(id: string): Promise<void> {
    this.#world.called('remove', id);
    await Promise.resolve(this.#world.remove(id));
  }

  addresses(namespace: string, name: string): Addresses {
    return {
      hosts: [`${name}.${namespace}`],
      ownHosts: [`${name}.${namespace}`],
      url: `http://${name}.${namespace}`,
    };
  }

  reportPool(_key: string, report: PoolReport): void {
    this.#world.poolReports.push(report);
  }

  async writeStatus(uid: string, status: InferenceServiceStatus): Promise<void> {
    this.#world.called('writeStatus', uid);
    await Promise.resolve(this.#world.statuses.set(uid, status));
  }

  recordEvent(uid: string, event: ServiceEvent): void {
    this.#world.events.push({ uid, ...event });
  }

  async loadRevisions(uid: string): Promise<readonly StoredRevision[]> {
    this.#world.called('loadRevisions', uid);
    return await Promise.resolve(this.#world.revisions.get(uid) ?? []);
  }

  async saveRevisions(uid: string, revisions: readonly StoredRevision[]): Promise<void> {
    this.#world.called('saveRevisions', uid);
    await Promise.resolve(this.#world.revisions.set(uid, structuredClone(revisions) as StoredRevision[]));
  }

  async stop(replicas: 'remove' | 'leave'): Promise<void> {
    this.#world.unobserve();
    if (replicas === 'remove') for (const id of this.#world.replicas.keys()) this.#world.remove(id);
    await Promise.resolve();
  }
}

function memoryNetwork(world: MemoryWorld): CallerNetwork {
  return {
    mayBeDirect: world.options.mayBeDirect,
    lead: async (serviceUid, replicaIds) => {
      await Promise.resolve();
      world.called('lead', [serviceUid, ...replicaIds].join(' '));
      world.led.set(serviceUid, replicaIds);
    },
    welcomeCallers: async (id, _claimId, isWelcome) => {
      await Promise.resolve();
      world.called(isWelcome ? 'welcome' : 'send-away', id);
      if (isWelcome) world.welcoming.add(id);
      else world.welcoming.delete(id);
    },
    avoidActivators: (pods) => {
      world.avoided.push([...pods]);
    },
  };
}
