import { type RuntimeProcess, startRuntime } from '../e2e/local/testing/runtime-process.ts';
import { matMulChain } from '../e2e/models/onnx-models.ts';
import { type OnnxModel } from '../e2e/models/onnx-writer.ts';
import { type Benchmark, type BenchmarkContext, rounds } from './benchmark.ts';
import { type BinaryInput, binaryRequest, onTheWire } from './inference-request.ts';
import { LoadGenerator, mustSucceed } from './load/load-generator.ts';
import type { LoadOutcome, Target } from './load/messages.ts';
import { type Row, row } from './report.ts';
import { chainInput, modelFolder, modelOfDuration, writeModel } from './sized-model.ts';
import { largest, median } from './statistics.ts';

const CONNECTIONS = 64;
const ROUNDS = 10;
const ROUND_MS = 2_000;
const WARM_UP_MS = 2_000;
const ASKED_FOR = ['--max-batch-size', '64'];
const QUICK_MS = 0.1;

interface Subject {
  readonly name: string;
  readonly path: string;
  readonly input: BinaryInput;
  /** Arguments of the runtime whose batching is on: asked for, unless it is to find out by itself. */
  readonly batching: readonly string[];
  /** Of the throughput with batches against that without, or of the throughput itself. */
  readonly ratioGoal?: string;
  readonly throughputGoal?: string;
}

/**
 * One row of the batch is a matrix product by itself: 1024 × 1024 weights, three times. Reading them costs more than
 * reckoning, and a batch reads them once.
 */
const gaining = (): OnnxModel => matMulChain({ layers: 3, width: 1024 });

/** A row is 512 KiB that each of a few operators walks through: a batch has as much to do a row as one alone. */
const ROW_FLOATS = 131_072;
function notGaining(): OnnxModel {
  const shape = ['batch', ROW_FLOATS];
  return {
    inputs: [{ name: 'x', type: 'FLOAT', shape }],
    outputs: [{ name: 'y', type: 'FLOAT', shape: ['batch', 1] }],
    nodes: [
      { op: 'Sin', inputs: ['x'], outputs: ['sine'] },
      { op: 'Exp', inputs: ['sine'], outputs: ['raised'] },
      { op: 'ReduceMax', inputs: ['raised', 'axes'], outputs: ['y'] },
    ],
    initializers: [
      { name: 'axes', type: 'INT64', dims: [1], data: Buffer.from(BigInt64Array.of(1n).buffer) },
    ],
  };
}

async function run(context: BenchmarkContext): Promise<Row[]> {
  using folder = modelFolder();
  const quick = await modelOfDuration(folder.path, QUICK_MS);
  context.say(`a model of ${quick.runMs.toFixed(2)} ms`);
  const subjects: Subject[] = [
    {
      name: 'matrix products',
      path: writeModel(folder.path, 'gaining', gaining()),
      input: chainInput(1024),
      batching: ASKED_FOR,
      ratioGoal: '>= 4',
    },
    {
      name: 'element by element',
      path: writeModel(folder.path, 'not-gaining', notGaining()),
      input: chainInput(ROW_FLOATS),
      batching: [],
      // As fast: two runtimes that do the same differ by some percent from round to round.
      ratioGoal: '>= 0.97',
    },
    {
      name: `a run of ${quick.runMs.toFixed(2)} ms`,
      path: quick.path,
      input: quick.input,
      batching: ASKED_FOR,
      throughputGoal: '>= 10000',
    },
  ];
  await using load = await LoadGenerator.open();
  const rows: Row[] = [];
  for (const subject of subjects) rows.push(...(await compare(context, load, folder.path, subject)));
  return rows;
}

/** Rounds with batches and without take turns, and each pair begins with the other one. */
async function compare(
  context: BenchmarkContext,
  load: LoadGenerator,
  folder: string,
  subject: Subject,
): Promise<Row[]> {
  context.say(`${subject.name}, ${CONNECTIONS} connections`);
  const start = (more: readonly string[]): Promise<RuntimeProcess> =>
    startRuntime(subject.path, `${folder}/cache`, '--name', 'm', ...more);
  const on = await start(subject.batching);
  const off = await start(['--max-batch-size', '1']);
  try {
    const request = (port: number): Target => ({
      host: '127.0.0.1',
      port,
      request: onTheWire(`127.0.0.1:${port}`, binaryRequest('m', subject.input)),
    });
    const ways = [
      { target: request(on.port), outcomes: [] as LoadOutcome[] },
      { target: request(off.port), outcomes: [] as LoadOutcome[] },
    ] as const;
    const how = { connections: CONNECTIONS };
    for (const { target } of ways) mustSucceed(await load.runFor(WARM_UP_MS, target, how));
    for (let round = 0; round < rounds(context, ROUNDS); round++) {
      for (const { target, outcomes } of round % 2 === 0 ? ways : ways.toReversed()) {
        outcomes.push(mustSucceed(await load.runFor(ROUND_MS, target, how)));
      }
    }
    return rowsOf(subject, ways[0].outcomes, ways[1].outcomes);
  } finally {
    await Promise.all([on.stop(), off.stop()]);
  }
}

function rowsOf(subject: Subject, on: readonly LoadOutcome[], off: readonly LoadOutcome[]): Row[] {
  const { name, ratioGoal, throughputGoal } = subject;
  const ratios = on.map((outcome, round) => perSecond(outcome) / perSecond(off[round] ?? outcome));
  const peer = 'batching off';
  return [
    row({
      metric: `${name}: throughput`,
      unit: 'requests/s',
      value: median(on.map(perSecond)),
      peer,
      peerValue: median(off.map(perSecond)),
      ...(throughputGoal !== undefined && { goal: throughputGoal }),
    }),
    row({
      metric: `${name}: times that of no batching, median over the rounds`,
      unit: '×',
      value: median(ratios),
      values: ratios,
      ...(ratioGoal !== undefined && { goal: ratioGoal }),
    }),
    row({
      metric: `${name}: latency p50`,
      unit: 'ms',
      value: median(on.map(medianMs)),
      peer,
      peerValue: median(off.map(medianMs)),
    }),
    row({
      metric: `${name}: CPU of the load generator, at most`,
      unit: '% of a core',
      value: largest([...on, ...off].map(cpuPercent)),
    }),
  ];
}

const perSecond = ({ succeeded, durationMs }: LoadOutcome): number => (succeeded / durationMs) * 1000;
const medianMs = ({ latenciesMs }: LoadOutcome): number => median(latenciesMs);
const cpuPercent = ({ cpuMs, durationMs }: LoadOutcome): number => (cpuMs / durationMs) * 100;

export const benchmark: Benchmark = {
  summary: 'requests run together against each by itself: a model that gains, one that does not, a quick one',
  run,
};
