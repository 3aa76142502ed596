import { once } from 'node:events';
import { createDeflate, createGunzip, createGzip, createInflate } from 'node:zlib';
import { PilotlightError } from '../../contracts/errors.ts';
import { shown } from '../core/tensor.ts';
import { bodyTooLarge, type HeldBytes } from './read-body.ts';

type Coding = 'gzip' | 'deflate';

/** Below this an answer is sent as it is: compressing it costs more than it saves. */
const MIN_COMPRESSED_BYTES = 1024;

/**
 * A body as its `Content-Encoding` says. What comes out is bounded like any body and accounted as it grows, so
 * that a small body which inflates to gigabytes is refused at the limit.
 *
 * @throws PilotlightError `unsupported` (415), `body-too-large`, `server-busy`, `invalid-request`.
 */
export async function decodeContent(
  body: Buffer,
  contentEncoding: string | undefined,
  limitBytes: number,
  held: HeldBytes,
): Promise<Buffer> {
  const coding = contentEncoding?.trim().toLowerCase() ?? 'identity';
  if (coding === 'identity' || coding === '') return body;
  if (coding !== 'gzip' && coding !== 'x-gzip' && coding !== 'deflate') {
    throw new PilotlightError(
      'unsupported',
      `Content-Encoding '${shown(coding)}' is not supported; expected gzip, deflate or none`,
      { status: 415 },
    );
  }
  const inflater = coding === 'deflate' ? createInflate() : createGunzip();
  inflater.end(body);
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  try {
    for await (const chunk of inflater as AsyncIterable<Buffer>) {
      sizeBytes += chunk.length;
      if (sizeBytes > limitBytes) throw bodyTooLarge(undefined, limitBytes);
      held.take(chunk.length);
      chunks.push(chunk);
    }
  } catch (error) {
    inflater.destroy();
    if (error instanceof PilotlightError) throw error;
    throw new PilotlightError(
      'invalid-request',
      `the body is not what its Content-Encoding '${coding}' says: ${(error as Error).message}`,
      { cause: error },
    );
  }
  return Buffer.concat(chunks);
}

/**
 * The coding that a client asks for by `Accept-Encoding` (RFC 9110 §12.5.3): the one with the highest weight,
 * gzip where they are even; undefined when it names none of ours or would rather have none.
 */
export function acceptedCoding(acceptEncoding: string | undefined): Coding | undefined {
  if (acceptEncoding === undefined || acceptEncoding === '') return undefined;
  const weights = { gzip: 0, deflate: 0, identity: 0 };
  for (const part of acceptEncoding.toLowerCase().split(',')) {
    const [name = '', ...parameters] = part.split(';').map((text) => text.trim());
    const coding = name === 'x-gzip' ? 'gzip' : name;
    if (coding !== 'gzip' && coding !== 'deflate' && coding !== 'identity') continue;
    const weight = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2) ?? '1';
    weights[coding] = Number(weight) || 0;
  }
  const best = weights.gzip >= weights.deflate ? 'gzip' : 'deflate';
  return weights[best] > 0 && weights[best] >= weights.identity ? best : undefined;
}

/** The chunks compressed, off the event loop; undefined when they are too few bytes to be worth it. */
export async function compress(
  chunks: readonly Uint8Array[],
  sizeBytes: number,
  coding: Coding,
): Promise<Buffer[] | undefined> {
  if (sizeBytes < MIN_COMPRESSED_BYTES) return undefined;
  // Level 1: tensors hardly compress further at higher ones, and the caller waits.
  const compressor = coding === 'gzip' ? createGzip({ level: 1 }) : createDeflate({ level: 1 });
  const compressed: Buffer[] = [];
  compressor.on('data', (chunk: Buffer) => compressed.push(chunk));
  const ended = once(compressor, 'end');
  for (const chunk of chunks) compressor.write(chunk);
  compressor.end();
  await ended;
  return compressed;
}
