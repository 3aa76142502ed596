import type { Registry } from 'prom-client';
import type { Logger } from '../../process/logger.ts';
import type { Engine, ServingLoad } from '../ports.ts';
import type { ServerLimits } from './limits.ts';

export interface ServerOptions {
  host: string;
  /** 0 takes any free port. */
  port: number;
  /** A second port for clients that want gRPC on a port of its own; it serves the same as `port`. */
  grpcPort?: number;
  engine: Engine;
  logger: Logger;
  /** Where to count requests by code and their latencies; nothing is counted without. */
  registry?: Registry;
  /** Registers Triton's names for what is counted as well. */
  tritonMetrics?: boolean;
  limits?: Partial<ServerLimits>;
  /** Asked at each request, since it comes with the claim. Default: 300,000 ms, as Knative's. */
  requestTimeoutMs?: () => number;
  /** For the server metadata. Default: `0.0.0`. */
  version?: string;
}

/** The serving port of a runtime. */
export interface RuntimeServer {
  /** The port that was really taken. */
  readonly port: number;
  readonly grpcPort: number | undefined;
  /** Requests in work, and their integrals. `idle(deadlineMs)` takes milliseconds from now. */
  readonly load: ServingLoad;
  /**
   * Tells clients to go elsewhere, for an engine whose phase is `draining`: HTTP/2 connections get GOAWAY,
   * HTTP/1.1 ones `Connection: close` with their next answer. Resolves with true once nothing is in flight,
   * with false after `deadlineMs` from now. New connections are still accepted, and refused by phase.
   */
  drain(deadlineMs: number): Promise<boolean>;
  /**
   * Has callers that came straight here leave: GOAWAY at once, HTTP/1.1 connections with their next answer, and
   * those that still rest after `lingerMs` are closed. The engine welcomes no callers by then.
   */
  sendCallersAway(lingerMs: number): void;
  /** Stops accepting, lets what is in flight finish for up to `graceMs` (default 0), then ends every connection. */
  stop(graceMs?: number): Promise<void>;
}
