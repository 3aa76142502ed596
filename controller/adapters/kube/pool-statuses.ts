import { API_VERSION } from '../../../crds/inference-service.ts';
import { canonicalJson } from '../../../crds/revision-spec.ts';
import { POOL_KIND, type StandbyPoolStatus } from '../../../crds/standby-pool.ts';
import type { Logger } from '../../../process/logger.ts';
import type { Clock, PoolReport } from '../../ports.ts';
import type { KubeClient } from './api/kube-client.ts';
import { isKubeError } from './api/kube-error.ts';
import { objectPath, RESOURCES } from './api/paths.ts';
import { createWorkQueue, type WorkQueue } from './api/work-queue.ts';
import { type PoolRefusal, poolStatus } from './core/pool-status.ts';
import type { PoolObject } from './pool-source.ts';

export interface PoolStatusesOptions {
  readonly client: Pick<KubeClient, 'patch'>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** What there is of pools. */
  readonly source: {
    readonly objects: ReadonlyMap<string, PoolObject>;
    /** Those in force. */
    readonly pools: ReadonlyMap<string, { readonly spec: { readonly size: number } }>;
    refusal(key: string): PoolRefusal | undefined;
  };
  readonly onTrouble: (error: unknown) => void;
}

/** Within this time after a change more of them follow mostly: a claim, its replacement, its being ready. */
const SETTLE_MS = 250;
/** From one write of a pool to its next: one whose standbys are claimed all the time costs no more than that. */
const BETWEEN_WRITES_MS = 5_000;

/** No pods: of a pool that the engine was never told of, because it is refused. */
const NOTHING: PoolReport = { ready: 0, starting: 0, serving: 0, quarantined: 0 };

/**
 * Writes the status of each StandbyPool where it says something else than is there, and again when somebody else
 * has changed it. Nothing changes, nothing is written.
 */
export class PoolStatuses {
  readonly #options: PoolStatusesOptions;
  readonly #queue: WorkQueue;
  readonly #reports = new Map<string, PoolReport>();
  readonly #writtenAtMs = new Map<string, number>();

  constructor(options: PoolStatusesOptions) {
    this.#options = options;
    const { clock, logger, onTrouble } = options;
    this.#queue = createWorkQueue({
      clock,
      concurrency: 2,
      work: (key) => this.#bring(key),
      onFailure: (key, error, failures, retryMs) => {
        onTrouble(error);
        logger.warn(
          { pool: key, err: error, failures, retryMs },
          'the status of a pool could not be written',
        );
      },
    });
  }

  /** How the pool stands now. */
  report(key: string, report: PoolReport): void {
    this.#reports.set(key, report);
    this.look(key);
  }

  /** The pool's object is there, has changed, or is gone. */
  look(key: string): void {
    if (!this.#options.source.objects.has(key)) {
      this.#reports.delete(key);
      this.#writtenAtMs.delete(key);
      this.#queue.forget(key);
      return;
    }
    const nextMs = (this.#writtenAtMs.get(key) ?? -Infinity) + BETWEEN_WRITES_MS;
    this.#queue.addAfter(key, Math.max(SETTLE_MS, nextMs - this.#options.clock.nowMs()));
  }

  async stop(): Promise<void> {
    await this.#queue.stop();
  }

  async #bring(key: string): Promise<void> {
    const { client, clock, source } = this.#options;
    const object = source.objects.get(key);
    const { namespace = '', name = '', uid, generation = 0, deletionTimestamp } = object?.metadata ?? {};
    if (object === undefined || uid === undefined || deletionTimestamp !== undefined) return;
    const refusal = source.refusal(key);
    const report = this.#reports.get(key) ?? (refusal === undefined ? undefined : NOTHING);
    // A leader that has just begun doesn't know yet what there is.
    if (report === undefined) return;
    const size = source.pools.get(key)?.spec.size ?? 0;
    const observed = object.status as StandbyPoolStatus | undefined;
    const wanted = poolStatus({ generation, size, refusal, report }, observed, clock.nowMs());
    if (canonicalJson(wanted) === canonicalJson(observed ?? null)) return;
    this.#writtenAtMs.set(key, clock.nowMs());
    try {
      await client.patch(
        objectPath({ ...RESOURCES.standbyPools, namespace, name, subresource: 'status' }),
        'apply',
        { apiVersion: API_VERSION, kind: POOL_KIND, metadata: { namespace, name, uid }, status: wanted },
      );
    } catch (error) {
      // Deleted meanwhile, or made anew under its name: there is nobody to tell.
      if (!isKubeError(error, 'not-found', 'conflict')) throw error;
    }
  }
}
