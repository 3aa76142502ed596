import type { RevisionRoute, ServiceRoute } from '../../contracts/routes.ts';
import type { DemandCounter } from './demand-book.ts';
import { EndpointState } from './endpoint-state.ts';
import { Fifo } from './fifo.ts';
import { sharesOf } from './shares.ts';
import type { Ticket } from './ticket.ts';

/** A revision in force: its endpoints, who waits for one of them, and its demand. */
export class RevisionState {
  route: RevisionRoute;
  endpoints: EndpointState[] = [];
  readonly queue = new Fifo<Ticket>();
  readonly demand: DemandCounter;
  /** When it last went from no endpoint to some. */
  warmSinceMs = 0;

  constructor(route: RevisionRoute, demand: DemandCounter) {
    this.route = route;
    this.demand = demand;
  }

  /** Requests that its endpoints take at once. */
  get permits(): number {
    return this.endpoints.reduce((sum, { capacity }) => sum + capacity, 0);
  }

  get weightPercent(): number {
    return this.route.weightPercent;
  }

  /** Failed for good as far as anybody knows: waiting for it makes no sense. */
  get failure(): RevisionRoute['failure'] {
    const { failure, endpoints, startingPhase } = this.route;
    return endpoints.length === 0 && startingPhase === undefined ? failure : undefined;
  }
}

/** A service in force. Bounds count over all its revisions. */
export class ServiceState {
  route: ServiceRoute;
  revisions: RevisionState[] = [];
  /** Revisions that new requests are dealt out to by weight. */
  choices: RevisionState[] = [];
  readonly endpoints = new Map<string, EndpointState>();
  /** Those that wait while no revision is routed at all. */
  readonly unassigned = new Fifo<Ticket>();
  /** Those whose body is still on its way among them. */
  queuedRequests = 0;
  queuedBytes = 0;
  arrivingRequests = 0;
  removed = false;

  readonly #self: string;

  /** @param self Identity of this activator, as routes name it among a service's carriers. */
  constructor(route: ServiceRoute, self: string) {
    this.route = route;
    this.#self = self;
  }

  /** Takes over a route; tickets are not touched. */
  update(route: ServiceRoute, counterOf: (revision: string) => DemandCounter, nowMs: number): void {
    this.route = route;
    const before = new Map(this.revisions.map((revision) => [revision.route.name, revision]));
    const listed = new Set<string>();
    this.revisions = route.revisions.map((revisionRoute) => {
      const revision =
        before.get(revisionRoute.name) ?? new RevisionState(revisionRoute, counterOf(revisionRoute.name));
      const wasCold = revision.endpoints.length === 0;
      revision.route = revisionRoute;
      const capacities = revisionRoute.endpoints.map(({ capacity }) => capacity);
      const shares = sharesOf(capacities, route.carriers, this.#self);
      revision.endpoints = revisionRoute.endpoints.map((endpoint, index) => {
        const share = shares[index] ?? 0;
        listed.add(endpoint.id);
        let state = this.endpoints.get(endpoint.id);
        // The same id at another address is another place to connect to; its permits start afresh.
        if (state === undefined || state.address !== endpoint.address) {
          if (state !== undefined) state.listed = false;
          state = new EndpointState(endpoint, share);
          this.endpoints.set(endpoint.id, state);
        }
        state.capacity = share;
        state.queuesItself = revisionRoute.kind === 'runtime';
        state.listed = true;
        return state;
      });
      if (wasCold && revision.endpoints.length > 0) revision.warmSinceMs = nowMs;
      return revision;
    });
    for (const [id, endpoint] of this.endpoints) {
      if (listed.has(id)) continue;
      endpoint.listed = false;
      if (endpoint.inFlight === 0) this.endpoints.delete(id);
    }
    this.choices = choicesOf(this.revisions);
  }

  /** Why no revision can serve, when all of them failed to load. */
  get failure(): RevisionRoute['failure'] {
    if (this.choices.length > 0) return undefined;
    return this.revisions.findLast((revision) => revision.failure !== undefined)?.failure;
  }
}

/**
 * Those with weight that did not fail. A canary whose model can't be loaded doesn't cost its share of the
 * requests as long as another revision has weight. Where no weight is given, the ones with endpoints, else all.
 */
function choicesOf(revisions: readonly RevisionState[]): RevisionState[] {
  const weighted = revisions.filter((revision) => revision.weightPercent > 0);
  const candidates = weighted.length > 0 ? weighted : revisions;
  const usable = candidates.filter((revision) => revision.failure === undefined);
  if (weighted.length > 0) return usable;
  const warm = usable.filter((revision) => revision.endpoints.length > 0);
  return warm.length > 0 ? warm : usable;
}
