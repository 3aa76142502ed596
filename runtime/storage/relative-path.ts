/**
 * Why a name cannot be used as a path below a folder, or undefined when it can. For names that come from
 * strangers: listings, external data in a model, manifests.
 */
export function badRelativePath(path: string): string | undefined {
  if (path === '') return 'is empty';
  if (path.length > 1024) return 'is longer than 1024 characters';
  if (/\p{Cc}/u.test(path)) return 'holds a control character';
  if (path.includes('\\')) return 'holds a backslash';
  if (path.startsWith('/')) return 'is absolute';
  if (/^[A-Za-z]:/.test(path)) return 'starts with a drive letter';
  const segments = path.split('/');
  if (segments.includes('..')) return 'climbs with ".."';
  if (segments.some((segment) => segment === '' || segment === '.')) return 'has an empty or "." segment';
  if (segments.some((segment) => Buffer.byteLength(segment) > 255)) return 'has a segment above 255 bytes';
  return undefined;
}
