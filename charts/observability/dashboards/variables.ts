import type { Variable } from '../grafana.ts';

/** What a person chooses at the top of a dashboard, and the labels that follow from it. */

export const NAMESPACE: Variable = {
  kind: 'labels',
  name: 'namespace',
  label: 'Namespace',
  query: 'label_values(pilotlight_service_state, namespace)',
  multi: true,
};

export const SERVICES: Variable = {
  kind: 'labels',
  name: 'service',
  label: 'Service',
  query: 'label_values(pilotlight_service_state{namespace=~"$namespace"}, service)',
  multi: true,
};

export const ONE_NAMESPACE: Variable = { ...NAMESPACE, multi: false };
export const ONE_SERVICE: Variable = {
  ...SERVICES,
  query: 'label_values(pilotlight_service_state{namespace="$namespace"}, service)',
  multi: false,
};

/** For panels of several namespaces and services. */
export const CHOSEN_NAMESPACES = { namespace: { re: '$namespace' } } as const;
export const CHOSEN_SERVICES = { ...CHOSEN_NAMESPACES, service: { re: '$service' } } as const;
/** For panels of one. */
export const CHOSEN_SERVICE = { namespace: '$namespace', service: '$service' } as const;

/** `namespace/service` in a legend. */
export const SERVICE_LEGEND = '{{namespace}}/{{service}}';
export const POOL_LEGEND = '{{namespace}}/{{pool}}';
