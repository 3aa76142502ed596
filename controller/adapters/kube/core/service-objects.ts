import { hash32 } from './hash.ts';
import type { EndpointSlice, PodDisruptionBudget, Service } from './kube-types.ts';
import { LABELS, MANAGED_BY, type Named, ownedByService } from './labels.ts';
import { SERVING_PORT } from './pod-spec.ts';

/** The objects that lead callers to a service: a Service without selector, and EndpointSlices that are ours. */

export interface ServiceIdentity extends Named {
  readonly namespace: string;
}

const SERVICE_PORT = 80;
const PORT_NAME = 'http';
const SLICE_MANAGED_BY = 'endpointslice.kubernetes.io/managed-by';
const SLICE_SERVICE = 'kubernetes.io/service-name';
/** The API server takes no more endpoints in one slice. */
const MAX_ENDPOINTS = 1_000;

/** Tags that have a Service each: those that stay when revisions come and go. */
export const SERVICE_TAGS = ['latest', 'prev'] as const;

/** One port, 80 to 8080, for HTTP/1.1 and HTTP/2 alike; no selector, so that no other controller fills its slices. */
export function serviceObject(service: ServiceIdentity, name = service.name): Service {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: metadata(service, name),
    spec: {
      type: 'ClusterIP',
      ipFamilyPolicy: 'PreferDualStack',
      ports: [{ name: PORT_NAME, port: SERVICE_PORT, targetPort: SERVING_PORT, protocol: 'TCP' }],
    },
  };
}

/** A pod that callers are led to: an activator, or in direct mode a replica. */
export interface EndpointPod extends Named {
  readonly namespace: string;
  /** Addresses of the pod, of one IP family or both. */
  readonly addresses: readonly string[];
  readonly isReady: boolean;
  readonly isTerminating: boolean;
  readonly nodeName?: string | undefined;
  readonly zone?: string | undefined;
}

export type IpFamily = 'IPv4' | 'IPv6';

/**
 * One slice for each IP family of the Service; a family of which no pod has an address gets an empty one. Endpoints
 * are in order of address, so that the same pods always make the same slice.
 *
 * @param name Of the Service that they are of: the service's own, or one with a tag before it.
 * @param families As the API server has written them into `spec.ipFamilies` of the Service.
 */
export function endpointSlices(
  service: ServiceIdentity,
  pods: readonly EndpointPod[],
  families: readonly IpFamily[],
  name = service.name,
): EndpointSlice[] {
  return [...new Set(families)].map((family) => ({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      ...metadata(service, sliceName(name, family)),
      labels: { ...labels(service), [SLICE_MANAGED_BY]: MANAGED_BY, [SLICE_SERVICE]: name },
    },
    addressType: family,
    ports: [{ name: PORT_NAME, port: SERVING_PORT, protocol: 'TCP' }],
    endpoints: pods
      .flatMap((pod) => endpointOf(pod, family))
      .sort((left, right) => (left.addresses[0] < right.addresses[0] ? -1 : 1))
      .slice(0, MAX_ENDPOINTS),
  }));
}

export function sliceName(service: string, family: IpFamily): string {
  return `${service}-${family === 'IPv4' ? 'v4' : 'v6'}`;
}

function endpointOf(pod: EndpointPod, family: IpFamily) {
  const address = pod.addresses.find((one) => one.includes(':') === (family === 'IPv6'));
  if (address === undefined) return [];
  const addresses: [string] = [address];
  return [
    {
      addresses,
      conditions: {
        // A pod that ends is not for new connections; `serving` says that it still answers those that come.
        ready: pod.isReady && !pod.isTerminating,
        serving: pod.isReady,
        terminating: pod.isTerminating,
      },
      ...(pod.nodeName !== undefined && { nodeName: pod.nodeName }),
      ...(pod.zone !== undefined && { zone: pod.zone }),
      targetRef: { kind: 'Pod', namespace: pod.namespace, name: pod.name, uid: pod.uid },
    },
  ];
}

/**
 * The activators of a service, by rendezvous hashing: each activator has a rank for each service, and the service
 * has the `count` highest. Losing one changes only the services that had it, a share of `count` in all, and each of
 * them keeps its others; a new one takes over its own share and nothing else moves.
 */
export function chooseActivators<Activator extends { readonly uid: string }>(
  serviceUid: string,
  activators: readonly Activator[],
  count: number,
): Activator[] {
  return activators
    .map((activator) => ({ activator, rank: hash32(`${serviceUid}/${activator.uid}`) }))
    .sort((left, right) => right.rank - left.rank || (left.activator.uid < right.activator.uid ? -1 : 1))
    .slice(0, count)
    .map(({ activator }) => activator);
}

/**
 * Keeps a node drain from taking more than one replica at a time. Only from two replicas on: with one it would
 * keep the node from ever being drained.
 *
 * @param wanted Replicas that the service wants.
 */
export function disruptionBudget(service: ServiceIdentity, wanted: number): PodDisruptionBudget | undefined {
  if (wanted < 2) return undefined;
  return {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: metadata(service, service.name),
    spec: {
      // A number: percentages need a controller with a scale subresource over the pods.
      minAvailable: wanted - 1,
      // A pod that isn't ready serves nobody, so it must not keep its node from being drained.
      unhealthyPodEvictionPolicy: 'AlwaysAllow',
      selector: { matchLabels: { [LABELS.managedBy]: MANAGED_BY, [LABELS.service]: service.name } },
    },
  };
}

function labels(service: ServiceIdentity): Record<string, string> {
  return { [LABELS.managedBy]: MANAGED_BY, [LABELS.service]: service.name };
}

function metadata(service: ServiceIdentity, name: string) {
  return {
    namespace: service.namespace,
    name,
    labels: labels(service),
    ownerReferences: [ownedByService(service)],
  };
}
