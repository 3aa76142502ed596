import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startRuntime } from '../e2e/local/testing/runtime-process.ts';
import { chainOfSize } from '../e2e/models/onnx-models.ts';
import { quantised } from '../e2e/models/quantised.ts';
import { Instance } from '../runtime/engine/instance.ts';
import { settledPlan } from '../runtime/engine/session-options.ts';
import { plainStart, type StartingPoint } from '../runtime/engine/starting-point.ts';
import type { OpenedModel } from '../runtime/storage/open-model.ts';
import { openWithForms } from '../runtime/tools/opened-model.ts';
import { settleForm } from '../runtime/tools/settle-form.ts';
import { sizesIn } from './bench-platform.ts';
import { type Benchmark, type BenchmarkContext, rounds } from './benchmark.ts';
import { inferOnce } from './cold-start-client.ts';
import { binaryRequest } from './inference-request.ts';
import { type Row, row } from './report.ts';
import { chainInput, modelFolder, writeModel } from './sized-model.ts';
import { median } from './statistics.ts';

const WEIGHTS_BYTES = 200e6;
/** Of `chainOfSize` above 100 MB. */
const WIDTH = 2_048;
/** Weights of a few kilobytes: what its runtime takes is the runtime's. */
const NO_WEIGHTS_BYTES = 1_000;
const REQUESTS = 20;
const PROCESSES = 4;
const ROUNDS = 100;
const THREADS = 2;
/** At rest: for three seconds within 2 MB. */
const LOOK_MS = 250;
const STEADY_LOOKS = 12;
const STEADY_BYTES = 2e6;
const MAX_LOOKS = 400;
const MEGABYTE = 1e6;
const NAME = 'm';

/** Bytes of a process's memory as the kernel counts them. */
interface Memory {
  /** Pages in memory, those of mapped files included. */
  readonly resident: number;
  /** The same, pages that several processes have counted in parts. */
  readonly proportional: number;
  readonly anonymous: number;
}

/** As the model is served after its first start: from its best form, asked some times. */
async function served(path: string, cacheDir: string, width: number, processes = 1): Promise<Memory[]> {
  const runtimes = await Promise.all(
    Array.from({ length: processes }, () => startRuntime(path, cacheDir, '--name', NAME)),
  );
  try {
    const request = binaryRequest(NAME, chainInput(width));
    const askAll = async (): Promise<void> => {
      for (const { port } of runtimes)
        for (let count = 0; count < REQUESTS; count += 1)
          await inferOnce(`http://127.0.0.1:${port}`, request);
    };
    await askAll();
    await Promise.all(runtimes.map(({ child }) => waitForRest(child.pid ?? 0)));
    // Whatever session serves by then has its weights in memory from the first run on.
    await askAll();
    return runtimes.map(({ child }) => memoryOf(child.pid ?? 0));
  } finally {
    await Promise.all(runtimes.map((runtime) => runtime.stop()));
  }
}

/** Behind the first answers better sessions are made, and for a while there are two. */
async function waitForRest(pid: number): Promise<void> {
  let before = memoryOf(pid);
  for (let steady = 0, looks = 0; steady < STEADY_LOOKS; looks += 1) {
    if (looks > MAX_LOOKS) throw new Error(`the memory of process ${pid} does not come to rest`);
    await sleep(LOOK_MS);
    const now = memoryOf(pid);
    steady = Math.abs(now.resident - before.resident) < STEADY_BYTES ? steady + 1 : 0;
    before = now;
  }
}

function memoryOf(pid: number): Memory {
  const sizeBytes = sizesIn(pid, 'smaps_rollup');
  return { resident: sizeBytes('Rss'), proportional: sizeBytes('Pss'), anonymous: sizeBytes('Anonymous') };
}

/** Makes the best form of a model, as a runtime does behind its first answer. */
async function settled(path: string, cacheDir: string): Promise<{ model: OpenedModel; best: StartingPoint }> {
  const { model, forms } = await openWithForms({ uri: path, cacheDir }, AbortSignal.timeout(300_000));
  if (forms === undefined) throw new Error(`${path} is too small to have forms`);
  const complain = (reason: string): void => void process.stderr.write(`${path}: ${reason}\n`);
  const best = await settleForm(model, forms, { onLeft: complain, onNotCompiled: complain });
  if (best === undefined) throw new Error(`no form of ${path} could be made`);
  return { model, best };
}

