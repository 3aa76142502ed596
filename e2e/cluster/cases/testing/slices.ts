import type { V1EndpointSlice } from '@kubernetes/client-node';
import { RESOURCES } from '../../../../controller/adapters/kube/api/paths.ts';
import type { Wire } from '../../../../controller/adapters/kube/api/wire.ts';
import type { PlatformCase } from './platform.ts';

/** Whom the callers of a service are led to. */
export interface Led {
  /** Names of pods. */
  readonly pods: readonly string[];
  /** Whether they are activators, and not the service's own. */
  readonly isProxied: boolean;
}

const ACTIVATOR = /^pilotlight-activator-/;

/** What the EndpointSlices of a service say now; IP families say the same. */
export async function ledTo(on: PlatformCase, service: string): Promise<Led> {
  const slices = await on.list<Wire<V1EndpointSlice>>(
    RESOURCES.endpointSlices,
    `kubernetes.io/service-name=${service}`,
  );
  const endpoints = slices.flatMap((slice) => slice.endpoints ?? []);
  const ready = endpoints.filter(({ conditions }) => conditions?.ready === true);
  const pods = [...new Set(ready.map(({ targetRef }) => targetRef?.name ?? ''))].sort();
  return { pods, isProxied: pods.length > 0 && pods.every((name) => ACTIVATOR.test(name)) };
}
