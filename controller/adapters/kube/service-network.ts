import type { CallersRequest } from '../../../contracts/admin.ts';
import { TAG_ANNOTATIONS } from '../../../crds/warnings.ts';
import type { Logger } from '../../../process/logger.ts';
import { taggedHost } from '../../core/tags.ts';
import type { CallerNetwork, Clock } from '../../ports.ts';
import type { KubeClient } from './api/kube-client.ts';
import { objectPath, RESOURCES, type ResourceKind } from './api/paths.ts';
import { createReflector, type Reflector } from './api/reflector.ts';
import { type KubeObject, objectKey } from './api/wire.ts';
import { createWorkQueue, type WorkQueue } from './api/work-queue.ts';
import type { EndpointSlice, Pod, Service } from './core/kube-types.ts';
import { LABELS, OWNED_SELECTOR } from './core/labels.ts';
import { isTerminating } from './core/pod-state.ts';
import {
  chooseActivators,
  type EndpointPod,
  endpointSlices,
  type IpFamily,
  SERVICE_TAGS,
  type ServiceIdentity,
  serviceObject,
  sliceName,
} from './core/service-objects.ts';
import type { KubeSettings } from './core/settings.ts';
import { isOwnedBy, writeOwned } from './write-owned.ts';

export interface ServiceNetworkOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly namespaces: readonly string[];
  readonly settings: Pick<KubeSettings, 'activatorsPerService' | 'directMode'>;
  /** Namespace of the platform, where the activators are. */
  readonly ownNamespace: string;
  /** All services that there are, by `namespace/name`. */
  readonly services: () => ReadonlyMap<string, KubeObject>;
  /** The pod of a replica that callers may be led to. */
  readonly replica: (id: string) => LedPod | undefined;
  readonly tellCallers: (id: string, request: Omit<CallersRequest, 'epoch'>) => Promise<void>;
  readonly onTrouble: (error: unknown) => void;
}

export type LedPod = Pod;

const ACTIVATOR_SELECTOR = `${LABELS.appName}=pilotlight,${LABELS.component}=activator`;

/**
 * What leads callers to the services: a Service for each, and its EndpointSlices, which name the activators that
 * carry it. Kept as they are wanted, whoever else may write them.
 */
export class ServiceNetwork implements CallerNetwork {
  readonly #options: ServiceNetworkOptions;
  readonly #services: Reflector<Service>;
  readonly #slices: Reflector<EndpointSlice>;
  readonly #activators: Reflector<Pod>;
  readonly #queue: WorkQueue;
  readonly #synced = Promise.withResolvers<void>();
  #waitsFor = 3;
  #avoided: ReadonlySet<string> = new Set();
  /** Replicas that callers are led to, by service; the others' callers go to activators. */
  readonly #led = new Map<string, readonly string[]>();
  /** Who waits until a service's slices are as they are wanted now, by `namespace/name`. */
  readonly #waiting = new Map<string, (() => void)[]>();

