import { type Command, InvalidArgumentError } from 'commander';
import { createLogger } from '../../process/logger.ts';
import { stopOnSignals } from '../../process/shutdown.ts';
import { serve } from '../serve/serve.ts';

/** Everything has ended 5 s after the signal; this is the last resort before that. */
const STOP_LIMIT_MS = 4_900;
const DEFAULT_CACHE_BYTES = 20 * 1024 ** 3;

/** `pilotlight serve DIR`: the whole platform on this machine. */
export function addServeCommand(program: Command): void {
  program
    .command('serve')
    .description('run the whole platform on this machine, on a folder of manifests')
    .argument('<dir>', 'folder with InferenceService manifests; watched for changes')
    .option('--port <port>', 'port for requests; 0 takes any free one', portNumber, 8080)
    .option('--host <address>', 'address for requests', '127.0.0.1')
    .option('--api-port <port>', 'port of the JSON API and of metrics, on 127.0.0.1', portNumber, 8081)
    .option('--standbys <count>', 'started runtimes without a model, ready to take one', wholeNumber, 1)
    .option(
      '--quarantine <seconds>',
      'how long only the same service may take a recycled standby (default: 30)',
      wholeNumber,
    )
    .option(
      '--allow-transforms <namespaces>',
      'whose services may run code of their own (transform), with commas; "*" for all',
    )
    .option('--state-dir <dir>', 'where the platform keeps its state (default: DIR/.pilotlight)')
    .option('--cache-dir <dir>', 'where fetched models are cached (default: ~/.cache/pilotlight/models)')
    .option('--cache-max-bytes <bytes>', 'size bound of that cache', wholeNumber, DEFAULT_CACHE_BYTES)
    .addHelpText(
      'after',
      `
Examples:
  pilotlight serve examples/ocr
  pilotlight serve . --port 9000 --standbys 2

Exit codes: 0 stopped by a signal, 1 failed to start, 2 wrong options or arguments.`,
    )
    .action(async (dir: string, options: ServeFlags) => {
      const logger = createLogger('serve');
      const { quarantine, ...others } = options;
      const platform = await serve({
        dir,
        logger,
        ...others,
        ...(quarantine !== undefined && { quarantineMs: quarantine * 1_000 }),
      });
      stopOnSignals(logger, () => platform.stop(), STOP_LIMIT_MS);
      process.stdout.write(
        process.stdout.isTTY
          ? `Pilotlight serves ${dir}\n  requests  ${platform.url}\n  API       ${platform.apiUrl}\n`
          : `${JSON.stringify({ listening: { url: platform.url, apiUrl: platform.apiUrl, ...platform.pids() } })}\n`,
      );
    });
}

interface ServeFlags {
  port: number;
  host: string;
  apiPort: number;
  standbys: number;
  quarantine?: number;
  allowTransforms?: string;
  stateDir?: string;
  cacheDir?: string;
  cacheMaxBytes: number;
}

/** A whole number of 0 or more, for an option. */
function wholeNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text))
    throw new InvalidArgumentError(`expected a whole number of 0 or more, got "${text}"`);
  return Number(text);
}

/** A TCP port, for an option. */
function portNumber(text: string): number {
  const port = wholeNumber(text);
  if (port > 65_535) throw new InvalidArgumentError(`expected a port from 0 to 65535, got "${text}"`);
  return port;
}
