import { collectDefaultMetrics, Registry } from 'prom-client';

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
