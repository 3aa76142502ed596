import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { decodeInferBody } from '../runtime/core/oip-binary.ts';
import { encodeInferResponse } from '../runtime/core/oip-response.ts';
import type { Tensor } from '../runtime/core/tensor.ts';
import { ByteBudget } from '../runtime/server/byte-budget.ts';
import { LargeJson } from '../runtime/server/large-json.ts';
import { HeldBytes } from '../runtime/server/read-body.ts';
import { type BenchmarkContext, rounds } from './benchmark.ts';
import { type Row, row } from './report.ts';
import { median } from './statistics.ts';

const ROUNDS = 12;
const BODY_BYTES = 16_000_000;
/** Of FP32 as Node writes it, its comma included. */
const BYTES_PER_NUMBER = 20.5;
const COUNT = Math.round(BODY_BYTES / BYTES_PER_NUMBER);
const SIGNATURE = {
  inputs: [{ name: 'x', datatype: 'FP32', shape: [-1] }],
  outputs: [],
  maxBatchSize: 0,
} as const;
/** Milliseconds in which the histogram has begun, as it does with its timer's second call, and notes what has ended. */
const SETTLE_MS = 10;
/** The thread against the event loop itself. */
const MOST_TIMES = '<= 0.25';

interface Measured {
  /** The longest that the event loop stood still, 1 ms of its own timer included. */
  longestDelayMs: number;
  tookMs: number;
}

async function measured(work: () => unknown): Promise<Measured> {
  const delays = monitorEventLoopDelay({ resolution: 1 });
  delays.enable();
  await sleep(SETTLE_MS);
  const fromMs = performance.now();
  await work();
  const tookMs = performance.now() - fromMs;
  await sleep(SETTLE_MS);
  delays.disable();
  return { longestDelayMs: delays.max / 1e6, tookMs };
}

/** Each round does it once here and once in another thread; what they work on is made anew for each. */
async function compared<Input>(
  times: number,
  metric: string,
  make: () => Input,
  here: (input: Input) => unknown,
  there: (input: Input) => Promise<unknown>,
): Promise<Row[]> {
  await there(make());
  const [onLoop, inThread]: [Measured[], Measured[]] = [[], []];
  for (let round = 0; round < times; round++) {
    let input = make();
    onLoop.push(await measured(() => here(input)));
    input = make();
    inThread.push(await measured(() => there(input)));
  }
  const delays = (all: Measured[]): number[] => all.map(({ longestDelayMs }) => longestDelayMs);
  const took = (all: Measured[]): number => median(all.map(({ tookMs }) => tookMs));
  const value = median(delays(inThread));
  const peerValue = median(delays(onLoop));
  const peer = 'on the loop itself';
  return [
    row({
      metric: `event loop's longest delay while ${metric}`,
      unit: 'ms',
      value,
      peer,
      peerValue,
      values: delays(inThread),
    }),
    row({
      metric: `event loop's longest delay while ${metric}, against ${peer}`,
      unit: 'times',
      value: value / peerValue,
      goal: MOST_TIMES,
    }),
    row({ metric: `time until ${metric}`, unit: 'ms', value: took(inThread), peer, peerValue: took(onLoop) }),
  ];
}

/** How long large JSON keeps everybody else waiting, here and in another thread. */
export async function eventLoopRows(context: BenchmarkContext): Promise<Row[]> {
  const times = rounds(context, ROUNDS);
  const budget = new ByteBudget(Number.MAX_SAFE_INTEGER);
  const json = new LargeJson(budget, (error) => context.say(error.message));
  const user = {
    deadlineMs: Number.POSITIVE_INFINITY,
    signal: new AbortController().signal,
    held: new HeldBytes(budget),
  };
  const numbers = Float32Array.from({ length: COUNT }, (_, index) => Math.sin(index));
  const text = `{"inputs":[{"name":"x","shape":[${COUNT}],"datatype":"FP32","data":${JSON.stringify(Array.from(numbers))}}]}`;
  const responseOf = (data: Float32Array): Parameters<typeof encodeInferResponse>[0] => {
    const output: Tensor = { name: 'y', datatype: 'FP32', shape: [COUNT], data };
    return { modelName: 'm', modelVersion: undefined, id: undefined, parameters: {}, outputs: [output] };
  };
  const inJson = (): boolean => false;
  try {
    return [
      ...(await compared(
        times,
        'a body of 16 MB is read',
        () => Buffer.from(text),
        (body) => decodeInferBody(body, undefined, SIGNATURE),
        (body) => json.decodeV2({ body, headerLength: undefined, signature: SIGNATURE }, user),
      )),
      ...(await compared(
        times,
        'an answer of 16 MB is written',
        () => numbers.slice(),
        (data) => encodeInferResponse(responseOf(data), inJson),
        (data) => json.encodeV2(responseOf(data), inJson, user),
      )),
    ];
  } finally {
    json.close();
  }
}
