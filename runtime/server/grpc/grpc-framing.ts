import { PilotlightError } from '../../../contracts/errors.ts';
import { decodeContent } from '../content-coding.ts';
import { bodyTooLarge, type HeldBytes } from '../read-body.ts';

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

/** One message as it came, maybe compressed. */
export interface Frame {
  readonly isCompressed: boolean;
  readonly payload: Buffer;
  /** With its head. */
  readonly sizeBytes: number;
}

/** Puts the messages of a stream together from chunks of any size. Holds at most one that isn't whole. */
export class FrameAssembler {
  readonly #limitBytes: number;
  #chunks: Buffer[] = [];
  #sizeBytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  /** True when a message has begun and isn't whole. */
  get isWithinMessage(): boolean {
    return this.#sizeBytes > 0;
  }

  /**
   * The messages that are whole with this chunk.
   *
   * @throws PilotlightError `bad-framing` for an unknown flag, `body-too-large` as soon as a length says so.
   */
  push(chunk: Buffer): Frame[] {
    this.#chunks.push(chunk);
    this.#sizeBytes += chunk.length;
    const frames: Frame[] = [];
    for (;;) {
      const head = this.#peekHead();
      if (head === undefined) return frames;
      const flags = head.readUInt8(0);
      const lengthBytes = head.readUInt32BE(1);
      if (flags > 1) throw new PilotlightError('bad-framing', `a gRPC message has the flags ${flags}`);
      if (lengthBytes > this.#limitBytes) throw bodyTooLarge(lengthBytes, this.#limitBytes);
      const sizeBytes = FRAME_HEAD_BYTES + lengthBytes;
      if (this.#sizeBytes < sizeBytes) return frames;
      const all = this.#joined();
      frames.push({
        isCompressed: flags === 1,
        payload: all.subarray(FRAME_HEAD_BYTES, sizeBytes),
        sizeBytes,
      });
      this.#sizeBytes -= sizeBytes;
      this.#chunks = this.#sizeBytes === 0 ? [] : [all.subarray(sizeBytes)];
    }
  }

  #peekHead(): Buffer | undefined {
    if (this.#sizeBytes < FRAME_HEAD_BYTES) return undefined;
    const [first] = this.#chunks;
    return first !== undefined && first.length >= FRAME_HEAD_BYTES ? first : this.#joined();
  }

  #joined(): Buffer {
    const [first] = this.#chunks;
    if (first !== undefined && this.#chunks.length === 1) return first;
    const all = Buffer.concat(this.#chunks);
    this.#chunks = [all];
    return all;
  }
}

/** The head of an uncompressed message. */
export function frameHead(sizeBytes: number): Buffer {
  const head = Buffer.alloc(FRAME_HEAD_BYTES);
  head.writeUInt32BE(sizeBytes, 1);
  return head;
}
