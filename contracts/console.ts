import { z } from 'zod';

export const serviceViewSchema = z.object({
  namespace: z.string(),
  name: z.string(),
  uid: z.string(),
  url: z.string(),
  generation: z.number().int(),
  /** One word for a table. `Standby` is scaled to zero and healthy. */
  state: z.enum(['Standby', 'Starting', 'Ready', 'Degraded', 'Failed', 'Invalid', 'Stopped']),
  /** Why, in a sentence, where the state isn't simply good. */
  message: z.string().optional(),
  ready: z.boolean(),
  replicas: z.object({ wanted: z.number().int(), ready: z.number().int(), starting: z.number().int() }),
  queued: z.number().int(),
  inFlight: z.number().int(),
  requestsPerSecond: z.number(),
  lastColdStartMs: z.number().optional(),
  latestRevision: z.string(),
  /** KServe's status object, conditions and modelStatus included. */
  status: z.record(z.string(), z.unknown()),
});
export type ServiceView = z.infer<typeof serviceViewSchema>;

export const revisionViewSchema = z.object({
  namespace: z.string(),
  service: z.string(),
  name: z.string(),
  number: z.number().int(),
  state: z.enum(['Pending', 'Standby', 'Loading', 'Ready', 'Failed', 'Retired']),
  trafficPercent: z.number(),
  modelUri: z.string().optional(),
  message: z.string().optional(),
});
export type RevisionView = z.infer<typeof revisionViewSchema>;

export const replicaViewSchema = z.object({
  id: z.string(),
  /** Absent for a standby. */
  namespace: z.string().optional(),
  service: z.string().optional(),
  revision: z.string().optional(),
  state: z.enum(['starting', 'standby', 'specialising', 'ready', 'draining', 'recycling', 'failed']),
  address: z.string().optional(),
  pid: z.number().int().optional(),
  capacity: z.number().int().optional(),
  inFlight: z.number().int().optional(),
  sinceMs: z.number(),
});
export type ReplicaView = z.infer<typeof replicaViewSchema>;

export const decisionViewSchema = z.object({
  atMs: z.number(),
  namespace: z.string(),
  service: z.string(),
  revision: z.string(),
  from: z.number().int(),
  to: z.number().int(),
  mode: z.enum(['proxied', 'direct']),
  reason: z.string(),
  reasonCode: z.string(),
});
export type DecisionView = z.infer<typeof decisionViewSchema>;

/**
 * The controller's read-only JSON API, for the terminal and the web console:
 * `GET /api/services`, `/api/services/{namespace}/{name}`, `/api/revisions`, `/api/replicas`,
 * `/api/decisions`, `/api/cold-starts`; the last four take `?namespace=&service=`. Each answers `{items: […]}`.
 */
export const API_PATHS = {
  services: '/api/services',
  revisions: '/api/revisions',
  replicas: '/api/replicas',
  decisions: '/api/decisions',
  coldStarts: '/api/cold-starts',
} as const;

/** `{items: […]}` of one kind. */
export const listOf = <Item extends z.ZodType>(item: Item) => z.object({ items: z.array(item) });
