import { createRequire } from 'node:module';
import { type Logger, pino, stdTimeFunctions } from 'pino';
import type pretty from 'pino-pretty';

export type { Logger } from 'pino';

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];

/**
 * The logger of a process: JSON, one line an event, on standard error, so that standard output stays free for
 * what a command prints; readable lines when that is a terminal. Level from `PILOTLIGHT_LOG_LEVEL`, default `info`.
 *
 * @param component `controller`, `activator`, `runtime` …, a field of each line.
 */
export function createLogger(component: string): Logger {
  const wanted = process.env['PILOTLIGHT_LOG_LEVEL'] ?? 'info';
  const level = LEVELS.includes(wanted) ? wanted : 'info';
  // Loaded for a person only: it costs every process 10 ms and 2 MB.
  const stream = process.stderr.isTTY
    ? (createRequire(import.meta.url)('pino-pretty') as typeof pretty)({
        destination: 2,
        sync: true,
        ignore: 'pid,hostname,component',
        messageFormat: '{component}: {msg}',
      })
    : 2;
  const options = { level, timestamp: stdTimeFunctions.isoTime, base: { component, pid: process.pid } };
  const logger =
    typeof stream === 'number'
      ? pino(options, pino.destination({ dest: stream, sync: true }))
      : pino(options, stream);
  if (wanted !== level) logger.warn({ wanted, expected: LEVELS }, 'unknown log level, using info');
  return logger;
}
