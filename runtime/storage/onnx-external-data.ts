import { ModelLayoutError, ModelNotOnnxError } from './errors.ts';
import { sniffFormat } from './file-format.ts';
import { badRelativePath } from './relative-path.ts';

/** Bytes by position; `read` gives exactly `length` bytes and is only asked for bytes below `sizeBytes`. */
export interface RandomAccessReader {
  sizeBytes: number;
  read(offset: number, length: number): Promise<Uint8Array>;
}

export interface ExternalFile {
  /** Relative to the folder of the model. */
  location: string;
  /** Largest offset + length that a tensor names: a shorter file would kill the process when mapped. */
  requiredBytes: number;
}

/** What a message holds that may lead to tensors, by field number. Everything else is skipped unread. */
type Kind = 'model' | 'graph' | 'node' | 'attribute' | 'tensor' | 'sparse' | 'function' | 'training';

/** onnx.proto, fields that contain tensors somewhere below. */
const CHILDREN: Record<Kind, Record<number, Kind>> = {
  model: { 7: 'graph', 20: 'training', 25: 'function' },
  training: { 1: 'graph', 2: 'graph' },
  function: { 7: 'node', 11: 'attribute' },
  graph: { 1: 'node', 5: 'tensor', 15: 'sparse' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse' },
  sparse: { 1: 'tensor', 2: 'tensor' },
  tensor: {},
};

const EXTERNAL_DATA_FIELD = 13;
/**
 * A read costs some 60 µs whatever its size, so a file of many small tensors is read in growing windows (10 MB in
 * 25 reads), and after a leap over a large tensor the window is small again.
 */
const SMALL_WINDOW_BYTES = 32 * 1024;
const LARGE_WINDOW_BYTES = 512 * 1024;
const MAX_DEPTH = 64;
const MAX_EXTERNAL_FILES = 20_000;
const MAX_ENTRY_BYTES = 16 * 1024;

/**
 * Walks an ONNX file as protobuf and lists the files in which it keeps tensors. Large tensors are leapt
 * over: a 2 GB model with 300 inline tensors costs some 300 reads of 32 KiB.
 *
 * @param label names the file in errors
 * @throws ModelNotOnnxError when it is something else or ends too early; ModelLayoutError when a name leaves the
 *   folder of the model
 */
export async function readExternalData(reader: RandomAccessReader, label: string): Promise<ExternalFile[]> {
  const head = await reader.read(0, Math.min(reader.sizeBytes, 512));
  const other = sniffFormat(head);
  if (other !== undefined) throw new ModelNotOnnxError(`${label} is not an ONNX model: it is ${other}`);
  const walk = new Walk(reader, label);
  await walk.message('model', 0, reader.sizeBytes, 0);
  if (!walk.sawGraph || !walk.sawVersion || !walk.sawOpset) {
    const lacks = !walk.sawGraph ? 'graph' : !walk.sawVersion ? 'ir_version' : 'opset_import';
    throw new ModelNotOnnxError(`${label} is not an ONNX model: it has no ${lacks}`);
  }
  return [...walk.found].map(([location, requiredBytes]) => ({ location, requiredBytes }));
}

class Walk {
  readonly found = new Map<string, number>();
  sawGraph = false;
  sawVersion = false;
  sawOpset = false;
  private readonly reader: RandomAccessReader;
  private readonly label: string;
  private window: Uint8Array = new Uint8Array(0);
  private windowStart = 0;
  private position = 0;

  constructor(reader: RandomAccessReader, label: string) {
    this.reader = reader;
    this.label = label;
  }

  /** Reads one message of `kind` in [start, end). */
  async message(kind: Kind, start: number, end: number, depth: number): Promise<void> {
    if (depth > MAX_DEPTH) throw this.broken(`graphs are nested deeper than ${MAX_DEPTH}`);
    this.position = start;
    const entries: [string, string][] = [];
    while (this.position < end) {
      // A header is at most 10 bytes of tag and 10 of length.
      if (!this.holds(20)) await this.fill();
      const tag = this.varint(end);
      const field = Math.floor(tag / 8);
      const wireType = tag % 8;
      if (field === 0) throw this.broken('it has a field numbered 0');
      if (wireType === 2) {
        const length = this.varint(end);
        const from = this.position;
        const to = from + length;
        if (to > end) throw this.endsEarly(to);
        if (kind === 'model' && field === 7) this.sawGraph = true;
        if (kind === 'model' && field === 8) this.sawOpset = true;
        const child = CHILDREN[kind][field];
        if (child !== undefined) {
          await this.message(child, from, to, depth + 1);
        } else if (kind === 'tensor' && field === EXTERNAL_DATA_FIELD) {
          entries.push(await this.stringEntry(from, to));
        }
        this.position = to;
      } else if (wireType === 0) {
        this.varint(end);
        if (kind === 'model' && field === 1) this.sawVersion = true;
      } else if (wireType === 1) this.skip(8, end);
      else if (wireType === 5) this.skip(4, end);
      else throw this.broken(`it is no protobuf message at byte ${this.position}`);
    }
    if (entries.length > 0) this.record(new Map(entries));
  }

  /** StringStringEntryProto: key = 1, value = 2. */
  private async stringEntry(from: number, to: number): Promise<[string, string]> {
    if (to - from > MAX_ENTRY_BYTES) throw this.broken('an external_data entry is absurdly long');
    const texts = ['', ''];
    this.position = from;
    if (!this.holds(to - from)) await this.fill();
    while (this.position < to) {
      const tag = this.varint(to);
      if (tag % 8 !== 2) throw this.broken('an external_data entry is malformed');
      const length = this.varint(to);
      if (this.position + length > to) throw this.broken('an external_data entry is malformed');
      const at = this.position - this.windowStart;
      const text = Buffer.from(this.window.subarray(at, at + length)).toString('utf8');
      if (tag === 10) texts[0] = text;
      if (tag === 18) texts[1] = text;
      this.position += length;
    }
    return [texts[0] ?? '', texts[1] ?? ''];
  }

  private record(entries: ReadonlyMap<string, string>): void {
    const location = entries.get('location') ?? '';
    // ONNX Runtime takes such a location for an address in its own memory.
    if (location.includes('_ORT_MEM_ADDR_')) {
      throw new ModelLayoutError(
        `${this.label} refers to memory (${location.slice(0, 80)}) instead of a file`,
      );
    }
    const plain = location.startsWith('./') ? location.slice(2) : location;
    const bad = badRelativePath(plain);
    if (bad !== undefined) {
      throw new ModelLayoutError(
        `${this.label} keeps weights in ${JSON.stringify(location.slice(0, 200))}, which ${bad}; ` +
          'external data must lie in the folder of the model',
      );
    }
    const offset = this.count(entries.get('offset'), 'offset');
    const length = this.count(entries.get('length'), 'length');
    this.found.set(plain, Math.max(this.found.get(plain) ?? 0, offset + length));
    if (this.found.size > MAX_EXTERNAL_FILES) {
      throw new ModelLayoutError(`${this.label} names more than ${MAX_EXTERNAL_FILES} external files`);
    }
  }

  private count(text: string | undefined, what: string): number {
    if (text === undefined || text === '') return 0;
    const value = Number(text);
    if (/^\d{1,16}$/.test(text) && Number.isSafeInteger(value)) return value;
    throw new ModelLayoutError(`${this.label} gives external data the ${what} "${text.slice(0, 40)}"`);
  }

  private varint(end: number): number {
    let value = 0;
    let factor = 1;
    for (let count = 0; count < 10; count += 1) {
      if (this.position >= end) throw this.endsEarly(this.position + 1);
      const byte = this.window[this.position - this.windowStart];
      if (byte === undefined) throw this.broken('a field header is malformed');
      this.position += 1;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
      factor *= 128;
    }
    throw this.broken(`it is no protobuf message at byte ${this.position}`);
  }

  private skip(bytes: number, end: number): void {
    if (this.position + bytes > end) throw this.endsEarly(this.position + bytes);
    this.position += bytes;
  }

  private holds(bytes: number): boolean {
    const last = Math.min(this.position + bytes, this.reader.sizeBytes);
    return this.position >= this.windowStart && last <= this.windowStart + this.window.length;
  }

  private async fill(): Promise<void> {
    const leap = this.position - (this.windowStart + this.window.length);
    const wanted = leap > this.window.length ? SMALL_WINDOW_BYTES : this.window.length * 2;
    const bounded = Math.max(SMALL_WINDOW_BYTES, Math.min(LARGE_WINDOW_BYTES, wanted));
    this.window = await this.reader.read(
      this.position,
      Math.min(bounded, this.reader.sizeBytes - this.position),
    );
    this.windowStart = this.position;
  }

  private endsEarly(wanted: number): ModelNotOnnxError {
    return this.broken(
      `it is ${this.reader.sizeBytes} bytes long, but its content would go on to byte ${wanted}: cut short, or not ONNX at all`,
    );
  }

  private broken(why: string): ModelNotOnnxError {
    return new ModelNotOnnxError(`${this.label} is not a readable ONNX model: ${why}`);
  }
}
