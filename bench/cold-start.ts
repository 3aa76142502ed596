import type { ColdStart } from '../contracts/cold-start.ts';
import { COLD_START_PHASES } from '../contracts/cold-start.ts';
import type { TestPlatform } from '../e2e/local/testing/platform.ts';
import { waitFor } from '../e2e/local/testing/wait-for.ts';
import { benchManifest, openPlatform, waitUntilQuiet } from './bench-platform.ts';
import { type Benchmark, type BenchmarkContext, rounds } from './benchmark.ts';
import { inferOnce } from './cold-start-client.ts';
import { type BinaryInput, binaryRequest } from './inference-request.ts';
import { checkText, OCR_MODEL, ocrInput } from './ocr.ts';
import { plainStarts } from './plain-peer.ts';
import { type Row, row } from './report.ts';
import { deviationPercent, median, quantile } from './statistics.ts';

const STARTS = 50;
const OTHER_STARTS = 10;
/** Figure 10 of the paper of 2023 whose size classes are used throughout: models below 100 MB. */
const PAPER_MS = 278;

interface MeasuredStart {
  /** The client's stopwatch. */
  readonly clientMs: number;
  /** The same stopwatch at the head of the answer, where the platform's last phase ends. */
  readonly firstByteMs: number;
  readonly record: ColdStart;
}

/**
 * Starts of services that are at zero because they were idle. The shortest window is 6 s, so 50 starts of one
 * service would take six minutes; five services with the same model take turns instead. Each goes the whole
 * way: idle for its window, out of the routes, drained, its process replaced in place, a standby again; only then
 * does its next request come, and only while nothing else on the platform is under way.
 */
const SERVICES = Array.from({ length: 5 }, (_, index) => `ocr-${index}`);

async function measure(
  input: BinaryInput,
  { count, standbys }: { count: number; standbys: number },
): Promise<MeasuredStart[]> {
  const manifests = Object.fromEntries(
    // One replica at most: a second that a burst would ask for would be started beside the one that is timed.
    SERVICES.map((name) => [`${name}.yaml`, benchManifest(name, OCR_MODEL, { maxReplicas: 1 })]),
  );
  await using opened = await openPlatform({ manifests, standbys });
  const { platform } = opened;
  const via = standbys > 0 ? 'standby' : 'new';
  const starts: MeasuredStart[] = [];
  for (let start = 0; start < count + SERVICES.length; start++) {
    const service = SERVICES[start % SERVICES.length] ?? '';
    await waitUntilGone(platform, service);
    await waitUntilQuiet(platform, standbys);
    const answer = await inferOnce(platform.url, binaryRequest(service, input));
    checkText(answer.shape, answer.values);
    const record = await answeredStart(platform, service);
    // Each service's first start puts its model into the cache and isn't counted.
    if (start < SERVICES.length) continue;
    if (record.via !== via || !record.cached) {
      throw new Error(`expected a start via ${via} with the model in the cache: ${JSON.stringify(record)}`);
    }
    starts.push({ clientMs: answer.totalMs, firstByteMs: answer.firstByteMs, record });
  }
  return starts;
}

/** Until the service has no replica, on its way out ones included. */
async function waitUntilGone(platform: TestPlatform, service: string): Promise<void> {
  await waitFor(
    `${service} is at zero`,
    async () => {
      const { state } = await platform.service(service);
      return state === 'Standby' && (await platform.replicas(service)).length === 0;
    },
    60_000,
  );
}

/** The controller's record of the start that was just answered; the activator reports within 100 ms. */
async function answeredStart(platform: TestPlatform, service: string): Promise<ColdStart> {
  const [replica] = await platform.replicas(service);
  return waitFor('a record of the cold start', async () => {
    const records = await platform.coldStarts();
    return records.find((one) => one.outcome === 'answered' && one.replica === replica?.id);
  });
}

const clientMs = (starts: readonly MeasuredStart[]): number[] => starts.map((start) => start.clientMs);

function phaseRows(starts: readonly MeasuredStart[]): Row[] {
  return COLD_START_PHASES.flatMap((phase) => {
    const times = starts.flatMap(({ record }) => record.phasesMs[phase] ?? []);
    if (times.length === 0) return [];
    return [row({ metric: `phase ${phase}, p50`, unit: 'ms', value: median(times) })];
  });
}

function phaseDeviations(starts: readonly MeasuredStart[]): number[] {
  return starts.map(({ firstByteMs, record }) => {
    const sumMs = Object.values(record.phasesMs).reduce((sum, phaseMs) => sum + phaseMs, 0);
    return deviationPercent(firstByteMs, sumMs);
  });
}

async function run(context: BenchmarkContext): Promise<Row[]> {
  const input = await ocrInput();
  const count = rounds(context, STARTS);
  context.say(`${count} cold starts through a standby`);
  const standby = await measure(input, { count, standbys: SERVICES.length });
  const others = rounds(context, OTHER_STARTS);
  context.say(`${others} cold starts without a standby`);
  const fresh = await measure(input, { count: others, standbys: 0 });
  context.say(`${others} plain processes that fetch, create and answer`);
  const plain = median(await plainStarts([OCR_MODEL], input, others));

  const p50 = median(clientMs(standby));
  const plainPeer = { peer: 'plain Node process: fetch, create, answer', peerValue: plain };
  return [
    row({ metric: 'through a standby, p50', unit: 'ms', value: p50, goal: '<= 100', ...plainPeer }),
    row({
      metric: 'through a standby, to the head of the answer, p50',
      unit: 'ms',
      value: median(standby.map(({ firstByteMs }) => firstByteMs)),
    }),
    row({
      metric: 'through a standby, p95',
      unit: 'ms',
      value: quantile(clientMs(standby), 0.95),
      goal: '<= 200',
    }),
    row({
      metric: 'through a standby, p50, against a published figure',
      unit: 'ms',
      value: p50,
      peer: 'paper of 2023, < 100 MB, other machine',
      peerValue: PAPER_MS,
    }),
    row({
      metric: 'phases against the client at the head of the answer, p50 of the difference',
      unit: '%',
      value: median(phaseDeviations(standby)),
      goal: '<= 5',
    }),
    ...phaseRows(standby),
    row({
      metric: 'a new process, no standby, p50',
      unit: 'ms',
      value: median(clientMs(fresh)),
      ...plainPeer,
    }),
  ];
}

export const benchmark: Benchmark = {
  summary: `${STARTS} cold starts of the text recogniser, its model in the cache`,
  run,
};
