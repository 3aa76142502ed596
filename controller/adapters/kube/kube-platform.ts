import type { SpecialiseEvent, SpecialiseRequest } from '../../../contracts/admin.ts';
import { PilotlightError } from '../../../contracts/errors.ts';
import { API_VERSION, KIND } from '../../../crds/inference-service.ts';
import { formatQuantity } from '../../../crds/quantities.ts';
import type { InferenceServiceStatus } from '../../../crds/schema.ts';
import type { Logger } from '../../../process/logger.ts';
import { PlatformRefusal } from '../../core/platform-refusal.ts';
import type {
  Addresses,
  Clock,
  Platform,
  PlatformEvent,
  PoolReport,
  ReplicaTemplate,
  ResolvedService,
  ServiceEvent,
  StandbyFit,
  StoredRevision,
} from '../../ports.ts';
import type { EventRecorder } from './api/events.ts';
import type { KubeClient } from './api/kube-client.ts';
import { isKubeError } from './api/kube-error.ts';
import { objectPath, RESOURCES } from './api/paths.ts';
import { createRefusal, NAMESPACE_TERMINATING } from './core/create-refusal.ts';
import { fitAmong } from './core/fit.ts';
import type { Pod } from './core/kube-types.ts';
import { LABELS } from './core/labels.ts';
import { nextPlace, poolPodName, replicaPodName } from './core/names.ts';
import { isCurrent, replicaPod, standbyPod } from './core/pod.ts';
import { holdsSlot } from './core/pod-state.ts';
import type { PodContext } from './core/settings.ts';
import { DisruptionBudgets } from './disruption-budgets.ts';
import { NodeSource } from './node-source.ts';
import { PodHolders } from './pod-holders.ts';
import { PoolSource } from './pool-source.ts';
import { PoolStatuses } from './pool-statuses.ts';
import { ReplicaPods } from './replica-pods.ts';
import { RevisionStore } from './revision-store.ts';
import { type LedPod, ServiceNetwork } from './service-network.ts';
import { type ServiceObject, ServiceSource } from './service-source.ts';

export interface KubePlatformOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly context: PodContext;
  /** The Lease's transitions under which this controller leads. */
  readonly epoch: number;
  /** Namespace of the platform itself, where the activators are. */
  readonly ownNamespace: string;
  readonly adminToken: (namespace: string, pod: string) => string;
  readonly events: EventRecorder;
  readonly random: () => number;
  /** What went wrong with a watch or a write beside the engine's own calls. */
  readonly onTrouble: (error: unknown) => void;
}

/** A standby without a model has nothing to finish. */
const STANDBY_GRACE_SECONDS = 1;
/** A runtime that is ended has been drained before, for as long as its requests may take. */
const DRAINED_GRACE_SECONDS = 10;

/**
 * The `Platform` of a cluster: services, pools and pods are objects of the API server, all state that must outlive a
 * controller lies there or in the runtimes themselves.
 */
export class KubePlatform implements Platform {
  readonly epoch: number;
  readonly #options: KubePlatformOptions;
  readonly #services: ServiceSource;
  readonly #pools: PoolSource;
  readonly #poolStatuses: PoolStatuses;
  readonly #pods: ReplicaPods;
  readonly #holders: PodHolders;
  readonly #nodes: NodeSource;
  readonly #network: ServiceNetwork;
  readonly #budgets: DisruptionBudgets;
  readonly #revisions: RevisionStore;
  readonly #byUid = new Map<string, ServiceObject>();
  /** Names of replicas' pods that were given out, so that no incarnation is given twice while a pod is made. */
  readonly #named = new Map<string, { name: string; holdsSlot: boolean }[]>();
  #emit: (event: PlatformEvent) => void = () => undefined;

