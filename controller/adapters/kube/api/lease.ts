import type { Clock } from '../../../ports.ts';
import type { KubeClient } from './kube-client.ts';
import { isKubeError } from './kube-error.ts';
import {
  afterRead,
  afterTime,
  afterWrite,
  type ElectionSettings,
  type ElectionState,
  intentOf,
  type Lease,
  type LeaseSpec,
  leads,
  NOT_STARTED,
  released,
} from './lease-core.ts';
import { objectPath, RESOURCES } from './paths.ts';

export interface LeaderElectionOptions {
  readonly client: Pick<KubeClient, 'get' | 'create' | 'replace'>;
  readonly clock: Clock;
  readonly namespace: string;
  readonly name: string;
  /** Unique among the processes that run at the same time: `<pod name>_<pod ip>`. */
  readonly identity: string;
  /** Granted to the holder after each renewal, as others observe it. A whole number of seconds. */
  readonly leaseDurationMs?: number;
  /** The holder that could not renew for so long stops leading; less than the duration. */
  readonly renewDeadlineMs?: number;
  readonly retryMs?: number;
  /** `epoch` is the Lease's transitions: larger than that of every leader before. */
  readonly onElected: (epoch: number) => void;
  /** Nothing may be done in the leader's name any more. */
  readonly onLost: (reason: string) => void;
  /** Whenever another holds the Lease than before; undefined: nobody. Told before `onElected`. */
  readonly onHolder?: (identity: string | undefined) => void;
  /** For logs: a call that failed, tried again by itself. */
  readonly onTrouble?: (error: unknown) => void;
  /** From 0 up to 1. */
  readonly random?: () => number;
}

export interface LeaderElection {
  start(): void;
  /** By the clock at this very moment, not by what was last told: true only while the lease surely holds. */
  leading(): boolean;
  /** Set while leading. */
  readonly epoch: number | undefined;
  /** Whom the Lease names, as last observed; may be this identity. */
  holder(): string | undefined;
  /** Stops leading (`onLost`), then empties the Lease so that another takes over at once. */
  stop(): Promise<void>;
}

/**
 * A leader that dies is followed within about 6 s: its last renewal is seen up to 1 s late, and counts for 5 s.
 * One that is asked to stop is followed within 1 s.
 */
const DEFAULTS = { leaseDurationMs: 5_000, renewDeadlineMs: 4_000, retryMs: 1_000, random: Math.random };

