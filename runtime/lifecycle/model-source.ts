import { PilotlightError } from '../../contracts/errors.ts';
import { engineKey } from '../engine/engine-key.ts';
import type { LoadObserver } from '../engine/load-model.ts';
import { ModelForms } from '../engine/model-forms.ts';
import {
  findForm,
  findStart,
  type ModelFiles,
  readStartAhead,
  type StartingPoint,
} from '../engine/starting-point.ts';
import { unlessAborted } from '../engine/unless-aborted.ts';
import type { ModelOrForm, OpenedModel, OpenModelOptions } from '../storage/open-model.ts';
import { DEFAULT_STORAGE_LIMITS } from '../storage/storage-types.ts';
import type { BringUpContext, LoadedFiles } from './bring-up.ts';
import type { LoadOrder } from './load-order.ts';
import { companionsOf } from './surroundings.ts';

/** Smaller models are there in milliseconds as they are; making other forms of them costs half a second of a core. */
const WORTH_FORMS_BYTES = 1024 ** 2;

/** Loading this is left until a model is wanted; a standby does it as soon as its ports listen. */
const importStorage = (): Promise<typeof import('../storage/open-model.ts')> =>
  import('../storage/open-model.ts');

/** What there is to start from: the model's files, or only a form of it. */
export interface Source {
  opened: Pick<OpenedModel, 'identity' | 'sizeBytes' | 'fromCache' | 'companions'>;
  forms: ModelForms | undefined;
  /** Where it is kept what was found out about the model, whatever its size. */
  kept: ModelForms;
  /** Undefined while only a form is here. */
  files: () => ModelFiles | undefined;
  /** Brings the model's own files where they are not here. */
  original: (() => Promise<ModelFiles>) | undefined;
  /** All that is leased; told to `onFiles` at each change. */
  release(): Promise<void>;
  /** What to give back as well. */
  also: (release: () => Promise<void>) => void;
}

/** Opens what a model is to be started from. @throws as `openModel` */
export async function openSource(order: LoadOrder, context: BringUpContext): Promise<Source> {
  const { observer } = context;
  const { signal } = context.signal;
  const { openModel, openModelOrForm } = await importStorage();
  const cacheBytes = context.cacheMaxBytes ?? DEFAULT_STORAGE_LIMITS.cacheBytes;
  const formsOf = (contentKey: string): ModelForms =>
    new ModelForms({ cacheDir: context.cacheDir, cacheBytes }, contentKey);
  const options = openOptions(order, context, signal);
  // Forms are made for the CPU: an accelerator starts from the model itself.
  const isForCpu = order.execution === undefined || order.execution.provider === 'cpu';
  const opening: Promise<ModelOrForm> = isForCpu
    ? openModelOrForm(options, {
        engine: engineKey(),
        forms: formsOf,
        onIgnored: (reason) => observer.compiledIgnored?.(reason),
      })
    : openModel(options).then((model) => ({ kind: 'model', model }));
  context.onOpening(opening.then((found) => (found.kind === 'model' ? found.model : NOTHING_LEASED)));
  const found = await unlessAborted(opening, signal);
  const leases: (() => Promise<void>)[] = [];
  const release = async (): Promise<void> => {
    for (const one of leases.splice(0).toReversed()) await one();
  };
  const also = (one: () => Promise<void>): void => {
    leases.push(one);
    context.onFiles({ release });
  };
  let model = found.kind === 'model' ? found.model : undefined;
  if (found.kind === 'model') also(() => found.model.release());
  const opened = found.kind === 'model' ? found.model : found.compiled;
  const original =
    found.kind === 'model'
      ? undefined
      : async (): Promise<ModelFiles> => {
          if (model !== undefined) return model;
          const bringing = found.compiled.original();
          context.onOpening(bringing);
          const brought = await unlessAborted(bringing, signal);
          model = brought;
          also(() => brought.release());
          return brought;
        };
  const kept = formsOf(opened.contentKey);
  const forms = opened.sizeBytes < WORTH_FORMS_BYTES ? undefined : kept;
  return { opened, forms, kept, files: () => model, original, release, also };
}

const NOTHING_LEASED: LoadedFiles = { release: () => Promise.resolve() };

/** The files to start from, in the page cache. */
export async function prepareStart(
  { forms, files, original, also }: Source,
  observer: LoadObserver,
  signal: AbortSignal,
): Promise<{ point: StartingPoint; coldBytes: number }> {
  const onLeft = (reason: string): void => observer.notCompiled?.(`external: ${reason}`);
  const known = original === undefined || forms === undefined ? undefined : await findForm(forms);
  const model = known === undefined ? ((await original?.()) ?? files()) : undefined;
  const point = known ?? (model === undefined ? undefined : await findStart(model, forms, onLeft));
  if (point === undefined)
    throw new PilotlightError('internal', 'neither a model nor a form of it was opened');
  also(() => point.release());
  return { point, coldBytes: await readStartAhead(point, signal) };
}

function openOptions(order: LoadOrder, context: BringUpContext, signal: AbortSignal): OpenModelOptions {
  return {
    uri: order.uri,
    cacheDir: context.cacheDir,
    signal,
    ...(order.identity === undefined ? {} : { identity: order.identity }),
    ...(order.sha256 === undefined ? {} : { sha256: order.sha256 }),
    companions: companionsOf(order),
    ...(order.access === undefined ? {} : { credentials: order.access }),
    limits: storageLimits(order, context.cacheMaxBytes),
  };
}

/** What a load may take of time and of the cache. */
export function storageLimits(
  order: Pick<LoadOrder, 'startTimeoutMs'>,
  cacheMaxBytes: number | undefined,
): NonNullable<OpenModelOptions['limits']> {
  return {
    // The start timeout speaks first, with the phase; this one stands behind it.
    overallTimeoutMs: Math.min(order.startTimeoutMs + 1_000, 2 ** 31 - 1),
    ...(cacheMaxBytes === undefined ? {} : { cacheBytes: cacheMaxBytes }),
  };
}
