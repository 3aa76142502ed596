import { z } from 'zod';
import { type ErrorCode, isErrorCode } from './errors.ts';
import { imageInputSchema } from './image-input.ts';
import { storageAccessSchema } from './storage-access.ts';

// For whoever loads this module late, and the schemas with it.
export { storageAccessSchema };

/**
 * The runtime's admin port: controller to runtime, bearer token, never the serving port. The token is a shared
 * one on the local platform and a signed one in a cluster (contracts/admin-token.ts).
 *
 * - `POST /admin/specialise` with SpecialiseRequest. Answer 200 is a stream of SpecialiseEvent, one JSON line
 *   each, that ends with `ready` or `failed`. The first claim wins; the same claimId again is the same claim and
 *   gets its events from the start, and its stats go where the newest such call says; another claimId gets 409
 *   `claim-conflict`; an epoch below the highest one seen gets 409 `stale-epoch`. Breaking the connection does
 *   not stop the load.
 * - `POST /admin/drain` with ClaimRequest: the serving port refuses new work with 503 `draining`; answers 200
 *   `{drained: true}` once nothing is in flight, `{drained: false}` when the deadline passed first.
 * - `POST /admin/recycle` with ClaimRequest: answers 202, then the process replaces itself and is a standby
 *   again under a new incarnation. Only after a drain or a failed load, and never once code of a user ran in it: 409
 *   `not-recyclable`.
 * - `POST /admin/callers` with CallersRequest: whether callers may come straight to this runtime. One that doesn't
 *   welcome them, as none does at first, serves them all the same, but tells each to close its connection (HTTP/2:
 *   GOAWAY), and closes those that still rest after `lingerMs`. Answers 200 `{}`.
 * - `GET /admin/state` gives RuntimeState, `GET /metrics` Prometheus text (no token).
 */
export const ADMIN_PATHS = {
  specialise: '/admin/specialise',
  drain: '/admin/drain',
  recycle: '/admin/recycle',
  callers: '/admin/callers',
  state: '/admin/state',
} as const;

const errorCodeSchema = z.custom<ErrorCode>(isErrorCode, 'expected an error code');

/** What a model URI was resolved to, kept with the revision so that a cached start asks no store. */
export const modelIdentitySchema = z.object({
  files: z.array(
    z.object({
      path: z.string(),
      sizeBytes: z.number().int().nonnegative(),
      /** ETag or version of the store, where it has one. */
      version: z.string().optional(),
      sha256: z.string().optional(),
      /** Not part of the model: code or texts beside it that the service names. */
      companion: z.literal(true).optional(),
    }),
  ),
});
export type ModelIdentity = z.infer<typeof modelIdentitySchema>;

/** A file beside the model that the service names. */
const companionSchema = z.object({
  /** Relative to the folder of the model's file. */
  path: z.string().min(1),
  sha256: z.string().optional(),
});

/** User code: the runtime believes whoever claims it that the operator allows it. */
const transformOrderSchema = z.object({
  module: companionSchema,
  /** Of one call of one hook. */
  timeoutMs: z.number().positive(),
  /** Of the JavaScript heap of its thread. */
  memoryBytes: z.number().int().positive(),
});
export type TransformOrder = z.infer<typeof transformOrderSchema>;

/** What ONNX Runtime computes on. */
const executionOrderSchema = z.object({
  provider: z.enum(['cpu', 'cuda', 'webgpu']),
  /** Where it can't be had. */
  fallback: z.enum(['cpu', 'refuse']),
});
export type ExecutionOrder = z.infer<typeof executionOrderSchema>;

const labelsOrderSchema = z.object({
  /** One name a line, in the order of the classes. */
  file: companionSchema,
  /** How many of the best classes. */
  top: z.number().int().positive(),
  /** Which output has the scores; the model's only one when absent. */
  output: z.string().min(1).optional(),
  /** Whether the answer has the scores of all classes as well. */
  keepScores: z.boolean(),
});
export type LabelsOrder = z.infer<typeof labelsOrderSchema>;

/** What the model is to answer like, to be compared before it is ready. Shares from 0 to 1. */
const parityOrderSchema = z.object({
  against: z.string().min(1),
  /** Requests of the protocol; made-up inputs when absent. */
  samples: companionSchema.optional(),
  /** Largest error of a float output, relative to its largest value. */
  tolerance: z.number().min(0).max(1),
  /** Least share of rows whose largest score stands at the same place. */
  agreement: z.number().min(0).max(1).optional(),
  /** It was compared before: the samples come along with the model as they did then, and are not used. */
  isPassed: z.boolean(),
});
export type ParityOrder = z.infer<typeof parityOrderSchema>;

