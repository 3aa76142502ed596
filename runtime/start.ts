import { randomUUID } from 'node:crypto';
import { flushCompileCache } from 'node:module';
import { createSealingKeys } from '../contracts/sealing.ts';
import type { Logger } from '../process/logger.ts';
import type { AdminGuard, AdminParts, AdminServer } from './admin/admin-server.ts';
import { exitAtOnce } from './engine/instance.ts';
import { processLimits } from './engine/process-limits.ts';
import { trimMemory } from './engine/trim-memory.ts';
import { WorkerReserve } from './engine/worker-reserve.ts';
import type { Lifecycle } from './lifecycle/lifecycle.ts';
import { ModelMetrics } from './lifecycle/model-metrics.ts';
import { writeRecord } from './lifecycle/record-file.ts';
import type { RunningRuntime } from './main.ts';
import { OptionError, type RuntimeOptions, type StandbyOptions, standbyArguments } from './options.ts';
import type { RuntimeServer } from './server/server.ts';

/** What this process was started with, taken before anything could change it. */
export interface Origin {
  environment: Readonly<Record<string, string | undefined>>;
  /** Program file of the next incarnation. */
  mainPath: string;
}

/** As Knative's for a revision that says nothing. */
const DEFAULT_REQUEST_TIMEOUT_MS = 300_000;

async function followParent(
  { path, graceMs }: { path: string; graceMs: number },
  logger: Logger,
): Promise<() => void> {
  const { followLifeline } = await import('../process/lifeline.ts');
  return followLifeline(path, graceMs, () => {
    logger.warn({ path, graceMs }, 'the parent is gone, ending');
    exitAtOnce(0);
  });
}

