import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { ClusterError } from './errors.ts';

export interface CommandOptions {
  readonly cwd?: string;
  /** Added to the environment of this process; undefined takes a variable out of it. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Written to the command's standard input, which otherwise is empty. */
  readonly input?: string | Uint8Array;
  /** After this the command is killed and counts as failed. */
  readonly timeoutMs?: number;
  /** A file that gets the command line and everything the command says, appended. */
  readonly logFile?: string;
}

/** How much of what a command said goes into an error. */
const TAIL_CHARACTERS = 2_000;

/**
 * Runs a command to its end and returns what it wrote to standard output.
 *
 * @throws ClusterError E2E_COMMAND_FAILED with the command line, its exit and the end of what it said
 */
export async function run(
  file: string,
  commandArguments: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const { code, signal, stdout, said } = await runToEnd(file, commandArguments, options);
  if (code === 0) return stdout;
  const how = signal === null ? `ended with ${code}` : `was ended by ${signal}`;
  const line = [file, ...commandArguments].join(' ');
  throw new ClusterError('E2E_COMMAND_FAILED', `\`${line}\` ${how}:\n${said.slice(-TAIL_CHARACTERS).trim()}`);
}

/** Whether a command can be run and ends with 0; what it says is thrown away. */
export async function succeeds(
  file: string,
  commandArguments: readonly string[],
  options: CommandOptions = {},
): Promise<boolean> {
  return runToEnd(file, commandArguments, options).then(
    ({ code }) => code === 0,
    () => false,
  );
}

interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  said: string;
}

function runToEnd(
  file: string,
  commandArguments: readonly string[],
  options: CommandOptions,
): Promise<Ended> {
  const { cwd, env = {}, input, timeoutMs, logFile } = options;
  if (logFile !== undefined) mkdirSync(dirname(logFile), { recursive: true });
  const log = logFile === undefined ? undefined : createWriteStream(logFile, { flags: 'a' });
  log?.write(`$ ${[file, ...commandArguments].join(' ')}\n`);
  return new Promise((resolve, reject) => {
    const child = spawn(file, commandArguments, {
      env: withChanges(env),
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(cwd === undefined ? {} : { cwd }),
      ...(timeoutMs === undefined ? {} : { timeout: timeoutMs, killSignal: 'SIGKILL' as const }),
    });
    const stdout: Buffer[] = [];
    let said = '';
    const hear = (chunk: Buffer): void => {
      log?.write(chunk);
      said = (said + chunk.toString()).slice(-2 * TAIL_CHARACTERS);
    };
    child.stdout.on('data', (chunk: Buffer) => {
      stdout.push(chunk);
      hear(chunk);
    });
    child.stderr.on('data', hear);
    // A command that ends without reading its input closes the pipe: its exit code says what that meant.
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
    child.once('error', (error) => {
      log?.end(`${String(error)}\n`);
      reject(
        new ClusterError('E2E_COMMAND_FAILED', `\`${file}\` could not be run: ${error.message}`, {
          cause: error,
        }),
      );
    });
    child.once('close', (code, signal) => {
      const ended = { code, signal, stdout: Buffer.concat(stdout).toString(), said };
      // Whoever is told of a log may read it at once.
      if (log === undefined) resolve(ended);
      else log.end(() => resolve(ended));
    });
  });
}

function withChanges(changes: Readonly<Record<string, string | undefined>>): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries({ ...process.env, ...changes }).filter(([, value]) => value !== undefined),
  );
}
