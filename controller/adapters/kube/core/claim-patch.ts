import { canonicalJson } from '../../../../crds/revision-spec.ts';
import type { OwnerReference } from '../api/wire.ts';
import type { Pod } from './kube-types.ts';
import { LABELS, type Named, ownedByPool, ownedByService } from './labels.ts';
import type { PoolObject } from './pod.ts';

/**
 * The patches (`application/merge-patch+json`) by which a pool's pod changes hands. Labels and owner change in one
 * write, and the resourceVersion in it makes the API server refuse it (409) when the pod is not as it was seen.
 */
export interface PodPatch {
  readonly metadata: {
    readonly resourceVersion: string;
    readonly labels: Readonly<Record<string, string | null>>;
    readonly annotations?: Readonly<Record<string, string | null>>;
    readonly ownerReferences: readonly OwnerReference[];
  };
}

export interface NewHolder extends Named {
  readonly revision: string;
  /** Labels and annotations that the service's manifest gives its pods. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

/** A standby becomes a service's replica: the service owns it, and it wears the service's labels over the pool's. */
export function claimPatch(pod: Pod, service: NewHolder): PodPatch {
  const { annotations = {} } = service;
  return {
    metadata: {
      resourceVersion: pod.metadata?.resourceVersion ?? '',
      labels: {
        ...withoutOurs(service.labels ?? {}),
        [LABELS.service]: service.name,
        [LABELS.revision]: service.revision,
      },
      ...(Object.keys(annotations).length > 0 && { annotations: withoutOurs(annotations) }),
      ownerReferences: [ownedByService(service)],
    },
  };
}

/** A replica becomes a standby of its pool again: everything that its last service had put on it is taken off. */
export function releasePatch(pod: Pod, pool: PoolObject, service: Partial<NewHolder>): PodPatch {
  const ofPool = pool.spec;
  const annotations = restored(service.annotations, ofPool.annotations);
  return {
    metadata: {
      resourceVersion: pod.metadata?.resourceVersion ?? '',
      labels: {
        ...restored(service.labels, ofPool.labels),
        [LABELS.service]: null,
        [LABELS.revision]: null,
      },
      ...(Object.keys(annotations).length > 0 && { annotations }),
      ownerReferences: [ownedByPool(pool)],
    },
  };
}

/** Whether the pod wears what the patch would give it, so that nothing need be written. */
export function isPatched(pod: Pod, patch: PodPatch): boolean {
  const { labels = {}, annotations = {}, ownerReferences = [] } = pod.metadata ?? {};
  const isWorn = (worn: Readonly<Record<string, string>>, wanted: Readonly<Record<string, string | null>>) =>
    Object.entries(wanted).every(([key, value]) => (worn[key] ?? null) === value);
  return (
    isWorn(labels, patch.metadata.labels) &&
    isWorn(annotations, patch.metadata.annotations ?? {}) &&
    canonicalJson(ownerReferences) === canonicalJson(patch.metadata.ownerReferences)
  );
}

function restored(
  taken: Readonly<Record<string, string>> = {},
  own: Readonly<Record<string, string>> = {},
): Record<string, string | null> {
  return Object.fromEntries(Object.keys(withoutOurs(taken)).map((key) => [key, own[key] ?? null]));
}

/** A manifest's labels never stand for the controller's own. */
function withoutOurs(labels: Readonly<Record<string, string>>): Record<string, string> {
  const ours = new Set<string>(Object.values(LABELS));
  return Object.fromEntries(Object.entries(labels).filter(([key]) => !ours.has(key)));
}
