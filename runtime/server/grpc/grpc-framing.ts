import { PilotlightError } from '../../../contracts/errors.ts';
import { decodeContent } from '../content-coding.ts';
import type { HeldBytes } from '../read-body.ts';

/** Before each message: one byte of flags, four of length, big-endian. */
const FRAME_HEAD_BYTES = 5;

/**
 * The one message of a unary call's body.
 *
 * @throws PilotlightError `bad-framing` unless it is exactly one whole message, `body-too-large` when it
 * inflates beyond `limitBytes`, `unsupported` for an encoding other than gzip and deflate.
 */
export function unframe(
  body: Buffer,
  encoding: string | undefined,
  limitBytes: number,
  held: HeldBytes,
): Buffer | Promise<Buffer> {
  if (body.length < FRAME_HEAD_BYTES) {
    throw new PilotlightError('bad-framing', `expected one gRPC message, got ${body.length} bytes`);
  }
  const isCompressed = body.readUInt8(0) === 1;
  const lengthBytes = body.readUInt32BE(1);
  if (body.readUInt8(0) > 1 || lengthBytes !== body.length - FRAME_HEAD_BYTES) {
    throw new PilotlightError(
      'bad-framing',
      `expected one gRPC message, got a frame of ${lengthBytes} bytes in a body of ${body.length}`,
    );
  }
  const message = body.subarray(FRAME_HEAD_BYTES);
  return isCompressed ? decodeContent(message, encoding, limitBytes, held) : message;
}

/** The head of an uncompressed message. */
export function frameHead(sizeBytes: number): Buffer {
  const head = Buffer.alloc(FRAME_HEAD_BYTES);
  head.writeUInt32BE(sizeBytes, 1);
  return head;
}
