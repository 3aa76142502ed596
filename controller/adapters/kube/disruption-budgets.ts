import type { Logger } from '../../../process/logger.ts';
import type { Clock } from '../../ports.ts';
import type { KubeClient } from './api/kube-client.ts';
import { objectPath, RESOURCES } from './api/paths.ts';
import { createReflector, type Reflector } from './api/reflector.ts';
import type { KubeObject } from './api/wire.ts';
import { createWorkQueue, type WorkQueue } from './api/work-queue.ts';
import type { PodDisruptionBudget } from './core/kube-types.ts';
import { LABELS, OWNED_SELECTOR } from './core/labels.ts';
import { disruptionBudget, type ServiceIdentity } from './core/service-objects.ts';
import { isOwnedBy, writeOwned } from './write-owned.ts';

export interface DisruptionBudgetsOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly namespaces: readonly string[];
  /** All services that there are, by `namespace/name`. */
  readonly services: () => ReadonlyMap<string, KubeObject>;
  readonly onTrouble: (error: unknown) => void;
}

/** A count that changes mostly changes again soon; and the cold start that changed it comes first. */
const SETTLE_MS = 1_000;

/**
 * The disruption budget of each service that wants two replicas or more, kept as it is wanted, whoever else may
 * write it. Of a service whose count isn't known yet nothing is touched.
 */
export class DisruptionBudgets {
  readonly #options: DisruptionBudgetsOptions;
  readonly #reflector: Reflector<PodDisruptionBudget>;
  readonly #queue: WorkQueue;
  /** Replicas that a service wants, by its uid. */
  readonly #wanted = new Map<string, number>();
  readonly #synced = Promise.withResolvers<void>();

  constructor(options: DisruptionBudgetsOptions) {
    this.#options = options;
    const { client, clock, namespaces, logger, onTrouble } = options;
    this.#queue = createWorkQueue({
      clock,
      concurrency: 4,
      work: (key) => this.#bring(key),
      onFailure: (key, error, failures, retryMs) => {
        onTrouble(error);
        logger.warn(
          { service: key, err: error, failures, retryMs },
          'the disruption budget of a service could not be written',
        );
      },
    });
    const seen = ({ metadata }: PodDisruptionBudget): void => {
      const service = metadata?.labels?.[LABELS.service];
      if (service !== undefined) this.#queue.add(`${metadata?.namespace}/${service}`);
    };
    this.#reflector = createReflector<PodDisruptionBudget>({
      client,
      clock,
      resource: RESOURCES.podDisruptionBudgets,
      namespaces,
      labelSelector: OWNED_SELECTOR,
      onChange: seen,
      onDelete: seen,
      onSynced: () => this.#synced.resolve(),
      onTrouble,
    });
  }

  /** Resolves when all budgets that there are are known. */
  async start(): Promise<void> {
    this.#reflector.start();
    await this.#synced.promise;
  }

  async stop(): Promise<void> {
    this.#reflector.stop();
    await this.#queue.stop();
  }

  /** Replicas that a service wants in all. */
  wanted({ namespace, name, uid }: ServiceIdentity, count: number): void {
    if (this.#wanted.get(uid) === count) return;
    this.#wanted.set(uid, count);
    this.#queue.addAfter(`${namespace}/${name}`, SETTLE_MS);
  }

  /** The service is gone; the API server collects what it owns. */
  forget(uid: string): void {
    this.#wanted.delete(uid);
  }

  async #bring(key: string): Promise<void> {
    const { metadata } = this.#options.services().get(key) ?? {};
    const { uid = '', namespace = '', name = '', deletionTimestamp } = metadata ?? {};
    const count = this.#wanted.get(uid);
    if (count === undefined || deletionTimestamp !== undefined) return;
    const observed = this.#reflector.store.get(key);
    const wanted = disruptionBudget({ namespace, name, uid }, count);
    if (wanted !== undefined) {
      await writeOwned(this.#options, RESOURCES.podDisruptionBudgets, observed, wanted);
      return;
    }
    if (observed === undefined || !isOwnedBy(observed, uid)) return;
    const path = objectPath({ ...RESOURCES.podDisruptionBudgets, namespace, name });
    const { uid: budgetUid } = observed.metadata ?? {};
    await this.#options.client.delete(path, { ...(budgetUid !== undefined && { uid: budgetUid }) });
  }
}
