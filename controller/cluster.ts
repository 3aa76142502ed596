import { readFileSync } from 'node:fs';
import { enableCompileCache } from 'node:module';
import { isIPv6 } from 'node:net';
import { STATS_PATH } from '../contracts/stats.ts';
import { listenHost } from '../process/listen-host.ts';
import { createLogger, type Logger } from '../process/logger.ts';
import { createRegistry } from '../process/metrics.ts';
import { stopOnSignals } from '../process/shutdown.ts';
import { VERSION } from '../process/version.ts';
import { createEventRecorder } from './adapters/kube/api/events.ts';
import { loadKubeAccess } from './adapters/kube/api/kube-access.ts';
import { createKubeClient, type KubeClient } from './adapters/kube/api/kube-client.ts';
import { createLeaderElection } from './adapters/kube/api/lease.ts';
import { objectPath, RESOURCES } from './adapters/kube/api/paths.ts';
import type { KubeObject } from './adapters/kube/api/wire.ts';
import { parseKubeConfigText } from './adapters/kube/config.ts';
import type { PodContext } from './adapters/kube/core/settings.ts';
import { type ClusterKeys, readKeys } from './adapters/kube/keys.ts';
import { KubePlatform } from './adapters/kube/kube-platform.ts';
import { TokenReviewer } from './adapters/kube/token-review.ts';
import { systemClock } from './adapters/system-clock.ts';
import { type Api, openApi } from './api/server.ts';
import { type ClusterOptions, readOptions } from './cluster-settings.ts';
import { type Controller, createController } from './engine/create-controller.ts';
import { createEngineMetrics } from './engine/engine-metrics.ts';
import { OptionError } from './settings.ts';

enableCompileCache();

const LEASE = 'pilotlight-controller';
const AUDIENCE = 'pilotlight';
const ACTIVATOR_ACCOUNT = 'pilotlight-activator';
const STOP_LIMIT_MS = 8_000;
/** Events of a cold start are written behind its answer: a write takes CPU from it. */
const EVENT_PAUSE_MS = 250;
/** How long victims stay able to serve: the news has to go through activators and every node's kube-proxy. */
const SPREAD_MS = 500;

/**
 * Runs a controller in a pod: it answers at once, stands by until it holds the Lease, then leads. One that loses the
 * Lease ends its process: nothing that was begun in the leader's name may go on.
 */
export async function runClusterController(
  options: ClusterOptions,
  logger: Logger,
  onLost: () => void,
): Promise<{ stop(): Promise<void> }> {
  const keys = readKeys(options.keysDir);
  const context = readContext(options, keys);
  const client = createKubeClient({
    access: await loadKubeAccess(),
    version: VERSION,
    fieldManager: 'pilotlight',
  });
  const registry = createRegistry('controller');
  const metrics = createEngineMetrics(registry);
  const reviewer = tokenReviewer(client, options.podNamespace);
  const host = await listenHost(options.host, (why) =>
    logger.info({ err: why }, 'no IPv6 here, listening on IPv4'),
  );
  const api = await openApi({
    state: { role: 'following', leaderUrl: undefined },
    logger,
    registry,
    host,
    port: options.apiPort,
    healthPort: options.healthPort,
    tls: keys.tls,
    isActivator: (token) => reviewer.authenticate(token),
  });
  let controller: Controller | undefined;
  let isStopping = false;
  const election = createLeaderElection({
    client,
    clock: systemClock,
    namespace: options.podNamespace,
    name: LEASE,
    identity: `${options.podName}_${options.podIp}`,
    onElected: (epoch) => {
      logger.info({ epoch }, 'this controller leads');
      const leader = lead({ options, logger, client, context, keys, epoch, counters: metrics.counters });
      controller = leader;
      metrics.observe(leader);
      leader.start().then(
        () => api.setState({ role: 'leading', controller: leader }),
        (error: unknown) => {
          logger.fatal({ err: error }, 'the cluster could not be read, ending');
          onLost();
        },
      );
    },
    onLost: (reason) => {
      if (isStopping) return;
      logger.error({ reason }, 'this controller leads no more, ending');
      onLost();
    },
    onHolder: (identity) => follow(api, identity, options),
    onTrouble: (error) => logger.warn({ err: error }, 'the Lease could not be read or written'),
  });
  election.start();
  return {
    stop: async () => {
      isStopping = true;
      // Streams end before the Lease is given up, so that activators look for the next leader at once.
      api.setState({ role: 'following', leaderUrl: undefined });
      await controller?.stop('leave');
      await election.stop();
      await api.close();
      await client.close();
    },
  };
}

