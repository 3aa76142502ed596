import type { ColdAnswer } from '../../../contracts/cold-start.ts';
import type { RoutesMessage, ServiceRoute } from '../../../contracts/routes.ts';
import type { Controller } from '../create-controller.ts';
import type { ManualClock } from './manual-clock.ts';
import type { MemoryWorld } from './memory-platform.ts';

interface Waiting {
  arrivedAtMs: number;
  sawNoEndpoint: boolean;
  onEnd: (() => void) | undefined;
}

interface RevisionLoad {
  serviceUid: string;
  revision: string;
  requestSeconds: number;
  requests: number;
  inFlight: number;
  queue: Waiting[];
  changedAtMs: number;
}

/**
 * Requests and an activator in front of a controller, in the time of a test: routes come with a delay, demand
 * goes out each 100 ms while there is traffic and at once when a request finds no room. Each request ends in
 * one of four ways, and each is counted.
 */
export class SimulatedActivator {
  answered = 0;
  /** Told to the caller as the model's load error. */
  failed = 0;
  /** Was at a replica that ended before it had answered. A platform that drains loses none. */
  lost = 0;
  /** Came to a replica that wouldn't take it; it went back into the queue, so nobody noticed. */
  refused = 0;
  readonly answeredBy = new Map<string, number>();
  readonly #world: MemoryWorld;
  readonly #clock: ManualClock;
  readonly #controller: () => Controller;
  readonly #routes = new Map<string, ServiceRoute>();
  readonly #loads = new Map<string, RevisionLoad>();
  readonly #inFlight = new Map<string, number>();
  readonly #options: { name: string; spreadMs: number; serviceMs: number };
  #coldAnswers: ColdAnswer[] = [];
  #sequence = 0;
  #startedAtMs: number;
  #isTicking = false;
  #unsubscribe: (() => void) | undefined;
  #turn = 0;
  #picks = 0;
  #sent = 0;

  constructor(
    bench: { world: MemoryWorld; clock: ManualClock; controller: Controller },
    options: Partial<{ name: string; spreadMs: number; serviceMs: number }> = {},
  ) {
    this.#world = bench.world;
    this.#clock = bench.clock;
    this.#controller = () => bench.controller;
    this.#options = { name: 'activator-sim', spreadMs: 40, serviceMs: 50, ...options };
    this.#startedAtMs = bench.clock.nowMs();
    this.connect();
  }

