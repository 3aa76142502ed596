import { openServingPort, type ServingPort } from '../../process/serving-port.ts';
import { VERSION } from '../../process/version.ts';
import { ByteBudget } from './byte-budget.ts';
import { DirectConnections } from './direct-connections.ts';
import type { Exchange } from './exchange.ts';
import { openGrpc } from './grpc/grpc-door.ts';
import { closeHttp1, openHttp1 } from './http1-server.ts';
import { openHttp2 } from './http2-server.ts';
import { LargeJson } from './large-json.ts';
import { resolveLimits } from './limits.ts';
import { StatisticsBook } from './model-statistics.ts';
import { handleRest } from './rest-handler.ts';
import { RouteCache } from './router.ts';
import type { RuntimeServer, ServerOptions } from './server-types.ts';
import { RequestLoad } from './serving-load.ts';
import { ServingMetrics } from './serving-metrics.ts';
import { registerTritonMetrics } from './triton-metrics.ts';
import { WaitingRoom } from './waiting-room.ts';
import { Watchdog } from './watchdog.ts';
import type { Serving } from './work.ts';

export type { RuntimeServer, ServerOptions } from './server-types.ts';

/** As Knative's for a revision that says nothing. */
const DEFAULT_REQUEST_TIMEOUT_MS = 300_000;

/**
 * Opens the serving port of the runtime: the Open Inference Protocol (REST with JSON and binary tensors, gRPC)
 * and V1, over HTTP/1.1 and HTTP/2 cleartext on one port.
 *
 * @throws Error with code EADDRINUSE or EACCES when the port can't be had; RangeError for a limit out of range.
 */
export async function openServer(options: ServerOptions): Promise<RuntimeServer> {
  const limits = resolveLimits(options.limits);
  const load = new RequestLoad(() => performance.now());
  const room = new WaitingRoom();
  const budget = new ByteBudget(limits.maxBodyBytesInFlight);
  const watchdog = new Watchdog();
  const serving: Serving = {
    engine: options.engine,
    logger: options.logger,
    version: options.version ?? VERSION,
    reading: { limits, budget, watchdog },
    load,
    room,
    statistics: new StatisticsBook(),
    metrics: new ServingMetrics(options.registry, { load, room, budget }),
    json: new LargeJson(budget, (err) => options.logger.error({ err }, 'a thread for large JSON was lost')),
    routes: new RouteCache(),
    requestTimeoutMs: options.requestTimeoutMs ?? (() => DEFAULT_REQUEST_TIMEOUT_MS),
  };
  if (options.registry !== undefined && options.tritonMetrics === true) {
    registerTritonMetrics(options.registry, serving);
  }
  const rest = (exchange: Exchange): void => {
    handleRest(serving, exchange).catch((err: unknown) => {
      options.logger.error({ err }, 'an answer could not be sent');
      exchange.destroy();
    });
  };
  const direct = new DirectConnections();
  const http1 = openHttp1(limits, direct, rest);
  const http2 = openHttp2(limits, {
    rest,
    grpc: openGrpc(serving),
    welcomesCallers: () => options.engine.welcomesCallers,
  });
  const ports: ServingPort[] = [];
  const open = async (port: number): Promise<ServingPort> => {
    const opened = await openServingPort({
      host: options.host,
      port,
      http1,
      http2: http2.server,
      firstByteTimeoutMs: limits.firstByteTimeoutMs,
      maxConnections: limits.maxConnections,
    });
    ports.push(opened);
    return opened;
  };
  const close = async (): Promise<void> => {
    http2.close();
    await Promise.all(ports.map((port) => port.destroy()));
    closeHttp1(http1);
    serving.json.close();
    watchdog.stop();
  };
  try {
    const main = await open(options.port);
    const grpc = options.grpcPort === undefined ? undefined : await open(options.grpcPort);
    return {
      port: main.port,
      grpcPort: grpc?.port,
      load,
      drain: (deadlineMs) => {
        http2.leave();
        return load.idle(deadlineMs);
      },
      sendCallersAway: (lingerMs) => {
        http2.sendCallersAway();
        setTimeout(() => {
          if (!options.engine.welcomesCallers) direct.closeResting();
        }, lingerMs).unref();
      },
      stop: async (graceMs = 0) => {
        await Promise.all(ports.map((port) => port.stopAccepting()));
        await load.idle(graceMs);
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}
