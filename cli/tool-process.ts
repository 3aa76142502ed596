import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type ToolJob, type ToolLine, toolLineSchema } from '../contracts/model-tools.ts';
import { CommandFailure } from './failure.ts';
import { note, type Progress } from './terminal.ts';

/** The runtime's tool process; the command line starts it and imports nothing of it. */
const TOOL = join(import.meta.dirname, '../runtime/tools/main.ts');
/** Of what it says on standard error, when it ends without a word on standard output. */
const MAX_COMPLAINT_CHARACTERS = 2_000;

/**
 * Has the runtime do one job with a model, in a process of its own that ends with this one.
 *
 * @returns the job's result, for the caller to parse.
 * @throws CommandFailure with the runtime's own words when it fails.
 */
export async function runTool(job: ToolJob, progress: Progress): Promise<unknown> {
  const child = spawn(process.execPath, [TOOL], { stdio: ['pipe', 'pipe', 'pipe'] });
  // It may have ended before it was told that this process is there.
  child.stdin.on('error', () => undefined);
  child.stdin.write(`${JSON.stringify(job)}\n`);
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => {
    complaint = (complaint + chunk.toString()).slice(-MAX_COMPLAINT_CHARACTERS);
  });
  let last: ToolLine | undefined;
  createInterface({ input: child.stdout }).on('line', (text) => {
    const line = lineOf(text);
    if (line?.line === 'progress') progress.show(line.text, line.share);
    else if (line?.line === 'note') progress.aside(() => note(line.text));
    else if (line !== undefined) last = line;
  });
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  if (last?.line === 'done') return last.result;
  if (last?.line === 'failed') throw new CommandFailure(last.message);
  const how = signal === null ? `code ${code}` : signal;
  throw new CommandFailure(
    `the runtime's tool process ended with ${how}: ${complaint.trim() || 'it said nothing'}`,
  );
}

function lineOf(text: string): ToolLine | undefined {
  try {
    return toolLineSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
