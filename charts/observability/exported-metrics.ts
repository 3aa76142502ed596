import { Registry } from 'prom-client';
import { Dispatcher } from '../../activator/core/dispatcher.ts';
import { createMetrics } from '../../activator/metrics.ts';
import { createEngineMetrics } from '../../controller/engine/engine-metrics.ts';
import { createRegistry } from '../../process/metrics.ts';
import { registerModelMetrics } from '../../runtime/admin/model-metrics-registry.ts';
import { ModelMetrics } from '../../runtime/lifecycle/model-metrics.ts';
import { ByteBudget } from '../../runtime/server/byte-budget.ts';
import { StatisticsBook } from '../../runtime/server/model-statistics.ts';
import { RequestLoad } from '../../runtime/server/serving-load.ts';
import { ServingMetrics } from '../../runtime/server/serving-metrics.ts';
import { registerTritonMetrics } from '../../runtime/server/triton-metrics.ts';
import { WaitingRoom } from '../../runtime/server/waiting-room.ts';

type Component = 'controller' | 'activator' | 'runtime';

export interface ExportedMetric {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  /** Labels of its own, beside those that the scrape adds. */
  readonly labels: readonly string[];
  readonly components: readonly Component[];
}

/** What prom-client tells of any process; of the rest some is only to be had on Linux. */
const OF_EVERY_PROCESS = new Set([
  'pilotlight_process_cpu_seconds_total',
  'pilotlight_process_resident_memory_bytes',
  'pilotlight_nodejs_eventloop_lag_p99_seconds',
]);

/**
 * The metrics that components register, by name: their own registries are asked, so that nothing is told twice. Of
 * what every Node process reports only what our dashboards show.
 */
export function exportedMetrics(): ExportedMetric[] {
  const found = new Map<string, ExportedMetric>();
  for (const [component, registry] of Object.entries(registries()) as [Component, Registry][]) {
    for (const metric of registry.getMetricsAsArray()) {
      // Its types keep these fields to the library itself; no other way tells a metric's labels before it has any.
      const { name, help, type, labelNames = [] } = metric as unknown as RegisteredMetric;
      if (/^pilotlight_(process|nodejs)_/.test(name) && !OF_EVERY_PROCESS.has(name)) continue;
      const components = [...(found.get(name)?.components ?? []), component];
      // Whoever it belongs to says so at the scrape, by labels that are the registry's.
      const labels = [
        ...labelNames,
        'component',
        ...(component === 'runtime' ? ['namespace', 'service'] : []),
      ];
      const known = found.get(name)?.labels ?? [];
      found.set(name, {
        name,
        type: metricType(name, type),
        help,
        labels: [...new Set([...known, ...labels])].sort(),
        components,
      });
    }
  }
  return [...found.values()].sort((left, right) => (left.name < right.name ? -1 : 1));
}

/** What prom-client's metrics have and its types don't tell. */
interface RegisteredMetric {
  readonly name: string;
  readonly help: string;
  readonly type?: string;
  readonly labelNames?: readonly string[];
}

function metricType(name: string, type: string | undefined): ExportedMetric['type'] {
  if (type === 'counter' || type === 'gauge' || type === 'histogram') return type;
  throw new Error(`${name}: expected a counter, a gauge or a histogram, got ${String(type)}`);
}

function registries(): Record<Component, Registry> {
  const controller = createRegistry('controller');
  createEngineMetrics(controller);
  const activator = createRegistry('activator');
  createMetrics(activator, {
    dispatcher: new Dispatcher(() => 0, ''),
    routesNumber: () => 0,
    routesAgeMs: () => 0,
    connections: () => 0,
    now: () => 0,
  });
  const runtime = createRegistry('runtime');
  registerModelMetrics(runtime, new ModelMetrics());
  const room = new WaitingRoom();
  void new ServingMetrics(runtime, { load: new RequestLoad(() => 0), room, budget: new ByteBudget(0) });
  registerTritonMetrics(runtime, {
    engine: { current: { phase: 'standby' }, welcomesCallers: false },
    statistics: new StatisticsBook(),
    room,
  });
  return { controller, activator, runtime };
}