/** Runs of the prepacked form, whose weights are mapped, and of a session that prepacks them itself, in turns. */
async function prepackedRows(
  context: BenchmarkContext,
  { model, best }: { model: OpenedModel; best: StartingPoint },
): Promise<Row[]> {
  if (best.kind !== 'prepacked') throw new Error(`expected a prepacked form, got ${best.kind}`);
  const input = { threadsPerInstance: THREADS, sizeBytes: model.sizeBytes };
  const [form, plain] = [new Instance(), new Instance()];
  try {
    const made = await form.create(settledPlan(best, input));
    const peer = await plain.create(settledPlan(plainStart(model), input));
    const { name, data, shape } = chainInput(WIDTH);
    const tensor = { name, datatype: 'FP32', shape } as const;
    const runOnce = async (instance: Instance): Promise<number> => {
      const values = new Float32Array(data.slice().buffer);
      return (await instance.run([{ ...tensor, data: values }], undefined)).computeMs;
    };
    const times = { form: [] as number[], plain: [] as number[] };
    for (let round = 0; round < rounds(context, ROUNDS); round += 1) {
      times.form.push(await runOnce(form));
      times.plain.push(await runOnce(plain));
    }
    const skipped = Math.floor(times.form.length / 10);
    const [ofForm, ofPlain] = [median(times.form.slice(skipped)), median(times.plain.slice(skipped))];
    const against = 'prepacked at load';
    return [
      row({
        metric: 'int8, one run, saved prepacked and mapped',
        unit: 'ms',
        value: ofForm,
        peer: against,
        peerValue: ofPlain,
      }),
      row({
        metric: 'int8, one run, against one prepacked at load',
        unit: 'times',
        value: ofForm / ofPlain,
        goal: '<= 1.05',
      }),
      row({
        metric: 'int8, creating the session',
        unit: 'ms',
        value: made.createMs,
        peer: against,
        peerValue: peer.createMs,
      }),
    ];
  } finally {
    await Promise.all([form.retire(), plain.retire()]);
  }
}

async function run(context: BenchmarkContext): Promise<Row[]> {
  using folder = modelFolder();
  const cacheDir = join(folder.path, 'cache');
  const original = chainOfSize(WEIGHTS_BYTES);
  const full = writeModel(folder.path, 'fp32', original);
  const small = writeModel(folder.path, 'int8', quantised(original));
  const none = chainOfSize(NO_WEIGHTS_BYTES);
  const empty = writeModel(folder.path, 'none', none);
  context.say('the forms of a model of 200 MB and of its quantised twin');
  const forms = { full: await settled(full, cacheDir), small: await settled(small, cacheDir) };
  try {
    context.say('memory as they are served');
    const [idle] = await served(empty, cacheDir, Number(none.inputs[0]?.shape?.[1]));
    const [ofFull] = await served(full, cacheDir, WIDTH);
    const [ofSmall] = await served(small, cacheDir, WIDTH);
    const several = await served(full, cacheDir, WIDTH, PROCESSES);
    if (idle === undefined || ofFull === undefined || ofSmall === undefined)
      throw new Error('no process was measured');
    const part = (memory: Memory): number => memory.resident - idle.resident;
    const sum = (of: (memory: Memory) => number): number =>
      several.reduce((total, memory) => total + of(memory), 0);
    context.say('prepacked weights that are mapped against those that are prepacked at load');
    return [
      row({
        metric: 'runtime with a model of no size, resident',
        unit: 'MB',
        value: idle.resident / MEGABYTE,
      }),
      row({ metric: 'fp32, its own part of the memory', unit: 'MB', value: part(ofFull) / MEGABYTE }),
      row({
        metric: 'int8, its own part of the memory',
        unit: 'MB',
        value: part(ofSmall) / MEGABYTE,
        peer: 'its fp32 original',
        peerValue: part(ofFull) / MEGABYTE,
      }),
      row({
        metric: 'int8, less memory than its original',
        unit: '%',
        value: (1 - part(ofSmall) / part(ofFull)) * 100,
        goal: '>= 65',
      }),
      row({
        metric: 'int8, whole process, less memory than with its original',
        unit: '%',
        value: (1 - ofSmall.resident / ofFull.resident) * 100,
      }),
      row({
        metric: 'fp32, anonymous memory beyond that of the runtime',
        unit: 'times the weights',
        value: (ofFull.anonymous - idle.anonymous) / WEIGHTS_BYTES,
        goal: '<= 0.2',
      }),
      row({
        metric: `fp32, ${PROCESSES} processes, resident, all together`,
        unit: 'MB',
        value: sum(({ resident }) => resident) / MEGABYTE,
      }),
      row({
        metric: `fp32, ${PROCESSES} processes, shared pages counted once`,
        unit: 'MB',
        value: sum(({ proportional }) => proportional) / MEGABYTE,
        peer: 'were nothing shared',
        peerValue: sum(({ resident }) => resident) / MEGABYTE,
      }),
      ...(await prepackedRows(context, forms.small)),
    ];
  } finally {
    for (const { model, best } of Object.values(forms)) {
      await best.release();
      await model.release();
    }
  }
}

export const benchmark: Benchmark = {
  summary:
    'what a served model takes: fp32 and int8, one process and several; prepacked weights that are mapped',
  run,
};
