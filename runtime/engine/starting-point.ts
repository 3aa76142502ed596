import type { ExternaliseOutcome } from '../storage/externalise-file.ts';
import type { LeasedForm } from '../storage/form-cache.ts';
import { readAhead } from '../storage/read-ahead.ts';
import type { FormKind, ModelForms } from './model-forms.ts';

/** The files that sessions are created from. */
export interface StartingPoint {
  /** `plain`: the model as it is. */
  kind: 'plain' | FormKind;
  graphPath: string;
  /** Absolute paths, the graph first. */
  files: readonly string[];
  /** True when the weights lie outside the graph, where they are mapped. */
  isMapped: boolean;
  /** Gives the lease on the form back. */
  release: () => Promise<void>;
}

export interface ModelFiles {
  modelPath: string;
  /** All files, `modelPath` first. */
  files: readonly string[];
  sizeBytes: number;
  /** What became of the weights while the model arrived. */
  externalised?: ExternaliseOutcome | undefined;
}

/** Better ones first, whatever they cost to make: what is there is there. */
const QUICKEST: readonly FormKind[] = ['optimised', 'external'];

/**
 * The form of a model that a waiting request is answered from soonest: an optimised one, else one with its weights
 * outside, which is made now where it isn't there yet, else the model as it is.
 *
 * Prepacked fp32 weights take longer to load (400 MB: 134 ms instead of 5) and gain nothing in a first run; int8
 * runs take several times as long without. So which one is first is a fact that its maker has left with it.
 */
export async function findStart(
  model: ModelFiles,
  forms: ModelForms | undefined,
  onLeft: (reason: string) => void,
): Promise<StartingPoint> {
  if (forms === undefined) return plainStart(model);
  const best = await findForm(forms);
  if (best !== undefined) return best;
  const known = await forms.find('external');
  await known?.release();
  if (known !== undefined) return plainStart(model);
  const outcome = model.externalised ?? (await forms.externalise(model.files));
  if (outcome.kind === 'externalised') {
    const form = await forms.find('external');
    if (form !== undefined) return formStart('external', form);
  } else onLeft(outcome.reason);
  return plainStart(model);
}

/** The best form that is there already; none is made. */
export async function findForm(forms: ModelForms): Promise<StartingPoint | undefined> {
  const prepacked = await usable(forms, 'prepacked');
  if (prepacked?.facts['first'] === true) return formStart('prepacked', prepacked);
  await prepacked?.release();
  for (const kind of QUICKEST) {
    const form = await usable(forms, kind);
    if (form !== undefined) return formStart(kind, form);
  }
  return undefined;
}

/** Without forms that only say that they can't be made. */
export async function usable(forms: ModelForms, kind: FormKind): Promise<LeasedForm | undefined> {
  const form = await forms.find(kind);
  if (form?.facts['unusable'] !== true) return form;
  await form.release();
  return undefined;
}

export function formStart(kind: FormKind, form: LeasedForm): StartingPoint {
  const { graphPath, files } = form;
  return { kind, graphPath, files, isMapped: true, release: () => form.release() };
}

export function plainStart({ modelPath, files }: ModelFiles): StartingPoint {
  return {
    kind: 'plain',
    graphPath: modelPath,
    files,
    isMapped: files.length > 1,
    release: () => Promise.resolve(),
  };
}

/**
 * Brings what is about to be mapped into the page cache.
 *
 * @returns bytes that had to be read from the disk; 0 when they were all in memory
 */
export async function readStartAhead(start: StartingPoint, signal: AbortSignal): Promise<number> {
  let coldBytes = 0;
  for (const path of start.files) {
    // An optimisation: what goes wrong here shows where the file is used.
    const outcome = await readAhead(path, process.availableMemory(), signal).catch(() => undefined);
    if (outcome?.read === 'all') coldBytes += outcome.sizeBytes;
  }
  return coldBytes;
}
