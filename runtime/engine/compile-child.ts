import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants, setPriority } from 'node:os';
import { join } from 'node:path';
import type * as OnnxRuntime from 'onnxruntime-node';
import { type OrtOutput, tensorToOrt } from '../core/tensor.ts';
import { GRAPH } from '../storage/form-cache.ts';
import { type CompileJob, type CompileReport, compileJobSchema } from './compile-job.ts';
import { type CreatedSession, createSession, LOG_NOTHING_BELOW_FATAL } from './create-session.ts';
import { compilePlan, quickPlan } from './session-options.ts';
import { signatureOf } from './signature.ts';
import { warmUpInputs } from './warm-up-input.ts';

/**
 * A process of its own that makes one form of a model and tries it: it loads the form as it will be loaded, and runs
 * it beside what it was made from. ONNX Runtime 1.30 writes prepacked weights of some convolutions so that loading or
 * running them ends the process (those of the text recogniser); here that takes nobody along. The process is nice, its
 * memory goes with it, and it ends when its parent does.
 */
/** Relative to the largest value of an output: fused and prepacked kernels add in another order. */
const TOLERANCE = 1e-2;
/** Kernels that run several times as long on weights that aren't prepacked. */
const WANT_PREPACKED = /QLinear|MatMulInteger|ConvInteger|MatMulNBits|QGemm|QAttention|DynamicQuantize/;
/** Of fp32, matrices gain from it with a batch: 64 MB at batch 64 take 12 ms instead of 22, 400 MB nothing. */
const GAIN_FROM_PREPACKED = /MatMul|Gemm|Attention|LSTM|GRU/;
const GAIN_UP_TO_BYTES = 256e6;

setPriority(0, constants.priority.PRIORITY_LOW);
process.stdin.once('close', () => process.exit(1));
process.stdin.resume();

const ort = createRequire(import.meta.url)('onnxruntime-node') as typeof OnnxRuntime;

async function work(job: CompileJob): Promise<CompileReport> {
  const { source, kind, folder, sizeBytes } = job;
  const compiling = await createSession(ort, compilePlan(source.graphPath, folder, kind));
  await compiling.session.release();
  const graphPath = join(folder, GRAPH);
  const input = { threadsPerInstance: 1, sizeBytes };
  const made = await createSession(ort, quickPlan({ kind, graphPath, isMapped: true }, input));
  const before = await createSession(ort, quickPlan(source, input));
  const difference = await differenceOf(before, made);
  if (difference === undefined && kind === 'prepacked') {
    return { outcome: 'refused', reason: 'it could not be tried: the model takes no made-up input' };
  }
  if (difference !== undefined && !(difference <= TOLERANCE)) {
    return { outcome: 'refused', reason: `its outputs differ by ${difference} of their largest value` };
  }
  // The operators' names in the file, and at worst a node that is called like one.
  const graph = readFileSync(graphPath, 'latin1');
  const prepack = WANT_PREPACKED.test(graph)
    ? 'first'
    : GAIN_FROM_PREPACKED.test(graph) && sizeBytes <= GAIN_UP_TO_BYTES
      ? 'later'
      : 'no';
  return { outcome: 'made', prepack };
}

/** The largest difference of two sessions' outputs for one made-up input; undefined when they can't be run on any. */
async function differenceOf(before: CreatedSession, made: CreatedSession): Promise<number | undefined> {
  const tensors = warmUpInputs(signatureOf(before.inputs, before.outputs));
  if (tensors === undefined) return undefined;
  const feeds = Object.fromEntries(tensors.map((tensor) => [tensor.name, tensorToOrt(tensor)]));
  const run = async ({ session }: CreatedSession): Promise<Record<string, OrtOutput>> => {
    const quiet = { logSeverityLevel: LOG_NOTHING_BELOW_FATAL } as const;
    const results: unknown = await session.run(
      feeds as OnnxRuntime.InferenceSession.FeedsType,
      [...session.outputNames],
      quiet,
    );
    return results as Record<string, OrtOutput>;
  };
  let expected: Record<string, OrtOutput>;
  try {
    expected = await run(before);
  } catch {
    return undefined;
  }
  const found = await run(made);
  let largest = 0;
  for (const [name, { type, data }] of Object.entries(expected)) {
    // Whole numbers are positions and classes: a tie that falls the other way is no fault.
    if (!type.startsWith('float')) continue;
    largest = Math.max(
      largest,
      dataDifference(data as ArrayLike<number>, found[name]?.data as ArrayLike<number>),
    );
  }
  return largest;
}

function dataDifference(left: ArrayLike<number>, right: ArrayLike<number>): number {
  if (left.length !== right.length) return Number.POSITIVE_INFINITY;
  let difference = 0;
  let scale = 1e-6;
  for (let index = 0; index < left.length; index += 1) {
    const a = left[index] ?? 0;
    const b = right[index] ?? 0;
    if (Number.isFinite(a)) scale = Math.max(scale, Math.abs(a));
    // Equal infinities and numbers that are none on both sides are no difference.
    if (a !== b && !(Number.isNaN(a) && Number.isNaN(b))) difference = Math.max(difference, Math.abs(a - b));
  }
  return difference / scale;
}

let report: CompileReport;
try {
  report = await work(compileJobSchema.parse(JSON.parse(process.argv[2] ?? '')));
} catch (error) {
  const reason = error instanceof Error ? error.message.trim() : String(error);
  // What the disk or the memory refuses is no fault of the model.
  if (/No space left|ENOSPC|bad_alloc|Failed to allocate/i.test(reason)) {
    process.stderr.write(`${reason}\n`);
    process.exit(2);
  }
  report = { outcome: 'refused', reason };
}
process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit(0));
