import { ModelLayoutError, ModelNotFoundError, ModelNotOnnxError } from './errors.ts';
import { badRelativePath } from './relative-path.ts';

export interface ListedPath {
  path: string;
}

/** Which of the listed files is the model. External data is known only once the file itself has been read. */
export interface ModelLayout<F extends ListedPath> {
  model: F;
  /** The numeric folder that it was taken from. */
  version: string | undefined;
}

/** Formats of others that people point at by mistake, by extension. */
const OTHER_FORMATS: Record<string, string> = {
  pt: 'a PyTorch file',
  pth: 'a PyTorch file',
  ckpt: 'a checkpoint',
  bin: 'a weights file',
  safetensors: 'a safetensors file',
  pkl: 'a pickle',
  joblib: 'a joblib pickle',
  h5: 'a Keras file',
  keras: 'a Keras file',
  pb: 'a TensorFlow graph',
  tflite: 'a TensorFlow Lite file',
  gguf: 'a GGUF file',
  ort: 'an ORT-format file',
  xml: 'an OpenVINO model',
  json: 'JSON',
  txt: 'text',
};

/** Whether a folder of this name holds a version. */
export function isVersion(folder: string): boolean {
  return /^\d{1,15}$/.test(folder);
}

/**
 * Decides by names alone what a source holds:
 * 1. one file: that is the model;
 * 2. `model.onnx` in the folder, or the only `.onnx` in it;
 * 3. numeric folders (`1/model.onnx`): the highest number, or the pinned one;
 * 4. the only `.onnx` anywhere below.
 * A pinned version looks at numeric folders only.
 *
 * @param label names the source in errors
 * @throws ModelNotFoundError when there is no file at all; ModelLayoutError, which tells what was found
 */
export function decideLayout<F extends ListedPath>(
  listed: readonly F[],
  options: { label: string; single: boolean; version?: string | undefined },
): ModelLayout<F> {
  const { label, version } = options;
  if (options.single) return { model: singleFile(listed, label, version), version: undefined };
  const files = listed.filter((file) => isVisible(file.path) && badRelativePath(file.path) === undefined);
  if (files.length === 0) {
    throw new ModelNotFoundError(
      `${label} is empty; expected an .onnx file, or folders 1/, 2/, … with one each`,
    );
  }
  if (version !== undefined) return pinnedVersion(files, label, version);
  const here = modelIn(files, '', label);
  if (here !== undefined) return { model: here, version: undefined };
  const highest = versionsOf(files)[0];
  if (highest !== undefined) return { model: modelOfVersion(files, highest, label), version: highest };
  const below = files.filter((file) => isOnnx(file.path));
  const only = below[0];
  if (below.length === 1 && only !== undefined) return { model: only, version: undefined };
  if (below.length > 1) {
    throw new ModelLayoutError(`${label} holds several models (${show(below)}); name one of them in the URI`);
  }
  throw new ModelLayoutError(`${label} holds no .onnx file; found ${show(files)}`);
}

function singleFile<F extends ListedPath>(
  files: readonly F[],
  label: string,
  version: string | undefined,
): F {
  const file = files[0];
  if (file === undefined) throw new ModelNotFoundError(`${label} does not exist`);
  if (version !== undefined) {
    throw new ModelLayoutError(
      `${label} is a single file and has no version ${version}; name the folder above`,
    );
  }
  const extension = /\.([a-z0-9]+)$/i.exec(file.path)?.[1]?.toLowerCase() ?? '';
  const other = OTHER_FORMATS[extension];
  if (other !== undefined) {
    throw new ModelNotOnnxError(`${label} is ${other} by its name (.${extension}); expected an ONNX model`);
  }
  return file;
}

function pinnedVersion<F extends ListedPath>(
  files: readonly F[],
  label: string,
  version: string,
): ModelLayout<F> {
  const versions = versionsOf(files);
  const folder = versions.find((candidate) => candidate === version || Number(candidate) === Number(version));
  if (folder === undefined) {
    const found = versions.length > 0 ? `versions ${versions.toReversed().join(', ')}` : show(files);
    throw new ModelNotFoundError(`${label} has no version ${version}; found ${found}`);
  }
  return { model: modelOfVersion(files, folder, label), version: folder };
}

/** Numeric folders, highest first. */
function versionsOf(files: readonly ListedPath[]): string[] {
  const folders = new Set<string>();
  for (const { path } of files) {
    const slash = path.indexOf('/');
    if (slash > 0 && isVersion(path.slice(0, slash))) folders.add(path.slice(0, slash));
  }
  return [...folders].sort((a, b) => Number(b) - Number(a) || a.length - b.length);
}

/** The highest version must be whole: falling back on an older one would hide a broken upload. */
function modelOfVersion<F extends ListedPath>(files: readonly F[], version: string, label: string): F {
  const model = modelIn(files, `${version}/`, label);
  if (model !== undefined) return model;
  const inside = files.filter((file) => file.path.startsWith(`${version}/`));
  throw new ModelLayoutError(
    `${label}: version ${version} holds no .onnx file; found ${show(inside)}; finish its upload or pin another version`,
  );
}

/** The model directly inside a folder (`''` or ending in `/`). */
function modelIn<F extends ListedPath>(files: readonly F[], folder: string, label: string): F | undefined {
  const models = files.filter(
    ({ path }) => path.startsWith(folder) && isOnnx(path) && !path.slice(folder.length).includes('/'),
  );
  const preferred = models.find(({ path }) => path === `${folder}model.onnx`);
  if (preferred !== undefined) return preferred;
  if (models.length > 1) {
    throw new ModelLayoutError(
      `${label} holds several models (${show(models)}); name one of them in the URI, or call one model.onnx`,
    );
  }
  return models[0];
}

export function isOnnx(path: string): boolean {
  return path.toLowerCase().endsWith('.onnx');
}

/** Not `.DS_Store`, `._model.onnx` (macOS), `.cache/` and the like. */
function isVisible(path: string): boolean {
  return !path.split('/').some((segment) => segment.startsWith('.'));
}

function show(files: readonly ListedPath[]): string {
  const names = files.slice(0, 8).map((file) => file.path);
  return names.join(', ') + (files.length > names.length ? ` and ${files.length - names.length} more` : '');
}
