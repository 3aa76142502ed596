import type { ModelIdentity, SpecialiseEvent, SpecialiseRequest } from '../contracts/admin.ts';
import type { InferenceService, InferenceServiceStatus } from '../crds/schema.ts';

/**
 * The ports of the controller: what its engine needs of the world. Two adapters carry out the same verbs:
 * `adapters/local/` with processes and files of one machine, `adapters/kube/` with pods and the API server.
 */

/** Time as the engine sees it; a test turns it by hand. */
export interface Clock {
  /** Epoch ms with fractions, monotonic within a process. */
  nowMs(): number;
  /** Calls back once after `delayMs`; the returned function cancels. */
  after(delayMs: number, callback: () => void): () => void;
}

/** What a replica was started as, and so what may become of it: a standby is recycled, others are removed. */
export type ReplicaOrigin = 'standby' | 'runtime' | 'container';

/** A replica or standby as the platform sees it. `id` names one incarnation: a recycled process has a new one. */
export interface ObservedReplica {
  id: string;
  /**
   * Name of the process or pod, which stays over recycles while `id` changes: quarantine and the cache go with it.
   */
  host: string;
  origin: ReplicaOrigin;
  state: 'starting' | 'standby' | 'specialising' | 'ready' | 'draining' | 'failed';
  /** What the runtime itself says that it holds. */
  claim?: { claimId: string; epoch: number; serviceUid: string; revision: string };
  /** Set for origins `runtime` and `container`: whom it was started for. */
  startedFor?: { serviceUid: string; revision: string };
  /** `host:port` of the serving port, once it listens. */
  address?: string;
  /** Of a standby: the pool that it belongs to, whoever it serves. */
  pool?: string;
  /** Made from settings of its pool that hold no more: it serves to its end and is then replaced. */
  isOutdated?: boolean;
  /** As the runtime reports it; absent before it is ready and for foreign containers. */
  capacity?: number;
  /** Memory that its pod has requested of its node; absent where there are no requests. */
  memoryRequestBytes?: number;
  /** Model URIs in the cache that this replica would use. */
  cachedModels: readonly string[];
  pid?: number;
  /** Why it has failed; in state `starting` what its start waits for. Codes may be the platform's own words. */
  failure?: { code: string; message: string };
  /** Its start waits for a node, which an autoscaler may be adding. */
  waitsForNode?: boolean;
  sinceMs: number;
}

/** A validated service with everything it refers to resolved. */
export interface ResolvedService {
  uid: string;
  /** Grows with each change of the spec. */
  generation: number;
  service: InferenceService;
  /** Environment of the container, `valueFrom` and `envFrom` resolved. */
  env: Readonly<Record<string, string>>;
  /** Where the model lies, as resolved from `storageUri` or `storage`; absent for a user's own container. */
  modelUri?: string;
  /** How to reach the model's store, and as whom. */
  access?: SpecialiseRequest['model']['access'];
  /** The store needs to know nothing of the pod: the access has all, or the store wants nothing. */
  carriesCredentials?: true;
  warnings: readonly string[];
}

/** A pool of generic standbys. Pools differ in what their standbys can take: namespace, resources, node. */
export interface StandbyPool {
  key: string;
  /** Standbys to keep for whoever comes; 0: none, they are started on demand. */
  size: number;
}

/** How a pool stands, for people to see. */
export interface PoolReport {
  /** Standbys that any service may claim. */
  ready: number;
  /** On their way to that. */
  starting: number;
  /** Those that a service has. */
  serving: number;
  /** Those that only the service that had them last may claim for the moment. */
  quarantined: number;
  /** Why standbys are lacking: what refused the last one, or what the start of one waits for. */
  trouble?: { code: string; message: string };
}

/** Whether standbys can take a revision. */
export interface StandbyFit {
  /** Keys of the pools whose standbys can, best first; none: it needs replicas of its own. */
  pools: readonly string[];
  /** Names of the spec's fields that keep the nearest pool from it; empty when there is one that fits. */
  misfits: readonly string[];
}

/** What happens outside, told to the engine in order. */
export type PlatformEvent =
  | { type: 'service-applied'; service: ResolvedService }
  /**
   * A manifest that doesn't validate. The service with that name, if there is one, serves on as it was. No
   * problems: the bad manifest of a service that never was good is gone. `object`: the platform keeps the service
   * as an object of its own, good or not, which can be told what is wrong with it.
   */
  | {
      type: 'service-invalid';
      namespace: string;
      name: string;
      problems: readonly string[];
      object?: { uid: string; generation: number };
    }
  | { type: 'service-deleted'; uid: string }
  /** A pool is new or has another size, or what fits it has changed. */
  | { type: 'pool-applied'; pool: StandbyPool }
  | { type: 'pool-deleted'; key: string }
  | { type: 'replica-changed'; replica: ObservedReplica }
  | { type: 'replica-gone'; id: string; reason: string }
  /** All services and replicas that exist have been told; until then nothing may be started or removed. */
  | { type: 'synced' };

