import type { RuntimeState } from '../../../contracts/admin.ts';
import { PilotlightError } from '../../../contracts/errors.ts';
import type { Logger } from '../../../process/logger.ts';
import type { Clock, ObservedReplica, PlatformEvent } from '../../ports.ts';
import { RuntimeAdmin } from '../runtime-admin.ts';
import { backOffMs } from './api/back-off.ts';
import type { KubeClient } from './api/kube-client.ts';
import { objectPath, RESOURCES } from './api/paths.ts';
import { createReflector, type Reflector } from './api/reflector.ts';
import { objectKey } from './api/wire.ts';
import type { Pod } from './core/kube-types.ts';
import { MANAGED_SELECTOR, originOf } from './core/labels.ts';
import { ADMIN_PORT } from './core/pod-spec.ts';
import { isTerminating, type NodeState, observePod } from './core/pod-state.ts';

/**
 * A runtime listens some hundred ms after its container runs or it was recycled: asked often for so long, then less.
 * Intervals that grow from the first time on would find it up to 150 ms late.
 */
const ASK_AGAIN_MS = 25;
const ASKED_OFTEN_TIMES = 24;
const LONGEST_ASK_AGAIN_MS = 1_000;
/** After four seconds and a half. */
const TELLS_AT_ATTEMPT = 34;
const END_BASE_MS = 100;
const END_LONGEST_MS = 5_000;
/** At its start a controller waits for answers no longer than this: a runtime that hangs keeps nobody from work. */
const FIRST_ROUND_MS = 3_000;

export interface ReplicaPodsOptions {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly namespaces: readonly string[];
  readonly logger: Logger;
  readonly emit: (event: PlatformEvent) => void;
  /** A fresh token for the admin port of this pod. */
  readonly adminToken: (namespace: string, pod: string) => string;
  readonly onTrouble: (error: unknown) => void;
  /** From 0 up to 1. */
  readonly random: () => number;
  /** Whether the pod was made from what its pool says no more. */
  readonly isOutdated: (pod: Pod) => boolean;
  readonly nodeState: (name: string) => NodeState;
}

/** One pod, and what is known of the process in it. */
export interface ManagedPod {
  /** `namespace/name`: the replica's host. */
  readonly host: string;
  pod: Pod;
  admin: RuntimeAdmin | undefined;
  /** What the runtime said when it was last asked, and what its answers to calls have shown since. */
  runtime: RuntimeState | undefined;
  /** Incarnation that has been told to replace itself: its answers count no more. */
  left: string | undefined;
  isRemoving: boolean;
  observed: ObservedReplica | undefined;
  cancelAsking: (() => void) | undefined;
}

/**
 * The pods that are replicas or standbys: watched, their runtimes asked for what they hold, told to the engine
 * as observed replicas. A replica's id is its pod, and for each time that its process was replaced another one.
 */
export class ReplicaPods {
  readonly #options: ReplicaPodsOptions;
  readonly #reflector: Reflector<Pod>;
  readonly #pods = new Map<string, ManagedPod>();
  #onSynced: () => void = () => undefined;
  #isStopped = false;

