import { COLD_START_PHASES, type ColdStart } from '../../contracts/cold-start.ts';
import { RESOURCES } from '../../controller/adapters/kube/api/paths.ts';
import { LABELS } from '../../controller/adapters/kube/core/labels.ts';
import { isTerminating } from '../../controller/adapters/kube/core/pod-state.ts';
import { API_VERSION } from '../../crds/inference-service.ts';
import { POOL_KIND } from '../../crds/standby-pool.ts';
import type { Pod } from '../../e2e/cluster/cases/testing/platform.ts';
import { modelService } from '../../e2e/cluster/cases/testing/services.ts';
import { EXPECTED_TEXT, imageRequest, textIn } from '../../e2e/cluster/cases/testing/text-image.ts';
import type { ClientAnswer } from '../../e2e/cluster/client/messages.ts';
import { type BenchmarkContext, rounds } from '../benchmark.ts';
import { type Row, row } from '../report.ts';
import { median, quantile } from '../statistics.ts';
import { type BenchCluster, isPodReady } from './bench-cluster.ts';
import { knativeService, revisionUrl } from './knative.ts';

const STARTS = 30;
/** The way to zero takes each of Knative's pods about 50 s, ours 8 s: services take turns meanwhile. */
const KNATIVE_SERVICES = 10;
const STANDBY_SERVICES = 5;
const FRESH_SERVICES = 5;
const GONE_TIMEOUT_MS = 180_000;
const KEY = 'ocr/rec.onnx';

/** One cold start as the client saw it, and the controller's record where it is one of ours. */
interface Start {
  readonly clientMs: number;
  readonly record?: ColdStart;
}

/** A kind of cold start: services of one sort that take turns. */
interface Contender {
  readonly services: readonly string[];
  /** Resolves when nothing of the service is left and what its start needs is ready. */
  readonly settle: (service: string) => Promise<void>;
  /** @returns undefined for a start that was of another kind and is not to be counted. */
  readonly start: (service: string) => Promise<Start | undefined>;
}