/** Composes a runtime: see `runRuntime`. */
export async function startRuntime(options: RuntimeOptions, origin: Origin): Promise<RunningRuntime> {
  const credentials = adminCredentials(options, origin);
  const reserve = new WorkerReserve();
  // First of all: it loads ONNX Runtime on another core while this thread reads the rest of the program.
  reserve.start(options.mode === 'standalone' ? (options.instances ?? 1) : 1);
  const [
    { createLogger },
    { Lifecycle },
    { openServer },
    { createRegistry },
    { metricsText, registerModelMetrics },
  ] = await Promise.all([
    import('../process/logger.ts'),
    import('./lifecycle/lifecycle.ts'),
    import('./server/server.ts'),
    import('../process/metrics.ts'),
    import('./admin/model-metrics-registry.ts'),
  ]);
  const logger = createLogger('runtime');
  // Before the ports: a parent that is gone by now must not leave a runtime that is still starting.
  const letGoOfLifeline =
    options.lifeline === undefined ? () => undefined : await followParent(options.lifeline, logger);
  const host = await hostToListenAt(options.host, logger);
  const incarnation = randomUUID();
  const metrics = new ModelMetrics();
  const registry = createRegistry('runtime');
  registerModelMetrics(registry, metrics);
  let stopStats = (): Promise<void> => Promise.resolve();
  const lifecycle: Lifecycle = new Lifecycle({
    incarnation,
    recycles: options.mode === 'standby' ? options.recycles : 0,
    highestEpoch: options.mode === 'standby' ? options.highestEpoch : 0,
    cacheDir: options.cacheDir,
    cacheMaxBytes: options.cacheMaxBytes,
    limits: processLimits(),
    reserve,
    logger,
    metrics,
    onReady: (target) => {
      void import('./lifecycle/stats-push.ts').then(({ pushStats }) => {
        const controlCa = origin.environment['PILOTLIGHT_CONTROL_CA'];
        stopStats = pushStats(target, {
          incarnation,
          controlCa,
          load: server.load,
          capacity: () =>
            lifecycle.current.phase === 'ready' ? lifecycle.current.model.capacity : undefined,
          logger,
        });
      });
    },
  });
  const server: RuntimeServer = await onWantedPort(options.port, options, (port) =>
    openServer({
      host,
      port,
      ...(options.grpcPort === undefined ? {} : { grpcPort: options.grpcPort }),
      engine: lifecycle,
      logger,
      registry,
      tritonMetrics: options.tritonMetrics,
      requestTimeoutMs: () => lifecycle.requestTimeoutMs ?? DEFAULT_REQUEST_TIMEOUT_MS,
    }),
  );
  lifecycle.attach(server);
  const recycle = (): void => {
    if (options.mode !== 'standby' || admin === undefined) return;
    const next = {
      port: server.port,
      grpcPort: server.grpcPort,
      adminPort: admin.port,
      highestEpoch: lifecycle.highestEpoch,
    };
    void leaveAndReplace(options, origin, next, lifecycle).catch((error: unknown) => {
      logger.fatal({ err: error }, 'the process cannot replace itself, ending');
      exitAtOnce(1);
    });
  };
  const adminParts: AdminParts = {
    contracts: () => import('../contracts/admin.ts'),
    cachedModels: () => cachedModels(options.cacheDir),
    sealing: createSealingKeys(),
    metrics: async () => ({ contentType: registry.contentType, text: await metricsText(registry, metrics) }),
    recycle,
  };
  const admin = credentials === undefined ? undefined : await openAdmin(credentials);

  async function openAdmin(accepted: AdminCredentials): Promise<AdminServer> {
    const { openAdminServer } = await import('./admin/admin-server.ts');
    const guard = await adminGuard(accepted);
    return onWantedPort(options.adminPort ?? 0, options, (port) =>
      openAdminServer({ host, port }, guard, lifecycle, adminParts, logger),
    );
  }

  const stop = async (drainMs: number): Promise<void> => {
    letGoOfLifeline();
    // Those who come straight here must hear of it before they are refused; whoever leads them does so meanwhile.
    const sentAwayAtMs = lifecycle.sendCallersAway() ?? Number.NEGATIVE_INFINITY;
    const goodbyeMs = Math.max(0, Math.min(sentAwayAtMs + CALLERS_LEAVE_MS - performance.now(), drainMs / 2));
    if (goodbyeMs > 0) await sleep(goodbyeMs);
    const drained = await lifecycle.leave(drainMs - goodbyeMs);
    if (!drained) logger.warn({ drainMs }, 'requests were cut off, they did not end in time');
    await Promise.race([stopStats(), sleep(LAST_STATS_MS)]);
    admin?.close();
    await server.stop(0);
    await lifecycle.letGo();
  };
  if (options.record !== undefined) {
    writeRecord(options.record, {
      incarnation,
      host,
      servingPort: server.port,
      ...(admin === undefined ? {} : { adminPort: admin.port }),
    });
  }
  const running = { port: server.port, grpcPort: server.grpcPort, adminPort: admin?.port, stop };
  logger.info({ mode: options.mode, incarnation, port: server.port, adminPort: admin?.port }, 'listening');
  if (options.mode === 'standby') {
    const isWaiting = (): boolean => lifecycle.current.phase === 'standby';
    void prepareForClaim(isWaiting, async () => {
      const { rehearseClaim } = await import('./lifecycle/rehearsal.ts');
      await rehearseClaim({ ...options, limits: processLimits(), reserve }, adminParts, logger);
      if (!isWaiting()) return;
      const { rehearseServing } = await import('./server/rehearsal.ts');
      await rehearseServing(logger);
    });
    return running;
  }
  const { orderFromOptions } = await import('./lifecycle/standalone-order.ts');
  try {
    await lifecycle.serve(orderFromOptions(options, process.cwd()));
  } catch (error) {
    await stop(0);
    throw error;
  }
  return running;
}

/** For the news that this replica ends to reach EndpointSlices, nodes and callers. */
const CALLERS_LEAVE_MS = 5_000;
/** The last stats are worth this much of the time to stop. */
const LAST_STATS_MS = 200;

/** Releases what others see of this process, then replaces it. */
async function leaveAndReplace(
  options: StandbyOptions,
  origin: Origin,
  next: Parameters<typeof standbyArguments>[1],
  lifecycle: Lifecycle,
): Promise<void> {
  await lifecycle.letGo();
  const { replaceProcess } = await import('./lifecycle/recycle.ts');
  replaceProcess({ ...origin, arguments: standbyArguments(options, next) });
}

/** Time for whoever waits for this standby to find it first: a claim that comes at once isn't kept by a rehearsal. */
const REHEARSAL_DELAY_MS = 200;

