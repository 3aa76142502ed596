import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export type OpenerLine = Record<string, unknown>;

export interface Opener {
  child: ChildProcess;
  lines: AsyncIterable<OpenerLine>;
  ended: Promise<void>;
}

const SCRIPT = fileURLToPath(new URL('open-model-process.ts', import.meta.url));

/**
 * Opens a model in a process of its own.
 *
 * @param wrapper a command that gets the node command as its last arguments, such as `unshare`
 */
export function startOpener(options: unknown, wrapper: string[] = [], env: NodeJS.ProcessEnv = {}): Opener {
  const [command, ...rest] = [...wrapper, process.execPath, SCRIPT, JSON.stringify(options)];
  const child = spawn(command, rest, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
  });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  return { child, lines: readLines(child), ended };
}

async function* readLines(child: ChildProcess): AsyncGenerator<OpenerLine> {
  if (child.stdout === null) return;
  for await (const line of createInterface({ input: child.stdout })) yield JSON.parse(line) as OpenerLine;
}

/** What the process said last: `opened` or `failed`. */
export async function lastLine(opener: Opener): Promise<OpenerLine> {
  let last: OpenerLine = {};
  for await (const line of opener.lines) last = line;
  return last;
}