/** @throws RangeError when the times would let two lead at once. */
export function createLeaderElection(options: LeaderElectionOptions): LeaderElection {
  const { client, clock, namespace, name, identity, random, ...settings } = { ...DEFAULTS, ...options };
  checkSettings({ ...settings, identity });
  const rules: ElectionSettings = { ...settings, identity };
  const collection = objectPath({ ...RESOURCES.leases, namespace });
  const path = objectPath({ ...RESOURCES.leases, namespace, name });
  // A call that hangs leaves time for another one before the deadline.
  const timeoutMs = rules.renewDeadlineMs / 2;

  let state: ElectionState = NOT_STARTED;
  let toldEpoch: number | undefined;
  let toldHolder: string | undefined;
  let running: Promise<void> | undefined;
  const stopping = new AbortController();
  let wake: () => void = () => undefined;
  let cancelExpiry: () => void = () => undefined;

  const holderSeen = (): string | undefined => state.seen?.lease?.spec?.holderIdentity || undefined;

  /** Takes a new state over and tells what follows from it; the end of a tenure before anything else. */
  function become(next: ElectionState, why: string): void {
    const live = stopping.signal.aborted ? { ...next, tenure: undefined } : next;
    state = afterTime(live, clock.nowMs());
    const epoch = state.tenure?.epoch;
    cancelExpiry();
    if (toldEpoch !== undefined && toldEpoch !== epoch) {
      toldEpoch = undefined;
      options.onLost(why);
    }
    if (holderSeen() !== toldHolder && !stopping.signal.aborted) {
      toldHolder = holderSeen();
      options.onHolder?.(toldHolder);
    }
    if (state.tenure === undefined) return;
    const leftMs = Math.max(0, state.tenure.untilMs - clock.nowMs());
    cancelExpiry = clock.after(leftMs, () => become(state, 'the lease could not be renewed in time'));
    if (toldEpoch === undefined) {
      toldEpoch = epoch;
      options.onElected(state.tenure.epoch);
    }
  }

  async function read(): Promise<void> {
    const lease = await client.get<Lease>(path, { timeoutMs });
    become(afterRead(state, lease, clock.nowMs(), rules), takenBy(lease));
  }

  /** Over what was seen and nothing else: the resourceVersion in its metadata guards the write. */
  function write(spec: LeaseSpec): Promise<Lease> {
    const seen = state.seen?.lease;
    if (seen !== undefined) return client.replace<Lease>(path, { ...seen, spec }, { timeoutMs });
    const fresh = {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { name, namespace },
      spec,
    };
    return client.create<Lease>(collection, fresh, { timeoutMs });
  }

  /** One round: read unless this process leads, then act. Resolves with the time until the next one. */
  async function round(): Promise<number> {
    become(state, 'the lease could not be renewed in time');
    if (state.tenure === undefined) await read();
    const sentMs = clock.nowMs();
    const intent = intentOf(state, sentMs, rules);
    if (intent.type === 'wait') return intent.forMs;
    if (stopping.signal.aborted) return 0;
    const lease = await write(intent.spec);
    become(afterWrite(state, lease, intent.epoch, sentMs, rules), 'the lease was renewed too late');
    return rules.retryMs;
  }

  async function recover(error: unknown): Promise<void> {
    if (!isKubeError(error, 'conflict', 'already-exists', 'not-found')) {
      options.onTrouble?.(error);
      return;
    }
    // Another wrote first, or an earlier write of ours whose answer was lost: the Lease itself tells.
    try {
      await read();
    } catch (failed) {
      options.onTrouble?.(failed);
    }
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      let waitMs = rules.retryMs;
      try {
        waitMs = await round();
      } catch (error) {
        await recover(error);
      }
      // Later and never sooner: a wait for the end of a lease would only be cut into ever smaller ones.
      if (!stopping.signal.aborted) await pause(waitMs * (1 + random() / 5));
    }
  }

  async function release(): Promise<void> {
    try {
      await read();
      const lease = state.seen?.lease;
      if (lease?.spec?.holderIdentity === identity) await write(released(lease, clock.nowMs()));
    } catch (error) {
      options.onTrouble?.(error);
    }
  }

  function pause(waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = clock.after(waitMs, resolve);
      wake = () => {
        cancel();
        resolve();
      };
    });
  }

  return {
    start() {
      running ??= run();
    },
    leading: () => leads(state, clock.nowMs()),
    get epoch() {
      return leads(state, clock.nowMs()) ? state.tenure?.epoch : undefined;
    },
    holder: holderSeen,
    async stop() {
      if (stopping.signal.aborted) return;
      stopping.abort();
      become(state, 'stopped');
      wake();
      await running;
      // Also what a write took whose answer came after the stop, or never.
      if (running !== undefined) await release();
    },
  };
}

const takenBy = (lease: Lease | undefined): string =>
  lease === undefined ? 'the lease was deleted' : `the lease names ${lease.spec?.holderIdentity || 'nobody'}`;

function checkSettings({ identity, leaseDurationMs, renewDeadlineMs, retryMs }: ElectionSettings): void {
  if (identity === '') throw new RangeError('leader election needs an identity');
  if (leaseDurationMs % 1000 !== 0 || renewDeadlineMs >= leaseDurationMs || retryMs >= renewDeadlineMs) {
    throw new RangeError(
      `expected retry < renew deadline < lease duration, the last in whole seconds, got ` +
        `${retryMs} ms, ${renewDeadlineMs} ms, ${leaseDurationMs} ms`,
    );
  }
}
