import type { ColdAnswer } from '../../contracts/cold-start.ts';
import type { ServiceRoute } from '../../contracts/routes.ts';
import type { Dispatcher } from '../core/dispatcher.ts';
import type { EndpointState } from '../core/endpoint-state.ts';
import type { OutgoingRequest, UpstreamHandler, UpstreamStream } from './upstream.ts';

/** Times and sizes that bound what one client or replica can cost. */
export interface ProxyLimits {
  /** A client must bring so much of its body in each `bodyWindowMs` that we wait for it, or its end. */
  bodyWindowMs: number;
  bodyWindowBytes: number;
  /** A client that takes nothing of its answer for this long is cut off. */
  stallMs: number;
  /** How long a request waits for the first routes. */
  routesWaitMs: number;
}

export interface ProxyMetrics {
  /** @param service undefined where none was found. */
  requestDone(service: ServiceRoute | undefined, code: number, durationMs: number, queuedMs: number): void;
  /** An error of our own is the answer. @param code of contracts/errors.ts. */
  refused(service: ServiceRoute | undefined, code: string): void;
  retried(service: ServiceRoute, reason: string): void;
  upstreamFailed(service: ServiceRoute, kind: string): void;
}

/** What demand wants to know of a request's life. */
export interface DemandSink {
  /** Something changed; a report is due within the interval. */
  touch(): void;
  /** A request found no endpoint with room: a report is due in this turn. */
  urgent(): void;
  coldAnswer(answer: Omit<ColdAnswer, 'arrivedAgoMs'>, arrivedAtMs: number): void;
  suspect(endpointId: string, reason: string): void;
}

/** HTTP/2 where the endpoint speaks it, or always: gRPC has nothing else. */
export type UpstreamProtocol = 'http1' | 'http2' | 'grpc';

/** Connections to all endpoints. */
export interface UpstreamSource {
  open(
    endpoint: EndpointState,
    protocol: UpstreamProtocol,
    request: OutgoingRequest,
    handler: UpstreamHandler,
  ): UpstreamStream;
  /** The endpoint turned out not to speak HTTP/2: later requests go by HTTP/1.1. */
  noHttp2(endpoint: EndpointState): void;
}

/** What every request in the activator works with. */
export interface ProxyContext {
  readonly instanceId: string;
  readonly dispatcher: Dispatcher;
  readonly upstreams: UpstreamSource;
  readonly demand: DemandSink;
  readonly metrics: ProxyMetrics;
  readonly limits: ProxyLimits;
  /** Monotonic ms. */
  now(): number;
  /** True once a first snapshot is in force. */
  isReady(): boolean;
  /** True while the routes are those that the controller has: without it nobody can say that a service is unknown. */
  areRoutesCurrent(): boolean;
  /** Calls back once when they are again. @returns what takes the wish back. */
  onceRoutesCurrent(callback: () => void): () => void;
  /** True while stopping: connections are to end with the answer they carry. */
  isDraining(): boolean;
}
