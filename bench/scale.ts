import { setTimeout as sleep } from 'node:timers/promises';
import type { TestPlatform } from '../e2e/local/testing/platform.ts';
import { waitFor } from '../e2e/local/testing/wait-for.ts';
import { benchManifest, openPlatform } from './bench-platform.ts';
import { type Benchmark, type BenchmarkContext, rounds } from './benchmark.ts';
import { binaryRequest, onTheWire } from './inference-request.ts';
import { LoadGenerator } from './load/load-generator.ts';
import type { LoadOutcome, Target } from './load/messages.ts';
import { type Row, row } from './report.ts';
import { chainInput, modelFolder, modelOfDuration } from './sized-model.ts';
import { largest, median, quantile } from './statistics.ts';

const SERVICE = 'scale';
const ROUNDS = 10;
const REPLICAS = 8;
/** Twice what the replicas take at once, so that all of them are wanted. */
const MANY = 2 * REPLICAS;
const MODEL_MS = 1;
/** Replicas leave while this load goes on. */
const FEW = 2;
const FEW_MS = 9_000;
const DEADLINE_MS = 120_000;

interface Round {
  readonly outcome: LoadOutcome;
  readonly toEightMs: number;
}

/**
 * Zero, sixteen clients at once, eight replicas; two clients while most replicas leave; then silence until no
 * endpoint is left. The next round's clients come in that moment, while the last replica is still being drained.
 */
async function runRound(platform: TestPlatform, load: LoadGenerator, target: Target): Promise<Round> {
  const startedMs = performance.now();
  load.start(target, { connections: MANY });
  await waitFor(
    `${REPLICAS} replicas are ready`,
    async () => (await platform.service(SERVICE)).replicas.ready === REPLICAS,
    DEADLINE_MS,
  );
  const toEightMs = performance.now() - startedMs;
  load.setConnections(FEW);
  await sleep(FEW_MS);
  const { replicas } = await platform.service(SERVICE);
  if (replicas.ready >= REPLICAS) throw new Error('no replica has left under the small load');
  const outcome = await load.stop();
  await waitFor(
    'no replica serves',
    async () => (await platform.replicas(SERVICE)).every(({ state }) => state !== 'ready'),
    DEADLINE_MS,
  );
  return { outcome, toEightMs };
}

async function run(context: BenchmarkContext): Promise<Row[]> {
  const count = rounds(context, ROUNDS);
  using folder = modelFolder();
  const model = await modelOfDuration(folder.path, MODEL_MS);
  const manifest = benchManifest(SERVICE, model.path, {
    maxReplicas: REPLICAS,
    containerConcurrency: 1,
    scaling: { panicWindowPercentage: 10, targetUtilizationPercentage: 100, maxScaleDownRate: 10 },
  });
  await using opened = await openPlatform({ manifests: { [`${SERVICE}.yaml`]: manifest }, standbys: 1 });
  const { platform } = opened;
  const { hostname, port } = new URL(platform.url);
  const request = onTheWire(hostname, binaryRequest(SERVICE, chainInput()));
  const target = { host: hostname, port: Number(port), request };
  await platform.waitForStandbys(1);
  await using load = await LoadGenerator.open();
  const done: Round[] = [];
  for (let round = 1; round <= count; round++) {
    const one = await runRound(platform, load, target);
    done.push(one);
    for (const [what, times] of Object.entries(one.outcome.failed)) context.say(`failed: ${times} × ${what}`);
    context.say(
      `round ${round}: ${one.outcome.succeeded} answers, ${REPLICAS} replicas after ${Math.round(one.toEightMs)} ms`,
    );
  }
  const failed = done.flatMap(({ outcome }) => Object.values(outcome.failed));
  const toEightMs = done.map((round) => round.toEightMs);
  const succeeded = done.reduce((sum, { outcome }) => sum + outcome.succeeded, 0);
  return [
    row({ metric: 'times from 0 to 8 and back', unit: 'times', value: count }),
    row({ metric: 'requests answered with 200', unit: 'requests', value: succeeded }),
    row({
      metric: 'requests that failed',
      unit: 'requests',
      value: failed.reduce((sum, times) => sum + times, 0),
      goal: '= 0',
    }),
    row({ metric: 'from 0 to 8 replicas, p50', unit: 'ms', value: median(toEightMs) }),
    row({ metric: 'from 0 to 8 replicas, at most', unit: 'ms', value: largest(toEightMs) }),
    row({
      metric: 'latency p50',
      unit: 'ms',
      value: median(done.map(({ outcome }) => median(outcome.latenciesMs))),
    }),
    row({
      metric: 'latency p99',
      unit: 'ms',
      value: median(done.map(({ outcome }) => quantile(outcome.latenciesMs, 0.99))),
    }),
    row({
      metric: 'latency at most, starts included',
      unit: 'ms',
      value: largest(done.map(({ outcome }) => largest(outcome.latenciesMs))),
    }),
  ];
}

export const benchmark: Benchmark = {
  summary: 'a service goes from 0 to 8 replicas and back under load, ten times',
  run,
};
