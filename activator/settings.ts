import { parseArgs } from 'node:util';
import type { Logger } from '../process/logger.ts';

/** What bounds the activator; the defaults fit a node's worth of traffic. */
export interface ActivatorLimits {
  /** A connection that says nothing, and a head that doesn't come to its end. */
  firstByteTimeoutMs: number;
  headersTimeoutMs: number;
  maxConnections: number;
  /** Of a body that nobody reads yet, so much may lie in this process: 2,000 of them at 16 KiB are 219 MB, at 64 KiB 346 MB. */
  unreadBytes: number;
  keepAliveMs: number;
  connectTimeoutMs: number;
  upstreamIdleMs: number;
  abandonLimitMs: number;
  continueTimeoutMs: number;
  bodyWindowMs: number;
  bodyWindowBytes: number;
  stallMs: number;
  /** How long a request waits for the first routes; they take some 50 ms where a controller is there. */
  routesWaitMs: number;
  /** How long idle connections may still bring a request while the activator stops. */
  drainLingerMs: number;
}

export const DEFAULT_LIMITS: Readonly<ActivatorLimits> = Object.freeze({
  firstByteTimeoutMs: 10_000,
  headersTimeoutMs: 10_000,
  maxConnections: 20_000,
  unreadBytes: 16 * 1024,
  keepAliveMs: 75_000,
  connectTimeoutMs: 3_000,
  upstreamIdleMs: 4_000,
  abandonLimitMs: 10_000,
  continueTimeoutMs: 1_000,
  bodyWindowMs: 10_000,
  bodyWindowBytes: 5_000,
  stallMs: 30_000,
  routesWaitMs: 5_000,
  drainLingerMs: 300,
});

export interface ActivatorOptions {
  host: string;
  /** 0: any free one. */
  port: number;
  /** Health and metrics; 0: any free one; absent: none. */
  metricsPort?: number;
  /** `http://host:port` or `https://…` of the controller's API. */
  controllerUrl: string;
  token?: string;
  /** Holds the token instead; read again when it changes. */
  tokenFile?: string;
  /** PEM of the authority that signed the controllers' certificate; read again when it changes. */
  caFile?: string;
  /** Name of the pod that it runs in, so that callers are led past it once it answers no more. */
  pod?: string;
  /** Identity in demand reports; by default a new one for each process. */
  instanceId?: string;
  /** Everything under way must be over this long after `stop`. */
  drainMs?: number;
  /** How long new connections are still taken after `stop`, where others must first learn of it. */
  keepAcceptingMs?: number;
  logger?: Logger;
  random?: () => number;
  limits?: Partial<ActivatorLimits>;
}

export interface CommandLine {
  options: ActivatorOptions;
  lifeline: string | undefined;
}

export const USAGE = `Usage: node activator/main.ts --controller URL [options]

  --port N          serving port, 0 for any free one (8080)
  --host ADDRESS    address to listen at (127.0.0.1); :: takes IPv6 and IPv4
  --controller URL  the controller's API, http://host:port or https://host:port
  --token-file PATH token for the controller, read again when it changes
  --ca-file PATH    whose certificates to trust (PEM), read again when it changes
  --pod NAME        the pod that it runs in
  --metrics-port N  /healthz, /readyz and /metrics, 0 for any free one
  --drain-ms N      time to finish what is under way after SIGTERM (4000)
  --keep-accepting-ms N
                    part of it in which new connections are still taken (0)
  --lifeline PATH   end when whoever holds this socket ends

Without --token-file the token for the controller is read from PILOTLIGHT_ACTIVATOR_TOKEN.
`;

/** @throws TypeError or RangeError with a message for a person. */
export function parseCommandLine(args: string[], token: string | undefined): CommandLine {
  const { values } = parseArgs({
    args,
    options: {
      port: { type: 'string', default: '8080' },
      host: { type: 'string', default: '127.0.0.1' },
      controller: { type: 'string' },
      'metrics-port': { type: 'string' },
      'drain-ms': { type: 'string', default: '4000' },
      'keep-accepting-ms': { type: 'string', default: '0' },
      'token-file': { type: 'string' },
      'ca-file': { type: 'string' },
      pod: { type: 'string' },
      lifeline: { type: 'string' },
    },
  });
  if (values.controller === undefined) throw new TypeError('expected --controller with the URL of its API');
  const metricsPort = values['metrics-port'];
  const [tokenFile, caFile, pod] = [values['token-file'], values['ca-file'], values.pod];
  return {
    options: {
      host: values.host,
      port: numberOf('--port', values.port, 65_535),
      controllerUrl: values.controller,
      drainMs: numberOf('--drain-ms', values['drain-ms'], 3_600_000),
      keepAcceptingMs: numberOf('--keep-accepting-ms', values['keep-accepting-ms'], 3_600_000),
      ...(metricsPort === undefined ? {} : { metricsPort: numberOf('--metrics-port', metricsPort, 65_535) }),
      ...(token === undefined || token === '' ? {} : { token }),
      ...(tokenFile === undefined ? {} : { tokenFile }),
      ...(caFile === undefined ? {} : { caFile }),
      ...(pod === undefined ? {} : { pod }),
    },
    lifeline: values.lifeline,
  };
}

function numberOf(flag: string, text: string, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value <= most) return value;
  throw new RangeError(`expected ${flag} to be a whole number from 0 to ${most}, got "${text}"`);
}
