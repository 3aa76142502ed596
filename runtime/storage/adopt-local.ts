import { copyFile, link, open } from 'node:fs/promises';
import { posix } from 'node:path';
import type { ModelIdentity } from '../../contracts/admin.ts';
import { adoptCompiled, type CompiledWish, type FormTransport } from './adopt-compiled.ts';
import type { CompiledForm } from './compiled-index.ts';
import { ModelDigestMismatchError, systemCode } from './errors.ts';
import { sha256OfFile } from './fetch-file.ts';

/**
 * A form beside a model on this machine's own disk, brought into the cache of forms: by a link where both lie on one
 * file system, else by a copy. Does nothing where there is none, or it doesn't fit.
 *
 * @param local what `openLocal` has found, without what lies beside the model for other purposes
 */
export async function adoptLocal(
  wish: CompiledWish,
  local: { folder: string; identity: ModelIdentity; origin: string },
  signal: AbortSignal,
): Promise<void> {
  const { identity, folder } = local;
  const modelPath = identity.files[0]?.path ?? '';
  const at = (path: string): string => posix.join(folder, path);
  const transport: FormTransport = {
    readText: (path, maxBytes) => readSmall(at(path), maxBytes),
    bring: (file, destination) => bring(at(file.path), destination.path, file.sha256, signal),
  };
  const files = identity.files.map(({ path }) => at(path));
  const isOriginal = rememberedDigests(files, signal);
  await adoptCompiled(wish, transport, {
    modelPath,
    origin: local.origin,
    identify: async (form) => ((await isOriginal(form, identity)) ? identity : undefined),
    signal,
  });
}

/** Files that were copied have another time of change: their bytes tell, read once, on the first sight of them. */
function rememberedDigests(
  files: readonly string[],
  signal: AbortSignal,
): (form: CompiledForm, identity: ModelIdentity) => Promise<boolean> {
  const digests = new Map<string, Promise<string>>();
  const digestOf = async (path: string): Promise<string> => {
    const known = digests.get(path) ?? sha256OfFile(path, signal);
    digests.set(path, known);
    return known;
  };
  return async ({ original }, identity) => {
    if (original.length !== files.length) return false;
    for (const [index, { sizeBytes, versions, sha256 }] of original.entries()) {
      const here = identity.files[index];
      const path = files[index];
      if (here === undefined || path === undefined || here.sizeBytes !== sizeBytes) return false;
      if (here.version !== undefined && versions.includes(here.version)) continue;
      if ((await digestOf(path)) !== sha256) return false;
    }
    return true;
  };
}

async function readSmall(path: string, maxBytes: number): Promise<string | undefined> {
  let handle: Awaited<ReturnType<typeof open>>;
  try {
    handle = await open(path, 'r');
  } catch (error) {
    if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return undefined;
    throw error;
  }
  try {
    const { size } = await handle.stat();
    return size > maxBytes ? undefined : await handle.readFile('utf8');
  } finally {
    await handle.close();
  }
}

async function bring(from: string, to: string, sha256: string, signal: AbortSignal): Promise<void> {
  await link(from, to).catch(() => copyFile(from, to));
  const found = await sha256OfFile(to, signal);
  if (found === sha256) return;
  throw new ModelDigestMismatchError(`${from} has the sha256 ${found}; its index says ${sha256}`);
}
