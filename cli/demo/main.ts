import { enableCompileCache } from 'node:module';
import { parseArgs } from 'node:util';
import { formatMs, plural } from '../core/units.ts';
import { EXIT, messageOf } from '../failure.ts';
import { closeConnections } from '../http.ts';
import { note } from '../terminal.ts';
import { PlatformApi } from './platform-api.ts';
import { createScreen, type Screen } from './screen.ts';
import { type Stage, setStage } from './stage.ts';
import { showBurst } from './steps/burst.ts';
import { showColdStart } from './steps/cold-start.ts';
import { showWhatToTry } from './steps/keep.ts';
import { showNothingRunning } from './steps/nothing-running.ts';
import { showSecondService } from './steps/second-service.ts';
import type { DemoContext } from './steps/stage-context.ts';
import { showScaleToZero } from './steps/to-zero.ts';
import { showWarm } from './steps/warm.ts';
import { createTextReader } from './text-reader.ts';

enableCompileCache();

const USAGE = `Usage: node cli/demo/main.ts [--keep] [--port N] [--api-port N]

  Serves two real models from nothing, shows what happens, and checks it.

  --keep         stay up afterwards, on ports 8080 (requests) and 8081 (API)
  --port N       port for requests (default: any free one, with --keep 8080)
  --api-port N   port of the API (default: any free one, with --keep 8081)

Exit codes: 0 all as it should be, 1 something was not, 2 wrong options.
`;

interface DemoOptions {
  readonly keep: boolean;
  readonly port: number;
  readonly apiPort: number;
}

const LOG_LINES_SHOWN = 12;
const MAX_PORT = 65_535;

function parseDemoOptions(args: string[]): DemoOptions {
  const { values } = parseArgs({
    args,
    options: {
      keep: { type: 'boolean', default: false },
      port: { type: 'string' },
      'api-port': { type: 'string' },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    process.exit(EXIT.ok);
  }
  const port = (text: string | undefined, whenKept: number): number => {
    if (text === undefined) return values.keep ? whenKept : 0;
    if (!/^\d+$/.test(text) || Number(text) > MAX_PORT) {
      throw new TypeError(`expected a port from 0 to ${MAX_PORT}, got "${text}"`);
    }
    return Number(text);
  };
  return { keep: values.keep, port: port(values.port, 8080), apiPort: port(values['api-port'], 8081) };
}

async function perform(screen: Screen, stage: Stage): Promise<DemoContext> {
  const context: DemoContext = {
    screen,
    stage,
    api: new PlatformApi(stage.apiUrl),
    reader: await createTextReader(stage.url),
    servedPids: new Set(),
    answered: 0,
  };
  await showNothingRunning(context);
  await showColdStart(context, 'An image is sent, and a replica comes for it');
  await showSecondService(context);
  await showWarm(context);
  await showBurst(context);
  await showScaleToZero(context);
  await showColdStart(context, 'The image once more, from nothing again');
  return context;
}

async function main(options: DemoOptions): Promise<void> {
  const screen = createScreen();
  const fromMs = performance.now();
  let stage: Stage | undefined;
  let isStopping = false;
  const stopOn = (signal: NodeJS.Signals): void => {
    // A second one is from somebody who doesn't want to wait.
    if (isStopping) process.exit(130);
    isStopping = true;
    void end(stage, true).finally(() => process.exit(signal === 'SIGINT' && !options.keep ? 130 : EXIT.ok));
  };
  process.on('SIGINT', stopOn);
  process.on('SIGTERM', stopOn);
  try {
    const { style } = screen;
    await screen.title(`${style.bold('Pilotlight')}  ${style.dim('models that nobody calls cost nothing')}`);
    stage = await screen.waitFor('the platform starts', setStage(options));
    const context = await perform(screen, stage);
    await screen.title(
      `${style.green('✓')} ${plural(context.answered, 'request')} answered, none lost, every text right  ${style.dim(`${formatMs(performance.now() - fromMs)} in all`)}`,
    );
    if (options.keep) return await showWhatToTry(context);
  } catch (error) {
    // Whoever stopped it knows why requests broke off.
    if (isStopping) return;
    process.exitCode = EXIT.failed;
    explainFailure(screen, stage, error);
  }
  if (isStopping) return;
  isStopping = true;
  await end(stage, process.exitCode === undefined);
}

function explainFailure(screen: Screen, stage: Stage | undefined, error: unknown): void {
  const { style } = screen;
  note(`\n  ${style.red('✗')} The demo failed in "${screen.currentStep()}": ${messageOf(error)}`);
  if (stage === undefined) return;
  note(`\n  The platform's log, ${stage.logFile}, ends with:`);
  for (const line of stage.logTail(LOG_LINES_SHOWN)) note(`    ${style.dim(line)}`);
}

/** @param removes whether to remove what was written; after a failure the log is left to be read. */
async function end(stage: Stage | undefined, removes: boolean): Promise<void> {
  await closeConnections();
  await stage?.stop();
  if (removes) stage?.remove();
}

try {
  await main(parseDemoOptions(process.argv.slice(2)));
} catch (error) {
  note(`${messageOf(error)}\n\n${USAGE}`);
  process.exitCode = EXIT.usage;
}
