import type { ColdAnswer } from '../../contracts/cold-start.ts';
import type { Ticket } from './ticket.ts';

/** Where the time of a request went, in ms; the three add up to its whole. */
export interface TicketTimes {
  /** Waiting for room at endpoints that were there. */
  queueMs: number;
  /** Waiting for a first endpoint. */
  startMs: number;
  /** Since a replica took it. */
  upstreamMs: number;
}

export function ticketTimes(ticket: Ticket, nowMs: number): TicketTimes {
  const { arrivedAtMs } = ticket;
  const placed = ticket.placedAtMs > arrivedAtMs || ticket.state === 'placed';
  const placedAtMs = placed ? ticket.placedAtMs : nowMs;
  const waitedMs = placedAtMs - arrivedAtMs;
  let startMs = 0;
  if (ticket.cold) {
    const warmSinceMs = ticket.revision?.warmSinceMs ?? 0;
    startMs = warmSinceMs < arrivedAtMs ? waitedMs : Math.min(waitedMs, warmSinceMs - arrivedAtMs);
  }
  return { queueMs: waitedMs - startMs, startMs, upstreamMs: nowMs - placedAtMs };
}

/** What to report of the first answer of a cold endpoint; `undefined` for any other answer. */
export function coldAnswerOf(ticket: Ticket, nowMs: number): Omit<ColdAnswer, 'arrivedAgoMs'> | undefined {
  const { endpoint, revision } = ticket;
  if (endpoint === undefined || revision === undefined || endpoint.answered || !ticket.cold) return undefined;
  return {
    serviceUid: ticket.service.route.uid,
    revision: revision.route.name,
    endpointId: endpoint.id,
    queuedMs: ticket.placedAtMs - ticket.arrivedAtMs,
    upstreamMs: nowMs - ticket.placedAtMs,
  };
}
