import { createRequire, flushCompileCache } from 'node:module';
import { parentPort } from 'node:worker_threads';
import type * as OnnxRuntime from 'onnxruntime-node';
import { toPilotlightError } from '../../contracts/errors.ts';
import { type OrtOutput, type Tensor, tensorFromOrt, tensorToOrt } from '../core/tensor.ts';
import { transferable } from './transfer.ts';
import { trimMemory } from './trim-memory.ts';
import type { FromWorker, ToWorker, ValueMetadata } from './worker-messages.ts';

/** An ONNX file that says its IR version and nothing else. */
const EMPTY_MODEL = Buffer.from([0x08, 0x0a]);

/** Errors come as exceptions with the same text; ONNX Runtime's own log lines on standard error would double them. */
const LOG_NOTHING_BELOW_FATAL = 4;

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

const say = (message: FromWorker, transferList: ArrayBuffer[] = []): void => {
  port.postMessage(message, transferList);
};

async function create(message: ToWorker & { kind: 'create' }): Promise<void> {
  const startedMs = performance.now();
  try {
    session = await ort.InferenceSession.create(message.path, {
      ...message.options,
      logSeverityLevel: LOG_NOTHING_BELOW_FATAL,
    });
    say({
      kind: 'created',
      inputs: [...session.inputMetadata] as ValueMetadata[],
      outputs: [...session.outputMetadata] as ValueMetadata[],
      createMs: performance.now() - startedMs,
    });
  } catch (error) {
    say({ kind: 'create-failed', message: messageOf(error) });
  }
}

async function run({ inputs, outputs }: ToWorker & { kind: 'run' }): Promise<void> {
  const startedMs = performance.now();
  try {
    if (session === undefined) throw new Error('no session was created in this worker');
    const feeds: Record<string, unknown> = {};
    for (const input of inputs) feeds[input.name] = tensorToOrt(input);
    const results = (await session.run(
      feeds as OnnxRuntime.InferenceSession.FeedsType,
      [...(outputs ?? session.outputNames)],
      { logSeverityLevel: LOG_NOTHING_BELOW_FATAL },
    )) as unknown as Record<string, OrtOutput>;
    const tensors: Tensor[] = Object.entries(results).map(([name, output]) => tensorFromOrt(name, output));
    const { tensors: sendable, transferList } = transferable(tensors);
    say({ kind: 'ran', outputs: sendable, computeMs: performance.now() - startedMs }, transferList);
  } catch (error) {
    const known = toPilotlightError(error);
    const code = known.code === 'internal' ? 'inference-failed' : known.code;
    say({ kind: 'run-failed', code, message: messageOf(error) });
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message.trim() : String(error);
}

port.on('message', (message: ToWorker) => {
  void (message.kind === 'create' ? create(message) : run(message));
});
say({ kind: 'started' });
flushCompileCache();
trimMemory();
