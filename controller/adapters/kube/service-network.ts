import type { Logger } from '../../../process/logger.ts';
import type { CallerNetwork, Clock } from '../../ports.ts';
import type { KubeClient } from './api/kube-client.ts';
import { isKubeError } from './api/kube-error.ts';
import { objectPath, RESOURCES, type ResourceKind } from './api/paths.ts';
import { createReflector, type Reflector } from './api/reflector.ts';
import { type KubeObject, objectKey } from './api/wire.ts';
import { createWorkQueue, type WorkQueue } from './api/work-queue.ts';
import type { EndpointSlice, Pod, Service } from './core/kube-types.ts';
import { LABELS, MANAGED_BY } from './core/labels.ts';
import { correction } from './core/owned.ts';
import { isTerminating } from './core/pod-state.ts';
import {
  chooseActivators,
  type EndpointPod,
  endpointSlices,
  type IpFamily,
  type ServiceIdentity,
  serviceObject,
  sliceName,
} from './core/service-objects.ts';
import type { KubeSettings } from './core/settings.ts';

export interface ServiceNetworkOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly namespaces: readonly string[];
  readonly settings: Pick<KubeSettings, 'activatorsPerService'>;
  /** Namespace of the platform, where the activators are. */
  readonly ownNamespace: string;
  /** All services that there are, by `namespace/name`. */
  readonly services: () => ReadonlyMap<string, KubeObject>;
  readonly onTrouble: (error: unknown) => void;
}

const ACTIVATOR_SELECTOR = `${LABELS.appName}=pilotlight,${LABELS.component}=activator`;
const OWNED_SELECTOR = `${LABELS.managedBy}=${MANAGED_BY}`;

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
    const { metadata } = this.#options.services().get(key) ?? {};
    const { uid, namespace = '', name = '', deletionTimestamp } = metadata ?? {};
    // Of one that is gone, or going, the API server collects what it owns.
    if (uid === undefined || deletionTimestamp !== undefined) return;
    const identity = { namespace, name, uid };
    const written = await this.#write(
      RESOURCES.services,
      this.#services.store.get(key),
      serviceObject(identity),
    );
    if (written === undefined) return;
    const families = (written as Service).spec?.ipFamilies ?? ['IPv4'];
    await this.#writeSlices(identity, families as readonly IpFamily[]);
  }

  async #writeSlices(identity: ServiceIdentity, families: readonly IpFamily[]): Promise<void> {
    const wanted = endpointSlices(identity, this.#activatorsOf(identity.uid), families);
    for (const slice of wanted)
      await this.#write(RESOURCES.endpointSlices, this.#slices.store.get(objectKey(slice)), slice);
    const kept = new Set(wanted.map(({ metadata }) => metadata?.name));
    for (const family of ['IPv4', 'IPv6'] as const) {
      const name = sliceName(identity.name, family);
      const { namespace } = identity;
      if (kept.has(name) || !this.#slices.store.has(`${namespace}/${name}`)) continue;
      await this.#options.client.delete(objectPath({ ...RESOURCES.endpointSlices, namespace, name }));
    }
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

  /** @returns the object as it is then; undefined when its name is taken by something that isn't ours. */
  async #write(
    resource: ResourceKind,
    observed: KubeObject | undefined,
    wanted: KubeObject,
  ): Promise<KubeObject | undefined> {
    const { client, logger } = this.#options;
    const { namespace = '', name = '', ownerReferences = [] } = wanted.metadata ?? {};
    const path = objectPath({ ...resource, namespace, name });
    let found = observed;
    if (found === undefined) {
      try {
        return await client.create(objectPath({ ...resource, namespace }), wanted);
      } catch (error) {
        if (!isKubeError(error, 'already-exists')) {
          // The namespace, or the service itself, is being deleted: nothing is wanted there any more.
          if (isKubeError(error, 'forbidden', 'not-found')) return undefined;
          throw error;
        }
        found = await client.get(path);
        if (found === undefined) return undefined;
        const isOurs =
          found.metadata?.ownerReferences?.some(({ uid }) => uid === ownerReferences[0]?.uid) === true;
        if (!isOurs) {
          logger.error(
            { object: path },
            'an object that is not ours has the name of a service: rename one of them',
          );
          return undefined;
        }
      }
    }
    const patch = correction(found, wanted);
    if (patch === undefined) return found;
    return await client.patch(path, 'merge', patch, { fieldManager: MANAGED_BY });
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
