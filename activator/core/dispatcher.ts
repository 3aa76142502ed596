import type { RevisionDemand } from '../../contracts/demand.ts';
import type { PilotlightError } from '../../contracts/errors.ts';
import type { RoutesMessage, ServiceRoute } from '../../contracts/routes.ts';
import { chooseByWeight, pickOfTwo, type Random } from './choose.ts';
import { DemandBook, type DemandCounter, toRevisionDemand } from './demand-book.ts';
import type { EndpointState } from './endpoint-state.ts';
import * as refusals from './refusals.ts';
import { RoutingTable } from './routing-table.ts';
import { type RevisionState, ServiceState } from './service-state.ts';
import type { Ticket, Waiter } from './ticket.ts';

/**
 * Who is served where and who waits. Every request gets a ticket; a ticket is in one queue, or holds one
 * permit of one endpoint, or is done. All verbs are synchronous, take the time as an argument and may be
 * called in any order and more than once for the same ticket: what a ticket doesn't hold can't be given back.
 */
export class Dispatcher {
  readonly table = new RoutingTable();
  readonly demand = new DemandBook();
  readonly #services = new Map<string, ServiceState>();
  readonly #random: Random;
  readonly #self: string;
  #order = 0;

  /** @param self Identity of this activator, as routes name it among a service's carriers. */
  constructor(random: Random, self: string) {
    this.#random = random;
    this.#self = self;
  }

