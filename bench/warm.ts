import { benchManifest, openPlatform } from './bench-platform.ts';
import { type Benchmark, type BenchmarkContext, rounds } from './benchmark.ts';
import { binaryRequest, onTheWire } from './inference-request.ts';
import { LoadGenerator, mustSucceed } from './load/load-generator.ts';
import type { LoadOutcome, Target } from './load/messages.ts';
import { type Row, row } from './report.ts';
import { modelFolder, modelOfDuration } from './sized-model.ts';
import { largest, lossPercent, median } from './statistics.ts';

const SERVICE = 'warm';
const MODEL_MS = 1;
const CONNECTIONS = 16;
const ROUNDS = 20;
const ROUND_MS = 1_500;
const WARM_UP_MS = 3_000;
/** Share of the runtime's throughput that is offered when latencies at the same load are compared. */
const PACED_SHARE = 0.5;

/** The outcomes of the rounds at the runtime alone and through the activator. */
interface Rounds {
  direct: LoadOutcome[];
  proxied: LoadOutcome[];
}

async function run(context: BenchmarkContext): Promise<Row[]> {
  using folder = modelFolder();
  const model = await modelOfDuration(folder.path, MODEL_MS);
  context.say(`a model of ${model.runMs.toFixed(2)} ms`);
  await using opened = await openPlatform({
    manifests: {
      [`${SERVICE}.yaml`]: benchManifest(SERVICE, model.path, {
        minReplicas: 1,
        maxReplicas: 1,
        // One inference after the other, whatever would be found to pay.
        batcher: { maxBatchSize: 1 },
      }),
    },
  });
  const { platform } = opened;
  await platform.waitForService(SERVICE, 'is ready', ({ replicas }) => replicas.ready === 1, 30_000);
  const [replica] = await platform.replicas(SERVICE);
  // The name by which the runtime knows the service in a direct request, too.
  const request = onTheWire(`${SERVICE}.default`, binaryRequest(SERVICE, model.input));
  const target = (address: string): Target => {
    const [host, port] = address.split(':');
    return { host: host ?? '', port: Number(port), request };
  };
  const direct = target(replica?.address ?? '');
  const proxied = target(new URL(platform.url).host);

  await using load = await LoadGenerator.open();
  for (const warmUp of [direct, proxied]) {
    mustSucceed(await load.runFor(WARM_UP_MS, warmUp, { connections: CONNECTIONS }));
  }
  // Rounds take turns, and each pair begins with the other one, so that what drifts hits both alike.
  const compare = async (how: { connections: number; ratePerSecond?: number }): Promise<Rounds> => {
    const outcomes: Rounds = { direct: [], proxied: [] };
    for (let round = 0; round < rounds(context, ROUNDS); round++) {
      for (const way of round % 2 === 0 ? WAYS : WAYS.toReversed()) {
        const outcome = await load.runFor(ROUND_MS, way === 'direct' ? direct : proxied, how);
        outcomes[way].push(mustSucceed(outcome));
      }
    }
    return outcomes;
  };
  context.say(`${CONNECTIONS} connections, each as fast as it is answered`);
  const closed = await compare({ connections: CONNECTIONS });
  const directPerSecond = median(closed.direct.map(perSecond));
  const ratePerSecond = Math.round(directPerSecond * PACED_SHARE);
  context.say(`${CONNECTIONS} connections, ${ratePerSecond} requests/s`);
  const paced = await compare({ connections: CONNECTIONS, ratePerSecond });
  context.say('one connection');
  const single = await compare({ connections: 1 });

  const proxiedPerSecond = median(closed.proxied.map(perSecond));
  const peer = 'runtime alone';
  const latencies = (text: string, outcomes: Rounds, goal?: string): Row[] => {
    const directMs = median(outcomes.direct.map(medianMs));
    const proxiedMs = median(outcomes.proxied.map(medianMs));
    return [
      row({ metric: `latency p50, ${text}`, unit: 'ms', value: proxiedMs, peer, peerValue: directMs }),
      row({
        metric: `added latency p50, ${text}`,
        unit: 'ms',
        value: proxiedMs - directMs,
        ...(goal !== undefined && { goal }),
      }),
    ];
  };
  return [
    row({ metric: 'one inference of the model', unit: 'ms', value: model.runMs }),
    row({
      metric: `throughput, ${CONNECTIONS} connections`,
      unit: 'requests/s',
      value: proxiedPerSecond,
      peer,
      peerValue: directPerSecond,
    }),
    row({
      metric: `throughput loss, ${CONNECTIONS} connections`,
      unit: '%',
      value: median(lossesPercent(closed)),
      goal: '<= 25',
    }),
    ...latencies(`${CONNECTIONS} connections at ${ratePerSecond} requests/s`, paced, '<= 0.5'),
    ...latencies('1 connection', single, '<= 0.5'),
    // Every connection waits for the fifteen others here: 16 ms at 1 ms each, and a loss of 25 % alone adds 5 ms. So
    // this row says again what the throughput says, and has no goal of its own.
    ...latencies(`${CONNECTIONS} connections, saturated`, closed),
    row({
      metric: 'CPU of the load generator, saturated, at most',
      unit: '% of a core',
      value: largest([...closed.direct, ...closed.proxied].map(cpuPercent)),
    }),
  ];
}

const WAYS = ['direct', 'proxied'] as const;
const perSecond = ({ succeeded, durationMs }: LoadOutcome): number => (succeeded / durationMs) * 1000;
const medianMs = ({ latenciesMs }: LoadOutcome): number => median(latenciesMs);
const cpuPercent = ({ cpuMs, durationMs }: LoadOutcome): number => (cpuMs / durationMs) * 100;

/** One loss a pair of neighbouring rounds: what slows both of a pair down cancels out. */
const lossesPercent = ({ direct, proxied }: Rounds): number[] =>
  direct.flatMap((alone, round) => {
    const through = proxied[round];
    return through === undefined ? [] : [lossPercent(perSecond(alone), perSecond(through))];
  });

export const benchmark: Benchmark = {
  summary: 'through the activator against the runtime alone, a model of about 1 ms',
  run,
};
