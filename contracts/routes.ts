import { z } from 'zod';
import { type ErrorCode, isErrorCode } from './errors.ts';

/**
 * Routes: what activators need to know to carry requests. The activator holds one streaming
 * `GET /v1/routes?stream=<id>&after=<number>&activator=<id>&pod=<name>` to the controller; each line of the answer is
 * one JSON message. A stream begins with a snapshot, or, when the controller still has all changes after `after` of the
 * same `stream`, with those changes; a heartbeat says that those were all. Numbers grow by one with each change within a
 * stream id; a restarted controller has a new stream id and begins with a snapshot. A heartbeat comes each
 * ROUTES_HEARTBEAT_MS; an activator that hears nothing for ROUTES_SILENCE_MS reconnects and serves on with what it has.
 * From the end of a stream to the next snapshot or heartbeat it calls no service unknown: one may have come since.
 * `activator` is its identity in demand reports, `pod` the pod that it runs in; both may be left out.
 */
export const ROUTES_PATH = '/v1/routes';
export const ROUTES_HEARTBEAT_MS = 2_000;
export const ROUTES_SILENCE_MS = 7_000;

/**
 * A request whose start timeout ends while its revision waits for a node gets it once more, for as long as that is
 * so and up to this time in all: as long as the cluster autoscaler itself waits for a node (its
 * `max-node-provision-time`).
 */
export const NODE_WAIT_MS = 15 * 60_000;

const errorCodeSchema = z.custom<ErrorCode>(isErrorCode, 'expected an error code');

/** One ready replica that may get requests. */
export const endpointSchema = z.object({
  /** Identity of this incarnation of the replica; a recycled process comes back with another id. */
  id: z.string().min(1),
  /** `host:port` of the serving port, which speaks HTTP/1.1 and HTTP/2 cleartext. */
  address: z.string().min(1),
  /** Requests at once that the replica takes. */
  capacity: z.number().int().positive(),
});
export type Endpoint = z.infer<typeof endpointSchema>;

export const revisionRouteSchema = z.object({
  name: z.string().min(1),
  /** Host names that lead to this revision alone, whatever its share; a service's own name of that kind comes first. */
  hosts: z.array(z.string()).optional(),
  /** Share of new requests, 0 to 100; those of one service add up to 100, or to 0 when nothing can serve. */
  weightPercent: z.number().min(0).max(100),
  endpoints: z.array(endpointSchema),
  /** Whether the replicas are Pilotlight runtimes (which know 421 and the service headers) or any HTTP server. */
  kind: z.enum(['runtime', 'http']),
  /** Where the start of a replica hangs now, shown to a caller whose wait timed out. */
  startingPhase: z.string().optional(),
  /** A node for a replica may be being added: minutes that are not the service's own, see NODE_WAIT_MS. */
  waitsForNode: z.boolean().optional(),
  /** Set when the model failed to load and no replica is being tried now: waiting requests are answered with it. */
  failure: z.object({ code: errorCodeSchema, message: z.string() }).optional(),
});
export type RevisionRoute = z.infer<typeof revisionRouteSchema>;

/** An activator that carries a service, and its part of the capacity in proportion to those of the others. */
export const carrierSchema = z.object({ activator: z.string().min(1), parts: z.number().int().positive() });
export type Carrier = z.infer<typeof carrierSchema>;

export const serviceRouteSchema = z.object({
  uid: z.string().min(1),
  namespace: z.string().min(1),
  name: z.string().min(1),
  /** All host names that lead to the service, lower case, without port. */
  hosts: z.array(z.string()),
  /** Names by which OIP and V1 paths call its model. */
  models: z.array(z.string()),
  startTimeoutMs: z.number().positive(),
  requestTimeoutMs: z.number().positive(),
  queue: z.object({ maxRequests: z.number().int().nonnegative(), maxBytes: z.number().int().nonnegative() }),
  /** Opted in to one retry of any method after bytes were sent (else only inference calls are retried). */
  retryAll: z.boolean(),
  /** A stopped service gets no cold starts: 503 with this text. */
  stopped: z.string().optional(),
  /**
   * Of `hosts` those under which callers reach the replicas themselves now, where they do: a caller that comes to an
   * activator by one of them has an old connection, and is told to close it.
   */
  directHosts: z.array(z.string()).optional(),
  /** The activators that share the replicas' capacity, in the same order for all; absent: each takes all of it. */
  carriers: z.array(carrierSchema).optional(),
  revisions: z.array(revisionRouteSchema),
});
export type ServiceRoute = z.infer<typeof serviceRouteSchema>;

export const routesMessageSchema = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('snapshot'),
    stream: z.string(),
    number: z.number().int(),
    services: z.array(serviceRouteSchema),
  }),
  z.object({ type: z.literal('service'), number: z.number().int(), service: serviceRouteSchema }),
  z.object({ type: z.literal('removed'), number: z.number().int(), uid: z.string() }),
  z.object({ type: z.literal('heartbeat'), number: z.number().int() }),
]);
export type RoutesMessage = z.infer<typeof routesMessageSchema>;
