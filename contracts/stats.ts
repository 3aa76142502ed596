import { z } from 'zod';

/**
 * Stats: `POST /v1/stats` from runtime to controller with the token handed over at specialise, once a second
 * while they change and each STATS_HEARTBEAT_MS otherwise. Cumulative like demand. What came through an
 * activator (header `pilotlight-proxied-by`) is counted apart, since the activator reports it too.
 */
export const STATS_PATH = '/v1/stats';
export const STATS_INTERVAL_MS = 1_000;
export const STATS_HEARTBEAT_MS = 10_000;

const loadSchema = z.object({
  requestSeconds: z.number().nonnegative(),
  requests: z.number().int().nonnegative(),
  inFlight: z.number().int().nonnegative(),
});

export const statsReportSchema = z.object({
  incarnation: z.string(),
  claimId: z.string(),
  serviceUid: z.string(),
  revision: z.string(),
  sequence: z.number().int().nonnegative(),
  /** Since the claim, for averages. */
  uptimeMs: z.number().nonnegative(),
  direct: loadSchema,
  proxied: loadSchema,
  residentBytes: z.number().int().nonnegative(),
  /** Requests at once, which may grow once: when a trial shows that running them together pays. */
  capacity: z.number().int().positive().optional(),
});
export type StatsReport = z.infer<typeof statsReportSchema>;
