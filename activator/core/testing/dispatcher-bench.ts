import { PilotlightError } from '../../../contracts/errors.ts';
import type { RevisionRoute, ServiceRoute } from '../../../contracts/routes.ts';
import { Dispatcher } from '../dispatcher.ts';
import type { Ticket } from '../ticket.ts';

/** A revision's route with endpoints by id and capacity. */
export function revision(
  name: string,
  weightPercent: number,
  endpoints: Record<string, number>,
): RevisionRoute {
  return {
    name,
    weightPercent,
    kind: 'runtime',
    endpoints: Object.entries(endpoints).map(([id, capacity]) => ({ id, address: `${id}:80`, capacity })),
  };
}

/** Service `u`, whose queue takes 5 requests of 1,000 bytes together. */
export function service(revisions: RevisionRoute[], changes: Partial<ServiceRoute> = {}): ServiceRoute {
  return {
    uid: 'u',
    namespace: 'demo',
    name: 'ocr',
    hosts: ['ocr.demo'],
    models: ['ocr'],
    startTimeoutMs: 1000,
    requestTimeoutMs: 1000,
    queue: { maxRequests: 5, maxBytes: 1_000 },
    retryAll: false,
    revisions,
    ...changes,
  };
}

/** A dispatcher with a log of what the waiting ones were told. */
export class Bench {
  readonly dispatcher: Dispatcher;
  readonly tickets: Ticket[] = [];
  readonly log: string[] = [];
  nowMs = 0;
  #number = 0;

  constructor(random: () => number = () => 0, self = 'me') {
    this.dispatcher = new Dispatcher(random, self);
  }

  /** Permits of an endpoint that are taken. */
  heldAt(endpoint: string): number {
    return this.tickets.filter(({ state, endpoint: at }) => state === 'placed' && at?.id === endpoint).length;
  }

  route(route: ServiceRoute): void {
    this.dispatcher.apply({ type: 'service', number: ++this.#number, service: route }, this.nowMs);
  }

  remove(): void {
    this.dispatcher.apply({ type: 'removed', number: ++this.#number, uid: 'u' }, this.nowMs);
  }

  /** One arrives; named by its place in the order of arrival. */
  arrive(sizeBytes = 0, bound?: string): Ticket | string {
    const name = `${this.tickets.length}`;
    const route = this.dispatcher.table.get('u');
    if (route === undefined) return 'no route';
    try {
      const ticket = this.dispatcher.arrive(
        route,
        sizeBytes,
        {
          onPlaced: () => this.log.push(`${name} placed`),
          onRefused: (error) => this.log.push(`${name} ${error.code}`),
        },
        this.nowMs,
        bound,
      );
      this.tickets.push(ticket);
      return ticket;
    } catch (error) {
      return error instanceof PilotlightError ? error.code : String(error);
    }
  }

  arrivals(count: number): (Ticket | string)[] {
    return Array.from({ length: count }, () => this.arrive());
  }

  /** The replica of this one failed. */
  again(index: number): void {
    const ticket = this.tickets[index];
    if (ticket !== undefined) this.dispatcher.again(ticket, true, this.nowMs);
  }

  /** Its turn came before its body. */
  awaitBody(index: number): void {
    const ticket = this.tickets[index];
    if (ticket !== undefined) this.dispatcher.awaitBody(ticket, this.nowMs);
  }

  bodyCame(index: number): void {
    const ticket = this.tickets[index];
    if (ticket !== undefined) this.dispatcher.bodyCame(ticket, this.nowMs);
  }

  leave(index: number): void {
    const ticket = this.tickets[index];
    if (ticket !== undefined) this.dispatcher.leave(ticket, this.nowMs);
  }
}