  /**
   * Puts a routes message in force: waiting requests whose revision is gone move to another one, those that
   * nothing can serve are refused, and free permits are handed over, as many as there are.
   */
  apply(message: RoutesMessage, nowMs: number): void {
    const { changed, removedUids } = this.table.apply(message);
    for (const uid of removedUids) this.#removeService(uid, nowMs);
    let vanished = removedUids.length > 0;
    for (const route of changed) vanished = this.#updateService(route, nowMs) || vanished;
    if (vanished) this.demand.retire((uid, name) => this.#isRouted(uid, name));
  }

  /**
   * A request for `service` arrives. The ticket is `placed` at once when an endpoint has room, else `queued`,
   * and `waiter` hears of it later.
   *
   * @param sizeBytes what its body may come to hold while it waits.
   * @param name of the revision that it is for; undefined: whichever has its turn.
   * @throws PilotlightError service-stopped, load-failed or queue-full; unknown-service when the revision is gone.
   */
  arrive(service: ServiceRoute, sizeBytes: number, waiter: Waiter, nowMs: number, name?: string): Ticket {
    const state = this.#services.get(service.uid);
    if (state === undefined) throw refusals.serviceRemoved(service);
    const bound = state.revisions.find(({ route }) => route.name === name);
    if (name !== undefined && bound === undefined) throw refusals.revisionRemoved(service, name);
    const refusal = bound === undefined ? refusalOf(state) : refusalOfBound(state, bound);
    if (refusal !== undefined) {
      // Counted all the same: somebody wants it, and the controller may try a failed load again.
      if (refusal.code === 'load-failed') {
        for (const failed of bound === undefined ? state.revisions : [bound]) failed.demand.arrive();
      }
      throw refusal;
    }
    const revision = bound ?? chooseByWeight(state.choices, this.#random);
    const ticket: Ticket = {
      state: 'done',
      waiter,
      service: state,
      revision,
      isBound: bound !== undefined,
      endpoint: undefined,
      order: this.#order++,
      sizeBytes,
      arrivedAtMs: nowMs,
      placedAtMs: nowMs,
      cold: false,
      next: undefined,
      previous: undefined,
    };
    const endpoint = revision?.queue.length === 0 ? this.#pick(revision, nowMs) : undefined;
    if (revision !== undefined && endpoint !== undefined) {
      revision.demand.arrive();
      this.#place(ticket, revision, endpoint, nowMs);
      return ticket;
    }
    const full = this.#exceeded(state, sizeBytes);
    if (full !== undefined) throw full;
    revision?.demand.arrive();
    this.#enqueue(ticket, revision, 'back', nowMs);
    return ticket;
  }

  /** The request is over, wherever it was: its place or its permit goes to the next one. */
  leave(ticket: Ticket, nowMs: number): void {
    if (ticket.state === 'done') return;
    const { revision } = ticket;
    this.#detach(ticket, nowMs);
    if (revision !== undefined) this.drain(revision, nowMs);
  }

  /** The endpoint of the ticket answered as a living one does. */
  worked(ticket: Ticket): void {
    ticket.endpoint?.worked();
  }

  /** An inference of the ticket succeeded: its endpoint's pace says whether it may have a request ahead. */
  inferred(ticket: Ticket, nowMs: number): void {
    ticket.endpoint?.inferred(nowMs - ticket.placedAtMs);
  }

  /**
   * The endpoint refused or broke before it did any work: the request gives its permit back and goes to
   * another one, or waits before all others. Those that come back don't count against the bounds of the
   * queue: they were let in already, and there are never more of them than there were permits.
   *
   * @param fault true opens the breaker of the endpoint.
   * @returns ms after which `drain` is worth calling, since a breaker is half open then.
   */
  again(ticket: Ticket, fault: boolean, nowMs: number): number {
    if (ticket.state !== 'placed') return 0;
    const { endpoint } = ticket;
    const coolMs = fault && endpoint !== undefined ? endpoint.failed(nowMs) : 0;
    this.#waitFirst(ticket, nowMs);
    return coolMs;
  }

  /**
   * The turn of the ticket came before its body did: its permit goes to the next one, and it is `arriving` until
   * `bodyCame`. It counts against the bounds of the queue, as far as such requests are more than there are permits:
   * so many were always held beside the queue.
   */
  awaitBody(ticket: Ticket, nowMs: number): void {
    const { revision, service, sizeBytes } = ticket;
    if (ticket.state !== 'placed' || revision === undefined) return;
    this.#detach(ticket, nowMs);
    const full = service.arrivingRequests < revision.permits ? undefined : this.#exceeded(service, sizeBytes);
    if (full === undefined) {
      ticket.state = 'arriving';
      service.arrivingRequests++;
      this.#count(ticket, 1, nowMs);
    } else ticket.waiter.onRefused(full);
    this.drain(revision, nowMs);
  }

  /** The body of an `arriving` ticket is there: it takes a permit, or waits before all others. */
  bodyCame(ticket: Ticket, nowMs: number): void {
    if (ticket.state !== 'arriving') return;
    const { cold } = ticket;
    this.#waitFirst(ticket, nowMs);
    ticket.cold ||= cold;
  }

  /** A ticket that was let in before gives up what it holds and has the next turn. */
  #waitFirst(ticket: Ticket, nowMs: number): void {
    const { service } = ticket;
    this.#detach(ticket, nowMs);
    const refusal = ticket.isBound ? this.#refusalOfTicket(ticket) : refusalOf(service);
    if (refusal !== undefined) {
      ticket.waiter.onRefused(refusal);
      return;
    }
    const revision = this.#stillRouted(ticket)
      ? ticket.revision
      : chooseByWeight(service.choices, this.#random);
    this.#enqueue(ticket, revision, 'front', nowMs);
    if (revision !== undefined) this.drain(revision, nowMs);
  }

  /** Hands free permits to those that wait, in the order of their arrival. */
  drain(revision: RevisionState, nowMs: number): void {
    for (let ticket = revision.queue.head; ticket !== undefined; ticket = revision.queue.head) {
      const endpoint = this.#pick(revision, nowMs);
      if (endpoint === undefined) return;
      this.#unqueue(ticket, nowMs);
      this.#place(ticket, revision, endpoint, nowMs);
      ticket.waiter.onPlaced();
    }
  }

  /** Queue of a service now, for metrics. */
  queueOf(uid: string): { requests: number; bytes: number; oldestArrivedAtMs: number | undefined } {
    const state = this.#services.get(uid);
    if (state === undefined) return { requests: 0, bytes: 0, oldestArrivedAtMs: undefined };
    const heads = state.revisions.map((revision) => revision.queue.head);
    const arrivals = [...heads, state.unassigned.head].map((ticket) => ticket?.arrivedAtMs ?? Infinity);
    const oldest = Math.min(...arrivals);
    return {
      requests: state.queuedRequests,
      bytes: state.queuedBytes,
      oldestArrivedAtMs: oldest === Infinity ? undefined : oldest,
    };
  }

  services(): Iterable<ServiceState> {
    return this.#services.values();
  }

  /** Whether a route names an endpoint of this id. */
  isListed(endpointId: string, serviceUid: string): boolean {
    return this.#services.get(serviceUid)?.endpoints.get(endpointId)?.listed ?? false;
  }

  /** The line of a demand report for one counter. */
  demandOf(counter: DemandCounter, nowMs: number): RevisionDemand {
    const service = this.#services.get(counter.serviceUid);
    const revision = service?.revisions.find((one) => one.route.name === counter.revision);
    const demand = toRevisionDemand(counter, revision?.queue.head?.arrivedAtMs, nowMs);
    return service === undefined ? demand : { ...demand, leaving: leavingOf(service) };
  }

  #pick(revision: RevisionState, nowMs: number): EndpointState | undefined {
    return (
      pickOfTwo(revision.endpoints, (endpoint) => endpoint.hasRoom(nowMs), this.#random) ??
      pickOfTwo(revision.endpoints, (endpoint) => endpoint.hasRoomAhead, this.#random) ??
      this.#pickAsGuest(revision, nowMs)
    );
  }

  /**
   * Who has no share that works is a guest: one request at a time, wherever another activator has its share. That is
   * so with fewer units than carriers, and while all replicas of its own share are broken. It is one more than the
   * replica takes, which our runtime lets wait; without it such a request would be nobody's.
   */
  #pickAsGuest({ endpoints }: RevisionState, nowMs: number): EndpointState | undefined {
    for (const endpoint of endpoints) {
      const isOwn = endpoint.capacity > 0;
      if (isOwn ? endpoint.isSound(nowMs) : endpoint.inFlight > 0) return undefined;
    }
    return pickOfTwo(endpoints, (one) => one.capacity === 0 && one.isSound(nowMs), this.#random);
  }

  #place(ticket: Ticket, revision: RevisionState, endpoint: EndpointState, nowMs: number): void {
    endpoint.take();
    revision.demand.change(0, 1, nowMs);
    ticket.state = 'placed';
    ticket.revision = revision;
    ticket.endpoint = endpoint;
    ticket.placedAtMs = nowMs;
  }

  #enqueue(ticket: Ticket, revision: RevisionState | undefined, end: 'front' | 'back', nowMs: number): void {
    const { service } = ticket;
    ticket.state = 'queued';
    ticket.revision = revision;
    ticket.cold = revision === undefined || revision.endpoints.length === 0;
    this.#count(ticket, 1, nowMs);
    const queue = revision?.queue ?? service.unassigned;
    if (end === 'front') queue.unshift(ticket);
    else queue.push(ticket);
  }

  #unqueue(ticket: Ticket, nowMs: number): void {
    const { service, revision } = ticket;
    (revision?.queue ?? service.unassigned).remove(ticket);
    this.#count(ticket, -1, nowMs);
    ticket.state = 'done';
  }

