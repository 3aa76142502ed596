import { posix } from 'node:path';
import type { ModelIdentity } from '../../contracts/admin.ts';
import { PilotlightError } from '../../contracts/errors.ts';
import { allowedVersions, shownPolicy } from '../core/triton/choose-version.ts';
import { parseTritonConfig, type TritonConfig } from '../core/triton/model-config.ts';
import { warmUpFiles } from '../core/triton/warm-up-samples.ts';
import { type FoundCompanion, refuseLarge } from './companions.ts';
import { ModelLayoutError, ModelNotFoundError } from './errors.ts';
import { storedFile } from './identity.ts';
import { decideLayout, isOnnx, isVersion } from './layout.ts';
import { readSmall } from './read-small.ts';
import type { Listing, ModelSource, StoredFile } from './storage-types.ts';

export const TRITON_CONFIG = 'config.pbtxt';
/** Where samples lie that a model is warmed up with. */
export const WARM_UP_FOLDER = 'warmup';
/** The largest in use are some kilobytes. */
const MAX_CONFIG_BYTES = 1024 ** 2;

export interface ChosenModel {
  model: StoredFile;
  /** Triton's configuration and what it names: they go with the model as files that a service names do. */
  configuration: FoundCompanion[];
}

/**
 * Decides which of the listed files is the model: as Triton does where it finds a `config.pbtxt`, else by names alone.
 *
 * @param find the file with what tells its content from any other, which a listing may leave out
 * @throws as `decideLayout`; `model-layout` and `unsupported` for a configuration that can't be carried out
 */
export async function chooseModel(
  source: ModelSource,
  listing: Listing,
  version: string | undefined,
  find: (path: string) => Promise<StoredFile>,
  signal: AbortSignal,
): Promise<ChosenModel> {
  const { label } = source;
  const { single, files } = listing;
  const folder = single ? undefined : tritonFolder(files, label);
  if (folder === undefined) {
    return { model: decideLayout(files, { label, single, version }).model, configuration: [] };
  }
  const file = await find(`${folder}${TRITON_CONFIG}`);
  const text = await readSmall(source, file, MAX_CONFIG_BYTES, signal);
  if (text === undefined) {
    throw new ModelLayoutError(
      `${label}: ${file.path} can't be read, or has more than ${MAX_CONFIG_BYTES} bytes`,
    );
  }
  const config = parseConfigFile(text, `${label}: ${file.path}`);
  const inside = files
    .filter(({ path }) => path.startsWith(folder))
    .map((one) => ({ path: one.path.slice(folder.length), file: one }));
  const { model } = modelOf(inside, config, version, label);
  const configuration = [{ companion: { path: TRITON_CONFIG }, file }];
  for (const name of warmUpFiles(config.warmUp)) {
    const path = `${WARM_UP_FOLDER}/${name}`;
    if (!inside.some((one) => one.path === path)) {
      throw new ModelNotFoundError(`${label} holds no ${path}, which model_warmup of ${TRITON_CONFIG} names`);
    }
    const sample = await find(folder + path);
    refuseLarge(sample, label);
    configuration.push({ companion: { path }, file: sample });
  }
  return { model: model.file, configuration };
}

/** The same of a model whose files are known from before. */
export function knownConfiguration(companions: ModelIdentity['files']): FoundCompanion[] {
  const config = companions.find(({ path }) => posix.basename(path) === TRITON_CONFIG);
  if (config === undefined) return [];
  const folder = config.path.slice(0, -TRITON_CONFIG.length);
  return companions.flatMap((file) => {
    const path = file.path.startsWith(folder) ? file.path.slice(folder.length) : '';
    const isOurs = file === config || path.startsWith(`${WARM_UP_FOLDER}/`);
    return isOurs ? [{ companion: { path }, file: storedFile(file) }] : [];
  });
}

/** @param label what the text is, for errors */
export function parseConfigFile(text: string, label: string): TritonConfig {
  try {
    return parseTritonConfig(text);
  } catch (error) {
    if (!(error instanceof PilotlightError)) throw error;
    throw new PilotlightError(error.code, `${label}: ${error.message}`, { cause: error });
  }
}

/** Where the configuration lies: `''` for a model's own folder, `name/` for a repository of one model. */
function tritonFolder(files: readonly StoredFile[], label: string): string | undefined {
  if (files.some(({ path }) => path === TRITON_CONFIG)) return '';
  const configs = files.filter(({ path }) => /^[^/.][^/]*\/config\.pbtxt$/.test(path));
  const folders = new Set(configs.map(({ path }) => path.slice(0, path.indexOf('/') + 1)));
  if (folders.size === 0) return undefined;
  for (const { path } of files) if (isOnnx(path)) folders.add(path.slice(0, path.indexOf('/') + 1));
  const [only] = folders;
  if (folders.size === 1) return only;
  const shown = [...folders].slice(0, 8).map((folder) => (folder === '' ? 'beside them' : folder));
  throw new ModelLayoutError(
    `${label} holds several models (${shown.join(', ')}); a service has one: name its folder in the URI`,
  );
}

interface Inside {
  path: string;
  file: StoredFile;
}

/** Of the versions that the policy allows the highest, or the pinned one. */
function modelOf(
  inside: readonly Inside[],
  { versionPolicy: policy, modelFilename }: TritonConfig,
  pinned: string | undefined,
  label: string,
): { model: Inside } {
  const versions = versionFolders(inside);
  const allowed = allowedVersions(policy, versions);
  const chosen =
    pinned === undefined ? allowed[0] : allowed.find((version) => Number(version) === Number(pinned));
  if (chosen === undefined) {
    // A model beside its configuration: a folder of one version.
    if (versions.length === 0 && pinned === undefined && policy.kind !== 'specific') {
      if (modelFilename === undefined) return decideLayout(inside, { label, single: false });
      return { model: named(inside, modelFilename, label) };
    }
    const found = versions.length === 0 ? 'no version folders' : `versions ${versions.join(', ')}`;
    const wanted = pinned === undefined ? '' : `, and version ${pinned} is wanted`;
    throw new ModelNotFoundError(
      `${label}: version_policy of ${TRITON_CONFIG} allows ${shownPolicy(policy)}${wanted}; found ${found}`,
    );
  }
  if (modelFilename !== undefined) return { model: named(inside, `${chosen}/${modelFilename}`, label) };
  return decideLayout(inside, { label, single: false, version: chosen });
}

function versionFolders(inside: readonly Inside[]): string[] {
  const folders = inside.flatMap(({ path }) =>
    path.includes('/') ? [path.slice(0, path.indexOf('/'))] : [],
  );
  return [...new Set(folders)].filter(isVersion);
}

function named(inside: readonly Inside[], path: string, label: string): Inside {
  const found = inside.find((one) => one.path === path);
  if (found !== undefined) return found;
  throw new ModelNotFoundError(
    `${label} holds no ${path}, which default_model_filename of ${TRITON_CONFIG} names`,
  );
}
