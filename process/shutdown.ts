import type { Logger } from './logger.ts';

/**
 * Runs `stop` once on SIGTERM or SIGINT, then exits with 0; exits with 1 when it throws or takes longer than
 * `limitMs`. A second signal exits at once, for a person who presses Ctrl-C again.
 */
export function stopOnSignals(
  logger: Logger,
  stop: (signal: string) => Promise<void>,
  limitMs: number,
): void {
  let stopping = false;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (stopping) process.exit(130);
    stopping = true;
    logger.info({ signal }, 'stopping');
    setTimeout(() => {
      logger.error({ limitMs }, 'not stopped within the limit, exiting');
      process.exit(1);
    }, limitMs).unref();
    stop(signal).then(
      () => process.exit(0),
      (error: unknown) => {
        logger.error({ err: error }, 'stopping failed');
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
}
