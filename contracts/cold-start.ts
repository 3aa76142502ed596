import { z } from 'zod';

/**
 * The phases of a cold start in order. Each figure is the time from the end of the phase before it to the end
 * of this one, in ms, so that the phases add up to the whole. `claimed` stands for a standby that was taken,
 * `scheduled` and `started` for a replica that began as a process or pod of its own; a cold start has one or
 * the other.
 */
export const COLD_START_PHASES = [
  'decided',
  'claimed',
  'scheduled',
  'started',
  'fetched',
  'created',
  'warmed',
  'routed',
  'answered',
] as const;

export type ColdStartPhase = (typeof COLD_START_PHASES)[number];

/**
 * What the activator saw of the request that a cold service was started for: durations by its own clock, so
 * that clocks of different machines are never compared.
 */
export const coldAnswerSchema = z.object({
  serviceUid: z.string(),
  revision: z.string(),
  endpointId: z.string(),
  /** From the request's arrival to its hand-over to the replica. */
  queuedMs: z.number().nonnegative(),
  /** From the hand-over to the first byte of the answer. */
  upstreamMs: z.number().nonnegative(),
  /** Age of the request when the report was built: arrival = receipt of the report − this. */
  arrivedAgoMs: z.number().nonnegative(),
});
export type ColdAnswer = z.infer<typeof coldAnswerSchema>;

/** One cold start as the controller keeps and serves it. */
export const coldStartSchema = z.object({
  namespace: z.string(),
  service: z.string(),
  revision: z.string(),
  replica: z.string(),
  /** When the first request queued (or, for a start that no request asked for, when it was decided), epoch ms. */
  atMs: z.number(),
  /** `standby`: a started generic replica took the model; `new`: a process or pod of its own. */
  via: z.enum(['standby', 'new']),
  /** Whether a request waited for it; a start ahead of demand has no `answered`. */
  demanded: z.boolean(),
  /** True when the model's bytes were in the cache of the replica that took it. */
  cached: z.boolean(),
  /**
   * Bytes of the model that had to be read from the disk before they could be used, although they were in the cache
   * folder: a cold page cache, a class of its own. Absent where they were in memory.
   */
  coldBytes: z.number().optional(),
  outcome: z.enum(['running', 'answered', 'ready', 'failed']),
  phasesMs: z.partialRecord(z.enum(COLD_START_PHASES), z.number()),
  totalMs: z.number(),
  /** Set when `outcome` is `failed`. */
  error: z.string().optional(),
});
export type ColdStart = z.infer<typeof coldStartSchema>;
