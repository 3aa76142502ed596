import { stat } from 'node:fs/promises';
import { basename, dirname, posix, relative } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { PilotlightError } from '../../contracts/errors.ts';
import type { CompileResult, CompileToolJob } from '../../contracts/model-tools.ts';
import { defaultCacheDir } from '../cache-dir.ts';
import { engineKey } from '../engine/engine-key.ts';
import { ModelForms } from '../engine/model-forms.ts';
import {
  type CompiledForm,
  type CompiledIndex,
  formFolder,
  formId,
  indexPath,
  type OriginalFile,
  parseIndex,
  withForm,
} from '../storage/compiled-index.ts';
import { sha256OfFile } from '../storage/fetch-file.ts';
import { type OpenedModel, openModel } from '../storage/open-model.ts';
import { Secrets } from '../storage/secrets.ts';
import type { LocalFile, ModelSink } from '../storage/sinks/model-sink.ts';
import { openSink } from '../storage/sinks/open-sink.ts';
import { DEFAULT_STORAGE_LIMITS } from '../storage/storage-types.ts';
import { type ModelUri, parseModelUri, redactUri, uriFromArgument } from '../storage/uri.ts';
import type { ToolVoice } from './main.ts';
import { settleForm } from './settle-form.ts';

/** As a runtime has it: smaller models are there in milliseconds as they are. */
const WORTH_FORMS_BYTES = 1024 ** 2;
/** Somebody else writes the same index at the same time: read it again and add to that. */
const INDEX_TRIES = 5;

/**
 * Makes the form of a model that a runtime would make on its first sight, and writes it where runtimes look for it.
 * It is tried before it is written: loaded as it will be loaded, and run beside the model that it was made from.
 *
 * @throws PilotlightError when the model can't be read, compiled or written
 */
export async function compile(
  job: CompileToolJob,
  voice: ToolVoice,
  signal: AbortSignal,
): Promise<CompileResult> {
  const startedAtMs = performance.now();
  const secrets = new Secrets();
  const address = uriFromArgument(job.uri, process.cwd());
  const uri = parseModelUri(address);
  // Before anything is fetched: a place that can't be written to is known by its scheme.
  const target = job.to === undefined ? uri : parseModelUri(uriFromArgument(job.to, process.cwd()));
  const sinkAt = (folder: string): ModelSink =>
    openSink(target, folder, process.env, DEFAULT_STORAGE_LIMITS, secrets, signal);
  sinkAt('/');
  const { cacheDir = defaultCacheDir(process.env) } = job;
  const model = await openModel({
    uri: address,
    cacheDir,
    signal,
    onProgress: ({ bytesDone, bytesTotal }) =>
      voice.progress(`fetching ${redactUri(address)}`, bytesDone / Math.max(1, bytesTotal)),
  });
  try {
    if (model.sizeBytes < WORTH_FORMS_BYTES) {
      return { outcome: 'not-needed', reason: 'it is below 1 MiB and starts in milliseconds as it is' };
    }
    voice.progress('compiling');
    const forms = new ModelForms(
      { cacheDir, cacheBytes: DEFAULT_STORAGE_LIMITS.cacheBytes },
      model.contentKey,
    );
    const best = await bestForm(model, forms, voice);
    try {
      const path = model.identity.files[0]?.path ?? basename(model.modelPath);
      const place = placeOf(target, job.to !== undefined, model.modelPath, path);
      const sink = sinkAt(place.folder);
      voice.progress(`writing to ${sink.label}`);
      const original = await originalOf(model, signal);
      const copied = job.to === undefined ? undefined : await copyOriginal(sink, model, original);
      const written = await writeForm(sink, basename(model.modelPath), copied ?? original, best, signal);
      const engine = engineKey();
      return {
        outcome: 'compiled',
        isNew: written.isNew,
        kind: best.kind,
        place: `${sink.label.replace(/\/*$/, '/')}${formFolder(basename(model.modelPath), written.form.id)}`,
        sha256: original[0]?.sha256 ?? '',
        sizeBytes: written.form.files.reduce((sum, file) => sum + file.sizeBytes, 0),
        originalBytes: model.sizeBytes,
        onnxRuntime: engine.onnxRuntime,
        cpu: engine.cpu,
        copiedOriginal: copied !== undefined,
        elapsedMs: performance.now() - startedAtMs,
      };
    } finally {
      await best.release();
    }
  } catch (error) {
    throw secrets.hideIn(error);
  } finally {
    await model.release();
  }
}

interface BestForm {
  kind: CompiledForm['kind'];
  files: readonly string[];
  graphPath: string;
  facts: Readonly<Record<string, boolean>>;
  release: () => Promise<void>;
}