  constructor(options: KubePlatformOptions) {
    this.#options = options;
    this.epoch = options.epoch;
    const { client, clock, logger, context, onTrouble } = options;
    const { settings } = context;
    const { namespaces } = settings;
    const emit = (event: PlatformEvent): void => this.#emit(event);
    const shared = { client, clock, logger, namespaces, onTrouble };
    this.#nodes = new NodeSource({ client, clock, onTrouble, onChange: () => this.#pods.lookAgain() });
    this.#pods = new ReplicaPods({
      ...shared,
      emit,
      adminToken: options.adminToken,
      random: options.random,
      isOutdated: (pod) => this.#isOutdated(pod),
      nodeState: (name) => this.#nodes.state(name),
    });
    this.#holders = new PodHolders({
      ...shared,
      pods: this.#pods,
      pool: (key) => this.#pools.pools.get(key),
      service: (uid) => this.#byUid.get(uid),
    });
    const { requests, limits } = settings.defaultPool.resources;
    this.#pools = new PoolSource({
      ...shared,
      emit,
      settings,
      defaultSpec: {
        size: settings.defaultPool.size,
        resources: { requests: quantities(requests), limits: quantities(limits) },
      },
      inhabited: () => new Set([...this.#byUid.values()].map(({ metadata }) => metadata?.namespace ?? '')),
      onChange: () => this.#pods.lookAgain(),
      onObject: (key) => this.#poolStatuses.look(key),
    });
    this.#poolStatuses = new PoolStatuses({ client, clock, logger, source: this.#pools, onTrouble });
    this.#network = new ServiceNetwork({
      ...shared,
      settings,
      ownNamespace: options.ownNamespace,
      services: () => this.#services.objects,
      replica: (id) => this.#led(id),
      tellCallers: (id, request) => this.#pods.admin(id).callers({ ...request, epoch: this.epoch }),
    });
    this.#budgets = new DisruptionBudgets({ ...shared, services: () => this.#services.objects });
    this.#services = new ServiceSource({
      ...shared,
      emit,
      allowTransforms: settings.allowTransforms,
      onObject: (object, isGone) => this.#serviceSeen(object, isGone),
    });
    this.#revisions = new RevisionStore(client);
  }

  get network(): ServiceNetwork {
    return this.#network;
  }

  async start(onEvent: (event: PlatformEvent) => void): Promise<void> {
    this.#emit = onEvent;
    await Promise.all([this.#nodes.start(), this.#network.start(), this.#budgets.start()]);
    await this.#services.start();
    // Pods after pools, so that each is known as current or not; both after the services that they belong to.
    await this.#pools.start();
    await this.#pods.start();
    // Those whose claims an earlier leader has not lived to write down.
    for (const { runtime, observed } of this.#pods.values())
      if (runtime?.claim !== undefined && observed !== undefined)
        void this.#holders.take(observed.id, runtime.claim);
    onEvent({ type: 'synced' });
  }

  async createStandby(key: string): Promise<{ id: string }> {
    const pool = this.#pools.pools.get(key);
    if (pool === undefined) throw new PilotlightError('replica-failed', `StandbyPool ${key} is gone`);
    const { namespace, name, uid = '' } = pool.metadata;
    const podName = poolPodName(name, this.#options.random);
    return this.#create(
      namespace,
      standbyPod({ namespace, name, uid, spec: pool.spec }, this.#options.context, podName),
    );
  }

  async createReplica(template: ReplicaTemplate): Promise<{ id: string }> {
    const { namespace, revision, serviceUid } = template;
    const key = `${serviceUid}/${revision}`;
    const seen = [...this.#pods.values()]
      .filter(
        ({ pod }) =>
          pod.metadata?.namespace === namespace && pod.metadata.labels?.[LABELS.revision] === revision,
      )
      .map(({ pod }) => ({ name: pod.metadata?.name ?? '', holdsSlot: holdsSlot(pod) }));
    const given = (this.#named.get(key) ?? []).filter(({ name }) => !seen.some((one) => one.name === name));
    const podName = replicaPodName(revision, nextPlace([...seen, ...given]));
    const naming = { name: podName, holdsSlot: true };
    this.#named.set(key, [...given.slice(-20), naming]);
    try {
      return await this.#create(namespace, replicaPod(template, this.#options.context, podName));
    } catch (error) {
      naming.holdsSlot = false;
      throw error;
    }
  }

  fit({ service, carriesCredentials }: ResolvedService, weightsBytes?: number): StandbyFit {
    const { namespace } = service.metadata;
    const pools = [...this.#pools.pools]
      .filter(([, pool]) => pool.metadata.namespace === namespace)
      .map(([key, { spec }]) => ({ key, spec }));
    const { settings } = this.#options.context;
    return fitAmong(service.spec.predictor, pools, settings, { carriesCredentials, weightsBytes });
  }

  async specialise(
    id: string,
    request: SpecialiseRequest,
    onEvent: (event: SpecialiseEvent) => void,
  ): Promise<SpecialiseEvent> {
    const admin = this.#pods.admin(id);
    const { claimId, epoch, revision, service } = request;
    const claim = { claimId, epoch, serviceUid: service.uid, revision };
    const last = await admin.specialise(request, (event) => {
      if (event.event === 'claimed') this.#pods.update(id, { state: 'specialising', claim });
      else if (event.event === 'ready')
        this.#pods.update(id, { state: 'ready', claim: { ...claim, capacity: event.capacity } });
      else if (event.event === 'failed')
        this.#pods.update(id, { state: 'failed', failure: { code: event.code, message: event.message } });
      onEvent(event);
    });
    if (last.event === 'ready') this.#holders.takeLater(id, claim);
    const wereRefused = last.event === 'failed' && last.code === 'model-forbidden';
    if (wereRefused) this.#services.readAgain(service.namespace, service.name);
    return last;
  }

  async drain(id: string, claimId: string, deadlineMs: number): Promise<boolean> {
    const managed = this.#pods.get(id);
    if (managed.observed?.origin === 'container') {
      // A user's own server has no admin port: the engine has waited for its requests, and it hears SIGTERM at its end.
      return true;
    }
    const admin = this.#pods.admin(id);
    this.#pods.update(id, { state: 'draining' });
    return admin.drain({ claimId, epoch: this.epoch, deadlineMs });
  }

  async recycle(id: string, claimId: string): Promise<void> {
    const admin = this.#pods.admin(id);
    const { pod } = this.#pods.get(id);
    await admin.recycle({ claimId, epoch: this.epoch, deadlineMs: 0 });
    this.#pods.recycling(id);
    try {
      await this.#holders.release(pod);
    } catch (error) {
      // Claimed again meanwhile: the claim has its own write of who holds it.
      if (this.#holders.isClaimed(pod)) return;
      // It wears its last service's labels still; the engine knows it by a new id, so it is ended here.
      this.#options.logger.warn(
        { replica: id, err: error },
        'a recycled pod could not be given back to its pool',
      );
      this.#pods.end(id, STANDBY_GRACE_SECONDS);
    }
  }

  async remove(id: string): Promise<void> {
    if (!this.#pods.has(id)) return;
    const { observed } = this.#pods.get(id);
    // A user's own container has had no drain but this one.
    if (observed?.origin === 'container') return this.#pods.remove(id);
    const isBlank = observed?.origin === 'standby' && observed.claim === undefined;
    return this.#pods.remove(id, isBlank ? STANDBY_GRACE_SECONDS : DRAINED_GRACE_SECONDS);
  }

  addresses(namespace: string, name: string): Addresses {
    const { clusterDomain, domain } = this.#options.context.settings;
    const base = `${name}.${namespace}`;
    const inCluster = `${base}.svc.${clusterDomain}`;
    const public_ = domain === undefined ? undefined : `${base}.${domain}`;
    const ownHosts = [base, `${base}.svc`, inCluster];
    return {
      hosts: [...ownHosts, ...(public_ === undefined ? [] : [public_])],
      ownHosts,
      url: `http://${public_ ?? inCluster}`,
    };
  }

  reportPool(key: string, report: PoolReport): void {
    this.#poolStatuses.report(key, report);
  }

  async writeStatus(uid: string, status: InferenceServiceStatus): Promise<void> {
    const { namespace = '', name = '' } = this.#byUid.get(uid)?.metadata ?? {};
    if (name === '') return;
    this.#budgets.wanted({ namespace, name, uid }, status.replicas?.desired ?? 0);
    const path = objectPath({ ...RESOURCES.inferenceServices, namespace, name, subresource: 'status' });
    try {
      await this.#options.client.patch(path, 'apply', {
        apiVersion: API_VERSION,
        kind: KIND,
        metadata: { namespace, name, uid },
        status,
      });
    } catch (error) {
      // Deleted meanwhile, or made anew under its name: there is nobody to tell.
      if (!isKubeError(error, 'not-found', 'conflict')) throw error;
    }
  }

  recordEvent(uid: string, event: ServiceEvent): void {
    const { namespace = '', name = '' } = this.#byUid.get(uid)?.metadata ?? {};
    if (name === '') return;
    this.#options.events.record({ apiVersion: API_VERSION, kind: KIND, namespace, name, uid }, event);
  }

  async loadRevisions(uid: string): Promise<readonly StoredRevision[]> {
    const owner = this.#owner(uid);
    return owner === undefined ? [] : this.#revisions.load(owner);
  }

  async saveRevisions(uid: string, revisions: readonly StoredRevision[]): Promise<void> {
    const owner = this.#owner(uid);
    if (owner !== undefined) await this.#revisions.save(owner, revisions);
  }

  async stop(replicas: 'remove' | 'leave'): Promise<void> {
    this.#holders.stop();
    await Promise.all([this.#services.stop(), this.#pools.stop(), this.#network.stop()]);
    await Promise.all([this.#poolStatuses.stop(), this.#budgets.stop()]);
    this.#nodes.stop();
    if (replicas === 'remove') {
      const ids = [...this.#pods.values()].flatMap(({ observed }) => observed?.id ?? []);
      await Promise.allSettled(ids.map((id) => this.#pods.remove(id)));
    }
    this.#pods.stop();
    await this.#options.events.idle();
  }

  async #create(namespace: string, body: Pod): Promise<{ id: string }> {
    try {
      const pod = await this.#options.client.create<Pod>(objectPath({ ...RESOURCES.pods, namespace }), body);
      return this.#pods.created(pod);
    } catch (error) {
      if (!isKubeError(error)) throw error;
      const { code, message, isPassing } = createRefusal(error);
      if (code === NAMESPACE_TERMINATING) this.#letGo(namespace);
      throw new PlatformRefusal(code, message, { isPassing, cause: error });
    }
  }

  /** The pod of a replica, for callers to be led to; undefined when it is gone or ends. */
  #led(id: string): LedPod | undefined {
    if (!this.#pods.has(id)) return undefined;
    const { pod, isRemoving } = this.#pods.get(id);
    return isRemoving ? undefined : pod;
  }

  #isOutdated(pod: Pod): boolean {
    const { namespace = '', labels = {} } = pod.metadata ?? {};
    const pool = this.#pools.pools.get(`${namespace}/${labels[LABELS.pool]}`);
    if (pool === undefined) return true;
    return !isCurrent(pod, { name: pool.metadata.name, spec: pool.spec }, this.#options.context);
  }

  #serviceSeen(object: ServiceObject, isGone: boolean): void {
    const { uid = '', namespace = '', name = '' } = object.metadata ?? {};
    if (isGone) {
      this.#byUid.delete(uid);
      this.#budgets.forget(uid);
      this.#revisions.forget(uid);
      for (const key of this.#named.keys()) if (key.startsWith(`${uid}/`)) this.#named.delete(key);
    } else {
      this.#byUid.set(uid, object);
    }
    this.#network.serviceChanged(namespace, name);
    this.#pools.namespaceChanged(namespace);
  }

  #letGo(namespace: string): void {
    this.#options.logger.info(
      { namespace },
      'the namespace is being deleted, nothing of it is served any more',
    );
    this.#services.letGo(namespace);
    this.#pools.letGo(namespace);
  }

  #owner(uid: string): { namespace: string; name: string; uid: string } | undefined {
    const { namespace, name } = this.#byUid.get(uid)?.metadata ?? {};
    return namespace === undefined || name === undefined ? undefined : { namespace, name, uid };
  }
}

function quantities(amounts: Readonly<Record<string, number>>): Record<string, string> {
  return Object.fromEntries(Object.entries(amounts).map(([name, amount]) => [name, formatQuantity(amount)]));
}
