import { open } from 'node:fs/promises';
import { posix } from 'node:path';
import { ModelLayoutError, ModelNotFoundError } from './errors.ts';
import { type ExternalFile, readExternalData } from './onnx-external-data.ts';
import type { StoredFile } from './storage-types.ts';

/**
 * The external files that an ONNX file on disk names. Locations are made relative to the root of `modelPath`
 * (`2/model.onnx` with `weights.bin` gives `2/weights.bin`).
 *
 * @param fullPath where it lies
 * @throws as readExternalData
 */
export async function externalFilesOf(
  fullPath: string,
  modelPath: string,
  label: string,
): Promise<ExternalFile[]> {
  const handle = await open(fullPath, 'r');
  try {
    const { size } = await handle.stat();
    const read = async (offset: number, length: number) => {
      const buffer = Buffer.allocUnsafe(length);
      let filled = 0;
      while (filled < length) {
        const { bytesRead } = await handle.read(buffer, filled, length - filled, offset + filled);
        if (bytesRead === 0) throw new ModelLayoutError(`${label} became shorter while it was read`);
        filled += bytesRead;
      }
      return buffer;
    };
    const external = await readExternalData({ sizeBytes: size, read }, label);
    const folder = posix.dirname(modelPath);
    return external.map((file) => ({ ...file, location: posix.join(folder, file.location) }));
  } finally {
    await handle.close();
  }
}

/**
 * Sees to it that every external file is there and long enough: a shorter one, mapped into memory, would kill
 * the process with SIGBUS at its first use.
 */
export async function resolveExternal(
  external: readonly ExternalFile[],
  find: (path: string) => Promise<StoredFile>,
  label: string,
): Promise<StoredFile[]> {
  const files: StoredFile[] = [];
  for (const { location, requiredBytes } of external) {
    let file: StoredFile;
    try {
      file = await find(location);
    } catch (cause) {
      if (!(cause instanceof ModelNotFoundError)) throw cause;
      throw new ModelNotFoundError(`${label} keeps weights in ${location}, which does not exist beside it`, {
        cause,
      });
    }
    refuseShort(file, requiredBytes, label);
    files.push(file);
  }
  return files;
}

/** @throws ModelLayoutError when the size is known and too small */
export function refuseShort(file: StoredFile, requiredBytes: number, label: string): void {
  if (file.sizeBytes === undefined || file.sizeBytes >= requiredBytes) return;
  throw new ModelLayoutError(
    `${label}: its weights file ${file.path} has ${file.sizeBytes} bytes, but tensors reach to byte ${requiredBytes}; it is cut short or belongs to another model`,
  );
}
