import { z } from 'zod';
import { coldAnswerSchema } from './cold-start.ts';

/**
 * Demand: `POST /v1/demand` from activator to controller, each DEMAND_INTERVAL_MS while there is traffic and
 * at once when a request finds no endpoint with room. Integrals and counts are cumulative since the activator
 * started, so that a report that was lost or came twice changes nothing: the controller takes differences.
 * An activator sends one last report with zeros in flight when its traffic ends.
 */
export const DEMAND_PATH = '/v1/demand';
export const DEMAND_INTERVAL_MS = 100;

export const revisionDemandSchema = z.object({
  serviceUid: z.string(),
  revision: z.string(),
  /** Requests in the activator (queued and in flight) integrated over time, cumulative, in request-seconds. */
  requestSeconds: z.number().nonnegative(),
  /** Requests that arrived, cumulative. */
  requests: z.number().int().nonnegative(),
  /** Requests at a replica now. */
  inFlight: z.number().int().nonnegative(),
  /** Requests waiting for a replica now. */
  queued: z.number().int().nonnegative(),
  /** Age of the oldest waiting request; 0 when none waits. */
  oldestQueuedMs: z.number().nonnegative(),
  /**
   * Endpoints that the routes name no more and that still have requests of this activator; absent where it can't
   * tell, so that `inFlight` may be at any of them.
   */
  leaving: z.array(z.string().min(1)).optional(),
});
export type RevisionDemand = z.infer<typeof revisionDemandSchema>;

export const demandReportSchema = z.object({
  /** Identity of the activator's process: another one after a restart, since its counters begin at 0 again. */
  activator: z.string().min(1),
  /** Grows with each report; an older one that arrives late is dropped. */
  sequence: z.number().int().nonnegative(),
  /** Monotonic age of the counters in ms, for averages: Δ requestSeconds / Δ uptime. */
  uptimeMs: z.number().nonnegative(),
  revisions: z.array(revisionDemandSchema),
  /** First answers of cold services since the last report. */
  coldAnswers: z.array(coldAnswerSchema),
  /** Endpoints that refused or broke, for the controller to look at: never a reason to kill by itself. */
  suspects: z.array(z.object({ endpointId: z.string(), reason: z.string() })),
});
export type DemandReport = z.infer<typeof demandReportSchema>;
