import { randomUUID } from 'node:crypto';
import type { RoutesMessage, ServiceRoute } from '../contracts/routes.ts';
import { listenHost } from '../process/listen-host.ts';
import { createLogger, type Logger } from '../process/logger.ts';
import { createRegistry } from '../process/metrics.ts';
import { openServingPort, type ServingPort } from '../process/serving-port.ts';
import { WatchedFile } from '../process/watched-file.ts';
import { type ControlAccess, createControlClient } from './control/control-client.ts';
import { DemandReporter } from './control/demand-reporter.ts';
import { RoutesClient } from './control/routes-client.ts';
import { Dispatcher } from './core/dispatcher.ts';
import { createMetrics } from './metrics.ts';
import { type MetricsServer, openMetricsServer } from './metrics-server.ts';
import type { Caller } from './proxy/caller.ts';
import type { ProxyContext } from './proxy/context.ts';
import { Exchange } from './proxy/exchange.ts';
import { createHttp1Server } from './proxy/http1-server.ts';
import { createHttp2Side } from './proxy/http2-server.ts';
import { Upstreams } from './proxy/upstreams.ts';
import { type ActivatorOptions, DEFAULT_LIMITS } from './settings.ts';

export interface RunningActivator {
  /** The serving port that was really taken. */
  port: number;
  metricsPort?: number;
  /** Finishes what is under way, bounded by `drainMs`, and closes everything. */
  stop(): Promise<void>;
}

/**
 * Starts an activator: serving port, routes stream, demand reports, and health and metrics where a port is
 * given for them. It listens at once and is ready when the first routes have come.
 *
 * @throws Error with code EADDRINUSE or EACCES when a port can't be had, ENOENT for a token or CA file that isn't
 *   there; TypeError for a wrong controller URL.
 */
