import type { Clock } from '../../../ports.ts';
import type { KubeClient } from './kube-client.ts';

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
  readonly onLost: (reason: string) => void;
  /** Whenever another holds the Lease than before; undefined: nobody. */
  readonly onHolder?: (identity: string | undefined) => void;
  readonly onTrouble?: (error: unknown) => void;
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

export declare function createLeaderElection(options: LeaderElectionOptions): LeaderElection;
