import { open, readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { StoredSample } from '../contracts/model-tools.ts';
import { CommandFailure, fileFailure, messageOf } from './failure.ts';
import { readNpyHeader } from './npy.ts';

/** More are no better proof. */
const MAX_SAMPLES = 10_000;
/** numpy's own header is some 128 bytes. */
const HEAD_BYTES = 66 * 1024;

/**
 * Stored samples: a `.json` file is a request, a `.npy` file the model's only input, and a folder holds samples: files
 * as above, and folders with one `NAME.npy` for each input.
 *
 * @throws CommandFailure for what is none of it, or nothing at all
 */
export async function findSamples(path: string): Promise<StoredSample[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [await sampleOf(path, basename(path))];
    const samples: StoredSample[] = [];
    for (const entry of (await readdir(path, { withFileTypes: true })).toSorted(byName)) {
      const full = join(path, entry.name);
      if (entry.name.startsWith('.')) continue;
      if (entry.isDirectory()) samples.push(await folderSample(full, entry.name));
      else if (/\.(json|npy)$/i.test(entry.name)) samples.push(await sampleOf(full, entry.name));
      if (samples.length > MAX_SAMPLES) {
        throw new CommandFailure(`${path} holds more than ${MAX_SAMPLES} samples; fewer will do`);
      }
    }
    if (samples.length > 0) return samples;
    throw new CommandFailure(
      `${path} holds no samples: expected .json requests, .npy arrays, or folders with NAME.npy for each input`,
    );
  } catch (error) {
    throw error instanceof CommandFailure ? error : fileFailure(path, error);
  }
}

const byName = (one: { name: string }, other: { name: string }): number => (one.name < other.name ? -1 : 1);

async function sampleOf(path: string, name: string): Promise<StoredSample> {
  if (/\.json$/i.test(path)) return { kind: 'request', name, path };
  if (/\.npy$/i.test(path)) return { kind: 'tensors', name, tensors: [await tensorOf(path)] };
  throw new CommandFailure(`${path}: expected a .json request, a .npy array, or a folder of them`);
}

async function folderSample(folder: string, name: string): Promise<StoredSample> {
  const files = (await readdir(folder)).filter((file) => /\.npy$/i.test(file)).sort();
  if (files.length === 0) throw new CommandFailure(`${folder} holds no NAME.npy for the inputs of a sample`);
  const tensors = files.map(async (file) => ({
    input: file.replace(/\.npy$/i, ''),
    ...(await tensorOf(join(folder, file))),
  }));
  return { kind: 'tensors', name, tensors: await Promise.all(tensors) };
}

type StoredTensor = Extract<StoredSample, { kind: 'tensors' }>['tensors'][number];

async function tensorOf(path: string): Promise<StoredTensor> {
  const handle = await open(path, 'r');
  try {
    const { size } = await handle.stat();
    const head = Buffer.alloc(Math.min(size, HEAD_BYTES));
    await handle.read(head, 0, head.length, 0);
    const { datatype, shape, dataStart } = readNpyHeader(head, size);
    return { path, datatype, shape: [...shape], offset: dataStart };
  } catch (error) {
    throw new CommandFailure(`${path}: ${messageOf(error)}`);
  } finally {
    await handle.close();
  }
}
