import { flushCompileCache } from 'node:module';
import { followLifeline } from '../process/lifeline.ts';
import { createLogger } from '../process/logger.ts';
import { stopOnSignals } from '../process/shutdown.ts';
import { runActivator } from './activator.ts';
import { parseCommandLine, USAGE } from './settings.ts';

export type { RunningActivator } from './activator.ts';
export type { ActivatorLimits, ActivatorOptions } from './settings.ts';
export { runActivator };

/** What the drain may take beyond its own limit: closing what is left. */
const CLOSE_MS = 500;

async function main(): Promise<void> {
  const args = process.argv.slice(2);
  if (args.includes('--help')) {
    process.stdout.write(USAGE);
    return;
  }
  const { options, lifeline } = parseCommandLine(args, process.env['PILOTLIGHT_ACTIVATOR_TOKEN']);
  const logger = createLogger('activator');
  if (lifeline !== undefined) {
    followLifeline(lifeline, 0, () => {
      logger.warn('the lifeline is gone, ending');
      process.exit(1);
    });
  }
  const activator = await runActivator({ ...options, logger });
  const { port, metricsPort } = activator;
  process.stdout.write(`${JSON.stringify({ listening: { port, metricsPort } })}\n`);
  stopOnSignals(logger, () => activator.stop(), (options.drainMs ?? 0) + CLOSE_MS);
  // Written at an orderly exit otherwise, which one that is killed never has.
  flushCompileCache();
}

if (import.meta.main) {
  main().catch((error: unknown) => {
    const message = error instanceof Error ? error.message : String(error);
    process.stderr.write(`pilotlight activator: ${message}\n`);
    process.exit(1);
  });
}
