import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { createConnection } from 'node:net';
import { parseArgs } from 'node:util';
import { freePort } from '../../../process/free-port.ts';
import { followLifeline } from '../../../process/lifeline.ts';
import { createLogger } from '../../../process/logger.ts';
import { writeJson } from './state-folder.ts';

/**
 * Runs a user's own server as a local replica, in the place of a container: gives it a free port in `PORT`,
 * tells of it in a record file once the port answers, and makes sure that it ends when the platform does.
 *
 * `node container-host.ts --host H --record FILE --lifeline PATH --lifeline-grace-ms N --start-timeout-ms N
 * [--working-dir DIR] -- COMMAND [ARGUMENT …]`
 */
const { values, positionals } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    record: { type: 'string' },
    lifeline: { type: 'string' },
    'lifeline-grace-ms': { type: 'string', default: '0' },
    'start-timeout-ms': { type: 'string', default: '120000' },
    'working-dir': { type: 'string' },
  },
  allowPositionals: true,
});

const PROBE_INTERVAL_MS = 20;
const logger = createLogger('container');

function fail(message: string): never {
  logger.error(message);
  process.exit(1);
}

/** util-linux' setpriv asks the kernel to kill the child with its parent: the one way that survives our own SIGKILL. */
function withParentDeathSignal(argv: readonly string[]): readonly string[] {
  const found = spawnSync('setpriv', ['--pdeathsig', 'KILL', 'true'], { stdio: 'ignore' });
  return found.status === 0 ? ['setpriv', '--pdeathsig', 'KILL', '--', ...argv] : argv;
}

function start(argv: readonly string[], port: number): ChildProcess {
  const [command, ...rest] = withParentDeathSignal(argv);
  if (command === undefined) fail('no command was given after --');
  const environment: NodeJS.ProcessEnv = { ...process.env, PORT: String(port) };
  delete environment['PILOTLIGHT_ADMIN_TOKEN'];
  return spawn(command, rest, {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: environment,
    ...(values['working-dir'] !== undefined && { cwd: values['working-dir'] }),
  });
}

function answers(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host, port });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

const { host, record, lifeline } = values;
if (record === undefined) fail('--record is needed');
const port = await freePort(host);
const child = start(positionals, port);
child.once('error', (error) => fail(`the command could not be started: ${error.message}`));
child.once('exit', (code) => process.exit(code ?? 1));
const end = (signal: NodeJS.Signals): void => {
  child.kill(signal);
};
process.on('SIGTERM', () => end('SIGTERM'));
process.on('SIGINT', () => end('SIGINT'));
if (lifeline !== undefined)
  followLifeline(lifeline, Number(values['lifeline-grace-ms']), () => end('SIGKILL'));

const deadlineMs = performance.now() + Number(values['start-timeout-ms']);
while (!(await answers(host, port))) {
  if (performance.now() > deadlineMs) {
    end('SIGKILL');
    fail(`the command does not listen on the port in $PORT (${port}) within its start timeout`);
  }
  await new Promise((resolve) => setTimeout(resolve, PROBE_INTERVAL_MS));
}
writeJson(record, { pid: process.pid, incarnation: randomUUID(), host, servingPort: port });