  constructor(options: ServiceNetworkOptions) {
    this.#options = options;
    const { client, clock, namespaces, logger, onTrouble } = options;
    this.#queue = createWorkQueue({
      clock,
      concurrency: 16,
      work: (key) => this.#bring(key),
      onFailure: (key, error, failures, retryMs) => {
        onTrouble(error);
        logger.warn(
          { service: key, err: error, failures, retryMs },
          'the network of a service could not be written',
        );
      },
    });
    const onSynced = (): void => {
      this.#waitsFor -= 1;
      if (this.#waitsFor === 0) this.#synced.resolve();
    };
    const shared = { client, clock, onTrouble, onSynced };
    const owned = { ...shared, namespaces, labelSelector: OWNED_SELECTOR };
    const onOwned = (object: KubeObject): void => this.#ownedSeen(object);
    this.#services = createReflector<Service>({
      ...owned,
      resource: RESOURCES.services,
      onChange: onOwned,
      onDelete: onOwned,
    });
    this.#slices = createReflector<EndpointSlice>({
      ...owned,
      resource: RESOURCES.endpointSlices,
      onChange: onOwned,
      onDelete: onOwned,
    });
    this.#activators = createReflector<Pod>({
      ...shared,
      resource: RESOURCES.pods,
      namespaces: [options.ownNamespace],
      labelSelector: ACTIVATOR_SELECTOR,
      onChange: (pod, before) => {
        if (before === undefined || JSON.stringify(endpointPod(pod)) !== JSON.stringify(endpointPod(before)))
          this.#allAgain();
      },
      onDelete: () => this.#allAgain(),
    });
  }

  /** Resolves when all that exists is known; nothing is written before. */
  async start(): Promise<void> {
    for (const reflector of [this.#services, this.#slices, this.#activators]) reflector.start();
    await this.#synced.promise;
    this.#allAgain();
  }

  async stop(): Promise<void> {
    for (const reflector of [this.#services, this.#slices, this.#activators]) reflector.stop();
    await this.#queue.stop();
  }

  /** A service is there, has changed, or is gone. */
  serviceChanged(namespace: string, name: string): void {
    if (this.#waitsFor === 0) this.#queue.add(`${namespace}/${name}`);
  }

  get mayBeDirect(): boolean {
    return this.#options.settings.directMode === 'auto';
  }

  async lead(serviceUid: string, replicaIds: readonly string[]): Promise<void> {
    if (replicaIds.length > 0) this.#led.set(serviceUid, replicaIds);
    else this.#led.delete(serviceUid);
    for (const [key, { metadata }] of this.#options.services()) {
      if (metadata?.uid !== serviceUid) continue;
      await new Promise<void>((resolve) => {
        this.#waiting.set(key, [...(this.#waiting.get(key) ?? []), resolve]);
        this.#queue.add(key);
      });
      return;
    }
    this.#led.delete(serviceUid);
  }

  welcomeCallers(id: string, claimId: string, isWelcome: boolean, lingerMs: number): Promise<void> {
    return this.#options.tellCallers(id, { claimId, welcome: isWelcome, lingerMs });
  }

  avoidActivators(pods: ReadonlySet<string>, isBusy: (serviceUid: string) => boolean): void {
    this.#avoided = pods;
    if (this.#waitsFor > 0) return;
    // Ten thousand services take seconds: those that are being called come first.
    for (const [key, { metadata }] of this.#options.services()) {
      if (isBusy(metadata?.uid ?? '')) this.#queue.add(key);
    }
    this.#allAgain();
  }

  #ownedSeen(object: KubeObject): void {
    const { namespace = '', labels = {} } = object.metadata ?? {};
    const service = labels[LABELS.service];
    if (service !== undefined) this.serviceChanged(namespace, service);
  }

  #allAgain(): void {
    for (const key of this.#options.services().keys()) this.#queue.add(key);
  }

  async #bring(key: string): Promise<void> {
    // Whoever comes while this runs waits for the next run.
    const waiting = this.#waiting.get(key) ?? [];
    this.#waiting.delete(key);
    try {
      await this.#bringNetwork(key);
    } catch (error) {
      this.#waiting.set(key, [...waiting, ...(this.#waiting.get(key) ?? [])]);
      throw error;
    }
    for (const resolve of waiting) resolve();
  }

  async #bringNetwork(key: string): Promise<void> {
    const { metadata } = this.#options.services().get(key) ?? {};
    const { uid, namespace = '', name = '', deletionTimestamp } = metadata ?? {};
    // Of one that is gone, or going, the API server collects what it owns.
    if (uid === undefined || deletionTimestamp !== undefined) return;
    const identity = { namespace, name, uid };
    await this.#bringAddress(identity, name, this.#endpointsOf(uid));
    const tagged = taggedServices(name);
    const hasTags = TAG_ANNOTATIONS.some((annotation) => metadata?.annotations?.[annotation] === 'true');
    // Which revision a request is for is for an activator to see, by its host.
    const activators = this.#activatorsOf(uid);
    for (const one of tagged) {
      // Of a service that is called so itself.
      if (this.#options.services().has(`${namespace}/${one}`)) continue;
      if (hasTags) await this.#bringAddress(identity, one, activators);
      else await this.#removeAddress(identity, one);
    }
  }

  /** A Service and its slices. */
  async #bringAddress(
    identity: ServiceIdentity,
    name: string,
    endpoints: readonly EndpointPod[],
  ): Promise<void> {
    const { namespace } = identity;
    const observed = this.#services.store.get(`${namespace}/${name}`);
    const written = await this.#writeOwned(RESOURCES.services, observed, serviceObject(identity, name));
    if (written === undefined) return;
    const families = ((written as Service).spec?.ipFamilies ?? ['IPv4']) as readonly IpFamily[];
    const wanted = endpointSlices(identity, endpoints, families, name);
    for (const slice of wanted)
      await this.#writeOwned(RESOURCES.endpointSlices, this.#slices.store.get(objectKey(slice)), slice);
    const kept = new Set(wanted.map(({ metadata }) => metadata?.name));
    await this.#removeSlices(identity, name, kept);
  }

  async #removeAddress(identity: ServiceIdentity, name: string): Promise<void> {
    const { namespace, uid } = identity;
    const observed = this.#services.store.get(`${namespace}/${name}`);
    if (observed === undefined || !isOwnedBy(observed, uid)) return;
    await this.#removeSlices(identity, name, new Set());
    await this.#options.client.delete(objectPath({ ...RESOURCES.services, namespace, name }));
  }

  async #removeSlices(
    { namespace, uid }: ServiceIdentity,
    service: string,
    kept: ReadonlySet<string | undefined>,
  ): Promise<void> {
    for (const family of ['IPv4', 'IPv6'] as const) {
      const name = sliceName(service, family);
      const observed = this.#slices.store.get(`${namespace}/${name}`);
      if (kept.has(name) || observed === undefined || !isOwnedBy(observed, uid)) continue;
      await this.#options.client.delete(objectPath({ ...RESOURCES.endpointSlices, namespace, name }));
    }
  }

  #writeOwned(
    resource: ResourceKind,
    observed: KubeObject | undefined,
    wanted: KubeObject,
  ): Promise<KubeObject | undefined> {
    const { client, logger } = this.#options;
    return writeOwned({ client, logger }, resource, observed, wanted);
  }

  #endpointsOf(serviceUid: string): EndpointPod[] {
    const replicas = (this.#led.get(serviceUid) ?? []).flatMap((id) => {
      const pod = this.#options.replica(id);
      // That it takes requests its runtime has said itself, which the kubelet may not have asked it since.
      return pod === undefined || isTerminating(pod) ? [] : [{ ...endpointPod(pod), isReady: true }];
    });
    const found = replicas.filter(({ addresses }) => addresses.length > 0);
    return found.length > 0 ? found : this.#activatorsOf(serviceUid);
  }

  /**
   * Those that answer, as far as the controller knows; else those that are ready, as far as the kubelets know; where
   * none is, those that there are: one that comes up is found by its callers at once.
   */
  #activatorsOf(serviceUid: string): EndpointPod[] {
    const pods = [...this.#activators.store.values()].map(endpointPod);
    const ready = pods.filter((pod) => pod.isReady && !pod.isTerminating);
    const answering = ready.filter(({ name }) => !this.#avoided.has(name));
    const { activatorsPerService } = this.#options.settings;
    const best = [answering, ready].find(({ length }) => length > 0) ?? pods;
    return chooseActivators(serviceUid, best, activatorsPerService);
  }
}

function endpointPod(pod: Pod): EndpointPod {
  const { name = '', namespace = '', uid = '' } = pod.metadata ?? {};
  const { podIP, podIPs = [], conditions = [] } = pod.status ?? {};
  const addresses = podIPs.length > 0 ? podIPs.map(({ ip }) => ip) : podIP === undefined ? [] : [podIP];
  return {
    name,
    namespace,
    uid,
    addresses,
    isReady: conditions.some(({ type, status }) => type === 'Ready' && status === 'True'),
    isTerminating: isTerminating(pod),
    nodeName: pod.spec?.nodeName,
  };
}

/** Names of the Services that lead to one revision each, where they are names of Services. */
function taggedServices(name: string): string[] {
  return SERVICE_TAGS.flatMap((tag) => taggedHost(tag, name) ?? []);
}
