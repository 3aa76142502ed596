import { randomBytes, timingSafeEqual } from 'node:crypto';
import { enableCompileCache, flushCompileCache } from 'node:module';
import { join } from 'node:path';
import { STATS_PATH } from '../contracts/stats.ts';
import { followLifeline, holdLifeline, socketPath } from '../process/lifeline.ts';
import { createLogger, type Logger } from '../process/logger.ts';
import { createRegistry } from '../process/metrics.ts';
import { stopOnSignals } from '../process/shutdown.ts';
import { LocalPlatform } from './adapters/local/local-platform.ts';
import { readJson, StateFolder, writeJson } from './adapters/local/state-folder.ts';
import { systemClock } from './adapters/system-clock.ts';
import { openApi } from './api/server.ts';
import { createController } from './engine/create-controller.ts';
import { createEngineMetrics } from './engine/engine-metrics.ts';
import { type LocalControllerSettings, OptionError, parseSettings } from './settings.ts';

enableCompileCache();

/** How long replicas wait for the next controller when the one that held their lifeline is gone. */
const ORPHAN_GRACE_MS = 10_000;
/** The replicas' own limit is 2 s, and the parent's 2.6 s. */
const STOP_LIMIT_MS = 2_500;

export interface RunningController {
  readonly apiPort: number;
  /** `remove`: ends the replicas; `leave`: they go on for the next controller. */
  stop(replicas: 'remove' | 'leave'): Promise<void>;
}

/**
 * Runs the controller of the local platform in this process.
 *
 * @param activatorToken what activators show to read routes and report demand.
 * @throws Error with code EADDRINUSE when the port is taken or another controller works on the state folder.
 */
export async function runController(
  settings: LocalControllerSettings,
  activatorToken: string,
  logger: Logger,
): Promise<RunningController> {
  const state = new StateFolder(settings.stateDir);
  const own = await holdLifeline(socketPath(settings.stateDir, 'controller'));
  const platform = new LocalPlatform({
    dir: settings.dir,
    allowTransforms: settings.allowTransforms,
    state,
    launch: {
      runtimeProgram: join(import.meta.dirname, '../runtime/main.ts'),
      containerProgram: join(import.meta.dirname, 'adapters/local/container-host.ts'),
      cacheDir: settings.cacheDir,
      cacheMaxBytes: settings.cacheMaxBytes,
      lifelinePath: settings.lifeline ?? own.path,
      lifelineGraceMs: settings.lifeline === undefined ? ORPHAN_GRACE_MS : 0,
    },
    urlPort: settings.urlPort,
    standbys: settings.standbys,
    clock: systemClock,
    logger,
  });
  const registry = createRegistry('controller');
  const metrics = createEngineMetrics(registry);
  let apiPort = settings.apiPort;
  const controller = createController({
    platform,
    clock: systemClock,
    logger,
    counters: metrics.counters,
    settings: {
      quarantineMs: settings.quarantineMs,
      allowTransforms: settings.allowTransforms,
      statsUrl: () => `http://127.0.0.1:${apiPort}${STATS_PATH}`,
      tokenSecret: keptSecret(state),
    },
  });
  metrics.observe(controller);
  // The port before the work: a controller that can't be asked must not start replicas.
  const api = await openApi({
    state: { role: 'leading', controller },
    logger,
    registry,
    host: settings.apiHost,
    port: settings.apiPort,
    isActivator: (token) => sameText(token, activatorToken),
  });
  apiPort = api.port;
  await controller.start();
  return {
    apiPort,
    stop: async (replicas) => {
      await controller.stop(replicas);
      await api.close();
      await own.close();
    },
  };
}

/** The key of the claims' tokens outlives a controller, as the runtimes that hold such tokens do. */
function keptSecret(state: StateFolder): string {
  const file = join(state.path, 'secret.json');
  const kept = readJson(file);
  if (typeof kept === 'string') return kept;
  const secret = randomBytes(32).toString('base64url');
  writeJson(file, secret);
  return secret;
}

function sameText(left: string, right: string): boolean {
  const [leftBytes, rightBytes] = [Buffer.from(left), Buffer.from(right)];
  return leftBytes.length === rightBytes.length && timingSafeEqual(leftBytes, rightBytes);
}

async function main(argv: readonly string[]): Promise<void> {
  const logger = createLogger('controller');
  try {
    const settings = parseSettings(argv);
    const token = process.env['PILOTLIGHT_ACTIVATOR_TOKEN'] ?? '';
    if (token.length < 16) {
      throw new OptionError(
        'PILOTLIGHT_ACTIVATOR_TOKEN: expected a secret of 16 characters or more in the environment',
      );
    }
    // Before anything is started: a parent that was killed meanwhile leaves nobody to serve.
    if (settings.lifeline !== undefined) {
      followLifeline(settings.lifeline, 0, () => {
        logger.error('the parent process is gone, ending');
        process.exit(1);
      });
    }
    const running = await runController(settings, token, logger);
    stopOnSignals(logger, () => running.stop('remove'), STOP_LIMIT_MS);
    process.stdout.write(`${JSON.stringify({ listening: { apiPort: running.apiPort } })}\n`);
    // Written at an orderly exit otherwise, which one that is killed never has.
    flushCompileCache();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EADDRINUSE')
      logger.error({ err: error }, 'the port of the API is in use: give another --api-port');
    else logger.error({ err: error }, 'the controller could not be started');
    process.exit(error instanceof OptionError ? 2 : 1);
  }
}

if (import.meta.main) await main(process.argv.slice(2));
