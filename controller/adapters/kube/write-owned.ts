import type { Logger } from '../../../process/logger.ts';
import type { KubeClient } from './api/kube-client.ts';
import { isKubeError } from './api/kube-error.ts';
import { objectPath, type ResourceKind } from './api/paths.ts';
import type { KubeObject } from './api/wire.ts';
import { MANAGED_BY } from './core/labels.ts';
import { correction } from './core/owned.ts';

/**
 * Brings an object that a service owns to where it should be.
 *
 * @param observed As the watch has it; undefined for none.
 * @returns the object as it is then; undefined when its name is taken by something that isn't ours.
 */
export async function writeOwned(
  { client, logger }: { client: KubeClient; logger: Logger },
  resource: ResourceKind,
  observed: KubeObject | undefined,
  wanted: KubeObject,
): Promise<KubeObject | undefined> {
  const { namespace = '', name = '', ownerReferences = [] } = wanted.metadata ?? {};
  const path = objectPath({ ...resource, namespace, name });
  let found = observed;
  if (found === undefined) {
    try {
      return await client.create(objectPath({ ...resource, namespace }), wanted);
    } catch (error) {
      if (!isKubeError(error, 'already-exists')) {
        // The namespace, or the service itself, is being deleted: nothing is wanted there any more.
        if (isKubeError(error, 'forbidden', 'not-found')) return undefined;
        throw error;
      }
      found = await client.get(path);
      if (found === undefined) return undefined;
      if (!isOwnedBy(found, ownerReferences[0]?.uid)) {
        logger.error(
          { object: path },
          'an object that is not ours has the name of a service: rename one of them',
        );
        return undefined;
      }
    }
  }
  const patch = correction(found, wanted);
  if (patch === undefined) return found;
  return await client.patch(path, 'merge', patch, { fieldManager: MANAGED_BY });
}

export function isOwnedBy({ metadata }: KubeObject, uid: string | undefined): boolean {
  return metadata?.ownerReferences?.some((owner) => owner.uid === uid) === true;
}