  connect(): void {
    this.#unsubscribe?.();
    this.#unsubscribe = this.#controller().subscribe({ stream: undefined, after: undefined }, (message) => {
      this.#clock.after(this.#options.spreadMs, () => {
        this.#take(message);
      });
    });
  }

  /** Requests that haven't ended yet. */
  get open(): number {
    let open = 0;
    for (const load of this.#loads.values()) open += load.inFlight + load.queue.length;
    return open;
  }

  request(uid: string, onEnd?: () => void): void {
    const route = this.#routes.get(uid);
    if (route === undefined) throw new Error(`no route to ${uid}`);
    const load = this.#loadOf(uid, this.#pick(route));
    this.#integrate(load);
    load.requests++;
    const sawNoEndpoint = this.#endpoints(load).length === 0;
    load.queue.push({ arrivedAtMs: this.#clock.nowMs(), sawNoEndpoint, onEnd });
    this.#dispatch(load);
    if (load.queue.length > 0) this.#report();
    if (!this.#isTicking) this.#tickLater();
  }

  /** Clients that each send their next request when the last one has ended, until the returned function is called. */
  clients(uid: string, count: number): () => void {
    let isStopped = false;
    const send = (): void => {
      if (!isStopped) this.request(uid, send);
    };
    for (let n = 0; n < count; n++) send();
    return () => {
      isStopped = true;
    };
  }

  #tickLater(): void {
    this.#isTicking = true;
    this.#clock.after(100, () => {
      this.#isTicking = false;
      this.#report();
      if (this.open > 0) this.#tickLater();
    });
  }

  #take(message: RoutesMessage): void {
    if (message.type === 'snapshot') {
      this.#routes.clear();
      for (const service of message.services) this.#routes.set(service.uid, service);
    } else if (message.type === 'service') {
      this.#routes.set(message.service.uid, message.service);
    } else if (message.type === 'removed') {
      this.#routes.delete(message.uid);
    }
    for (const load of this.#loads.values()) this.#move(load);
    for (const load of this.#loads.values()) this.#dispatch(load);
  }

  /** Requests that wait for a revision which is out of the routes go to one that is in them. */
  #move(load: RevisionLoad): void {
    const route = this.#routes.get(load.serviceUid);
    if (route === undefined || route.revisions.some(({ name }) => name === load.revision)) return;
    this.#integrate(load);
    for (const request of load.queue.splice(0)) {
      const other = this.#loadOf(load.serviceUid, this.#pick(route));
      this.#integrate(other);
      other.requests++;
      other.queue.push(request);
    }
  }

  /** By weights, in turn. */
  #pick(route: ServiceRoute): string {
    const at = (this.#picks++ * 37) % 100;
    let upTo = 0;
    for (const { name, weightPercent } of route.revisions) {
      upTo += weightPercent;
      if (at < upTo) return name;
    }
    throw new Error(`the weights of ${route.name} don't add up to 100`);
  }

  #loadOf(serviceUid: string, revision: string): RevisionLoad {
    const key = `${serviceUid}/${revision}`;
    let load = this.#loads.get(key);
    if (load === undefined) {
      const changedAtMs = this.#clock.nowMs();
      load = { serviceUid, revision, requestSeconds: 0, requests: 0, inFlight: 0, queue: [], changedAtMs };
      this.#loads.set(key, load);
    }
    return load;
  }

  #integrate(load: RevisionLoad): void {
    const nowMs = this.#clock.nowMs();
    load.requestSeconds += ((load.inFlight + load.queue.length) * (nowMs - load.changedAtMs)) / 1000;
    load.changedAtMs = nowMs;
  }

  #endpoints(load: RevisionLoad) {
    const route = this.#routes.get(load.serviceUid);
    return route?.revisions.find(({ name }) => name === load.revision)?.endpoints ?? [];
  }

  /** Endpoints with requests that its routes name no more. */
  #leaving(load: RevisionLoad): string[] {
    const routed = new Set(this.#endpoints(load).map(({ id }) => id));
    return [...this.#inFlight].filter(([id, count]) => count > 0 && !routed.has(id)).map(([id]) => id);
  }

  #dispatch(load: RevisionLoad): void {
    this.#integrate(load);
    const route = this.#routes.get(load.serviceUid)?.revisions.find(({ name }) => name === load.revision);
    if (route?.failure !== undefined) {
      const refused = load.queue.splice(0);
      this.failed += refused.length;
      for (const { onEnd } of refused) onEnd?.();
      return;
    }
    const shunned = new Set<string>();
    while (load.queue.length > 0) {
      const free = this.#endpoints(load).filter(
        ({ id, capacity }) => !shunned.has(id) && (this.#inFlight.get(id) ?? 0) < capacity,
      );
      // In turn, so that each replica has requests when one of them leaves.
      const endpoint = free[this.#turn++ % free.length];
      if (endpoint === undefined) return;
      const replica = this.#world.replicas.get(endpoint.id);
      const isOurs =
        replica?.claim?.serviceUid === load.serviceUid && replica.claim.revision === load.revision;
      if (replica?.state !== 'ready' || !(isOurs || replica.origin === 'container')) {
        this.refused++;
        shunned.add(endpoint.id);
        continue;
      }
      const request = load.queue.shift();
      if (request !== undefined) this.#send(load, endpoint.id, request);
    }
  }

  #send(load: RevisionLoad, id: string, request: Waiting): void {
    const replica = this.#world.get(id);
    const handedOverMs = this.#clock.nowMs();
    load.inFlight++;
    replica.inFlight++;
    this.#inFlight.set(id, (this.#inFlight.get(id) ?? 0) + 1);
    this.#clock.after(this.#serviceMs(), () => {
      this.#integrate(load);
      load.inFlight--;
      replica.inFlight--;
      this.#inFlight.set(id, (this.#inFlight.get(id) ?? 1) - 1);
      if (this.#world.replicas.get(id) === replica) this.answered++;
      else this.lost++;
      this.answeredBy.set(load.revision, (this.answeredBy.get(load.revision) ?? 0) + 1);
      if (request.sawNoEndpoint && this.#coldAnswers.length === 0) {
        this.#coldAnswers.push({
          serviceUid: load.serviceUid,
          revision: load.revision,
          endpointId: id,
          queuedMs: handedOverMs - request.arrivedAtMs,
          upstreamMs: this.#clock.nowMs() - handedOverMs,
          arrivedAgoMs: this.#clock.nowMs() - request.arrivedAtMs,
        });
        this.#report();
      }
      this.#dispatch(load);
      request.onEnd?.();
    });
  }

  /** Between half and one and a half times the mean, so that clients don't march in step; the first takes just it. */
  #serviceMs(): number {
    return this.#options.serviceMs * (0.5 + ((this.#sent++ * 37 + 50) % 101) / 100);
  }

  #report(): void {
    const nowMs = this.#clock.nowMs();
    const coldAnswers = this.#coldAnswers;
    this.#coldAnswers = [];
    this.#controller().demand({
      activator: this.#options.name,
      sequence: ++this.#sequence,
      uptimeMs: nowMs - this.#startedAtMs,
      revisions: [...this.#loads.values()].map((load) => {
        this.#integrate(load);
        const { serviceUid, revision, requestSeconds, requests, inFlight, queue } = load;
        const oldestQueuedMs = queue[0] === undefined ? 0 : nowMs - queue[0].arrivedAtMs;
        return {
          serviceUid,
          revision,
          requestSeconds,
          requests,
          inFlight,
          queued: queue.length,
          oldestQueuedMs,
          leaving: this.#leaving(load),
        };
      }),
      coldAnswers,
      suspects: [],
    });
  }
}
