import type { KubeClient } from './api/kube-client.ts';
import { isKubeError } from './api/kube-error.ts';
import { objectPath, RESOURCES } from './api/paths.ts';
import { isPatched, type PodPatch } from './core/claim-patch.ts';
import type { Pod } from './core/kube-types.ts';

/** A kubelet that writes the pod's status in between makes a patch conflict; a few tries get through. */
const MAX_TRIES = 8;

/**
 * Gives a pool's pod to another holder, guarded by the version that the patch was made from. When somebody has
 * written meanwhile the pod is read anew, and patched only if `mayHave` still says so.
 *
 * @param wanted The patch for the pod as it is now.
 * @returns the pod as it is then.
 * @throws KubeError `conflict` when the pod is another's by now, `not-found` when it is gone.
 */
export async function changeHolder(
  client: Pick<KubeClient, 'get' | 'patch'>,
  pod: Pod,
  wanted: (pod: Pod) => PodPatch,
  mayHave: (pod: Pod) => boolean,
): Promise<Pod> {
  const { namespace = '', name = '', uid } = pod.metadata ?? {};
  const path = objectPath({ ...RESOURCES.pods, namespace, name });
  let now = pod;
  for (let tries = 1; ; tries++) {
    const patch = wanted(now);
    if (isPatched(now, patch)) return now;
    try {
      return await client.patch<Pod>(path, 'merge', patch);
    } catch (error) {
      if (!isKubeError(error, 'conflict') || tries === MAX_TRIES) throw error;
      const found = await client.get<Pod>(path);
      if (found === undefined || found.metadata?.uid !== uid || !mayHave(found)) throw error;
      now = found;
    }
  }
}