export const specialiseRequestSchema = z.object({
  claimId: z.string().min(1),
  /** Grows with each change of leadership (a restarted local controller counts as one). */
  epoch: z.number().int().nonnegative(),
  service: z.object({ namespace: z.string(), name: z.string(), uid: z.string() }),
  revision: z.string(),
  model: z.object({
    /** The name that OIP and V1 paths use. */
    name: z.string().min(1),
    uri: z.string().min(1),
    identity: modelIdentitySchema.optional(),
    sha256: z.string().optional(),
    /** In the clear only within a process: on the wire it is sealed. */
    access: storageAccessSchema.optional(),
    /** An access in JSON, sealed (contracts/sealing.ts) for this process, with the claimId as its context. */
    sealedAccess: z.string().optional(),
    /** The service's own code before and after the model. */
    transform: transformOrderSchema.optional(),
    /** Images are taken as requests. */
    image: imageInputSchema.optional(),
    /** Scores are answered as names of classes. */
    labels: labelsOrderSchema.optional(),
    parity: parityOrderSchema.optional(),
  }),
  serving: z.object({
    /** Requests at once; absent: what the runtime's instances take. */
    containerConcurrency: z.number().int().positive().optional(),
    instances: z.number().int().positive().optional(),
    threadsPerInstance: z.number().int().positive().optional(),
    /** The CPU when absent. */
    execution: executionOrderSchema.optional(),
    /** How requests are put together; absent: where the model says its batch and a trial shows a gain. */
    batching: z
      .object({ maxBatchSize: z.number().int().positive(), maxLatencyMs: z.number().nonnegative() })
      .optional(),
    requestTimeoutMs: z.number().positive(),
  }),
  /** The whole start must be over by then: fetch, creation and warm-up. */
  startTimeoutMs: z.number().positive(),
  /** `request`: one waits and is the warm-up; `run`: run the model once on made-up input before `ready`. */
  warmUp: z.enum(['request', 'run']),
  /** Where and with which token to push stats. */
  stats: z.object({ url: z.string(), token: z.string() }),
});
export type SpecialiseRequest = z.infer<typeof specialiseRequestSchema>;

/** `elapsedMs` counts from the receipt of the specialise call by the runtime's own clock. */
export const specialiseEventSchema = z.discriminatedUnion('event', [
  z.object({ event: z.literal('claimed'), elapsedMs: z.number() }),
  z.object({
    event: z.literal('fetched'),
    elapsedMs: z.number(),
    cached: z.boolean(),
    /** Of the files that it starts from: bytes that were on the disk and not in memory. */
    coldBytes: z.number().optional(),
    sizeBytes: z.number(),
    identity: modelIdentitySchema,
  }),
  z.object({ event: z.literal('created'), elapsedMs: z.number() }),
  z.object({ event: z.literal('warmed'), elapsedMs: z.number() }),
  z.object({
    event: z.literal('ready'),
    elapsedMs: z.number(),
    capacity: z.number().int().positive(),
    /** How far it is from the model that it was compared with, in a sentence. */
    parity: z.string().optional(),
  }),
  z.object({ event: z.literal('failed'), elapsedMs: z.number(), code: errorCodeSchema, message: z.string() }),
]);
export type SpecialiseEvent = z.infer<typeof specialiseEventSchema>;

export const claimRequestSchema = z.object({
  claimId: z.string().min(1),
  epoch: z.number().int().nonnegative(),
  deadlineMs: z.number().nonnegative(),
});
export type ClaimRequest = z.infer<typeof claimRequestSchema>;

export const callersRequestSchema = z.object({
  claimId: z.string().min(1),
  epoch: z.number().int().nonnegative(),
  welcome: z.boolean(),
  /** How long connections may rest after `welcome: false`, for their callers to hear of it. */
  lingerMs: z.number().nonnegative(),
});
export type CallersRequest = z.infer<typeof callersRequestSchema>;

export const runtimeStateSchema = z.object({
  /** New with each incarnation of the process, `execve` included. */
  incarnation: z.string(),
  /** For whom an access is sealed; absent for a runtime of an earlier version, which gets no credentials. */
  sealingKey: z.string().optional(),
  /** How often this process has replaced itself: pod (or process) and this number name an incarnation. */
  recycles: z.number().int().nonnegative(),
  /** Highest epoch that any incarnation of this process has heard: a claim of a lower one is refused. */
  highestEpoch: z.number().int().nonnegative(),
  state: z.enum(['standby', 'specialising', 'ready', 'draining', 'failed']),
  claim: z
    .object({
      claimId: z.string(),
      epoch: z.number().int(),
      serviceUid: z.string(),
      revision: z.string(),
      /** Present once ready. */
      capacity: z.number().int().positive().optional(),
    })
    .optional(),
  failure: z.object({ code: errorCodeSchema, message: z.string() }).optional(),
  inFlight: z.number().int().nonnegative(),
  residentBytes: z.number().int().nonnegative(),
  /** Sources (URI without credentials) whose bytes are in the cache that this runtime uses. */
  cachedModels: z.array(z.string()),
});
export type RuntimeState = z.infer<typeof runtimeStateSchema>;
