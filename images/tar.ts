/** One file or folder of an archive; everything but `path` and `mode` is the same for all. */
export interface TarEntry {
  /** Without a leading slash, folders without a trailing one. */
  readonly path: string;
  /** Permission bits. */
  readonly mode: number;
  /** Absent for a folder. */
  readonly bytes?: Uint8Array;
  /** Owner and group; root's when absent. */
  readonly owner?: { readonly uid: number; readonly gid: number };
}

const BLOCK_BYTES = 512;
const MAX_NAME_BYTES = 100;
const MAX_PREFIX_BYTES = 155;

/**
 * A POSIX ustar archive that depends on its entries alone: sorted, with the folders that they lie in, one time for
 * all, owned by root unless said otherwise. Layers made of such archives have the same digest in every build.
 *
 * @param modifiedSeconds since 1970, written into every entry.
 * @returns the pieces of the archive, to be written one after the other.
 * @throws RangeError for a path that ustar can't hold (255 bytes, cut at a slash).
 */
export function tarArchive(entries: readonly TarEntry[], modifiedSeconds: number): Uint8Array[] {
  const all = new Map(entries.map((entry) => [entry.path, entry]));
  for (const { path } of entries) {
    for (const folder of foldersOf(path)) {
      if (!all.has(folder)) all.set(folder, { path: folder, mode: 0o755 });
    }
  }
  const sorted = [...all.values()].sort((left, right) => (left.path < right.path ? -1 : 1));
  const pieces = sorted.flatMap((entry) => {
    const header = headerOf(entry, modifiedSeconds);
    if (entry.bytes === undefined) return [header];
    const rest = entry.bytes.length % BLOCK_BYTES;
    return [header, entry.bytes, new Uint8Array(rest === 0 ? 0 : BLOCK_BYTES - rest)];
  });
  return [...pieces, new Uint8Array(2 * BLOCK_BYTES)];
}

/** `a/b/c` → `a`, `a/b`. */
function foldersOf(path: string): string[] {
  const parts = path.split('/').slice(0, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'));
}

function headerOf({ path, mode, bytes, owner }: TarEntry, modifiedSeconds: number): Buffer {
  const header = Buffer.alloc(BLOCK_BYTES);
  const { prefix, name } = splitPath(bytes === undefined ? `${path}/` : path);
  const number = (value: number, offset: number, width: number): void => {
    header.write(`${value.toString(8).padStart(width - 1, '0')}\0`, offset, 'latin1');
  };
  header.write(name, 0, 'utf8');
  number(mode, 100, 8);
  number(owner?.uid ?? 0, 108, 8);
  number(owner?.gid ?? 0, 116, 8);
  number(bytes?.length ?? 0, 124, 12);
  number(modifiedSeconds, 136, 12);
  // The checksum is counted with its own field full of spaces.
  header.write(' '.repeat(8), 148, 'latin1');
  header.write(bytes === undefined ? '5' : '0', 156, 'latin1');
  header.write('ustar\x0000', 257, 'latin1');
  header.write(prefix, 345, 'utf8');
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}

function splitPath(path: string): { prefix: string; name: string } {
  if (Buffer.byteLength(path) <= MAX_NAME_BYTES) return { prefix: '', name: path };
  for (let cut = path.indexOf('/'); cut !== -1 && cut < path.length - 1; cut = path.indexOf('/', cut + 1)) {
    const [prefix, name] = [path.slice(0, cut), path.slice(cut + 1)];
    if (Buffer.byteLength(prefix) <= MAX_PREFIX_BYTES && Buffer.byteLength(name) <= MAX_NAME_BYTES) {
      return { prefix, name };
    }
  }
  throw new RangeError(`a tar archive cannot hold the path ${path}: expected 255 bytes at most`);
}
