import { type ErrorCode, isErrorCode } from '../../contracts/errors.ts';
import type {
  Carrier,
  Endpoint,
  RevisionRoute,
  RoutesMessage,
  ServiceRoute,
} from '../../contracts/routes.ts';
import { isOwnedBy, type ReplicaRecord } from './replica-record.ts';
import type { Revisions, Traffic } from './revisions.ts';
import type { ServiceSettings } from './service-settings.ts';
import { nextStartMs, type StartTrouble } from './start-trouble.ts';
import { taggedHosts, tagsOf } from './tags.ts';

/** Requests at once for a replica that doesn't say what it takes, such as a container of the user's own. */
const DEFAULT_ENDPOINT_CAPACITY = 100;

export interface RouteInput {
  readonly uid: string;
  readonly settings: ServiceSettings;
  readonly hosts: readonly string[];
  readonly revisions: Revisions;
  readonly traffic: Traffic;
  readonly carriers: readonly Carrier[];
  /** Hosts by which callers reach the replicas themselves now. */
  readonly directHosts: readonly string[];
  readonly records: Iterable<ReplicaRecord>;
  /** Limit per replica that the manifest sets, by revision; runtimes know theirs. */
  readonly containerConcurrency: number;
  readonly startingPhase: (revision: string) => string | undefined;
  readonly trouble: (revision: string) => StartTrouble | undefined;
  readonly nowMs: number;
}

/** The route of one service: the revisions with traffic, those with replicas or an address of their own, no others. */
export function serviceRoute(input: RouteInput): ServiceRoute {
  const { settings, traffic, uid } = input;
  const own: ReplicaRecord[] = [];
  /** Revisions for which a replica, or a standby that was started for it, waits for a node. */
  const waiting = new Set<string>();
  for (const record of input.records) {
    if (isOwnedBy(record, uid)) own.push(record);
    const taker = record.owner ?? record.reservedFor;
    if (record.waitsForNode === true && taker?.serviceUid === uid) waiting.add(taker.revision);
  }
  const tags = tagsOf(input.revisions, settings.hasTags);
  const revisions: RevisionRoute[] = [];
  for (const { name } of input.revisions) {
    const replicas = own.filter((record) => record.owner?.revision === name);
    const weightPercent = traffic.get(name) ?? 0;
    const tagHosts = taggedHosts(tags.get(name) ?? [], input.hosts);
    if (weightPercent === 0 && replicas.length === 0 && tagHosts.length === 0) continue;
    const isTried = replicas.some((record) => record.phase === 'claiming' || record.phase === 'starting');
    const failure = failureOf(input.trouble(name), input.nowMs);
    const startingPhase = input.startingPhase(name);
    revisions.push({
      name,
      ...(tagHosts.length > 0 && { hosts: tagHosts }),
      weightPercent,
      endpoints: endpointsOf(replicas, input.containerConcurrency),
      kind: settings.origin === 'runtime' ? 'runtime' : 'http',
      ...(startingPhase !== undefined && { startingPhase }),
      ...(waiting.has(name) && { waitsForNode: true }),
      ...(failure !== undefined && !isTried && { failure }),
    });
  }
  return {
    uid,
    namespace: settings.namespace,
    name: settings.name,
    hosts: [...input.hosts],
    models: [...settings.models],
    startTimeoutMs: settings.startTimeoutMs,
    requestTimeoutMs: settings.requestTimeoutMs,
    queue: { ...settings.queue },
    retryAll: settings.retryAll,
    ...(settings.stopped !== undefined && { stopped: settings.stopped }),
    ...(input.directHosts.length > 0 && { directHosts: [...input.directHosts] }),
    ...(input.carriers.length > 0 && { carriers: [...input.carriers] }),
    revisions,
  };
}

function endpointsOf(replicas: readonly ReplicaRecord[], containerConcurrency: number): Endpoint[] {
  const endpoints: Endpoint[] = [];
  for (const { id, phase, address, capacity } of replicas) {
    if (phase !== 'ready' || address === undefined) continue;
    const limit = capacity ?? (containerConcurrency > 0 ? containerConcurrency : DEFAULT_ENDPOINT_CAPACITY);
    endpoints.push({ id, address, capacity: limit });
  }
  return endpoints;
}

/** Callers get the error until the next request may have the model tried again. */
function failureOf(
  trouble: StartTrouble | undefined,
  nowMs: number,
): { code: ErrorCode; message: string } | undefined {
  if (trouble?.isFailed !== true || nowMs >= nextStartMs(trouble, true)) return undefined;
  return { code: isErrorCode(trouble.code) ? trouble.code : 'load-failed', message: trouble.message };
}

/** Changes that are kept for activators that take up their stream again. */
const MAX_KEPT_MESSAGES = 4_096;

type Change = Extract<RoutesMessage, { type: 'service' | 'removed' }>;

/**
 * The routes of all services and the numbered changes to them. A change that changes nothing isn't one.
 */
export class RouteLog {
  /** Identity of this sequence of numbers; another one after a restart. */
  readonly stream: string;
  readonly #routes = new Map<string, { route: ServiceRoute; text: string }>();
  readonly #changes: Change[] = [];
  #number = 0;

  constructor(stream: string) {
    this.stream = stream;
  }

  /** Number of the last change. */
  get number(): number {
    return this.#number;
  }

  /** @returns the change to be told, or undefined when the route is as it was. */
  set(route: ServiceRoute): Change | undefined {
    const text = JSON.stringify(route);
    if (this.#routes.get(route.uid)?.text === text) return undefined;
    this.#routes.set(route.uid, { route, text });
    return this.#push({ type: 'service', number: this.#number + 1, service: route });
  }

  remove(uid: string): Change | undefined {
    if (!this.#routes.delete(uid)) return undefined;
    return this.#push({ type: 'removed', number: this.#number + 1, uid });
  }

  get(uid: string): ServiceRoute | undefined {
    return this.#routes.get(uid)?.route;
  }

  /** What a reader that has everything up to `after` of `stream` needs first: the changes since, or all anew. */
  catchUp(stream: string | undefined, after: number | undefined): RoutesMessage[] {
    const firstKept = this.#changes[0]?.number ?? this.#number + 1;
    if (stream === this.stream && after !== undefined && after >= firstKept - 1 && after <= this.#number) {
      return this.#changes.slice(after - firstKept + 1);
    }
    const services = [...this.#routes.values()].map(({ route }) => route);
    return [{ type: 'snapshot', stream: this.stream, number: this.#number, services }];
  }

  #push(change: Change): Change {
    this.#number = change.number;
    this.#changes.push(change);
    // Cut in blocks: shifting an array of thousands at each change would cost more than the change.
    if (this.#changes.length > MAX_KEPT_MESSAGES * 2) this.#changes.splice(0, MAX_KEPT_MESSAGES);
    return change;
  }
}