/** What a replica needs that starts as a process or pod of its own. */
export interface ReplicaTemplate {
  serviceUid: string;
  namespace: string;
  service: string;
  revision: string;
  origin: 'runtime' | 'container';
  spec: InferenceService['spec']['predictor'];
  env: Readonly<Record<string, string>>;
}

/** A revision as it is kept over restarts: on Kubernetes a ControllerRevision. */
export interface StoredRevision {
  number: number;
  name: string;
  /** Digest of the part of the spec that makes a revision. */
  specHash: string;
  /** The resolved service as of this revision. */
  resolved: ResolvedService;
  /** What the model URI was resolved to, once it was loaded. */
  identity?: ModelIdentity;
  /** Whether a replica of it was ever ready: only such a one is rolled back to. */
  everReady: boolean;
  /** When it was last given all of the traffic; the newest such revision is what a canary is compared with. */
  rolledOutAtMs?: number;
  failure?: { code: string; message: string; atMs: number };
  createdAtMs: number;
}

/** One sentence about something that happened to a service, as a person reads it in `kubectl describe`. */
export interface ServiceEvent {
  type: 'Normal' | 'Warning';
  reason: string;
  message: string;
}

/** How callers are led to services, where a platform has a say in it: the EndpointSlices of a cluster. */
export interface CallerNetwork {
  /** Whether the operator lets callers be led to the replicas themselves. */
  readonly mayBeDirect: boolean;
  /**
   * Leads the callers of a service to these replicas; with none, to activators. Resolves once it is written so, or when
   * the service is gone.
   */
  lead(serviceUid: string, replicaIds: readonly string[]): Promise<void>;
  /**
   * Tells a replica whether its callers are led to it: if not, it serves them, tells each to close its connection, and
   * closes those that still rest after `lingerMs`.
   * @throws PilotlightError `claim-conflict`, `stale-epoch`, or `replica-failed` when it can't be reached.
   */
  welcomeCallers(id: string, claimId: string, isWelcome: boolean, lingerMs: number): Promise<void>;
  /**
   * Leads callers past activators in these pods, which don't answer; where there is no other, to them all the same.
   * @param isBusy Services whose callers can't wait until all have been seen to.
   */
  avoidActivators(pods: ReadonlySet<string>, isBusy: (serviceUid: string) => boolean): void;
}

export interface Addresses {
  hosts: readonly string[];
  ownHosts?: readonly string[];
  url: string;
}

export interface Platform {
  /** Absent where callers know but one way: the local platform's one activator. */
  readonly network?: CallerNetwork;
  /** Begins to observe; `onEvent` is called for all that exists, then `synced`, then for each change. */
  start(onEvent: (event: PlatformEvent) => void): Promise<void>;
  /** This controller's claim to lead: grows with each controller that takes over. */
  readonly epoch: number;
  /** Starts a generic standby of a pool; it shows up as an observed replica with the returned id. */
  createStandby(pool: string): Promise<{ id: string }>;
  /** Starts a replica of its own for a revision that no standby fits. */
  createReplica(template: ReplicaTemplate): Promise<{ id: string }>;
  /**
   * Which pools' standbys can take this revision. Asked often: it only compares what is known.
   * @param weightsBytes Size of the model's files, once that is known.
   */
  fit(service: ResolvedService, weightsBytes?: number): StandbyFit;
  /**
   * Has a runtime take a model. Resolves with the last event (`ready` or `failed`).
   * @throws PilotlightError `claim-conflict`, `stale-epoch`, or `replica-failed` when it can't be reached.
   */
  specialise(
    id: string,
    request: SpecialiseRequest,
    onEvent: (event: SpecialiseEvent) => void,
  ): Promise<SpecialiseEvent>;
  /** Resolves with false when requests were still in flight at the deadline. */
  drain(id: string, claimId: string, deadlineMs: number): Promise<boolean>;
  /** Puts a drained standby's process back to blank; it shows up again under a new id. */
  recycle(id: string, claimId: string): Promise<void>;
  /** Ends a replica for good: SIGTERM, then SIGKILL after a grace time. */
  remove(id: string): Promise<void>;
  /**
   * Host names under which callers reach the service, and the URL for its status. `ownHosts` are those of them by which
   * they go where `network` leads them.
   */
  addresses(namespace: string, name: string): Addresses;
  /** How a pool stands now, told when that has changed. Absent where pools have no status. */
  reportPool?(key: string, report: PoolReport): void;
  writeStatus(uid: string, status: InferenceServiceStatus): Promise<void>;
  recordEvent(uid: string, event: ServiceEvent): void;
  loadRevisions(uid: string): Promise<readonly StoredRevision[]>;
  saveRevisions(uid: string, revisions: readonly StoredRevision[]): Promise<void>;
  /** Stops observing. `remove`: ends all replicas as well; `leave`: they go on for the next controller. */
  stop(replicas: 'remove' | 'leave'): Promise<void>;
}
