/** `pvc://<claim>/<path>`: a file or folder of a PersistentVolumeClaim, mounted into the pod that serves it. */

/** A claim's name is that of a Kubernetes object. */
const CLAIM_URI = /^pvc:\/\/([a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?)\/*(.*)$/i;
const MOUNTS = '/mnt/claims';

/** The claim that a URI names, and the path in it; undefined for another scheme or what is no such URI. */
export function claimOf(uri: string | undefined): { claim: string; path: string } | undefined {
  const match = CLAIM_URI.exec(uri ?? '');
  if (match === null) return undefined;
  const [claim = '', path = ''] = match.slice(1);
  return { claim: claim.toLowerCase(), path };
}

/** Where a claim is mounted, read-only, in each pod of the runtime that has it. */
export function claimMountPath(claim: string): string {
  return `${MOUNTS}/${claim}`;
}

/** The same file as the runtime sees it. */
export function claimFileUri({ claim, path }: { claim: string; path: string }): string {
  const segments = path.split('/').map(encodeURIComponent);
  return `file://${claimMountPath(claim)}/${segments.join('/')}`;
}
