import { decodeInferRequest } from '../runtime/core/oip-json.ts';
import { encodeInferResponse } from '../runtime/core/oip-response.ts';
import { type Benchmark, type BenchmarkContext, rounds } from './benchmark.ts';
import { eventLoopRows } from './json-event-loop.ts';
import { type Row, row } from './report.ts';

const SHAPE = [1, 3, 224, 224];
const COUNT = 3 * 224 * 224;
const ROUNDS = 60;
/** Times as long as JSON.parse or JSON.stringify alone, which give no tensors. */
const MOST_TIMES = '<= 1.5';

/** The shortest of many, in turns: what each takes when nothing else gets in between. */
function shortestMs(times: number, works: readonly (() => unknown)[]): number[] {
  const shortest = works.map(() => Number.POSITIVE_INFINITY);
  for (let round = 0; round < times; round++) {
    for (const [index, work] of works.entries()) {
      const fromMs = performance.now();
      work();
      shortest[index] = Math.min(shortest[index] ?? 0, performance.now() - fromMs);
    }
  }
  return shortest;
}

/** A row of how many times as long `work` takes as `plain`. */
function compared(
  times: number,
  metric: string,
  peer: string,
  work: () => unknown,
  plain: () => unknown,
): Row[] {
  const [value = 0, peerValue = 0] = shortestMs(times, [work, plain]);
  return [
    row({ metric, unit: 'ms', value, peer, peerValue }),
    row({ metric: `${metric}, against ${peer}`, unit: 'times', value: value / peerValue, goal: MOST_TIMES }),
  ];
}

function reading(times: number, what: string, datatype: string, data: string): Row[] {
  const text = `{"inputs":[{"name":"x","shape":${JSON.stringify(SHAPE)},"datatype":"${datatype}","data":${data}}]}`;
  const bytes = Buffer.from(text);
  return compared(
    times,
    `read an image of 224 × 224 × 3, ${what} (${(bytes.length / 1e6).toFixed(1)} MB)`,
    'JSON.parse',
    () => decodeInferRequest(bytes),
    () => JSON.parse(text),
  );
}

async function run(context: BenchmarkContext): Promise<Row[]> {
  const times = rounds(context, ROUNDS);
  const floats = Float32Array.from({ length: COUNT }, (_, index) => Math.sin(index));
  const numbers = Array.from(floats);
  const bytes = numbers.map((value) => Math.floor(Math.abs(value) * 255));
  const writing = (): unknown =>
    encodeInferResponse(
      {
        modelName: 'm',
        modelVersion: undefined,
        id: undefined,
        parameters: {},
        outputs: [{ name: 'y', datatype: 'FP32', shape: SHAPE, data: floats }],
      },
      () => false,
    );
  return [
    ...reading(times, 'FP32 as Node writes it', 'FP32', JSON.stringify(numbers)),
    ...reading(times, 'FP32 as Python writes it', 'FP32', JSON.stringify(numbers).replaceAll(',', ', ')),
    ...reading(times, 'UINT8', 'UINT8', JSON.stringify(bytes)),
    ...compared(times, 'write as many FP32', 'JSON.stringify', writing, () => JSON.stringify(numbers)),
    ...(await eventLoopRows(context)),
  ];
}

export const benchmark: Benchmark = {
  summary:
    'How long it takes to read tensors from JSON and to write them as JSON, and for how long that keeps others waiting',
  run,
};
