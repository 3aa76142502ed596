import { type FileHandle, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Externaliser, NotExternalisable, type WeightsPiece } from './core/externalise.ts';
import { systemCode } from './errors.ts';
import { GRAPH, WEIGHTS } from './form-cache.ts';

/** Large enough that the calls cost nothing, small enough to stay in the processor's cache on the way through. */
const BLOCK_BYTES = 2 * 1024 ** 2;
/** Pieces below this are gathered before they are written. */
const SMALL_PIECE_BYTES = 256 * 1024;
/** With less than this to gain, a second file is not worth its trouble. */
const WORTH_BYTES = 1024 ** 2;

export type ExternaliseOutcome =
  | { kind: 'externalised'; graphBytes: number; weightsBytes: number; tensors: number }
  /** The model is to be loaded as it is. */
  | { kind: 'left'; reason: string };

/**
 * Takes an ONNX file apart while it arrives: follows the bytes that are there without a gap from the start, and
 * writes graph and weights into a folder. Reads what was just written, so from the page cache. Never throws for a
 * model that can't be taken apart: what goes wrong is its outcome, and the fetch goes on.
 */
export class FileExternalisation {
  readonly #path: string;
  readonly #folder: string;
  #externaliser = new Externaliser(WEIGHTS);
  #source: FileHandle | undefined;
  #weights: WeightsWriter | undefined;
  #done = 0;
  #arrived = 0;
  #work: Promise<void> = Promise.resolve();
  #isWorking = false;
  #failure: string | undefined;

  /** @param path the file, which need not exist yet @param folder exists and is empty */
  constructor(path: string, folder: string) {
    this.#path = path;
    this.#folder = folder;
  }

  /** Every byte before `prefixBytes` is there. A smaller number than before means that the file begins anew. */
  advance(prefixBytes: number): void {
    if (prefixBytes < this.#arrived) this.#failure ??= 'the file began anew while it arrived';
    this.#arrived = prefixBytes;
    if (this.#isWorking || this.#failure !== undefined || this.#arrived - this.#done < BLOCK_BYTES) return;
    this.#start();
  }

  /** All `sizeBytes` are there: takes the rest and writes the graph. */
  async finish(sizeBytes: number): Promise<ExternaliseOutcome> {
    this.advance(sizeBytes);
    try {
      await this.#work;
      if (this.#done < sizeBytes && this.#failure === undefined) {
        this.#start();
        await this.#work;
      }
      if (this.#failure !== undefined) return { kind: 'left', reason: this.#failure };
      const { graph, weightsBytes, tensors } = this.#externaliser.finish();
      if (weightsBytes < WORTH_BYTES) return { kind: 'left', reason: 'it has no large weights inside' };
      await this.#weights?.finish(weightsBytes);
      await writeFile(join(this.#folder, GRAPH), graph);
      return { kind: 'externalised', graphBytes: graph.length, weightsBytes, tensors };
    } catch (error) {
      return { kind: 'left', reason: reasonOf(error) };
    } finally {
      await this.close();
    }
  }

  /** Lets go of its files; for whoever gives up before `finish`. Idempotent. */
  async close(): Promise<void> {
    this.#failure ??= 'it was given up';
    await this.#work;
    await this.#source?.close();
    await this.#weights?.close();
    this.#source = undefined;
    this.#weights = undefined;
  }

  #start(): void {
    this.#isWorking = true;
    this.#work = this.#follow()
      .catch((error: unknown) => {
        this.#failure ??= reasonOf(error);
      })
      .finally(() => {
        this.#isWorking = false;
      });
  }

  async #follow(): Promise<void> {
    this.#source ??= await open(this.#path, 'r');
    this.#weights ??= await WeightsWriter.open(join(this.#folder, WEIGHTS));
    const block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
    while (this.#done < this.#arrived && this.#failure === undefined) {
      const wanted = Math.min(BLOCK_BYTES, this.#arrived - this.#done);
      const { bytesRead } = await this.#source.read(block, 0, wanted, this.#done);
      if (bytesRead === 0) throw new NotExternalisable('the file became shorter while it was read');
      this.#done += bytesRead;
      for (const piece of this.#externaliser.push(block.subarray(0, bytesRead)))
        await this.#weights.write(piece);
    }
  }
}

/** Writes pieces of rising offsets; small ones together, the gaps between them as zeros. */
class WeightsWriter {
  readonly #handle: FileHandle;
  readonly #gathered = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  #start = 0;
  #end = 0;

  private constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  static async open(path: string): Promise<WeightsWriter> {
    return new WeightsWriter(await open(path, 'w'));
  }

  async write({ offset, bytes }: WeightsPiece): Promise<void> {
    const isNear = offset + bytes.length - this.#start <= BLOCK_BYTES;
    if (this.#end > this.#start && !isNear) await this.#flush();
    if (bytes.length >= SMALL_PIECE_BYTES && this.#end === this.#start) {
      await this.#writeAll(bytes, offset);
      return;
    }
    if (this.#end === this.#start) {
      this.#start = offset;
      this.#end = offset;
    }
    this.#gathered.fill(0, this.#end - this.#start, offset - this.#start);
    this.#gathered.set(bytes, offset - this.#start);
    this.#end = offset + bytes.length;
  }

  async finish(sizeBytes: number): Promise<void> {
    await this.#flush();
    const { size } = await this.#handle.stat();
    if (size !== sizeBytes)
      throw new NotExternalisable(`the weights have ${size} bytes instead of ${sizeBytes}`);
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  async #flush(): Promise<void> {
    await this.#writeAll(this.#gathered.subarray(0, this.#end - this.#start), this.#start);
    this.#start = this.#end;
  }

  async #writeAll(bytes: Uint8Array, offset: number): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      const { bytesWritten } = await this.#handle.write(bytes, done, bytes.length - done, offset + done);
      done += bytesWritten;
    }
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof NotExternalisable) return error.message;
  return systemCode(error) ?? (error instanceof Error ? error.message : String(error));
}
