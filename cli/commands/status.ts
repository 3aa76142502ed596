import type { Command } from 'commander';
import { API_PATHS, listOf, type ServiceView, serviceViewSchema } from '../../contracts/console.ts';
import { statusTable } from '../core/status-table.ts';
import { CommandFailure, EXIT_CODES_HELP } from '../failure.ts';
import { baseUrl, call, closeConnections } from '../http.ts';
import { isTerminal, outputStyle, print, printLine } from '../terminal.ts';
import { findPlatform } from '../where.ts';

const WATCH_INTERVAL_MS = 1_000;
const TIMEOUT_MS = 5_000;
/** Cursor to the corner, and everything below it away: redraws without a flash. */
const HOME = '\u001B[H';
const CLEAR_BELOW = '\u001B[J';
const CLEAR_LINE_END = '\u001B[K';
const CLEAR_SCREEN = '\u001B[2J';

interface StatusFlags {
  json?: true;
  watch?: true;
  api?: string;
  dir?: string;
}

/** `pilotlight status`: the services of a platform as a table. */
export function addStatusCommand(program: Command): void {
  program
    .command('status')
    .description('show the services of a running platform')
    .option('--json', 'print JSON instead of a table')
    .option('--watch', 'print again each second, until Ctrl-C')
    .option('--api <url>', 'the JSON API of the platform (default: as "pilotlight serve" wrote it down)')
    .option('--dir <dir>', 'the folder that is served, to find its API (default: the current one)')
    .addHelpText(
      'after',
      `
Without --api, the address stands in DIR/.pilotlight/serve.json; where that is missing, http://127.0.0.1:8081.

Examples:
  pilotlight status
  pilotlight status --dir examples/ocr --watch
  pilotlight status --json | jq '.items[] | {name, state}'

${EXIT_CODES_HELP}`,
    )
    .action(async (flags: StatusFlags) => {
      const platform = findPlatform(flags.dir);
      const apiUrl = flags.api === undefined ? platform.apiUrl : baseUrl('--api', flags.api);
      try {
        await show(apiUrl, flags);
      } finally {
        await closeConnections();
      }
    });
}

async function show(apiUrl: string, flags: StatusFlags): Promise<void> {
  const render = async (): Promise<string> => {
    const services = await readServices(apiUrl);
    return flags.json === true
      ? JSON.stringify({ items: services }, undefined, isTerminal() ? 2 : 0)
      : statusTable(services, outputStyle());
  };
  if (flags.watch !== true) return printLine(await render());
  process.once('SIGINT', () => process.exit(0));
  const redraws = isTerminal() && flags.json !== true;
  if (redraws) await print(`${CLEAR_SCREEN}${HOME}`);
  for (;;) {
    const text = await render();
    // Ends of longer lines of the time before are wiped with each line.
    await (redraws
      ? print(`${HOME}${text.replaceAll('\n', `${CLEAR_LINE_END}\n`)}${CLEAR_LINE_END}\n${CLEAR_BELOW}`)
      : printLine(text));
    await new Promise((resolve) => setTimeout(resolve, WATCH_INTERVAL_MS));
  }
}

/** The services that the API at `apiUrl` shows. */
export async function readServices(apiUrl: string): Promise<ServiceView[]> {
  const answer = await call({
    method: 'GET',
    url: `${apiUrl}${API_PATHS.services}`,
    timeoutMs: TIMEOUT_MS,
    hint: 'start the platform with "pilotlight serve DIR", or say where it is with --api URL or --dir DIR',
  });
  const parsed = listOf(serviceViewSchema).safeParse(parseJson(answer.body));
  if (answer.status === 200 && parsed.success) return parsed.data.items;
  throw new CommandFailure(
    `${apiUrl}: something answers there (status ${answer.status}), but not as Pilotlight's API does; the API is on port 8081 unless "serve --api-port" says otherwise`,
  );
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    return undefined;
  }
}
