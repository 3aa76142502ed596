import type { RuntimeState } from '../../../contracts/admin.ts';
import { PilotlightError } from '../../../contracts/errors.ts';
import type { StandbyPool } from '../../../crds/standby-pool.ts';
import type { Logger } from '../../../process/logger.ts';
import type { Clock } from '../../ports.ts';
import type { KubeClient } from './api/kube-client.ts';
import { isKubeError, KubeError } from './api/kube-error.ts';
import { objectPath, RESOURCES } from './api/paths.ts';
import { claimPatch, isPatched, type PodPatch, releasePatch } from './core/claim-patch.ts';
import type { Pod } from './core/kube-types.ts';
import { LABELS } from './core/labels.ts';
import type { ReplicaPods } from './replica-pods.ts';
import type { ServiceObject } from './service-source.ts';

export interface PodHoldersOptions {
  readonly client: Pick<KubeClient, 'get' | 'patch'>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onTrouble: (error: unknown) => void;
  readonly pods: Pick<ReplicaPods, 'get' | 'has' | 'seen' | 'update' | 'values'>;
  /** By `namespace/name`. */
  readonly pool: (key: string) => StandbyPool | undefined;
  readonly service: (uid: string) => ServiceObject | undefined;
}

type Claim = NonNullable<RuntimeState['claim']>;

/**
 * Behind the first answer: a write to a pod is work for the API server, the kubelet and all who watch pods, on the
 * cores on which the model is about to answer for the first time.
 */
const TAKE_DELAY_MS = 150;
const TAKE_RETRY_MS = 5_000;
/** A kubelet that writes the pod's status in between makes a patch conflict; a few tries get through. */
const MAX_TRIES = 8;

/**
 * Who holds the pods of pools, as their labels and owners say it. The runtime in the pod decides who that is; this is
 * for others to see: people, disruption budgets, policies, Kubernetes' own clearing up.
 */
export class PodHolders {
  readonly #options: PodHoldersOptions;
  /** By the pod's uid: writes of one pod are made in turn, each from what the one before has left. */
  readonly #tails = new Map<string, Promise<unknown>>();
  #isStopped = false;

  constructor(options: PodHoldersOptions) {
    this.#options = options;
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** Writes who holds the pod, when its first answer is out as a rule. */
  takeLater(id: string, claim: Claim, delayMs = TAKE_DELAY_MS): void {
    this.#options.clock.after(delayMs, () => void this.take(id, claim));
  }

  /**
   * Writes who holds the pod, if that is so still. A pod that is another's by then is not ours to serve from; while
   * the API server is away the replica serves on, and the write is tried again. Never rejects.
   */
  async take(id: string, claim: Claim): Promise<void> {
    const { pods, service, logger, onTrouble } = this.#options;
    if (!pods.has(id)) return;
    try {
      await this.#inTurn(pods.get(id).pod, async () => {
        if (this.#isStopped || !pods.has(id)) return;
        const { pod, observed, runtime, isRemoving } = pods.get(id);
        const object = service(claim.serviceUid);
        const name = object?.metadata?.name;
        const isStillHeld = runtime?.claim?.claimId === claim.claimId && !isRemoving;
        if (observed?.origin !== 'standby' || !isStillHeld || name === undefined) return;
        const holder = { name, uid: claim.serviceUid, revision: claim.revision, ...predictorOf(object) };
        await this.#write(
          pod,
          (now) => claimPatch(now, holder),
          (now) => [undefined, name].includes(now.metadata?.labels?.[LABELS.service]),
        );
      });
    } catch (error) {
      onTrouble(error);
      if (error instanceof KubeError && error.transient) return this.takeLater(id, claim, TAKE_RETRY_MS);
      const message = `the pod could not be made the service's: ${error instanceof Error ? error.message : String(error)}`;
      logger.warn({ replica: id, err: error }, 'a claimed pod could not be relabelled');
      if (pods.has(id)) pods.update(id, { state: 'failed', failure: { code: 'replica-failed', message } });
    }
  }

  /**
   * Gives a pod back to its pool, after any write of who held it.
   *
   * @throws PilotlightError `replica-failed` when the pool is gone; KubeError as the API server has it
   */
  release(released: Pod): Promise<void> {
    return this.#inTurn(released, async () => {
      const pod = this.#managed(released)?.pod ?? released;
      const { namespace = '', labels = {}, ownerReferences = [] } = pod.metadata ?? {};
      const pool = this.#options.pool(`${namespace}/${labels[LABELS.pool]}`);
      if (pool === undefined) throw new PilotlightError('replica-failed', 'the pool of the pod is gone');
      const { name, uid = '' } = pool.metadata;
      const holder = labels[LABELS.service];
      const predictor = predictorOf(this.#options.service(ownerReferences[0]?.uid ?? ''));
      await this.#write(
        pod,
        (now) => releasePatch(now, { namespace, name, uid, spec: pool.spec }, predictor),
        (now) =>
          [undefined, holder].includes(now.metadata?.labels?.[LABELS.service]) && !this.isClaimed(released),
      );
    });
  }

  /** Whether the process in the pod holds a claim, as far as it has said. */
  isClaimed(pod: Pod): boolean {
    return this.#managed(pod)?.runtime?.claim !== undefined;
  }

  #managed({ metadata }: Pod) {
    return [...this.#options.pods.values()].find(({ pod }) => pod.metadata?.uid === metadata?.uid);
  }

  async #inTurn(pod: Pod, write: () => Promise<void>): Promise<void> {
    const uid = pod.metadata?.uid ?? '';
    const before = this.#tails.get(uid) ?? Promise.resolve();
    const written = before.then(write);
    const tail = written.catch(() => undefined);
    this.#tails.set(uid, tail);
    try {
      await written;
    } finally {
      if (this.#tails.get(uid) === tail) this.#tails.delete(uid);
    }
  }

  /**
   * Writes a patch, guarded by the version that it was made from. When somebody has written meanwhile the pod is read
   * anew, and patched only if `mayHave` still says so.
   *
   * @param wanted The patch for the pod as it is now.
   * @throws KubeError `conflict` when the pod is another's by now, `not-found` when it is gone.
   */
  async #write(pod: Pod, wanted: (pod: Pod) => PodPatch, mayHave: (pod: Pod) => boolean): Promise<void> {
    const { client, pods } = this.#options;
    const { namespace = '', name = '', uid } = pod.metadata ?? {};
    const path = objectPath({ ...RESOURCES.pods, namespace, name });
    let now = pod;
    for (let tries = 1; ; tries++) {
      const patch = wanted(now);
      if (isPatched(now, patch)) return;
      try {
        // The next write begins with what this one has made, though the watch may not have told it by then.
        return pods.seen(await client.patch<Pod>(path, 'merge', patch));
      } catch (error) {
        if (!isKubeError(error, 'conflict') || tries === MAX_TRIES) throw error;
        const found = await client.get<Pod>(path);
        if (found === undefined || found.metadata?.uid !== uid || !mayHave(found)) throw error;
        now = found;
      }
    }
  }
}

/** Labels and annotations that the manifest gives the service's pods. */
function predictorOf(object: ServiceObject | undefined): {
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
} {
  type Predictor = { labels?: Record<string, string>; annotations?: Record<string, string> };
  const { labels, annotations } = (object?.spec as { predictor?: Predictor } | undefined)?.predictor ?? {};
  return { ...(labels && { labels }), ...(annotations && { annotations }) };
}
