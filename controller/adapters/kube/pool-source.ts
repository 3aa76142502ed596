import { API_VERSION } from '../../../crds/inference-service.ts';
import { canonicalJson } from '../../../crds/revision-spec.ts';
import { POOL_KIND, parseStandbyPool, type StandbyPool } from '../../../crds/standby-pool.ts';
import type { Logger } from '../../../process/logger.ts';
import type { Clock, PlatformEvent } from '../../ports.ts';
import type { KubeClient } from './api/kube-client.ts';
import { isKubeError } from './api/kube-error.ts';
import { objectPath, RESOURCES } from './api/paths.ts';
import { createReflector, type Reflector } from './api/reflector.ts';
import { type KubeObject, objectKey } from './api/wire.ts';
import { createWorkQueue, type WorkQueue } from './api/work-queue.ts';
import { LABELS, MANAGED_BY } from './core/labels.ts';
import { cacheProblem, type PoolRefusal } from './core/pool-status.ts';
import type { KubeSettings } from './core/settings.ts';
import { ObjectsLetGo } from './objects-let-go.ts';

export interface PoolObject extends KubeObject {
  readonly spec?: unknown;
  readonly status?: unknown;
}

export interface PoolSourceOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly namespaces: readonly string[];
  readonly logger: Logger;
  readonly emit: (event: PlatformEvent) => void;
  readonly onTrouble: (error: unknown) => void;
  /** The pool that a namespace gets which has services and no pool, as a manifest's spec; size 0: it gets none. */
  readonly defaultSpec: { readonly size: number; readonly resources: object };
  /** Volumes beside emptyDir that a pool may have its cache on. */
  readonly settings: Pick<KubeSettings, 'allowCache'>;
  /** Namespaces with a service. */
  readonly inhabited: () => ReadonlySet<string>;
  /** What a pool's pods are made from has changed, or a pool is there that wasn't. */
  readonly onChange: () => void;
  /** The object of a pool, by `namespace/name`, is there, has changed in any way, or is gone. */
  readonly onObject: (key: string) => void;
}

const DEFAULT_POOL = 'default';
/** One namespace after the other at its own pace: services come and go in bursts. */
const SETTLE_MS = 100;

/** The StandbyPools of the cluster, and the default one where a namespace has services and no pool. */
export class PoolSource {
  readonly #options: PoolSourceOptions;
  readonly #reflector: Reflector<PoolObject>;
  readonly #queue: WorkQueue;
  readonly #pools = new Map<string, StandbyPool>();
  readonly #refusals = new Map<string, PoolRefusal>();
  readonly #letGo = new ObjectsLetGo();
  #onSynced: () => void = () => undefined;