const names = (prefix: string, count: number): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}-${index}`);

/** Services that a standby takes, each with the model in a standby's cache from its second start on. */
async function throughStandby(bench: BenchCluster): Promise<Contender> {
  const services = names('ocr', STANDBY_SERVICES);
  await bench.apply(pool(), ...services.map((name) => modelService(name, KEY, AT_MOST_ONE)));
  for (const service of services) await bench.waitForReady(service);
  return {
    services,
    settle: async (service) => {
      await goneAndQuiet(bench, service);
      await bench.waitForStandby();
    },
    start: async (service) => {
      const start = await startOurs(bench, service);
      return start.record?.via === 'standby' && start.record.cached ? start : undefined;
    },
  };
}

/** Services that no standby fits: each start is a new pod, with the model from the store. */
async function withoutStandby(bench: BenchCluster): Promise<Contender> {
  const services = names('fresh', FRESH_SERVICES);
  // Where a pod may run is fixed when it is created, so no standby can take what asks for it.
  const predictor = { ...AT_MOST_ONE.predictor, nodeSelector: { 'kubernetes.io/os': 'linux' } };
  await bench.apply(...services.map((name) => modelService(name, KEY, { predictor })));
  for (const service of services) await bench.waitForReady(service);
  return {
    services,
    settle: (service) => goneAndQuiet(bench, service),
    start: async (service) => {
      const start = await startOurs(bench, service);
      return start.record?.via === 'new' ? start : undefined;
    },
  };
}

/** Knative with a container that has no model at all and starts at once. */
async function throughKnative(bench: BenchCluster): Promise<Contender> {
  const services = names('hello', KNATIVE_SERVICES);
  await bench.applyKnative(...services.map((name) => knativeService(name, bench.helloImage)));
  const url = (service: string): string => revisionUrl(service, bench.knativeNamespace);
  for (const service of services) {
    await bench.until(`${service} has an address`, () => bench.client.reaches(url(service)), GONE_TIMEOUT_MS);
  }
  return {
    services,
    settle: async (service) => {
      await bench.until(
        `no pod of ${service} is left`,
        async () => (await bench.knativePods(service)).length === 0,
        GONE_TIMEOUT_MS,
      );
    },
    start: async (service) => ({ clientMs: okay(await bench.client.call({ url: url(service) })).tookMs }),
  };
}

/** One replica at most: a second that a burst would ask for would be started beside the one that is timed. */
const AT_MOST_ONE = { predictor: { minReplicas: 0, maxReplicas: 1 } };

function pool(): object {
  return {
    apiVersion: API_VERSION,
    kind: POOL_KIND,
    metadata: { name: 'standbys' },
    spec: { size: STANDBY_SERVICES },
  };
}

/** No pod is the service's, and no pod of the namespace is on its way up or down: neither would be free. */
async function goneAndQuiet(bench: BenchCluster, service: string): Promise<void> {
  await bench.until(
    `${service} is at zero and nothing else under way`,
    async () => {
      const pods = await bench.list<Pod>(RESOURCES.pods);
      return pods.every(
        (pod) => !isTerminating(pod) && isPodReady(pod) && pod.metadata?.labels?.[LABELS.service] !== service,
      );
    },
    GONE_TIMEOUT_MS,
  );
}

/** A request with the example's image, whose text has to be in the answer. */
async function startOurs(bench: BenchCluster, service: string): Promise<Start> {
  const sent = await imageRequest();
  const answer = okay(await bench.call(service, `/v2/models/${service}/infer`, sent));
  const text = await textIn(answer);
  if (text !== EXPECTED_TEXT) throw new Error(`expected the text "${EXPECTED_TEXT}", got "${text}"`);
  const record = await bench.until(`a record of the cold start of ${service}`, async () => {
    const records = await bench.coldStarts(service);
    const newest = records.toSorted((one, other) => other.atMs - one.atMs)[0];
    return newest?.outcome === 'answered' ? newest : undefined;
  });
  return { clientMs: answer.tookMs, record };
}

/** @throws Error for anything but an answer with 200: it has no latency. */
function okay(answer: ClientAnswer): ClientAnswer {
  if (answer.status === 200) return answer;
  throw new Error(`answered ${answer.status}: ${answer.error ?? atob(answer.bodyBase64).slice(0, 500)}`);
}

/** Starts of each kind in turn, until each has as many as asked for. */
async function alternate<Name extends string>(
  contenders: Readonly<Record<Name, Contender>>,
  count: number,
  context: BenchmarkContext,
): Promise<Record<Name, Start[]>> {
  const kinds = Object.keys(contenders) as Name[];
  const found = Object.fromEntries(kinds.map((kind) => [kind, [] as Start[]])) as Record<Name, Start[]>;
  // The first start of each service fetches images and models, and is not counted.
  for (const kind of kinds) {
    const { services, settle, start } = contenders[kind];
    for (const service of services) {
      await settle(service);
      await start(service);
    }
  }
  for (let round = 0; kinds.some((kind) => found[kind].length < count); round++) {
    if (round >= count * 2) throw new Error(`too few of ${round} starts were of the kind that is measured`);
    for (const kind of kinds) {
      const { services, settle, start } = contenders[kind];
      if (found[kind].length >= count) continue;
      const service = services[round % services.length] ?? '';
      await settle(service);
      const measured = await start(service);
      if (measured === undefined) context.say(`a start of ${service} was of another kind and is left out`);
      else found[kind].push(measured);
    }
    if (round % 5 === 4) context.say(`${round + 1} rounds of cold starts`);
  }
  return found;
}

/** @returns rows on cold starts of each kind, all measured in turns. */
export async function coldStartRows(bench: BenchCluster, context: BenchmarkContext): Promise<Row[]> {
  const contenders = {
    standby: await throughStandby(bench),
    knative: await throughKnative(bench),
    fresh: await withoutStandby(bench),
  };
  const count = rounds(context, STARTS);
  const { standby, knative, fresh } = await alternate(contenders, count, context);
  noteSlowest(standby, context);
  const ours = clientMs(standby);
  const theirs = clientMs(knative);
  const peer = (peerValue: number): { peer: string; peerValue: number } => ({
    peer: 'Knative, a container without a model',
    peerValue,
  });
  return [
    row({
      metric: 'cold start through a standby, p50',
      unit: 'ms',
      value: median(ours),
      ...peer(median(theirs)),
      goal: '<= 100',
      values: ours,
    }),
    row({
      metric: 'cold start through a standby, p95',
      unit: 'ms',
      value: quantile(ours, 0.95),
      ...peer(quantile(theirs, 0.95)),
      goal: '<= 200',
    }),
    row({
      metric: "Knative's cold start of a container without a model, p50",
      unit: 'ms',
      value: median(theirs),
      values: theirs,
    }),
    row({
      metric: 'faster than Knative, p50 against p50',
      unit: 'times',
      value: median(theirs) / median(ours),
      goal: '>= 8',
    }),
    ...phaseRows('through a standby', standby),
    ...recycleRows(await bench.recyclesMs()),
    row({
      metric: 'cold start with a new pod, model from the store, p50',
      unit: 'ms',
      value: median(clientMs(fresh)),
      ...peer(median(theirs)),
      goal: '<= 2000',
      values: clientMs(fresh),
    }),
    row({
      metric: 'cold start with a new pod, model from the store, p95',
      unit: 'ms',
      value: quantile(clientMs(fresh), 0.95),
    }),
    ...phaseRows('with a new pod', fresh),
  ];
}

/** What the longest starts were spent on, which no median tells. */
function noteSlowest(starts: readonly Start[], context: BenchmarkContext): void {
  const slowest = starts.toSorted((one, other) => other.clientMs - one.clientMs).slice(0, 3);
  for (const { clientMs: wholeMs, record } of slowest) {
    const phases = Object.entries(record?.phasesMs ?? {}).map(([phase, ms]) => `${phase} ${Math.round(ms)}`);
    const when = `start ${starts.findIndex((start) => start.record === record) + 1} of ${starts.length}`;
    context.note(
      `Among the three longest through a standby, ${when}: ${Math.round(wholeMs)} ms (${phases.join(', ')}).`,
    );
  }
}

function recycleRows(recyclesMs: readonly number[]): Row[] {
  // Or nothing was seen: the standbys of these starts have all been here before.
  if (recyclesMs.length < STANDBY_SERVICES)
    throw new Error(`expected recycled pods, the controller tells of ${recyclesMs.length}`);
  return [
    row({
      metric: 'from the end of a replica to a standby again, p50',
      unit: 'ms',
      value: median(recyclesMs),
      goal: '<= 250',
      values: [...recyclesMs],
    }),
    row({
      metric: 'from the end of a replica to a standby again, p95',
      unit: 'ms',
      value: quantile(recyclesMs, 0.95),
    }),
  ];
}

const clientMs = (starts: readonly Start[]): number[] => starts.map((start) => start.clientMs);

/** Where the time went by the platform's own records; the rest is the client's connection and name look-up. */
function phaseRows(how: string, starts: readonly Start[]): Row[] {
  const phases = COLD_START_PHASES.flatMap((phase) => {
    const times = starts.flatMap(({ record }) => record?.phasesMs[phase] ?? []);
    return times.length === 0
      ? []
      : [row({ metric: `${how}, phase ${phase}, p50`, unit: 'ms', value: median(times) })];
  });
  const outside = starts.flatMap(({ clientMs: whole, record }) =>
    record === undefined ? [] : [whole - record.totalMs],
  );
  return [
    ...phases,
    row({ metric: `${how}, outside of the phases, p50`, unit: 'ms', value: median(outside) }),
  ];
}
