import { API_GROUP, API_VERSION, KIND } from '../../../../crds/inference-service.ts';
import { POOL_KIND } from '../../../../crds/standby-pool.ts';
import type { ReplicaOrigin } from '../../../ports.ts';
import type { OwnerReference } from '../api/wire.ts';

/** Labels and annotations by which the controller knows its objects again. */
export const LABELS = {
  managedBy: 'app.kubernetes.io/managed-by',
  component: 'app.kubernetes.io/component',
  appName: 'app.kubernetes.io/name',
  origin: `${API_GROUP}/origin`,
  pool: `${API_GROUP}/pool`,
  service: `${API_GROUP}/service`,
  revision: `${API_GROUP}/revision`,
} as const;

export const MANAGED_BY = 'pilotlight';

export const ANNOTATIONS = {
  safeToEvict: 'cluster-autoscaler.kubernetes.io/safe-to-evict',
  /** Digest of what a pool's pod was made from; a pod of another one is out of date. */
  template: `${API_GROUP}/template`,
} as const;

/** Selects all pods that the controller writes. */
export const MANAGED_SELECTOR = `${LABELS.managedBy}=${MANAGED_BY},${LABELS.component}=replica`;

/** Selects what leads to the services' pods and guards them: Services, EndpointSlices, disruption budgets. */
export const OWNED_SELECTOR = `${LABELS.managedBy}=${MANAGED_BY}`;

export interface Named {
  readonly name: string;
  readonly uid: string;
}

/** The one reference with which a service owns an object: deleting it deletes the object. */
export function ownedByService(service: Named): OwnerReference {
  return ownerReference(KIND, service);
}

export function ownedByPool(pool: Named): OwnerReference {
  return ownerReference(POOL_KIND, pool);
}

function ownerReference(kind: string, { name, uid }: Named): OwnerReference {
  return { apiVersion: API_VERSION, kind, name, uid, controller: true, blockOwnerDeletion: true };
}

/** What a pod was started as, by its label; undefined for a pod that is not ours. */
export function originOf(labels: Readonly<Record<string, string>> | undefined): ReplicaOrigin | undefined {
  const origin = labels?.[LABELS.origin];
  return origin === 'standby' || origin === 'runtime' || origin === 'container' ? origin : undefined;
}
