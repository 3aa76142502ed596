import { setTimeout } from 'node:timers/promises';
import type { V1Pod } from '@kubernetes/client-node';
import { z } from 'zod';
import { objectPath, RESOURCES } from '../../controller/adapters/kube/api/paths.ts';
import type { Wire } from '../../controller/adapters/kube/api/wire.ts';
import { isReady, type ServiceObject } from '../../e2e/cluster/cases/testing/platform.ts';
import { markedService } from '../../e2e/cluster/cases/testing/services.ts';
import { RELEASE_NAMESPACE } from '../../e2e/cluster/install.ts';
import { MARKED_MODELS } from '../../e2e/cluster/object-store.ts';
import type { BenchmarkContext } from '../benchmark.ts';
import { type Row, row } from '../report.ts';
import { median } from '../statistics.ts';
import type { BenchCluster } from './bench-cluster.ts';
import { KNATIVE_COMPONENTS, KNATIVE_NAMESPACE, knativeService } from './knative.ts';

const SERVICES = 100;
const READY_TIMEOUT_MS = 300_000;
/** After the last service has become ready. */
const SETTLE_MS = 30_000;
/** The kubelet looks at a pod each 10 to 20 s: windows of no less say something. */
const WINDOW_MS = 60_000;
const LOOK_MS = 5_000;
const MB = 1_000_000;

/** What a process costs while nothing happens. */
interface Cost {
  /** Of one core. */
  readonly cpuPercent: number;
  /** What counts against a limit, and what `kubectl top` shows. */
  readonly workingSetMb: number;
  /** Without what is mapped from files. */
  readonly anonymousMb: number;
}

/** @returns rows on what either platform costs with 100 services at zero that nobody calls. */
export async function idleRows(bench: BenchCluster, context: BenchmarkContext): Promise<Row[]> {
  const names = Array.from({ length: SERVICES }, (_, index) => `idle-${index}`);
  context.say(`${SERVICES} services on each platform`);
  await bench.apply(...names.map((name, index) => markedService(name, 1 + (index % MARKED_MODELS))));
  await bench.applyKnative(...names.map((name) => knativeService(name, bench.helloImage)));
  await bench.until('all services are ready and at zero', () => settled(bench), READY_TIMEOUT_MS);
  await setTimeout(SETTLE_MS);
  const windowMs = context.isQuick ? WINDOW_MS / 6 : WINDOW_MS;
  context.say(`watching for ${windowMs / 1000} s`);
  const costs = await costsOver(bench, windowMs);
  const cost = (name: string): Cost => {
    const found = costs.get(name);
    if (found === undefined) throw new Error(`expected to have watched ${name}`);
    return found;
  };
  const [controller, activator] = [cost('pilotlight/controller'), cost('pilotlight/activator')];
  const theirs = KNATIVE_COMPONENTS.map((name) => [name, cost(`knative/${name}`)] as const);
  const control = sumOf(theirs.filter(([name]) => name !== 'activator').map(([, one]) => one));
  const controlPeer = "Knative's controller, autoscaler and webhook";
  const [theirActivator] = theirs.filter(([name]) => name === 'activator').map(([, one]) => one);
  if (theirActivator === undefined) throw new Error("expected Knative's activator among its components");
  const text = `with ${SERVICES} services at zero`;
  return [
    row({
      metric: `controller ${text}, working set`,
      unit: 'MB',
      value: controller.workingSetMb,
      peer: controlPeer,
      peerValue: control.workingSetMb,
      goal: '<= 150',
    }),
    row({
      metric: `controller ${text}, CPU`,
      unit: '% of a core',
      value: controller.cpuPercent,
      peer: controlPeer,
      peerValue: control.cpuPercent,
      goal: '<= 1',
    }),
    row({
      metric: `activator ${text}, working set`,
      unit: 'MB',
      value: activator.workingSetMb,
      peer: "Knative's activator",
      peerValue: theirActivator.workingSetMb,
      goal: '<= 120',
    }),
    row({
      metric: `activator ${text}, CPU`,
      unit: '% of a core',
      value: activator.cpuPercent,
      peer: "Knative's activator",
      peerValue: theirActivator.cpuPercent,
    }),
    row({ metric: 'controller, anonymous memory', unit: 'MB', value: controller.anonymousMb }),
    row({ metric: 'activator, anonymous memory', unit: 'MB', value: activator.anonymousMb }),
    ...theirs.flatMap(([name, one]) => [
      row({ metric: `Knative's ${name}, working set`, unit: 'MB', value: one.workingSetMb }),
      row({ metric: `Knative's ${name}, CPU`, unit: '% of a core', value: one.cpuPercent }),
    ]),
  ];
}

