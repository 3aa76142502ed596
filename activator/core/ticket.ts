import type { PilotlightError } from '../../contracts/errors.ts';
import type { EndpointState } from './endpoint-state.ts';
import type { Linked } from './fifo.ts';
import type { RevisionState, ServiceState } from './service-state.ts';

/** What a request that waits is told; called after the state has changed, at most one of the two. */
export interface Waiter {
  /** A replica takes the request: the ticket holds one of its permits. */
  onPlaced(): void;
  /** It won't be served; the ticket holds nothing any more. */
  onRefused(error: PilotlightError): void;
}

/** One request in the activator, from its arrival until it has neither a place in a queue nor a permit. */
export interface Ticket extends Linked<Ticket> {
  /**
   * Queued: has a place in a queue. Placed: holds a permit of `endpoint`. Arriving: had its turn before its body was
   * there; counts among those that wait, and waits for its client alone. Done: holds nothing.
   */
  state: 'queued' | 'placed' | 'arriving' | 'done';
  readonly waiter: Waiter;
  readonly service: ServiceState;
  revision: RevisionState | undefined;
  /** Whether it is for this revision and no other. */
  readonly isBound: boolean;
  endpoint: EndpointState | undefined;
  /** Rank of arrival, for those that move to another revision. */
  readonly order: number;
  readonly sizeBytes: number;
  readonly arrivedAtMs: number;
  placedAtMs: number;
  /** True when its revision had no endpoint as it began to wait. */
  cold: boolean;
}