  /** One more or one less that waits. */
  #count({ service, revision, sizeBytes }: Ticket, by: 1 | -1, nowMs: number): void {
    service.queuedRequests += by;
    service.queuedBytes += by * sizeBytes;
    revision?.demand.change(by, 0, nowMs);
  }

  /** The bound of the queue that one more request would go beyond. */
  #exceeded(
    { route, queuedRequests, queuedBytes }: ServiceState,
    sizeBytes: number,
  ): PilotlightError | undefined {
    if (queuedRequests + 1 > route.queue.maxRequests) return refusals.queueFull(route, 'requests');
    if (queuedBytes + sizeBytes > route.queue.maxBytes) return refusals.queueFull(route, 'bytes');
    return undefined;
  }

  /** Takes from the ticket what it holds; afterwards it is `done`. */
  #detach(ticket: Ticket, nowMs: number): void {
    if (ticket.state === 'queued') this.#unqueue(ticket, nowMs);
    if (ticket.state === 'arriving') {
      ticket.state = 'done';
      ticket.service.arrivingRequests--;
      this.#count(ticket, -1, nowMs);
    }
    if (ticket.state !== 'placed') return;
    ticket.state = 'done';
    ticket.revision?.demand.change(0, -1, nowMs);
    const { endpoint, service } = ticket;
    if (endpoint === undefined) return;
    endpoint.give();
    if (!endpoint.listed && endpoint.inFlight === 0 && service.endpoints.get(endpoint.id) === endpoint) {
      service.endpoints.delete(endpoint.id);
    }
  }

  #stillRouted(ticket: Ticket): boolean {
    const { revision, service } = ticket;
    if (revision === undefined) return false;
    return (ticket.isBound ? service.revisions : service.choices).includes(revision);
  }

  #isRouted(uid: string, name: string): boolean {
    return this.#services.get(uid)?.revisions.some((revision) => revision.route.name === name) ?? false;
  }

  /** @returns whether a revision is gone. */
  #updateService(route: ServiceRoute, nowMs: number): boolean {
    let state = this.#services.get(route.uid);
    if (state === undefined) {
      state = new ServiceState(route, this.#self);
      this.#services.set(route.uid, state);
    }
    const before = state.revisions;
    state.update(route, (name) => this.demand.counter(route.uid, name), nowMs);
    const refused: [Ticket, PilotlightError][] = [];
    if (route.stopped !== undefined) {
      const error = refusals.serviceStopped(route, route.stopped);
      for (const ticket of this.#allQueued(state, before)) refused.push([ticket, error]);
    } else {
      const all = this.#displaced(state, before);
      for (const ticket of all.filter(({ isBound }) => isBound)) {
        const error = this.#refusalOfTicket(ticket);
        if (error !== undefined) refused.push([ticket, error]);
      }
      const displaced = all.filter(({ isBound }) => !isBound);
      const { failure } = state;
      if (failure === undefined) this.#reassign(state, displaced, nowMs);
      else {
        const error = refusals.loadFailed(route, failure);
        for (const ticket of displaced) refused.push([ticket, error]);
      }
    }
    for (const [ticket] of refused) this.#detach(ticket, nowMs);
    for (const [ticket, error] of refused) ticket.waiter.onRefused(error);
    for (const revision of state.revisions) this.drain(revision, nowMs);
    return before.some((revision) => !state.revisions.includes(revision));
  }

  #removeService(uid: string, nowMs: number): void {
    const state = this.#services.get(uid);
    if (state === undefined) return;
    this.#services.delete(uid);
    state.removed = true;
    for (const endpoint of state.endpoints.values()) endpoint.listed = false;
    const error = refusals.serviceRemoved(state.route);
    const queued = this.#allQueued(state, state.revisions);
    for (const ticket of queued) this.#detach(ticket, nowMs);
    for (const ticket of queued) ticket.waiter.onRefused(error);
  }

  /** Those that wait for a revision that won't serve them: gone, failed, or without weight and endpoints. */
  #displaced(state: ServiceState, before: readonly RevisionState[]): Ticket[] {
    const displaced = ticketsOf(state.unassigned.head);
    for (const revision of new Set([...before, ...state.revisions])) {
      const routed = state.revisions.includes(revision);
      const serves = revision.endpoints.length > 0 || state.choices.includes(revision);
      const isLost = !routed || revision.failure !== undefined;
      for (const ticket of ticketsOf(revision.queue.head)) {
        if (ticket.isBound ? isLost : !routed || !serves) displaced.push(ticket);
      }
    }
    return displaced;
  }

  /** Why a request that is for one revision alone can't have it. */
  #refusalOfTicket({ service, revision }: Ticket): PilotlightError | undefined {
    if (revision === undefined || !service.revisions.includes(revision))
      return refusals.revisionRemoved(service.route, revision?.route.name ?? '');
    return refusalOfBound(service, revision);
  }

  #allQueued(state: ServiceState, revisions: readonly RevisionState[]): Ticket[] {
    return [state.unassigned.head, ...revisions.map((revision) => revision.queue.head)].flatMap(ticketsOf);
  }

  /** Deals tickets out anew and keeps every queue in the order of arrival. */
  #reassign(state: ServiceState, tickets: readonly Ticket[], nowMs: number): void {
    const touched = new Set<RevisionState>();
    for (const ticket of tickets) {
      const revision = chooseByWeight(state.choices, this.#random);
      const { cold } = ticket;
      this.#unqueue(ticket, nowMs);
      this.#enqueue(ticket, revision, 'back', nowMs);
      ticket.cold ||= cold;
      if (revision !== undefined) touched.add(revision);
    }
    for (const revision of touched) {
      const ordered = revision.queue.takeAll().sort((one, other) => one.order - other.order);
      for (const ticket of ordered) revision.queue.push(ticket);
    }
  }
}

/** Why a service takes nobody now. */
function refusalOf({ removed, route, failure }: ServiceState): PilotlightError | undefined {
  if (removed) return refusals.serviceRemoved(route);
  if (route.stopped !== undefined) return refusals.serviceStopped(route, route.stopped);
  return failure === undefined ? undefined : refusals.loadFailed(route, failure);
}

function refusalOfBound(state: ServiceState, revision: RevisionState): PilotlightError | undefined {
  if (state.removed || state.route.stopped !== undefined) return refusalOf(state);
  const { failure } = revision;
  return failure === undefined ? undefined : refusals.loadFailed(state.route, failure);
}

function ticketsOf(head: Ticket | undefined): Ticket[] {
  const tickets: Ticket[] = [];
  for (let ticket = head; ticket !== undefined; ticket = ticket.next) tickets.push(ticket);
  return tickets;
}

/** Endpoints that the routes name no more and that still have requests. */
function leavingOf({ endpoints }: ServiceState): string[] {
  const leaving: string[] = [];
  for (const { id, listed, inFlight } of endpoints.values()) if (!listed && inFlight > 0) leaving.push(id);
  return leaving;
}
