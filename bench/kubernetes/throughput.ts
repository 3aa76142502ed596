import { z } from 'zod';
import { RESOURCES } from '../../controller/adapters/kube/api/paths.ts';
import type { KubeObject } from '../../controller/adapters/kube/api/wire.ts';
import { containerService, markedService } from '../../e2e/cluster/cases/testing/services.ts';
import { zeros } from '../../e2e/local/testing/marked-model.ts';
import { type BenchmarkContext, rounds } from '../benchmark.ts';
import { type Row, row } from '../report.ts';
import { median } from '../statistics.ts';
import { type BenchCluster, isPodReady } from './bench-cluster.ts';
import { knativeService, revisionUrl } from './knative.ts';

const ROUNDS = 30;
const ROUND_SECONDS = 1;
const CONNECTIONS = 16;
/** What the container takes at once on either side: more than there are connections, so that nothing queues. */
const CONTAINER_CONCURRENCY = 100;
/** Always at one pod: nothing is started or stopped while it is measured. */
const ONE = { minReplicas: 1, maxReplicas: 1 };
const DIRECT_TIMEOUT_MS = 30_000;

/** What is called, in turn with others. */
interface Target {
  readonly url: string;
  readonly host?: string;
  readonly body?: string;
}

interface Load {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** The same container behind both platforms, its requests through the activator of each. */
export async function proxiedRows(bench: BenchCluster, context: BenchmarkContext): Promise<Row[]> {
  const container = {
    name: 'hello',
    image: bench.helloImage,
    ports: [{ containerPort: 8080 }],
    resources: { requests: { cpu: '50m', memory: '16Mi' } },
  };
  const predictor = { ...ONE, containerConcurrency: CONTAINER_CONCURRENCY };
  await bench.apply(containerService('echo', container, { predictor, scaling: { initialScale: 1 } }));
  const always = { 'initial-scale': '1', 'min-scale': '1', 'target-burst-capacity': '-1' };
  const knative = { annotations: always, containerConcurrency: CONTAINER_CONCURRENCY };
  await bench.applyKnative(knativeService('echo', bench.helloImage, knative));
  await bench.waitForService('echo', 'has a replica', ({ status }) => status?.replicas?.ready === 1);
  const knativeUrl = revisionUrl('echo', bench.knativeNamespace);
  for (const url of [bench.url('echo', '/'), knativeUrl]) {
    await bench.until(`${url} answers`, async () => (await bench.client.call({ url })).status === 200);
  }
  const found = await alternate(bench, context, {
    ours: { url: bench.url('echo', '/') },
    knative: { url: knativeUrl },
    alone: { url: `http://${await addressOf(bench, 'echo')}:8080/` },
  });
  const peer = (of: (load: Load) => number): { peer: string; peerValue: number } => ({
    peer: 'Knative with its activator',
    peerValue: median(found.knative.map(of)),
  });
  const ours = (of: (load: Load) => number): number => median(found.ours.map(of));
  return [
    row({
      metric: `a small container through the activator, ${CONNECTIONS} connections`,
      unit: 'requests/s',
      value: ours(perSecond),
      ...peer(perSecond),
      values: found.ours.map(perSecond),
    }),
    row({
      metric: 'through the activator, against Knative, median of the rounds',
      unit: 'times',
      value: median(ratios(found.ours, found.knative)),
      goal: '>= 2',
    }),
    row({ metric: 'through the activator, latency p50', unit: 'ms', value: ours(p50), ...peer(p50) }),
    row({ metric: 'through the activator, latency p99', unit: 'ms', value: ours(p99), ...peer(p99) }),
    row({
      metric: 'the container alone, called at its pod',
      unit: 'requests/s',
      value: median(found.alone.map(perSecond)),
    }),
  ];
}

/** A model whose Service leads straight to its pod, against the pod itself. */
export async function directRows(bench: BenchCluster, context: BenchmarkContext): Promise<Row[]> {
  // Without a reserve for bursts the activator leaves the path as soon as there is a pod.
  const scaling = { initialScale: 1, burstCapacity: 0 };
  await bench.apply(markedService('direct', 1, { predictor: ONE, scaling }));
  await bench.waitForService('direct', 'has a replica', ({ status }) => status?.replicas?.ready === 1);
  const address = await addressOf(bench, 'direct');
  const isDirect = async (): Promise<boolean> => (await slicedAddresses(bench, 'direct')).includes(address);
  const becomesDirect = bench.until('the Service leads to the pod', isDirect, DIRECT_TIMEOUT_MS);
  if (!(await becomesDirect.catch(() => false))) {
    context.note('Direct mode is not available: the Service went on leading to the activators.');
    return [];
  }
  const path = '/v2/models/direct/infer';
  const body = JSON.stringify(zeros());
  const host = `direct.${bench.namespace}`;
  const found = await alternate(bench, context, {
    service: { url: bench.url('direct', path), body },
    pod: { url: `http://${address}:8080${path}`, body, host },
  });
  if (!(await isDirect())) throw new Error('expected the Service to lead to the pod until the end');
  return [
    row({
      metric: `direct mode, a tiny model, ${CONNECTIONS} connections`,
      unit: 'requests/s',
      value: median(found.service.map(perSecond)),
      peer: 'the pod itself',
      peerValue: median(found.pod.map(perSecond)),
      values: found.service.map(perSecond),
    }),
    row({
      metric: 'direct mode, share of the throughput of the pod itself, median of the rounds',
      unit: '%',
      value: median(ratios(found.service, found.pod)) * 100,
      goal: '>= 95',
    }),
  ];
}

/** Each target in turn, one of them first in each round, so that what drifts hits all alike. */
async function alternate<Name extends string>(
  bench: BenchCluster,
  context: BenchmarkContext,
  targets: Readonly<Record<Name, Target>>,
): Promise<Record<Name, Load[]>> {
  const names = Object.keys(targets) as Name[];
  const found = Object.fromEntries(names.map((name) => [name, [] as Load[]])) as Record<Name, Load[]>;
  for (const name of names) await load(bench, targets[name]);
  for (let round = 0; round < rounds(context, ROUNDS); round++) {
    for (const turn of names.keys()) {
      const name = names[(round + turn) % names.length];
      if (name !== undefined) found[name].push(await load(bench, targets[name]));
    }
  }
  return found;
}

/** What bombardier says of a round, as far as it is needed; latencies in µs. */
const reportSchema = z.object({
  result: z.object({
    timeTakenSeconds: z.number().positive(),
    req1xx: z.number(),
    req2xx: z.number().positive(),
    req3xx: z.number(),
    req4xx: z.number(),
    req5xx: z.number(),
    others: z.number(),
    latency: z.object({ percentiles: z.object({ 50: z.number(), 99: z.number() }) }),
  }),
});

/** One round of bombardier. @throws Error when a request was answered with anything but 2xx. */
async function load(bench: BenchCluster, { url, host, body }: Target): Promise<Load> {
  const flags = ['--connections', String(CONNECTIONS), '--duration', `${ROUND_SECONDS}s`, '--latencies'];
  const output = ['--print', 'result', '--format', 'json'];
  const to = host === undefined ? [] : ['--header', `Host: ${host}`];
  const json = ['--method', 'POST', '--header', 'Content-Type: application/json', '--body'];
  const sent = body === undefined ? [] : [...json, body];
  const text = await bench.inLoadPod('/bombardier', ...flags, ...output, ...to, ...sent, url);
  const { result } = reportSchema.parse(JSON.parse(text));
  const { req1xx, req3xx, req4xx, req5xx, others } = result;
  const failed = req1xx + req3xx + req4xx + req5xx + others;
  if (failed > 0) throw new Error(`${failed} requests to ${url} failed: ${text.slice(0, 1000)}`);
  const { percentiles } = result.latency;
  return {
    perSecond: result.req2xx / result.timeTakenSeconds,
    p50Ms: percentiles[50] / 1000,
    p99Ms: percentiles[99] / 1000,
  };
}

const perSecond = (one: Load): number => one.perSecond;
const p50 = (one: Load): number => one.p50Ms;
const p99 = (one: Load): number => one.p99Ms;

/** One ratio a round: what slows both of a pair down cancels out. */
const ratios = (ours: readonly Load[], theirs: readonly Load[]): number[] =>
  ours.flatMap((one, round) => {
    const other = theirs[round];
    return other === undefined ? [] : [one.perSecond / other.perSecond];
  });

async function addressOf(bench: BenchCluster, service: string): Promise<string> {
  return bench.until(
    `a ready pod of ${service}`,
    async () => (await bench.pods(service)).find(isPodReady)?.status?.podIP,
  );
}

interface SliceObject extends KubeObject {
  readonly endpoints?: readonly { readonly addresses?: readonly string[] }[];
}

/** Where the Service leads. */
async function slicedAddresses(bench: BenchCluster, service: string): Promise<string[]> {
  const slices = await bench.list<SliceObject>(
    RESOURCES.endpointSlices,
    `kubernetes.io/service-name=${service}`,
  );
  return slices.flatMap(({ endpoints }) => endpoints ?? []).flatMap(({ addresses }) => addresses ?? []);
}