  constructor(options: ReplicaPodsOptions) {
    this.#options = options;
    const { client, clock, namespaces, onTrouble } = options;
    this.#reflector = createReflector<Pod>({
      client,
      clock,
      resource: RESOURCES.pods,
      namespaces,
      labelSelector: MANAGED_SELECTOR,
      onChange: (pod) => this.#changed(pod),
      onDelete: (pod) => this.#deleted(pod),
      onSynced: () => this.#onSynced(),
      onTrouble,
    });
  }

  /** Resolves when all pods are known and their runtimes have said what they hold, or had time to. */
  async start(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#onSynced = resolve;
      this.#reflector.start();
    });
    const endMs = this.#options.clock.nowMs() + FIRST_ROUND_MS;
    while ([...this.#pods.values()].some(isUnanswered) && this.#options.clock.nowMs() < endMs) {
      await new Promise<void>((resolve) => void this.#options.clock.after(ASK_AGAIN_MS, resolve));
    }
  }

  stop(): void {
    this.#isStopped = true;
    this.#reflector.stop();
    for (const managed of this.#pods.values()) {
      managed.cancelAsking?.();
      managed.admin?.close();
    }
  }

  /** @throws PilotlightError `replica-failed` when there is no such replica, or not any more. */
  get(id: string): ManagedPod {
    const managed = this.#pods.get(hostOf(id));
    if (managed?.observed?.id === id) return managed;
    throw new PilotlightError('replica-failed', `replica ${id} is gone`);
  }

  /** @throws PilotlightError `replica-failed` when it is gone, starting, or not a runtime of ours. */
  admin(id: string): RuntimeAdmin {
    const { admin } = this.get(id);
    if (admin === undefined)
      throw new PilotlightError('replica-failed', `replica ${id} is not listening yet`);
    return admin;
  }

  has(id: string): boolean {
    return this.#pods.get(hostOf(id))?.observed?.id === id;
  }

  /** All pods, for whoever looks at them from another side. */
  values(): IterableIterator<ManagedPod> {
    return this.#pods.values();
  }

  /** A pod that was just created, before the watch tells of it. */
  created(pod: Pod): { id: string } {
    this.#changed(pod);
    return { id: objectKey(pod) };
  }

  /** A pod as a write has left it, before the watch tells of it; nothing new of one that is gone. */
  seen(pod: Pod): void {
    if (this.#pods.get(objectKey(pod))?.pod.metadata?.uid === pod.metadata?.uid) this.#changed(pod);
  }

  /** Looks at all of them again: what is outside of them has changed. */
  lookAgain(): void {
    for (const managed of this.#pods.values()) this.#tell(managed);
  }

  /** Notes what a call to the runtime has shown, and tells it. */
  update(id: string, seen: Partial<Pick<RuntimeState, 'state' | 'claim' | 'failure'>>): void {
    const managed = this.#pods.get(hostOf(id));
    if (managed?.runtime === undefined || managed.observed?.id !== id) return;
    managed.runtime = { ...managed.runtime, ...seen };
    this.#tell(managed);
  }

  /** The process is about to replace itself: what was known of its incarnation ends here. */
  recycling(id: string): void {
    const managed = this.#pods.get(hostOf(id));
    if (managed?.runtime === undefined || managed.observed?.id !== id) return;
    const { incarnation, recycles } = managed.runtime;
    managed.left = incarnation;
    managed.runtime = undefined;
    const { cachedModels, host, origin, pool } = managed.observed;
    managed.observed = {
      id: replicaId(host, recycles + 1),
      host,
      origin,
      ...(pool !== undefined && { pool }),
      state: 'starting',
      cachedModels,
      sinceMs: this.#options.clock.nowMs(),
    };
    this.#options.emit({ type: 'replica-gone', id, reason: 'recycled' });
    this.#options.emit({ type: 'replica-changed', replica: managed.observed });
    this.#ask(managed, 0);
  }

  /** Ends the pod: SIGTERM, SIGKILL after `graceSeconds`. Its going is told when the API says so. */
  async remove(id: string, graceSeconds?: number): Promise<void> {
    const managed = this.#pods.get(hostOf(id));
    if (managed === undefined) return;
    managed.isRemoving = true;
    managed.cancelAsking?.();
    const { namespace, name, uid } = managed.pod.metadata ?? {};
    await this.#options.client.delete(objectPath({ ...RESOURCES.pods, ...named(namespace, name) }), {
      ...(uid !== undefined && { uid }),
      ...(graceSeconds !== undefined && { gracePeriodSeconds: graceSeconds }),
    });
  }

  /**
   * As `remove`, tried again until the API server has taken it: for a pod that nobody else tries to end. Given up, it
   * would be neither asked nor ended, and be waited for as a start under way for ever.
   */
  end(id: string, graceSeconds: number, failures = 0): void {
    if (this.#isStopped || !this.#pods.has(hostOf(id))) return;
    this.remove(id, graceSeconds).catch((error: unknown) => {
      this.#options.onTrouble(error);
      const delayMs = backOffMs(failures + 1, END_BASE_MS, END_LONGEST_MS, this.#options.random());
      this.#options.clock.after(delayMs, () => this.end(id, graceSeconds, failures + 1));
    });
  }

  #changed(pod: Pod): void {
    const host = objectKey(pod);
    const known = this.#pods.get(host);
    if (known !== undefined && known.pod.metadata?.uid !== pod.metadata?.uid) this.#deleted(known.pod);
    const managed = this.#pods.get(host) ?? this.#manage(host, pod);
    // What a call has answered may be newer than what the watch still has to tell.
    if (Number(pod.metadata?.resourceVersion) >= Number(managed.pod.metadata?.resourceVersion))
      managed.pod = pod;
    this.#tell(managed);
    if (isUnanswered(managed) && managed.cancelAsking === undefined) this.#ask(managed, 0);
  }

  #manage(host: string, pod: Pod): ManagedPod {
    const managed: ManagedPod = {
      host,
      pod,
      admin: undefined,
      runtime: undefined,
      left: undefined,
      isRemoving: false,
      observed: undefined,
      cancelAsking: undefined,
    };
    this.#pods.set(host, managed);
    return managed;
  }

  #deleted(pod: Pod): void {
    const host = objectKey(pod);
    const managed = this.#pods.get(host);
    if (managed === undefined || managed.pod.metadata?.uid !== pod.metadata?.uid) return;
    this.#pods.delete(host);
    managed.cancelAsking?.();
    managed.admin?.close();
    const id = managed.observed?.id;
    if (id === undefined) return;
    const reason = managed.isRemoving ? 'removed' : 'was deleted from outside';
    this.#options.emit({ type: 'replica-gone', id, reason });
  }

  /** Asks the runtime what it holds, until it answers. */
  #ask(managed: ManagedPod, attempt: number): void {
    managed.cancelAsking?.();
    managed.cancelAsking = undefined;
    if (this.#isStopped || managed.isRemoving || !isUnanswered(managed)) return;
    const { pod } = managed;
    const { namespace = '', name = '' } = pod.metadata ?? {};
    managed.admin ??= new RuntimeAdmin({ host: pod.status?.podIP ?? '', port: ADMIN_PORT }, () =>
      this.#options.adminToken(namespace, name),
    );
    let isOver = false;
    managed.cancelAsking = () => {
      isOver = true;
    };
    const again = (error?: unknown): void => {
      if (isOver) return;
      if (error !== undefined && attempt === TELLS_AT_ATTEMPT)
        this.#options.logger.warn({ replica: managed.host, err: error }, 'a runtime does not answer yet');
      managed.cancelAsking = this.#options.clock.after(askAgainMs(attempt), () =>
        this.#ask(managed, attempt + 1),
      );
    };
    managed.admin.state().then((state) => {
      if (isOver || this.#isStopped || managed.isRemoving) return;
      // The incarnation that was told to go may answer once more.
      if (state.incarnation === managed.left) return again();
      managed.cancelAsking = undefined;
      managed.runtime = state;
      this.#tell(managed);
    }, again);
  }

  #tell(managed: ManagedPod): void {
    const { pod, runtime, host } = managed;
    const recycled = managed.left !== undefined && runtime === undefined;
    const id = recycled ? managed.observed?.id : replicaId(host, runtime?.recycles ?? 0);
    const nodeName = pod.spec?.nodeName;
    const node = nodeName === undefined ? 'ready' : this.#options.nodeState(nodeName);
    const seen = observePod(pod, runtime, node);
    const before = managed.observed;
    const sinceMs = before?.state === seen.state && before.id === id ? before.sinceMs : undefined;
    const isOutdated = seen.origin === 'standby' && this.#options.isOutdated(pod);
    const observed: ObservedReplica = {
      ...seen,
      id: id ?? host,
      host,
      cachedModels: runtime?.cachedModels ?? before?.cachedModels ?? [],
      ...(isOutdated && { isOutdated }),
      sinceMs: sinceMs ?? this.#options.clock.nowMs(),
    };
    if (JSON.stringify(before) === JSON.stringify(observed)) return;
    managed.observed = observed;
    if (before !== undefined && before.id !== observed.id) {
      // Found under the id of a fresh pod before its runtime could say how often it was recycled.
      this.#options.emit({ type: 'replica-gone', id: before.id, reason: 'recycled' });
    }
    this.#options.emit({ type: 'replica-changed', replica: observed });
  }
}

function askAgainMs(attempt: number): number {
  return Math.min(LONGEST_ASK_AGAIN_MS, ASK_AGAIN_MS * 1.5 ** Math.max(0, attempt - ASKED_OFTEN_TIMES));
}

/** A runtime of ours that runs and has not said yet what it holds. */
function isUnanswered({ pod, runtime, isRemoving }: ManagedPod): boolean {
  if (runtime !== undefined || isRemoving || pod.status?.podIP === undefined) return false;
  if (isTerminating(pod) || pod.status.phase !== 'Running') return false;
  return originOf(pod.metadata?.labels) !== 'container';
}

function replicaId(host: string, recycles: number): string {
  return recycles === 0 ? host : `${host}~${recycles}`;
}

function hostOf(id: string): string {
  return id.split('~')[0] ?? id;
}

function named(namespace = '', name = ''): { namespace: string; name: string } {
  return { namespace, name };
}
