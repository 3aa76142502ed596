import { Buffer } from 'node:buffer';
import { readFile } from 'node:fs/promises';
import { CommandFailure, fileFailure, messageOf } from '../failure.ts';
import { type NpyArray, readNpy } from '../npy.ts';

/** What a file, or standard input, holds; told by its first bytes, not by its name. */
export type Payload =
  | { readonly kind: 'json'; readonly body: Buffer; readonly protocol: 'v2' | 'v1' }
  | { readonly kind: 'npy'; readonly array: NpyArray }
  | { readonly kind: 'image'; readonly bytes: Buffer; readonly source: string };

/** Requests are held in memory, and sent to a server that has a bound of its own. */
const MAX_PAYLOAD_BYTES = 1024 ** 3;
const NPY_MAGIC = Buffer.from('\u0093NUMPY', 'latin1');

/**
 * Reads what is to be sent.
 *
 * @param path file, or `-` for standard input.
 * @throws CommandFailure when it can't be read or is none of the three.
 */
export async function readPayload(path: string): Promise<Payload> {
  const source = path === '-' ? 'standard input' : path;
  const bytes = path === '-' ? await readStandardInput() : await readWhole(path);
  if (bytes.length === 0) throw new CommandFailure(`${source} is empty; expected JSON, .npy or an image`);
  if (bytes.subarray(0, NPY_MAGIC.length).equals(NPY_MAGIC)) {
    try {
      return { kind: 'npy', array: readNpy(bytes) };
    } catch (error) {
      throw new CommandFailure(`${source}: ${messageOf(error)}`);
    }
  }
  if (looksLikeJson(bytes)) return { kind: 'json', body: bytes, protocol: protocolOf(bytes, source) };
  return { kind: 'image', bytes, source };
}

/** `{` or `[` after blanks and, from some editors, a byte order mark. */
function looksLikeJson(bytes: Buffer): boolean {
  return /^\uFEFF?\s*[{[]/.test(bytes.toString('utf8', 0, 64));
}

function protocolOf(bytes: Buffer, source: string): 'v2' | 'v1' {
  let request: unknown;
  try {
    request = JSON.parse(withoutBareWords(bytes.toString()));
  } catch (error) {
    throw new CommandFailure(`${source} is not valid JSON: ${messageOf(error)}`);
  }
  const { inputs, instances } = request as { inputs?: unknown; instances?: unknown };
  if (Array.isArray(inputs)) return 'v2';
  if (Array.isArray(instances)) return 'v1';
  throw new CommandFailure(
    `${source} is no inference request: expected {"inputs": [{"name", "shape", "datatype", "data"}]} or {"instances": […]}`,
  );
}

/** NaN and Infinity as servers take them in tensors; what is read here is only which protocol it is. */
function withoutBareWords(text: string): string {
  return text
    .replace(/^\uFEFF/, '')
    .replace(/"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b/g, (token) => (token.startsWith('"') ? token : '0'));
}

async function readWhole(path: string): Promise<Buffer> {
  try {
    const bytes = await readFile(path);
    if (bytes.length > MAX_PAYLOAD_BYTES) throw new CommandFailure(`${path} is larger than 1 GiB`);
    return bytes;
  } catch (error) {
    throw error instanceof CommandFailure ? error : fileFailure(path, error);
  }
}

async function readStandardInput(): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    sizeBytes += chunk.length;
    if (sizeBytes > MAX_PAYLOAD_BYTES) throw new CommandFailure('standard input is larger than 1 GiB');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
