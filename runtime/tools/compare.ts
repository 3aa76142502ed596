import { open, readFile } from 'node:fs/promises';
import type { CompareResult, CompareToolJob, StoredSample } from '../../contracts/model-tools.ts';
import { defaultCacheDir } from '../cache-dir.ts';
import { type ModelSignature, showNames } from '../core/model-signature.ts';
import { decodeInferRequest } from '../core/oip-json.ts';
import { elementSizeBytes, parseDatatype, type Tensor, viewOf } from '../core/tensor.ts';
import { compareSessions, type Sample } from '../engine/compare-sessions.ts';
import { openSession } from '../engine/open-session.ts';
import { type OpenedModel, openModel } from '../storage/open-model.ts';
import { redactUri, uriFromArgument } from '../storage/uri.ts';
import type { ToolVoice } from './main.ts';

/**
 * Runs two models on the same samples and tells what their outputs differ by.
 *
 * @throws PilotlightError when a model or a sample can't be had, or they can't be compared
 */
export async function compare(
  job: CompareToolJob,
  voice: ToolVoice,
  signal: AbortSignal,
): Promise<CompareResult> {
  const original = await opened(job.original, job, voice, signal);
  const candidate = await opened(job.candidate, job, voice, signal);
  try {
    voice.progress('creating sessions');
    const [left, right] = [await openSession(original, 1), await openSession(candidate, 1)];
    try {
      return await compareSessions(left, right, {
        samples: job.samples.map(sampleOf),
        signal,
        onProgress: (share) => voice.progress('comparing', share),
      });
    } finally {
      await Promise.all([left.instance.retire(), right.instance.retire()]);
    }
  } finally {
    await original.release();
    await candidate.release();
  }
}

async function opened(
  uri: string,
  { cacheDir = defaultCacheDir(process.env) }: CompareToolJob,
  voice: ToolVoice,
  signal: AbortSignal,
): Promise<OpenedModel> {
  const address = uriFromArgument(uri, process.cwd());
  return openModel({
    uri: address,
    cacheDir,
    signal,
    onProgress: ({ bytesDone, bytesTotal }) =>
      voice.progress(`fetching ${redactUri(address)}`, bytesDone / Math.max(1, bytesTotal)),
  });
}

/** A sample as it lies on the disk. */
function sampleOf(stored: StoredSample): Sample {
  return {
    name: stored.name,
    read: async (signature) =>
      stored.kind === 'request'
        ? decodeInferRequest(await readFile(stored.path)).inputs
        : Promise.all(stored.tensors.map((tensor) => readTensor(tensor, signature))),
  };
}

async function readTensor(
  stored: Extract<StoredSample, { kind: 'tensors' }>['tensors'][number],
  signature: ModelSignature,
): Promise<Tensor> {
  const [only, ...more] = signature.inputs;
  if (stored.input === undefined && (only === undefined || more.length > 0)) {
    throw new Error(
      `the model takes ${showNames(signature.inputs)}: give a folder with NAME.npy for each input`,
    );
  }
  const name = stored.input ?? only?.name ?? '';
  const datatype = parseDatatype(stored.datatype, name);
  if (datatype === 'BYTES') throw new Error(`input '${name}': texts come in JSON`);
  const count = stored.shape.reduce((product, size) => product * size, 1);
  const bytes = new Uint8Array(count * elementSizeBytes(datatype));
  const handle = await open(stored.path, 'r');
  try {
    const { bytesRead } = await handle.read(bytes, 0, bytes.length, stored.offset);
    if (bytesRead < bytes.length) throw new Error(`${stored.path} ends after ${bytesRead} bytes of data`);
  } finally {
    await handle.close();
  }
  return { name, datatype, shape: stored.shape, data: viewOf(datatype, bytes.buffer, 0, count) };
}
