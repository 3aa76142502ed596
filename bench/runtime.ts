import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import type { SpecialiseEvent } from '../contracts/admin.ts';
import { claimOf, StandbyProcess } from '../e2e/local/testing/standby-process.ts';
import { matMulChain } from '../e2e/models/onnx-models.ts';
import { memoryOf } from './bench-platform.ts';
import { type Benchmark, type BenchmarkContext, rounds } from './benchmark.ts';
import { inferOnce } from './cold-start-client.ts';
import { type BinaryRequest, binaryRequest, onTheWire } from './inference-request.ts';
import { LoadGenerator, mustSucceed } from './load/load-generator.ts';
import { OCR_MODEL, ocrInput } from './ocr.ts';
import { Pings } from './pings.ts';
import { type Row, row } from './report.ts';
import { chainInput, modelFolder, writeModel } from './sized-model.ts';
import { largest, median } from './statistics.ts';

const RECYCLES = 20;
/** A standby has had time to give back what its start needed. */
const IDLE_MS = 5_000;
/** How long an idle standby is pinged, to see what the machine alone does to the figure. */
const IDLE_PINGS_MS = 500;
const RECYCLE_DEADLINE_MS = 10_000;
const POLL_MS = 2;
const TRIVIAL_WIDTH = 4;
const THROUGHPUT_MS = 5_000;
const CONNECTIONS = 16;
const MEGABYTE = 1e6;
const NAME = 'test';

interface Cycle {
  readonly recycleMs: number;
  readonly stallMs: number;
  readonly idleStallMs: number;
}

/** One model's life in a standby: claimed, asked ten times, drained, recycled. */
async function cycle(standby: StandbyProcess, claimId: string, request: BinaryRequest): Promise<Cycle> {
  const stalls = await stallsWhile(standby, claimId, request);
  await standby.admin('/admin/drain', { claimId, epoch: 1, deadlineMs: 5_000 });
  const before = standby.record()?.incarnation;
  const recycledMs = performance.now();
  const { status, text } = await standby.admin('/admin/recycle', { claimId, epoch: 1, deadlineMs: 0 });
  if (status !== 202) throw new Error(`recycle was refused with ${status}: ${text}`);
  while (!(await isStandbyAgain(standby, before))) {
    if (performance.now() - recycledMs > RECYCLE_DEADLINE_MS)
      throw new Error('the process did not come back');
    await sleep(POLL_MS);
  }
  return { recycleMs: performance.now() - recycledMs, ...stalls };
}

async function stallsWhile(
  standby: StandbyProcess,
  claimId: string,
  request: BinaryRequest,
): Promise<Omit<Cycle, 'recycleMs'>> {
  await using pings = await Pings.open(standby.record()?.servingPort ?? 0);
  await sleep(IDLE_PINGS_MS);
  const idleStallMs = await pings.takeLongestMs();
  const claim = claimOf(pathToFileURL(OCR_MODEL).href, { claimId, warmUp: 'run' });
  mustBeReady(await standby.specialise(claim));
  for (let times = 0; times < 10; times++) await inferOnce(standby.serving, request);
  return { idleStallMs, stallMs: await pings.takeLongestMs() };
}

function mustBeReady(events: readonly SpecialiseEvent[]): void {
  const last = events.at(-1);
  if (last?.event !== 'ready') throw new Error(`expected a model that is ready, got ${JSON.stringify(last)}`);
}

/** By its own word: the admin port of the next incarnation answers that it is a standby. */
async function isStandbyAgain(standby: StandbyProcess, before: string | undefined): Promise<boolean> {
  try {
    const { state, incarnation } = await standby.state();
    return state === 'standby' && incarnation !== before;
  } catch {
    // The process is being replaced: nobody listens.
    return false;
  }
}

async function trivialThroughput(standby: StandbyProcess, folder: string): Promise<number> {
  const path = writeModel(folder, 'trivial', matMulChain({ layers: 1, width: TRIVIAL_WIDTH }));
  mustBeReady(
    await standby.specialise(claimOf(pathToFileURL(path).href, { claimId: 'trivial', warmUp: 'run' })),
  );
  const port = standby.record()?.servingPort ?? 0;
  const request = onTheWire(`127.0.0.1:${port}`, binaryRequest(NAME, chainInput(TRIVIAL_WIDTH)));
  const target = { host: '127.0.0.1', port, request };
  await using load = await LoadGenerator.open();
  await load.runFor(THROUGHPUT_MS / 2, target, { connections: CONNECTIONS });
  const outcome = mustSucceed(await load.runFor(THROUGHPUT_MS, target, { connections: CONNECTIONS }));
  return (outcome.succeeded / outcome.durationMs) * 1000;
}

async function run(context: BenchmarkContext): Promise<Row[]> {
  using folder = modelFolder();
  const request = binaryRequest(NAME, await ocrInput());
  const standby = await StandbyProcess.start(folder.path);
  try {
    await sleep(IDLE_MS);
    const idle = memoryOf(standby.pid).residentBytes;
    context.say('a model claimed, used and given back');
    const cycles: Cycle[] = [];
    for (let times = 0; times < rounds(context, RECYCLES); times++) {
      cycles.push(await cycle(standby, `claim-${times}`, request));
    }
    await sleep(IDLE_MS);
    const recycled = memoryOf(standby.pid).residentBytes;
    context.say('throughput of a trivial model');
    const throughput = await trivialThroughput(standby, folder.path);
    return [
      row({ metric: 'standby, idle, resident', unit: 'MB', value: idle / MEGABYTE, goal: '<= 120' }),
      row({
        metric: 'standby, recycled, idle, resident',
        unit: 'MB',
        value: recycled / MEGABYTE,
        goal: '<= 120',
      }),
      row({
        metric: 'recycle to standby again, p50',
        unit: 'ms',
        value: median(cycles.map(({ recycleMs }) => recycleMs)),
        goal: '<= 150',
      }),
      row({
        metric: 'recycle to standby again, at most',
        unit: 'ms',
        value: largest(cycles.map(({ recycleMs }) => recycleMs)),
      }),
      row({
        metric: 'stall while a model loads and runs, p50 of the longest',
        unit: 'ms',
        value: median(cycles.map(({ stallMs }) => stallMs)),
        peer: 'idle standby, same pings',
        peerValue: median(cycles.map(({ idleStallMs }) => idleStallMs)),
        goal: '<= 20',
      }),
      row({
        metric: 'stall while a model loads and runs, at most',
        unit: 'ms',
        value: largest(cycles.map(({ stallMs }) => stallMs)),
      }),
      row({ metric: `trivial model, ${CONNECTIONS} connections`, unit: 'requests/s', value: throughput }),
    ];
  } finally {
    await standby.kill();
  }
}

export const benchmark: Benchmark = {
  summary: 'the runtime by itself: memory of a standby, recycling, stalls, requests/s',
  run,
};