/** Loads what a claim needs and a waiting standby doesn't, and tries it, so that no claim waits for it. */
async function prepareForClaim(isWaiting: () => boolean, rehearse: () => Promise<void>): Promise<void> {
  await Promise.all([
    import('../contracts/admin.ts'),
    import('./storage/open-model.ts'),
    import('./lifecycle/stats-push.ts'),
    import('./lifecycle/recycle.ts'),
  ]);
  // Written when a process exits, which one that is replaced or killed never does.
  flushCompileCache();
  await sleep(REHEARSAL_DELAY_MS);
  if (!isWaiting()) return;
  await rehearse();
  flushCompileCache();
  if (isWaiting()) trimMemory();
}

async function cachedModels(cacheDir: string): Promise<string[]> {
  const { listCached } = await import('./storage/model-cache.ts');
  return (await listCached(cacheDir)).map(({ uri }) => uri);
}

interface AdminCredentials {
  /** Of the local platform. */
  sharedToken: string | undefined;
  /** In a cluster: whose signature counts, and for which pod. */
  signed: { publicKey: string; pod: { namespace: string; name: string } } | undefined;
}

/** @throws OptionError when an admin port is to be opened and nothing guards it. */
function adminCredentials(options: RuntimeOptions, { environment }: Origin): AdminCredentials | undefined {
  if (options.mode === 'standalone' && options.adminPort === undefined) return undefined;
  const valueOf = (name: string): string | undefined => environment[name] || undefined;
  const sharedToken = valueOf('PILOTLIGHT_ADMIN_TOKEN');
  const publicKey = valueOf('PILOTLIGHT_ADMIN_PUBLIC_KEY');
  if (publicKey !== undefined) {
    const [name, namespace] = [valueOf('PILOTLIGHT_POD_NAME'), valueOf('PILOTLIGHT_POD_NAMESPACE')];
    if (name !== undefined && namespace !== undefined) {
      return { sharedToken, signed: { publicKey, pod: { namespace, name } } };
    }
    throw new OptionError(
      'PILOTLIGHT_POD_NAME and PILOTLIGHT_POD_NAMESPACE: expected both beside PILOTLIGHT_ADMIN_PUBLIC_KEY, since a token is for one pod',
    );
  }
  if (sharedToken !== undefined) return { sharedToken, signed: undefined };
  throw new OptionError(
    'PILOTLIGHT_ADMIN_TOKEN: expected a token in the environment for the admin port, or PILOTLIGHT_ADMIN_PUBLIC_KEY in a pod; got neither',
  );
}

/** @throws OptionError for what is no public key. */
async function adminGuard({ sharedToken, signed }: AdminCredentials): Promise<AdminGuard> {
  const { sharedTokenGuard } = await import('./admin/admin-server.ts');
  const shared = sharedToken === undefined ? undefined : sharedTokenGuard(sharedToken);
  if (signed === undefined) return shared ?? (() => 'no token is taken here');
  const { signedTokenGuard } = await import('./admin/signed-token-guard.ts');
  try {
    const guard = signedTokenGuard(signed.publicKey, signed.pod, Date.now);
    if (shared === undefined) return guard;
    return (token) => (shared(token) === undefined ? undefined : guard(token));
  } catch (error) {
    throw new OptionError(`PILOTLIGHT_ADMIN_PUBLIC_KEY: ${(error as Error).message}`);
  }
}

async function hostToListenAt(wanted: string, logger: Logger): Promise<string> {
  if (wanted !== '::') return wanted;
  const { listenHost } = await import('../process/listen-host.ts');
  return listenHost(wanted, (err) => logger.info({ err, wanted }, 'no IPv6 here, listening at 0.0.0.0'));
}

/**
 * A standby that was recycled wants the ports it had, but somebody else may have taken one in the blink between:
 * then any other one will do where a record tells. In a pod nobody would learn of another port, and nobody else
 * is there to take one.
 */
async function onWantedPort<Opened>(
  port: number,
  { mode, record }: RuntimeOptions,
  open: (port: number) => Promise<Opened>,
): Promise<Opened> {
  try {
    return await open(port);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (mode !== 'standby' || record === undefined || code !== 'EADDRINUSE' || port === 0) throw error;
    return open(0);
  }
}

function sleep(durationMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, durationMs);
  });
}
