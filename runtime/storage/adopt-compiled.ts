import { mkdir, rm, utimes } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { ModelIdentity } from '../../contracts/admin.ts';
import type { CacheLock } from './cache-lock.ts';
import {
  type CompiledForm,
  type CompiledIndex,
  chooseForm,
  type EngineKey,
  formFolder,
  indexPath,
  MAX_INDEX_BYTES,
  parseIndex,
} from './compiled-index.ts';
import { ModelLayoutError, ModelNotFoundError } from './errors.ts';
import { externalFilesOf } from './external-files.ts';
import { type FormDraft, GRAPH, type LeasedForm } from './form-cache.ts';
import { entryKey } from './identity.ts';

/** How often to look whether another process has brought the same form. */
const OTHER_PROCESS_POLL_MS = 100;
/** A draft that is being written is touched this often, so that nobody takes it for abandoned. */
const TOUCH_EVERY_MS = 30_000;

/** Where the forms of one model are kept; ModelForms is it. */
export interface FormPlaces {
  find(kind: CompiledForm['kind']): Promise<LeasedForm | undefined>;
  begin(kind: CompiledForm['kind'], neededBytes: number): Promise<FormDraft>;
  tryLock(kind: CompiledForm['kind']): Promise<CacheLock | undefined>;
}

/** Who can run a form that was compiled ahead of time, and where it is to be kept. */
export interface CompiledWish {
  engine: EngineKey;
  forms: (contentKey: string) => FormPlaces;
  /** There is one, or an index of them, and it is not used. */
  onIgnored: (reason: string) => void;
}

export interface AdoptedForm {
  /** Of the original. */
  identity: ModelIdentity;
  contentKey: string;
  fetchedBytes: number;
}

/** How the files of a form come here. */
export interface FormTransport {
  /** @returns undefined where there is no such file; a longer text than `maxBytes` counts as none */
  readText(path: string, maxBytes: number): Promise<string | undefined>;
  /** Brings one file and checks its digest. */
  bring(
    file: { path: string; sizeBytes: number; sha256: string },
    destination: { path: string; sidecar: string },
    onProgress: () => void,
  ): Promise<void>;
}

/**
 * Looks beside a model for a form that was compiled ahead of time, and brings the one that fits into the cache of
 * forms, its digests checked and its graph looked through: what is published there may be run. Whatever is wrong with
 * it is no failure of the model, which is there to be taken instead.
 *
 * @throws the signal's reason when it is aborted
 */
export async function adoptCompiled(
  wish: CompiledWish,
  transport: FormTransport,
  place: {
    modelPath: string;
    /** For the content key. */
    origin: string;
    /** The identity that the form's original has here, or undefined when the model here is another. */
    identify: (form: CompiledForm) => Promise<ModelIdentity | undefined>;
    signal: AbortSignal;
  },
): Promise<AdoptedForm | undefined> {
  const { modelPath, origin, signal } = place;
  try {
    const text = await transport.readText(indexPath(modelPath), MAX_INDEX_BYTES);
    const index = text === undefined ? undefined : parseIndex(text);
    if (index === undefined) return undefined;
    const identities = await identitiesOf(index, place.identify);
    const { form, ...why } = chooseForm(index, wish.engine, (one) => identities.has(one));
    const identity = form === undefined ? undefined : identities.get(form);
    if (form === undefined || identity === undefined) {
      wish.onIgnored('reason' in why ? why.reason : 'its original is not known');
      return undefined;
    }
    const contentKey = entryKey(origin, identity);
    const fetchedBytes = await bringForm(wish.forms(contentKey), form, modelPath, transport, signal);
    return { identity, contentKey, fetchedBytes };
  } catch (error) {
    signal.throwIfAborted();
    wish.onIgnored(error instanceof Error ? error.message : String(error));
    return undefined;
  }
}

async function identitiesOf(
  index: CompiledIndex,
  identify: (form: CompiledForm) => Promise<ModelIdentity | undefined>,
): Promise<Map<CompiledForm, ModelIdentity>> {
  const found = new Map<CompiledForm, ModelIdentity>();
  for (const form of index.forms) {
    const identity = await identify(form);
    if (identity !== undefined) found.set(form, identity);
  }
  return found;
}

/** @returns bytes that were brought; 0 when the form was in the cache already */
async function bringForm(
  places: FormPlaces,
  form: CompiledForm,
  modelPath: string,
  transport: FormTransport,
  signal: AbortSignal,
): Promise<number> {
  for (;;) {
    signal.throwIfAborted();
    const there = await places.find(form.kind);
    if (there !== undefined) {
      await there.release();
      if (there.facts['unusable'] === true)
        throw new Error('it was tried on this machine and could not be used');
      return 0;
    }
    const lock = await places.tryLock(form.kind);
    if (lock === undefined) {
      await delay(OTHER_PROCESS_POLL_MS, undefined, { signal });
      continue;
    }
    try {
      const finished = await places.find(form.kind);
      if (finished === undefined) return await fillDraft(places, form, modelPath, transport);
      // Looked at once more without the lock.
      await finished.release();
    } finally {
      await lock.release();
    }
  }
}

async function fillDraft(
  places: FormPlaces,
  form: CompiledForm,
  modelPath: string,
  transport: FormTransport,
): Promise<number> {
  const sizeBytes = form.files.reduce((sum, file) => sum + file.sizeBytes, 0);
  const draft = await places.begin(form.kind, sizeBytes);
  const ranges = join(draft.folder, '.ranges');
  let touchedAtMs = performance.now();
  const touch = (): void => {
    if (performance.now() - touchedAtMs < TOUCH_EVERY_MS) return;
    touchedAtMs = performance.now();
    const now = new Date();
    void utimes(draft.folder, now, now).catch(() => undefined);
  };
  try {
    for (const [number, file] of form.files.entries()) {
      const path = join(draft.folder, file.path);
      await mkdir(dirname(path), { recursive: true });
      const from = posix.join(formFolder(modelPath, form.id), file.path);
      await transport.bring(
        { ...file, path: from },
        { path, sidecar: join(ranges, `${number}.json`) },
        touch,
      );
    }
    await rm(ranges, { recursive: true, force: true });
    await refuseIncomplete(draft.folder, form);
    await draft.publish({ ...form.facts, ahead: true });
    return sizeBytes;
  } finally {
    await draft.discard();
  }
}

/** Weights that are cut short would kill the process that maps them; those of other folders are none of a form's. */
async function refuseIncomplete(folder: string, form: CompiledForm): Promise<void> {
  const label = `the compiled form ${form.id}`;
  for (const { location, requiredBytes } of await externalFilesOf(join(folder, GRAPH), GRAPH, label)) {
    const file = form.files.find(({ path }) => path === location);
    if (file === undefined)
      throw new ModelNotFoundError(`${label} keeps weights in ${location}, which it has not`);
    if (file.sizeBytes < requiredBytes) {
      throw new ModelLayoutError(
        `${label}: ${location} has ${file.sizeBytes} bytes, but tensors reach to byte ${requiredBytes}`,
      );
    }
  }
}
