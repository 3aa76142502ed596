import { createRequire, flushCompileCache } from 'node:module';
import { parentPort } from 'node:worker_threads';
import type * as OnnxRuntime from 'onnxruntime-node';
import { toPilotlightError } from '../../contracts/errors.ts';
import { rehearseWithoutShapes } from '../core/shapeless-graph.ts';
import { type OrtOutput, type Tensor, tensorFromOrt, tensorToOrt } from '../core/tensor.ts';
import { concatenateTensors } from '../core/tensor-batch.ts';
import { createSession, LOG_NOTHING_BELOW_FATAL } from './create-session.ts';
import { transferable } from './transfer.ts';
import { trimMemory } from './trim-memory.ts';
import type { FromWorker, ToWorker } from './worker-messages.ts';

/** An ONNX file that says its IR version and nothing else. */
const EMPTY_MODEL = Buffer.from([0x08, 0x0a]);

/**
 * The thread that a session lives in: `create` and `run` block it for their whole length, and a session can't
 * leave the thread that made it. It loads ONNX Runtime at once and lets it try an empty model, which makes its
 * environment and registers its operators: 20 to 35 ms that a claim then doesn't pay.
 */
const port = parentPort;
if (port === null) throw new Error('worker.ts runs in a worker thread only');

const ort = createRequire(import.meta.url)('onnxruntime-node') as typeof OnnxRuntime;
let session: OnnxRuntime.InferenceSession | undefined;

// Refused for want of a graph, and by then the environment is made. A model with a graph would take 10 MB more
// and save another 2 ms at most.
await ort.InferenceSession.create(EMPTY_MODEL, { logSeverityLevel: LOG_NOTHING_BELOW_FATAL }).catch(
  () => undefined,
);
rehearseWithoutShapes();

const say = (message: FromWorker, transferList: ArrayBuffer[] = []): void => {
  port.postMessage(message, transferList);
};

async function create(message: ToWorker & { kind: 'create' }): Promise<void> {
  const startedMs = performance.now();
  try {
    const created = await createSession(ort, message.plan);
    const { inputs, outputs } = created;
    session = created.session;
    say({ kind: 'created', inputs, outputs, createMs: performance.now() - startedMs });
  } catch (error) {
    say({ kind: 'create-failed', message: messageOf(error) });
  }
}

type Calls = readonly (readonly Tensor[])[];

async function runBatch({ calls, outputs }: ToWorker & { kind: 'run-batch' }): Promise<void> {
  const startedMs = performance.now();
  const [first = []] = calls;
  if (calls.length === 1) await run(first, outputs, startedMs);
  else await run(() => concatenateTensors(calls), outputs, startedMs, calls);
}

/** @param calls what the inputs were put together from: it goes back where nobody is answered with the outputs. */
async function run(
  given: readonly Tensor[] | (() => readonly Tensor[]),
  outputs: readonly string[] | undefined,
  startedMs: number,
  calls?: Calls,
): Promise<void> {
  try {
    const inputs = typeof given === 'function' ? given() : given;
    if (session === undefined) throw new Error('no session was created in this worker');
    const feeds: Record<string, unknown> = {};
    for (const input of inputs) feeds[input.name] = tensorToOrt(input);
    const results = (await session.run(
      feeds as OnnxRuntime.InferenceSession.FeedsType,
      [...(outputs ?? session.outputNames)],
      { logSeverityLevel: LOG_NOTHING_BELOW_FATAL },
    )) as unknown as Record<string, OrtOutput>;
    const tensors: Tensor[] = Object.entries(results).map(([name, output]) => tensorFromOrt(name, output));
    const rows = calls?.reduce((sum, [first]) => sum + (first?.shape[0] ?? 0), 0);
    const isSeparable = calls === undefined || tensors.every(({ shape }) => shape[0] === rows);
    const { tensors: sendable, transferList } = transferable(tensors);
    const computeMs = performance.now() - startedMs;
    if (isSeparable) say({ kind: 'ran', outputs: sendable, computeMs }, transferList);
    else {
      const back = givenBack(calls);
      say({ kind: 'ran', outputs: sendable, computeMs, calls: back.calls }, [...transferList, ...back.list]);
    }
  } catch (error) {
    const known = toPilotlightError(error);
    const code = known.code === 'internal' ? 'inference-failed' : known.code;
    const failed = { kind: 'run-failed', code, message: messageOf(error) } as const;
    if (calls === undefined) say(failed);
    else {
      const back = givenBack(calls);
      say({ ...failed, calls: back.calls }, back.list);
    }
  }
}

function givenBack(calls: Calls): { calls: Calls; list: ArrayBuffer[] } {
  const ready = calls.map(transferable);
  return {
    calls: ready.map(({ tensors }) => tensors),
    list: [...new Set(ready.flatMap(({ transferList }) => transferList))],
  };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message.trim() : String(error);
}

port.on('message', (message: ToWorker) => {
  if (message.kind === 'create') void create(message);
  else if (message.kind === 'run') void run(message.inputs, message.outputs, performance.now());
  else void runBatch(message);
});
say({ kind: 'started' });
flushCompileCache();
trimMemory();
