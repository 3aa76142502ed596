import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { afterEach, expect, test, vi } from 'vitest';
import type { ModelSignature } from '../core/model-signature.ts';
import { ByteBudget } from './byte-budget.ts';
import { type JsonOrder, JsonThreads, type JsonThreadsOptions } from './json-threads.ts';

const SIGNATURE: ModelSignature = {
  inputs: [{ name: 'x', datatype: 'FP32', shape: [-1] }],
  outputs: [],
  maxBatchSize: 0,
};
/** A thread that is busy for good with the first thing that it is given. */
const HANGS = `require('node:worker_threads').parentPort.on('message', () => { for (;;); });`;
const DIES = `require('node:worker_threads').parentPort.on('message', () => process.exit(3));`;

const opened: JsonThreads[] = [];
afterEach(() => {
  for (const threads of opened.splice(0)) threads.close();
});

function open(options: Partial<JsonThreadsOptions> = {}): { threads: JsonThreads; budget: ByteBudget } {
  const budget = new ByteBudget(1_000_000);
  const threads = new JsonThreads({ budget, ...options });
  opened.push(threads);
  return { threads, budget };
}

function order(): JsonOrder<'decode-v1'> {
  const body = Buffer.from('{"instances":[1,2]}');
  return {
    kind: 'decode-v1',
    task: { body, signature: SIGNATURE },
    transferList: [],
    sizeBytes: body.length,
  };
}

const PATIENT = { deadlineMs: Number.POSITIVE_INFINITY, signal: new AbortController().signal };

/** The first threads are of this code, the next ones real. */
function firstThreads(code: string, count: number): () => Worker {
  let started = 0;
  return () =>
    started++ < count
      ? new Worker(code, { eval: true })
      : new Worker(`import(${JSON.stringify(new URL('./json-worker.ts', import.meta.url).href)});`, {
          eval: true,
        });
}

test('a thread that dies costs what it was doing, and is replaced', async () => {
  const onLost = vi.fn<(error: Error) => void>();
  const { threads } = open({ startThread: firstThreads(DIES, 1), onLost });
  await expect(threads.run(order(), PATIENT)).rejects.toMatchObject({
    code: 'internal',
    message: 'a thread for large JSON was lost: code 3',
  });
  expect(onLost).toHaveBeenCalledOnce();
  expect((await threads.run(order(), PATIENT)).inputs[0]?.shape).toEqual([2]);
});

test('threads that hang are ended at their limit, and what waited is done by new ones', async () => {
  const limitMs = (sizeBytes: number): number => (sizeBytes === 1 ? 20 : 60_000);
  const { threads } = open({ startThread: firstThreads(HANGS, 2), limitMs });
  const hanging = { ...order(), sizeBytes: 1 };
  const lost = [threads.run(hanging, PATIENT), threads.run(hanging, PATIENT)];
  const waiting = [threads.run(order(), PATIENT), threads.run(order(), PATIENT)];
  for (const result of await Promise.allSettled(lost)) {
    expect(result).toMatchObject({ status: 'rejected', reason: { code: 'internal' } });
  }
  for (const { inputs } of await Promise.all(waiting)) expect(inputs[0]?.shape).toEqual([2]);
});

test('who leaves gives up the place at once; what a thread still has stays accounted until it is done', async () => {
  let release = (): void => undefined;
  const slow = (): Worker => {
    const worker = new Worker(
      `const { parentPort } = require('node:worker_threads');
       let waiting = 0;
       parentPort.on('message', (message) => {
         if (message === 'release') { while (waiting > 0) { waiting--; parentPort.postMessage({ kind: 'done', result: {} }); } }
         else waiting++;
       });`,
      { eval: true },
    );
    release = () => worker.postMessage('release', []);
    return worker;
  };
  const { threads, budget } = open({ startThread: slow });
  const gone = new AbortController();
  const running = threads.run(order(), { ...PATIENT, signal: gone.signal });
  const other = threads.run(order(), PATIENT);
  const queued = threads.run(order(), { ...PATIENT, signal: gone.signal });
  const letOtherGo = release;
  gone.abort();
  await expect(running).rejects.toMatchObject({ code: 'client-closed' });
  await expect(queued).rejects.toMatchObject({ code: 'client-closed' });
  expect(budget.heldBytes).toBe(order().sizeBytes);
  // The first thread is still at it; the other one takes what comes next.
  letOtherGo();
  await other;
  expect(budget.heldBytes).toBe(order().sizeBytes);
  threads.close();
  expect(budget.heldBytes).toBe(0);
});

test('a deadline that passes ends the wait', async () => {
  const { threads } = open({ startThread: firstThreads(HANGS, 2) });
  await expect(
    threads.run(order(), { ...PATIENT, deadlineMs: performance.now() + 20 }),
  ).rejects.toMatchObject({ code: 'inference-timeout' });
});

test('the queue is bounded, and a closed pool takes nothing', async () => {
  const { threads } = open({ startThread: firstThreads(HANGS, 2) });
  const all = Array.from({ length: 67 }, () => threads.run(order(), PATIENT));
  await expect(all[66]).rejects.toMatchObject({ code: 'server-busy', retryAfterSeconds: 1 });
  threads.close();
  for (const result of await Promise.allSettled(all.slice(0, 66))) {
    expect(result).toMatchObject({ status: 'rejected', reason: { code: 'draining' } });
  }
  await expect(threads.run(order(), PATIENT)).rejects.toMatchObject({ code: 'draining' });
});

test('threads that rest keep no process', async () => {
  const program = `(async () => {
    const { JsonThreads } = await import(${JSON.stringify(new URL('./json-threads.ts', import.meta.url).href)});
    const threads = new JsonThreads({ budget: { takeAnyway() {}, give() {} } });
    const task = { body: Buffer.from('{"instances":[1]}'), signature: ${JSON.stringify(SIGNATURE)} };
    const timing = { deadlineMs: performance.now() + 60_000, signal: new AbortController().signal };
    const { inputs } = await threads.run({ kind: 'decode-v1', task, transferList: [], sizeBytes: 17 }, timing);
    process.exitCode = inputs[0].data[0] === 1 ? 0 : 1;
  })()`;
  const child = spawn(process.execPath, ['--eval', program], { stdio: 'inherit' });
  expect(await once(child, 'exit')).toEqual([0, null]);
});