  constructor(options: PoolSourceOptions) {
    this.#options = options;
    const { client, clock, namespaces, logger, onTrouble } = options;
    this.#queue = createWorkQueue({
      clock,
      concurrency: 4,
      work: (namespace) => this.#ensureDefault(namespace),
      onFailure: (namespace, error, failures) =>
        logger.warn(
          { namespace, err: error, failures },
          'the default pool of a namespace could not be written',
        ),
    });
    this.#reflector = createReflector<PoolObject>({
      client,
      clock,
      resource: RESOURCES.standbyPools,
      namespaces,
      onChange: (object, previous) => {
        this.#changed(object, previous);
        options.onObject(objectKey(object));
      },
      onDelete: (object) => {
        this.#letGo.forget(object);
        this.#deleted(object);
        options.onObject(objectKey(object));
      },
      onSynced: () => this.#onSynced(),
      onTrouble,
    });
  }

  /** Resolves when all pools that there are have been told. */
  async start(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#onSynced = resolve;
      this.#reflector.start();
    });
    for (const namespace of this.#options.inhabited()) this.#queue.add(namespace);
  }

  /** The namespace is being deleted: its pools count as deleted from now on, as its services do. */
  letGo(namespace: string): void {
    for (const object of this.#letGo.letGo(this.#reflector.store.values(), namespace)) this.#deleted(object);
  }

  async stop(): Promise<void> {
    this.#reflector.stop();
    await this.#queue.stop();
  }

  /** By `namespace/name`. */
  get pools(): ReadonlyMap<string, StandbyPool> {
    return this.#pools;
  }

  /** The objects as the API server holds them, by `namespace/name`. */
  get objects(): ReadonlyMap<string, PoolObject> {
    return this.#reflector.store;
  }

  /** Why the pool, as its manifest stands now, is not in force; undefined when it is. */
  refusal(key: string): PoolRefusal | undefined {
    return this.#refusals.get(key);
  }

  /** A namespace has got its first service, or lost its last one. */
  namespaceChanged(namespace: string): void {
    this.#queue.addAfter(namespace, SETTLE_MS);
  }

  #changed(object: PoolObject, previous: PoolObject | undefined): void {
    const key = objectKey(object);
    const { namespace = '', uid, deletionTimestamp, generation } = object.metadata ?? {};
    if (deletionTimestamp !== undefined || this.#letGo.has(object)) {
      this.#deleted(object);
      return;
    }
    const isSame = previous?.metadata?.uid === uid && previous?.metadata?.generation === generation;
    if (isSame && (this.#pools.has(key) || this.#refusals.has(key))) return;
    this.#refusals.delete(key);
    const parsed = parseStandbyPool({ ...object, status: undefined });
    if (!parsed.ok) {
      const problems = parsed.problems.map(({ path, message }) => `${path}: ${message}`);
      this.#options.logger.error({ pool: key, problems }, 'a StandbyPool is not valid');
      this.#refusals.set(key, { reason: 'InvalidSpec', message: problems.join('\n') });
      return;
    }
    const problem = cacheProblem(parsed.pool.spec, this.#options.settings);
    if (problem !== undefined) {
      this.#options.logger.error({ pool: key, problems: [problem] }, 'a StandbyPool is not allowed');
      this.#refusals.set(key, { reason: 'CacheNotAllowed', message: problem });
      this.#forget(key, namespace);
      return;
    }
    this.#pools.set(key, parsed.pool);
    this.#options.emit({ type: 'pool-applied', pool: { key, size: parsed.pool.spec.size } });
    this.#options.onChange();
    this.#queue.addAfter(namespace, SETTLE_MS);
  }

  #deleted(object: PoolObject): void {
    this.#refusals.delete(objectKey(object));
    this.#forget(objectKey(object), object.metadata?.namespace ?? '');
  }

  /** No pod is made for it any more. */
  #forget(key: string, namespace: string): void {
    if (!this.#pools.delete(key)) return;
    this.#options.emit({ type: 'pool-deleted', key });
    this.#options.onChange();
    this.#queue.addAfter(namespace, SETTLE_MS);
  }

  async #ensureDefault(namespace: string): Promise<void> {
    const { client, defaultSpec, inhabited } = this.#options;
    const ours = [...this.#reflector.store.values()].find(
      ({ metadata }) =>
        metadata?.namespace === namespace &&
        metadata.deletionTimestamp === undefined &&
        metadata.labels?.[LABELS.managedBy] === MANAGED_BY,
    );
    // A pool that is invalid or not allowed has no pods, so it takes the place of none.
    const others = [...this.#pools.values()].filter(
      ({ metadata }) => metadata.namespace === namespace && metadata.name !== ours?.metadata?.name,
    );
    const isWanted = defaultSpec.size > 0 && inhabited().has(namespace) && others.length === 0;
    const path = { ...RESOURCES.standbyPools, namespace };
    if (!isWanted) {
      const { uid, name } = ours?.metadata ?? {};
      if (name === undefined) return;
      await client.delete(objectPath({ ...path, name }), { ...(uid !== undefined && { uid }) });
      return;
    }
    const { size, resources } = (ours?.spec ?? {}) as { size?: unknown; resources?: unknown };
    if (canonicalJson({ size, resources }) === canonicalJson(defaultSpec)) return;
    try {
      await client.patch(objectPath({ ...path, name: DEFAULT_POOL }), 'apply', {
        apiVersion: API_VERSION,
        kind: POOL_KIND,
        metadata: { name: DEFAULT_POOL, namespace, labels: { [LABELS.managedBy]: MANAGED_BY } },
        spec: defaultSpec,
      });
    } catch (error) {
      // The namespace is being deleted: nothing is to be had there, and nothing wanted.
      if (!isKubeError(error, 'forbidden', 'not-found')) throw error;
      this.#options.logger.info({ namespace, err: error }, 'a namespace takes no default pool');
    }
  }
}
