import { createHash } from 'node:crypto';
import type { ModelIdentity } from '../../contracts/admin.ts';
import { InvalidModelUriError } from './errors.ts';
import { badRelativePath } from './relative-path.ts';
import type { StoredFile } from './storage-types.ts';

export type FileIdentity = ModelIdentity['files'][number];

/** `version` of a file whose server offers nothing to tell versions apart: never equal to another one. */
export function unversioned(uuid: string): string {
  return `unversioned:${uuid}`;
}

/** A file with the size and version that the source says. */
export function fileIdentity(file: StoredFile, sha256?: string): FileIdentity {
  return {
    path: file.path,
    sizeBytes: file.sizeBytes ?? 0,
    ...(file.version === undefined ? {} : { version: file.version }),
    ...(sha256 === undefined ? {} : { sha256 }),
  };
}

export function storedFile(identity: FileIdentity): StoredFile {
  return { path: identity.path, sizeBytes: identity.sizeBytes, version: identity.version };
}

/**
 * The name of a cache entry. By content alone where every file has a digest, so that all sources of one model
 * share it; else by source, sizes and versions.
 */
export function entryKey(uri: string, identity: ModelIdentity): string {
  const { files } = identity;
  if (files.every((file) => file.sha256 !== undefined)) {
    return digest(['content', ...files.map(({ path, sizeBytes, sha256 }) => [path, sizeBytes, sha256])]);
  }
  return digest(['source', uri, ...files.map(({ path, sizeBytes, version }) => [path, sizeBytes, version])]);
}

/** The name of a fetch in progress and its lock: the external files are not known yet then. */
export function fetchKey(uri: string, model: FileIdentity): string {
  return digest(['fetch', uri, model.path, model.sizeBytes, model.version ?? '']);
}

/** Same path, size and version (ETags compared without their weak mark); digests only where both have one. */
export function sameFile(a: FileIdentity, b: FileIdentity): boolean {
  if (a.path !== b.path || a.sizeBytes !== b.sizeBytes) return false;
  if (a.sha256 !== undefined && b.sha256 !== undefined && a.sha256 !== b.sha256) return false;
  return a.version?.replace(/^W\//, '') === b.version?.replace(/^W\//, '');
}

/** An identity from outside may name files: none may leave the cache entry. @throws InvalidModelUriError */
export function checkIdentity(identity: ModelIdentity): void {
  if (identity.files.length === 0) throw new InvalidModelUriError('the model identity names no file');
  for (const { path } of identity.files) {
    const bad = badRelativePath(path);
    if (bad !== undefined)
      throw new InvalidModelUriError(`the model identity names ${JSON.stringify(path)}, which ${bad}`);
  }
}

function digest(parts: unknown[]): string {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 40);
}