export async function runActivator(options: ActivatorOptions): Promise<RunningActivator> {
  const logger = options.logger ?? createLogger('activator');
  const random = options.random ?? Math.random;
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const now = (): number => performance.now();
  const instanceId = options.instanceId ?? randomUUID();
  const host = await listenHost(options.host, (err) =>
    logger.info({ err, wanted: options.host }, 'no IPv6 here, listening at 0.0.0.0'),
  );
  const control = createControlClient(options.controllerUrl, controlAccess(options, logger));
  const dispatcher = new Dispatcher(random, instanceId);
  const upstreams = new Upstreams({
    connectTimeoutMs: limits.connectTimeoutMs,
    idleMs: limits.upstreamIdleMs,
    abandonLimitMs: limits.abandonLimitMs,
    continueTimeoutMs: limits.continueTimeoutMs,
    now,
  });
  const state = { ready: false, current: false, draining: false, heardAtMs: now(), inFlight: 0 };
  /** What waits for routes; bounded by the connections and their streams. */
  const unknowing = new Set<() => void>();
  const registry = createRegistry('activator');
  let servingPort: ServingPort | undefined;
  const metrics = createMetrics(registry, {
    dispatcher,
    routesNumber: () => routes.number,
    routesAgeMs: () => now() - state.heardAtMs,
    connections: () => servingPort?.connections.size ?? 0,
    now,
  });
  const demand = new DemandReporter({
    control,
    dispatcher,
    logger,
    activator: instanceId,
    now,
    onPost: (ok) => metrics.demandPosted(ok),
  });
  const take = (message: Exclude<RoutesMessage, { type: 'heartbeat' }>): void => {
    const gone = goneServices(message, dispatcher);
    dispatcher.apply(message, now());
    upstreams.closeUnlisted();
    for (const { namespace, name } of gone) metrics.forget(namespace, name);
    if (message.type === 'snapshot' && !state.ready) {
      state.ready = true;
      logger.info({ services: dispatcher.table.size }, 'first routes received, ready');
    }
    demand.touch();
  };
  const beCurrent = (): void => {
    state.current = true;
    const waiting = [...unknowing];
    unknowing.clear();
    for (const callback of waiting) callback();
  };
  const routes = new RoutesClient({
    control,
    activator: instanceId,
    ...(options.pod === undefined ? {} : { pod: options.pod }),
    logger,
    random,
    onMessage: (message) => {
      state.heardAtMs = now();
      if (message.type !== 'heartbeat') take(message);
      // Changes that were missed come one by one; the heartbeat behind them says that those were all.
      if (message.type === 'snapshot' || message.type === 'heartbeat') beCurrent();
    },
    onLost: () => {
      state.current = false;
    },
  });
  const context: ProxyContext = {
    instanceId,
    dispatcher,
    upstreams,
    demand,
    metrics: {
      ...metrics,
      requestDone: (...args) => {
        state.inFlight--;
        metrics.requestDone(...args);
      },
    },
    limits,
    now,
    isReady: () => state.ready,
    areRoutesCurrent: () => state.current,
    onceRoutesCurrent: (callback) => {
      unknowing.add(callback);
      return () => unknowing.delete(callback);
    },
    isDraining: () => state.draining,
  };
  const onCaller = (caller: Caller): void => {
    state.inFlight++;
    new Exchange(context, caller).start();
  };
  const http1 = createHttp1Server({
    headersTimeoutMs: limits.headersTimeoutMs,
    keepAliveMs: limits.keepAliveMs,
    onCaller,
  });
  const http2 = createHttp2Side(limits.keepAliveMs, onCaller);
  const port = await openServingPort({
    host,
    port: options.port,
    http1,
    http2: http2.server,
    firstByteTimeoutMs: limits.firstByteTimeoutMs,
    maxConnections: limits.maxConnections,
    highWaterMarkBytes: limits.unreadBytes,
  });
  servingPort = port;
  let metricsServer: MetricsServer | undefined;
  try {
    if (options.metricsPort !== undefined) {
      const isReady = (): boolean => state.ready && !state.draining;
      metricsServer = await openMetricsServer(host, options.metricsPort, registry, isReady);
    }
  } catch (error) {
    await port.destroy();
    throw error;
  }
  routes.start();
  logger.info({ port: port.port, metricsPort: metricsServer?.port, activator: instanceId }, 'listening');

  const drain = async (): Promise<void> => {
    state.draining = true;
    const deadlineMs = now() + (options.drainMs ?? 4_000);
    const keepAcceptingMs = Math.min(options.keepAcceptingMs ?? 0, deadlineMs - now());
    if (keepAcceptingMs > 0) await sleep(keepAcceptingMs);
    await port.stopAccepting();
    http2.goAway();
    // Idle connections may still bring a request that was on its way; it is answered, and the last one there.
    const lingerUntilMs = now() + limits.drainLingerMs;
    const isOver = (): boolean =>
      port.connections.size === 0 || (state.inFlight === 0 && now() > lingerUntilMs);
    while (!isOver() && now() < deadlineMs) await sleep(10);
    if (state.inFlight > 0)
      logger.warn({ requests: state.inFlight }, 'requests were cut off at the drain limit');
  };
  let stopping: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    await drain();
    routes.stop();
    await demand.stop();
    http1.close();
    await port.destroy();
    upstreams.closeAll();
    await metricsServer?.close();
    control.close();
    logger.info('stopped');
  };
  return {
    port: port.port,
    ...(metricsServer === undefined ? {} : { metricsPort: metricsServer.port }),
    stop: () => {
      stopping ??= stop();
      return stopping;
    },
  };
}

/** @throws Error with code ENOENT or EACCES for a file that can't be read. */
function controlAccess({ token, tokenFile, caFile }: ActivatorOptions, logger: Logger): ControlAccess {
  const watched = (path: string): WatchedFile =>
    new WatchedFile(path, {
      onTrouble: (err) => logger.warn({ err, path }, 'a file cannot be read, going on with what it held'),
    });
  const tokenText = tokenFile === undefined ? undefined : watched(tokenFile);
  const ca = caFile === undefined ? undefined : watched(caFile);
  return {
    token: () => tokenText?.text ?? token,
    ...(ca && { ca: () => ca.text }),
  };
}

/** Services that a message takes away. */
function goneServices(message: RoutesMessage, dispatcher: Dispatcher): ServiceRoute[] {
  if (message.type === 'removed') {
    const service = dispatcher.table.get(message.uid);
    return service === undefined ? [] : [service];
  }
  if (message.type !== 'snapshot') return [];
  const kept = new Set(message.services.map(({ uid }) => uid));
  return [...dispatcher.table.services()].filter(({ uid }) => !kept.has(uid));
}

function sleep(durationMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, durationMs);
  });
}