function follow(api: Api, identity: string | undefined, options: ClusterOptions): void {
  if (identity === `${options.podName}_${options.podIp}`) return;
  const ip = identity?.slice(identity.lastIndexOf('_') + 1);
  const leaderUrl =
    ip === undefined || ip === '' ? undefined : `https://${isIPv6(ip) ? `[${ip}]` : ip}:${options.apiPort}`;
  api.setState({ role: 'following', leaderUrl });
}

interface LeadOptions {
  options: ClusterOptions;
  logger: Logger;
  client: KubeClient;
  context: PodContext;
  keys: ClusterKeys;
  epoch: number;
  counters: ReturnType<typeof createEngineMetrics>['counters'];
}

function lead({ options, logger, client, context, keys, epoch, counters }: LeadOptions): Controller {
  const events = createEventRecorder({
    pauseMs: EVENT_PAUSE_MS,
    client,
    clock: systemClock,
    component: LEASE,
    instance: options.podName,
    onDropped: (subject, { reason }, error) =>
      logger.warn(
        { service: subject.name, namespace: subject.namespace, reason, err: error },
        'an event was dropped',
      ),
  });
  const tokens = new Map<string, () => string>();
  const platform = new KubePlatform({
    client,
    clock: systemClock,
    logger,
    context,
    epoch,
    ownNamespace: options.podNamespace,
    events,
    random: Math.random,
    onTrouble: (error) => {
      counters.platformError('watch');
      logger.debug({ err: error }, 'a call to the API server failed');
    },
    adminToken: (namespace, pod) => {
      const key = `${namespace}/${pod}`;
      const token = tokens.get(key) ?? keys.adminTokens(namespace, pod);
      if (tokens.size > 10_000) tokens.clear();
      tokens.set(key, token);
      return token();
    },
  });
  const { allowTransforms, controlUrl, quarantineMs } = context.settings;
  return createController({
    platform,
    clock: systemClock,
    logger,
    counters,
    settings: {
      quarantineMs,
      allowTransforms,
      spreadMs: SPREAD_MS,
      statsUrl: () => `${controlUrl}${STATS_PATH}`,
      tokenSecret: keys.tokenSecret,
    },
  });
}

/** @throws OptionError that says what in the file is wrong. */
function readContext(
  { configFile, podNamespace }: ClusterOptions,
  { adminPublicKey, controlCa }: ClusterKeys,
): PodContext {
  let text: string;
  try {
    text = readFileSync(configFile, 'utf8');
  } catch (error) {
    throw new OptionError(`--config: expected a file to read: ${(error as Error).message}`);
  }
  const config = parseKubeConfigText(text, podNamespace);
  if (!config.ok) {
    const problems = config.problems.map(({ path, message }) => `${path}: ${message}`).join('; ');
    throw new OptionError(`${configFile}: ${problems}`);
  }
  return { settings: config.settings, trust: { adminPublicKey, controlCa } };
}

/** As authentication.k8s.io/v1 has it. */
interface TokenReview extends KubeObject {
  readonly status?: {
    readonly authenticated?: boolean;
    readonly user?: { readonly username?: string };
    readonly audiences?: readonly string[];
    readonly error?: string;
  };
}

function tokenReviewer(client: KubeClient, namespace: string): TokenReviewer {
  return new TokenReviewer({
    audience: AUDIENCE,
    username: `system:serviceaccount:${namespace}:${ACTIVATOR_ACCOUNT}`,
    nowMs: Date.now,
    review: async (token, audiences) => {
      const review = {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenReview',
        spec: { token, audiences },
      };
      const { status } = await client.create<TokenReview>(objectPath(RESOURCES.tokenReviews), review);
      const { authenticated = false, user, audiences: granted = [], error } = status ?? {};
      return {
        authenticated,
        audiences: granted,
        ...(user?.username !== undefined && { username: user.username }),
        ...(error !== undefined && { error }),
      };
    },
  });
}

async function main(argv: readonly string[]): Promise<void> {
  const logger = createLogger('controller');
  try {
    const running = await runClusterController(readOptions(argv, process.env), logger, () => process.exit(1));
    stopOnSignals(logger, () => running.stop(), STOP_LIMIT_MS);
  } catch (error) {
    logger.error({ err: error }, 'the controller could not be started');
    process.exit(error instanceof OptionError ? 2 : 1);
  }
}

if (import.meta.main) await main(process.argv.slice(2));
