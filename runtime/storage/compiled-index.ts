import { createHash } from 'node:crypto';
import { posix } from 'node:path';
import { z } from 'zod';
import type { ModelIdentity } from '../../contracts/admin.ts';
import { badRelativePath } from './relative-path.ts';

/**
 * Forms of a model that were compiled ahead of time lie beside it, hidden from whoever looks for models in a folder:
 *
 *     model.onnx
 *     .pilotlight/model.onnx.json                  the index: which forms there are and what they fit
 *     .pilotlight/model.onnx/<id>/graph.onnx, …    a form
 */
const FOLDER = '.pilotlight';
/** One kind of machine has one form: more than these nobody has. */
const MAX_FORMS = 64;
const MAX_FILES = 1_000;
/** An index of 64 forms has some 100 KB. */
export const MAX_INDEX_BYTES = 1024 ** 2;

const digest = z.string().regex(/^[0-9a-f]{64}$/);
const relativePath = z
  .string()
  .refine((path) => badRelativePath(path) === undefined, 'climbs out of its folder');
const sizeBytes = z.number().int().nonnegative();

/** What a form is good for besides its model. */
const engineKeySchema = z.object({
  /** Of the way forms are made. */
  format: z.number().int(),
  onnxRuntime: z.string(),
  provider: z.string(),
  level: z.string(),
  /** Architecture and vector instruction sets. */
  cpu: z.string(),
});
export type EngineKey = z.infer<typeof engineKeySchema>;

const originalFileSchema = z.object({
  /** Relative to the folder of the `.onnx` file. */
  path: relativePath,
  sizeBytes,
  sha256: digest,
  /** By which stores tell it from others: an ETag where it was read and where it was written, a time of change. */
  versions: z.array(z.string()).max(8),
});
export type OriginalFile = z.infer<typeof originalFileSchema>;

const compiledFormSchema = z.object({
  kind: z.enum(['optimised', 'prepacked']),
  engine: engineKeySchema,
  /** The `.onnx` file first. */
  original: z.array(originalFileSchema).min(1).max(MAX_FILES),
  /** Below `.pilotlight/<model>/`. */
  id: z.string().regex(/^[0-9a-f]{16}$/),
  files: z
    .array(z.object({ path: relativePath, sizeBytes, sha256: digest }))
    .min(1)
    .max(MAX_FILES),
  /** What was found out while it was made; see FormCache. */
  facts: z.record(z.string(), z.boolean()),
});
export type CompiledForm = z.infer<typeof compiledFormSchema>;

const compiledIndexSchema = z.object({
  format: z.literal(1),
  forms: z.array(compiledFormSchema).max(MAX_FORMS),
});
export type CompiledIndex = z.infer<typeof compiledIndexSchema>;

/** Where the index of a model lies, by the model's own path. */
export function indexPath(modelPath: string): string {
  return posix.join(posix.dirname(modelPath), FOLDER, `${posix.basename(modelPath)}.json`);
}

/** Where a form lies, by the model's own path. */
export function formFolder(modelPath: string, id: string): string {
  return posix.join(posix.dirname(modelPath), FOLDER, posix.basename(modelPath), id);
}

/** @returns undefined for a text that is no index, such as a page that says "not found" */
export function parseIndex(text: string): CompiledIndex | undefined {
  try {
    return compiledIndexSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** The same for the same form of the same model on the same kind of machine. */
export function formId(form: Pick<CompiledForm, 'kind' | 'engine' | 'original'>): string {
  const { format, onnxRuntime, provider, level, cpu } = form.engine;
  const model = form.original.map(({ path, sha256 }) => [path, sha256]);
  const key = [form.kind, format, onnxRuntime, provider, level, cpu, model];
  return createHash('sha256').update(JSON.stringify(key)).digest('hex').slice(0, 16);
}

/** The index with one more form, instead of one of the same id; forms of another original than that one go. */
export function withForm(index: CompiledIndex | undefined, form: CompiledForm): CompiledIndex {
  const [model] = form.original;
  const others = (index?.forms ?? []).filter(
    ({ id, original }) => id !== form.id && original[0]?.sha256 === model?.sha256,
  );
  return { format: 1, forms: [form, ...others].slice(0, MAX_FORMS) };
}

export type Choice = { form: CompiledForm } | { form: undefined; reason: string };

/**
 * The form that fits this engine, of this original.
 *
 * @param isOriginal whether a form's original is the model that is asked for
 * @returns otherwise what it is that differs, of the form that comes nearest
 */
export function chooseForm(
  { forms }: CompiledIndex,
  engine: EngineKey,
  isOriginal: (form: CompiledForm) => boolean,
): Choice {
  if (forms.length === 0) return { form: undefined, reason: 'its index names no form' };
  const ofModel = forms.filter(isOriginal);
  if (ofModel.length === 0) {
    return {
      form: undefined,
      reason: 'the original differs: the model was replaced or copied since it was compiled',
    };
  }
  const judged = ofModel
    .map((form) => ({ form, differences: differencesOf(form.engine, engine) }))
    .sort((left, right) => left.differences.length - right.differences.length);
  const [best] = judged;
  if (best === undefined || best.differences.length > 0) {
    return { form: undefined, reason: best?.differences.join('; ') ?? 'its index names no form' };
  }
  return { form: best.form };
}

/** In words, for a log line: which parts of a form's key are not those of this engine. */
export function differencesOf(form: EngineKey, here: EngineKey): string[] {
  const words = {
    format: 'the format of forms',
    onnxRuntime: 'ONNX Runtime',
    provider: 'the provider',
    level: 'the level',
  };
  const plain = (Object.keys(words) as (keyof typeof words)[])
    .filter((part) => form[part] !== here[part])
    .map((part) => `${words[part]} differs: compiled with ${form[part]}, here ${here[part]}`);
  return form.cpu === here.cpu ? plain : [...plain, cpuDifference(form.cpu, here.cpu)];
}

function cpuDifference(form: string, here: string): string {
  const [theirs, ours] = [new Set(form.split(' ')), new Set(here.split(' '))];
  const missing = [...theirs].filter((feature) => !ours.has(feature));
  const more = [...ours].filter((feature) => !theirs.has(feature));
  const parts = [
    ...(missing.length > 0 ? [`the form's machine has ${missing.join(' ')}`] : []),
    ...(more.length > 0 ? [`this one has ${more.join(' ')}`] : []),
  ];
  return `the CPU features differ: ${parts.join(', ')}`;
}

/** Where the files of a form's original lie, by the model's own path; the `.onnx` file first. */
export function originalPaths({ original }: CompiledForm, modelPath: string): string[] {
  return original.map(({ path }) => posix.join(posix.dirname(modelPath), path));
}

/** Whether a form is of exactly these files: same names, sizes and versions at the store. */
export function isOfIdentity(form: CompiledForm, identity: ModelIdentity): boolean {
  const { files } = identity;
  const paths = originalPaths(form, files[0]?.path ?? '');
  if (files.length !== paths.length) return false;
  return form.original.every(({ sizeBytes: size, versions }, index) => {
    const file = files[index];
    if (file === undefined || file.path !== paths[index] || file.sizeBytes !== size) return false;
    return versions.some((version) => plainVersion(version) === plainVersion(file.version));
  });
}

/** ETags are compared without their weak mark. */
function plainVersion(version: string | undefined): string | undefined {
  return version?.replace(/^W\//, '');
}
