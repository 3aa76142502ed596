import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

/** What a compile process is told, as JSON in its argument. */
export const compileJobSchema = z.object({
  /** The graph to make the form of, and whether its weights lie outside. */
  source: z.object({
    kind: z.enum(['plain', 'external', 'optimised', 'prepacked']),
    graphPath: z.string(),
    isMapped: z.boolean(),
  }),
  kind: z.enum(['optimised', 'prepacked']),
  /** Exists and is empty. */
  folder: z.string(),
  sizeBytes: z.number(),
});
export type CompileJob = z.infer<typeof compileJobSchema>;

/** The last line of its standard output. */
export const compileReportSchema = z.discriminatedUnion('outcome', [
  z.object({
    outcome: z.literal('made'),
    /** Whether prepacked weights are worth their place, and so much that even the first session wants them. */
    prepack: z.enum(['no', 'later', 'first']),
  }),
  z.object({ outcome: z.literal('refused'), reason: z.string() }),
]);
export type CompileReport = z.infer<typeof compileReportSchema>;

export type CompileOutcome =
  | CompileReport
  /** It ended without a report, by a fault of ONNX Runtime; the form is not to be tried again. */
  | { outcome: 'crashed'; reason: string }
  /** For a reason that has nothing to do with the model: ended from outside, no memory, no disk. */
  | { outcome: 'gone'; reason: string };

const CHILD = fileURLToPath(new URL('./compile-child.ts', import.meta.url));
const MAX_OUTPUT_CHARACTERS = 16 * 1024;
/** By these a process ends itself, or its processor does. */
const FAULTS = new Set<NodeJS.Signals>(['SIGSEGV', 'SIGABRT', 'SIGBUS', 'SIGFPE', 'SIGILL', 'SIGTRAP']);

/** A process that makes one form and tries it: see compile-child.ts. It can be ended at any time. */
export class CompileProcess {
  readonly #child: ChildProcess;
  readonly outcome: Promise<CompileOutcome>;

  constructor(job: CompileJob) {
    this.#child = spawn(process.execPath, [CHILD, JSON.stringify(job)], {
      // Its end of standard input tells it that this process is gone.
      stdio: ['pipe', 'pipe', 'pipe'],
      // Not the tokens that this process may have been given; and ONNX Runtime keeps usage data to itself.
      env: {
        PATH: process.env['PATH'],
        LD_LIBRARY_PATH: process.env['LD_LIBRARY_PATH'],
        ORT_DISABLE_TELEMETRY: '1',
      },
    });
    this.outcome = this.#follow();
  }

  /** Resolves when it is gone. */
  async stop(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.outcome;
  }

  async #follow(): Promise<CompileOutcome> {
    let output = '';
    let complaint = '';
    const { stdout, stderr } = this.#child;
    stdout?.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-MAX_OUTPUT_CHARACTERS);
    });
    stderr?.on('data', (chunk: Buffer) => {
      complaint = (complaint + chunk.toString()).slice(-MAX_OUTPUT_CHARACTERS);
    });
    const ended =
      Promise.withResolvers<[code: number | null, signal: NodeJS.Signals | null, error?: Error]>();
    this.#child.once('error', (error) => ended.resolve([null, null, error]));
    this.#child.once('close', (code, signal) => ended.resolve([code, signal]));
    const [code, signal, error] = await ended.promise;
    if (error !== undefined) return { outcome: 'gone', reason: error.message };
    const report = reportIn(output);
    if (code === 0 && report !== undefined) return report;
    if (signal !== null && FAULTS.has(signal)) {
      return { outcome: 'crashed', reason: `ONNX Runtime ended the process with ${signal}` };
    }
    return {
      outcome: 'gone',
      reason: `it ended by ${signal ?? `code ${code}`}: ${complaint.trim().slice(-500)}`,
    };
  }
}

function reportIn(output: string): CompileReport | undefined {
  try {
    return compileReportSchema.parse(JSON.parse(output.trim().split('\n').at(-1) ?? ''));
  } catch {
    return undefined;
  }
}
