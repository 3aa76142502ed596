import { type Counter, collectDefaultMetrics, type Histogram, Registry } from 'prom-client';

/**
 * A registry with what every process reports about itself: CPU, resident memory, event-loop lag, open file
 * descriptors, all named `pilotlight_*` and labelled with the component. Labels of a component's own metrics
 * are service and namespace, never pod or path: cardinality stays bounded by the number of services.
 */
export function createRegistry(component: string): Registry {
  const registry = new Registry();
  registry.setDefaultLabels({ component });
  collectDefaultMetrics({ register: registry, prefix: 'pilotlight_' });
  return registry;
}

type Labels = Record<string, string>;

/**
 * Which series were made for whom, so that they go when their owner goes: a process that lives for months must not
 * keep those of every service that there ever was. Costs a look into two maps for each count.
 */
export class OwnedSeries {
  readonly #owners = new Map<string, Map<Counter | Histogram, Map<string, Labels>>>();

  /** @returns the labels, for the call that counts. */
  note(owner: string, metric: Counter | Histogram, labels: Labels): Labels {
    let metrics = this.#owners.get(owner);
    if (metrics === undefined) this.#owners.set(owner, (metrics = new Map()));
    let series = metrics.get(metric);
    if (series === undefined) metrics.set(metric, (series = new Map()));
    const key = Object.values(labels).join(' ');
    if (!series.has(key)) series.set(key, labels);
    return labels;
  }

  forget(owner: string): void {
    for (const [metric, series] of this.#owners.get(owner) ?? []) {
      for (const labels of series.values()) metric.remove(labels);
    }
    this.#owners.delete(owner);
  }
}
