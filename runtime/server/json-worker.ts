import { parentPort } from 'node:worker_threads';
import { PilotlightError } from '../../contracts/errors.ts';
import { doJsonWork, type JsonKind, type JsonResults } from '../core/json-work.ts';
import { transferable, transferableBytes } from '../engine/transfer.ts';
import type { FromJsonThread, ToJsonThread } from './json-messages.ts';

/** The thread in which large JSON is read and written. */
const port = parentPort;
if (port === null) throw new Error('json-worker.ts runs in a worker thread only');

/** A result made ready to be handed over: what is a view of the body is cut out, nothing is copied twice. */
function ready(result: JsonResults[JsonKind]): { result: JsonResults[JsonKind]; memory: ArrayBuffer[] } {
  if (result instanceof Uint8Array) {
    const { bytes, transferList } = transferableBytes(result);
    return { result: bytes, memory: transferList };
  }
  if ('inputs' in result) {
    const { tensors, transferList } = transferable(result.inputs);
    return { result: { ...result, inputs: tensors }, memory: transferList };
  }
  const chunks = result.chunks.map(transferableBytes);
  return {
    result: { ...result, chunks: chunks.map(({ bytes }) => bytes) },
    memory: [...new Set(chunks.flatMap(({ transferList }) => transferList))],
  };
}

/** Gives a body's memory back at once: the next collection of garbage may be long in coming. */
function free({ task }: ToJsonThread, kept: readonly ArrayBuffer[]): void {
  if (!('body' in task)) return;
  const { buffer } = task.body;
  if (buffer instanceof ArrayBuffer && !kept.includes(buffer)) buffer.transfer(0);
}

port.on('message', (message: ToJsonThread) => {
  let answer: FromJsonThread;
  let memory: ArrayBuffer[] = [];
  try {
    const made = ready(doJsonWork(message.kind, message.task));
    answer = { kind: 'done', result: made.result };
    memory = made.memory;
  } catch (thrown) {
    answer = refusal(thrown);
  }
  free(message, memory);
  port.postMessage(answer, memory);
});

function refusal(thrown: unknown): FromJsonThread {
  if (!(thrown instanceof PilotlightError)) return { kind: 'failed', message: String(thrown) };
  const { code, message, status, retryAfterSeconds } = thrown;
  return { kind: 'refused', code, message, status, retryAfterSeconds };
}