/** The form that a start is best made from, made now where the cache hasn't it. */
async function bestForm(model: OpenedModel, forms: ModelForms, voice: ToolVoice): Promise<BestForm> {
  const reasons: string[] = [];
  const better = await settleForm(model, forms, {
    onLeft: (reason) => voice.note(`weights stay inside: ${reason}`),
    onNotCompiled: (reason) => reasons.push(reason),
  });
  await better?.release();
  // Prepacked weights that only pay with time are made where the model serves: they would take longer to fetch.
  for (const kind of ['prepacked', 'optimised'] as const) {
    const form = await forms.find(kind);
    const isGood = form !== undefined && form.facts['unusable'] !== true;
    if (form !== undefined && isGood && (kind === 'optimised' || form.facts['first'] === true)) {
      const { ahead: _ahead, ...facts } = form.facts;
      return { kind, files: form.files, graphPath: form.graphPath, facts, release: () => form.release() };
    }
    await form?.release();
  }
  throw new PilotlightError(
    'model-invalid',
    `the model can't be compiled: ${reasons.join('; ') || 'an earlier try on this machine failed; empty the cache to try again'}; it is served as it is`,
  );
}

/** The folder of the `.onnx` file at the target, as its sink wants it. */
function placeOf(
  target: ModelUri,
  isElsewhere: boolean,
  modelPath: string,
  path: string,
): { folder: string } {
  if (target.scheme === 'file') {
    return { folder: isElsewhere ? target.path : dirname(modelPath) };
  }
  if (target.scheme !== 's3') return { folder: '' };
  const { key } = target;
  // What the URI names is the object itself, or a prefix that the model's path goes on from.
  const isObject = !isElsewhere && (key === path || key.endsWith(`/${path}`));
  const whole = isElsewhere ? `${key.replace(/\/$/, '')}/x` : isObject ? key : posix.join(key, path);
  const folder = posix.dirname(whole);
  return { folder: folder === '.' || folder === '/' ? '' : `${folder.replace(/^\//, '')}/` };
}

async function originalOf(model: OpenedModel, signal: AbortSignal): Promise<OriginalFile[]> {
  const folder = dirname(model.modelPath);
  const files: OriginalFile[] = [];
  for (const [index, path] of model.files.entries()) {
    const { sizeBytes = 0, version } = model.identity.files[index] ?? {};
    files.push({
      path: relative(folder, path),
      sizeBytes,
      sha256: await sha256OfFile(path, signal),
      versions: version === undefined ? [] : [version],
    });
  }
  return files;
}

/** The model itself, so that a machine that the form doesn't fit can serve it. */
async function copyOriginal(
  sink: ModelSink,
  model: OpenedModel,
  original: readonly OriginalFile[],
): Promise<OriginalFile[]> {
  const copied: OriginalFile[] = [];
  for (const [index, file] of original.entries()) {
    const version = await sink.putFile(file.path, { ...file, path: model.files[index] ?? '' });
    const versions = new Set([...file.versions, ...(version === undefined ? [] : [version])]);
    copied.push({ ...file, versions: [...versions] });
  }
  return copied;
}

/** Files first, the index last: whoever finds a form named finds it whole. */
async function writeForm(
  sink: ModelSink,
  modelName: string,
  original: OriginalFile[],
  best: BestForm,
  signal: AbortSignal,
): Promise<{ form: CompiledForm; isNew: boolean }> {
  const { kind, facts } = best;
  const engine = engineKey();
  const id = formId({ kind, engine, original });
  const folder = formFolder(modelName, id);
  const local: LocalFile[] = [];
  const files: CompiledForm['files'] = [];
  for (const path of best.files) {
    const file = { sizeBytes: (await stat(path)).size, sha256: await sha256OfFile(path, signal) };
    local.push({ path, ...file });
    files.push({ path: relative(dirname(best.graphPath), path), ...file });
  }
  const form: CompiledForm = { kind, engine, original, id, files, facts: { ...facts } };
  const { index: before } = await indexNow(sink, modelName);
  if (before?.forms.some((one) => isDeepStrictEqual(one, form)) === true) {
    return { form, isNew: false };
  }
  for (const [index, { path }] of files.entries()) {
    const from = local[index];
    if (from !== undefined) await sink.putFile(posix.join(folder, path), from);
  }
  await addToIndex(sink, modelName, form);
  return { form, isNew: true };
}

async function indexNow(sink: ModelSink, modelName: string) {
  const before = await sink.readText(indexPath(modelName));
  return { before, index: before === undefined ? undefined : parseIndex(before.text) };
}

async function addToIndex(sink: ModelSink, modelName: string, form: CompiledForm): Promise<void> {
  for (let attempt = 1; attempt <= INDEX_TRIES; attempt += 1) {
    const { before, index } = await indexNow(sink, modelName);
    const next = withForm(index, form);
    if (!(await sink.putText(indexPath(modelName), `${JSON.stringify(next, undefined, 2)}\n`, before)))
      continue;
    await removeOthers(sink, modelName, index, next);
    return;
  }
  throw new PilotlightError(
    'model-changed',
    `${sink.label}${indexPath(modelName)} was written by others ${INDEX_TRIES} times in a row; try again`,
  );
}

/** Forms of an original that is no longer there. */
async function removeOthers(
  sink: ModelSink,
  modelName: string,
  before: CompiledIndex | undefined,
  after: CompiledIndex,
): Promise<void> {
  const kept = new Set(after.forms.map(({ id }) => id));
  for (const { id, files } of before?.forms ?? []) {
    if (kept.has(id)) continue;
    for (const { path } of files) await sink.remove(posix.join(formFolder(modelName, id), path));
  }
}