/** All services of both are ready, and none has a pod. */
async function settled(bench: BenchCluster): Promise<boolean> {
  const services = await bench.list<ServiceObject>(RESOURCES.inferenceServices);
  const idle = services.filter(({ metadata }) => metadata?.name?.startsWith('idle-') === true);
  if (!idle.every((service) => isReady(service) && (service.status?.replicas?.ready ?? 0) === 0))
    return false;
  const revisions = await bench.revisions();
  const known = revisions.filter(({ metadata }) => metadata?.name?.startsWith('idle-') === true);
  const isKnown = ({ status }: (typeof known)[number]): boolean =>
    status?.conditions?.some(({ type, status: holds }) => type === 'Ready' && holds === 'True') === true;
  if (known.length < SERVICES || !known.every(isKnown)) return false;
  const pods = await bench.knativePods();
  return !pods.some((pod) => pod.metadata?.name?.startsWith('idle-') === true);
}

function sumOf(costs: readonly Cost[]): Cost {
  const sum = (of: (cost: Cost) => number): number => costs.reduce((total, cost) => total + of(cost), 0);
  return {
    cpuPercent: sum((cost) => cost.cpuPercent),
    workingSetMb: sum((cost) => cost.workingSetMb),
    anonymousMb: sum((cost) => cost.anonymousMb),
  };
}

/** What the kubelet has counted of a pod, from its control group. */
interface Usage {
  readonly atMs: number;
  readonly cpuNanoseconds: number;
  readonly workingSetBytes: number;
  readonly rssBytes: number;
}

/** The cost of each process over a window of at least this length, by `<platform>/<component>`. */
async function costsOver(bench: BenchCluster, windowMs: number): Promise<Map<string, Cost>> {
  const samples = [await usages(bench)];
  const isOver = (): boolean => {
    const [first, last] = [samples[0], samples.at(-1)];
    if (first === undefined || last === undefined) return false;
    return [...first].every(([name, { atMs }]) => (last.get(name)?.atMs ?? 0) - atMs >= windowMs);
  };
  await bench.until(
    'the kubelet has looked at all pods again',
    async () => {
      await setTimeout(LOOK_MS);
      samples.push(await usages(bench));
      return isOver();
    },
    windowMs + 120_000,
  );
  const names = [...(samples[0]?.keys() ?? [])];
  return new Map(names.map((name) => [name, costOf(samples.flatMap((sample) => sample.get(name) ?? []))]));
}

function costOf(usage: readonly Usage[]): Cost {
  const [first, last] = [usage[0], usage.at(-1)];
  if (first === undefined || last === undefined) throw new Error('expected two looks at a pod at least');
  const seconds = (last.atMs - first.atMs) / 1000;
  return {
    cpuPercent: ((last.cpuNanoseconds - first.cpuNanoseconds) / 1e9 / seconds) * 100,
    workingSetMb: median(usage.map(({ workingSetBytes }) => workingSetBytes)) / MB,
    anonymousMb: median(usage.map(({ rssBytes }) => rssBytes)) / MB,
  };
}

const summarySchema = z.object({
  pods: z.array(
    z.object({
      podRef: z.object({ name: z.string(), namespace: z.string() }),
      containers: z.array(
        z.object({
          cpu: z.object({ time: z.string(), usageCoreNanoSeconds: z.number() }).optional(),
          memory: z.object({ workingSetBytes: z.number(), rssBytes: z.number() }).optional(),
        }),
      ),
    }),
  ),
});

/** The newest usage of each process of both platforms. */
async function usages(bench: BenchCluster): Promise<Map<string, Usage>> {
  const summaries = await Promise.all(
    bench.cluster.nodes.map(async (node) => {
      const text = await bench.api.raw(`/api/v1/nodes/${node}/proxy/stats/summary`);
      return summarySchema.parse(JSON.parse(text)).pods;
    }),
  );
  const components = await componentPods(bench);
  const found = new Map<string, Usage>();
  for (const { podRef, containers } of summaries.flat()) {
    const component = components.get(`${podRef.namespace}/${podRef.name}`);
    const [container] = containers;
    if (component === undefined || container?.cpu === undefined || container.memory === undefined) continue;
    found.set(component, {
      atMs: Date.parse(container.cpu.time),
      cpuNanoseconds: container.cpu.usageCoreNanoSeconds,
      workingSetBytes: container.memory.workingSetBytes,
      rssBytes: container.memory.rssBytes,
    });
  }
  return found;
}

/** Component by pod: each has one pod here. */
async function componentPods(bench: BenchCluster): Promise<Map<string, string>> {
  const podsOf = async (namespace: string, label: string): Promise<(readonly [string, string])[]> => {
    const path = objectPath({ ...RESOURCES.pods, namespace });
    const { items } = await bench.api.list<Wire<V1Pod>>(path, { labelSelector: label });
    const platform = namespace === RELEASE_NAMESPACE ? 'pilotlight' : 'knative';
    return items.map(({ metadata }) => [
      `${namespace}/${metadata?.name ?? ''}`,
      `${platform}/${metadata?.labels?.[label] ?? ''}`,
    ]);
  };
  const [ours, theirs] = await Promise.all([
    podsOf(RELEASE_NAMESPACE, 'app.kubernetes.io/component'),
    podsOf(KNATIVE_NAMESPACE, 'app'),
  ]);
  return new Map([...ours, ...theirs]);
}
