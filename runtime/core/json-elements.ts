import { PilotlightError } from '../../contracts/errors.ts';
import type { JsonCursor } from './json-cursor.ts';
import { type IntegerTarget, NumberRun } from './json-number-run.ts';
import { type Datatype, shown, type TensorData } from './tensor.ts';

const QUOTE = 0x22;
const MINUS = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;

/** Where decoded elements go and what they must be. */
export interface DataTarget {
  readonly name: string;
  readonly datatype: Datatype;
  readonly shape: readonly number[];
  readonly data: TensorData;
  /** Index in `data` of the first element. */
  readonly offset: number;
}

/** Inclusive range of the integer datatypes that a double holds exactly. */
const INTEGER_RANGES = {
  UINT8: [0, 2 ** 8 - 1],
  UINT16: [0, 2 ** 16 - 1],
  UINT32: [0, 2 ** 32 - 1],
  INT8: [-(2 ** 7), 2 ** 7 - 1],
  INT16: [-(2 ** 15), 2 ** 15 - 1],
  INT32: [-(2 ** 31), 2 ** 31 - 1],
} as const;

const LONG_RANGES = {
  INT64: [-(2n ** 63n), 2n ** 63n - 1n],
  UINT64: [0n, 2n ** 64n - 1n],
} as const;

/** A function that reads the value at the cursor into element `index`; one closure a datatype keeps each store of one kind. */
export function elementReader(cursor: JsonCursor, target: DataTarget): (index: number) => void {
  const { datatype, data } = target;
  switch (datatype) {
    case 'FP32': {
      const floats = data as Float32Array;
      return (index) => {
        floats[index] = readFloat(cursor, target, index);
      };
    }
    case 'FP64': {
      const doubles = data as Float64Array;
      return (index) => {
        doubles[index] = readFloat(cursor, target, index);
      };
    }
    case 'FP16': {
      const bits = data as Uint16Array;
      const halves = new Float16Array(bits.buffer, bits.byteOffset, bits.length);
      return (index) => {
        halves[index] = readFloat(cursor, target, index);
      };
    }
    case 'BOOL': {
      const flags = data as Uint8Array;
      return (index) => {
        flags[index] = readBool(cursor, target, index);
      };
    }
    case 'BYTES': {
      const strings = data as string[];
      return (index) => {
        if (cursor.peek() !== QUOTE) wrongElement(cursor, target, index, 'a string');
        const text = cursor.readString();
        strings[index] = cursor.hadEscapes ? checkedText(text, target.name, index - target.offset) : text;
      };
    }
    case 'INT64':
    case 'UINT64': {
      const longs = data as BigInt64Array | BigUint64Array;
      return (index) => {
        longs[index] = readLong(cursor, target, index);
      };
    }
    case 'UINT8':
    case 'UINT16':
    case 'UINT32':
    case 'INT8':
    case 'INT16':
    case 'INT32': {
      const integers = data as Int32Array;
      const [least, most] = INTEGER_RANGES[datatype];
      return (index) => {
        startNumber(cursor, target, index, 'a whole number');
        const value = cursor.numberValue();
        if (!Number.isInteger(value)) badNumber(target, index, cursor.numberText(), 'is not a whole number');
        if (value < least || value > most) badRange(target, index, cursor.numberText());
        integers[index] = value;
      };
    }
  }
}

/** One for all: each use is over before the next begins, and 2 KB a tensor would be most of a small request's cost. */
const SCRATCH = new NumberRun();

/**
 * A function that takes plain numbers from the cursor on into elements `index` and after, at most `room` of them,
 * and returns how many it took; undefined for datatypes that are not numbers.
 */
export function runReader(
  cursor: JsonCursor,
  target: DataTarget,
): ((index: number, room: number) => number) | undefined {
  const { datatype, data } = target;
  const run = SCRATCH;
  const { values } = run;
  switch (datatype) {
    case 'BOOL':
    case 'BYTES':
    case 'FP16':
      return undefined;
    case 'FP32':
    case 'FP64': {
      const floats = data as Float32Array | Float64Array;
      const single = datatype === 'FP32';
      return (index, room) => {
        const taken = cursor.readRun(run, room, single);
        for (let at = 0; at < taken; at++) floats[index + at] = values[at] as number;
        return taken;
      };
    }
    case 'INT64':
    case 'UINT64': {
      const words = wordsOf(data as BigInt64Array | BigUint64Array);
      const least = datatype === 'INT64' ? Number.NEGATIVE_INFINITY : 0;
      return (index, room) => {
        const taken = cursor.readRun(run, room, false);
        for (let at = 0; at < taken; at++) {
          const value = values[at] as number;
          if (!Number.isInteger(value)) badNumber(target, index + at, value, 'is not a whole number');
          if (value < least) badRange(target, index + at, value);
          writeWords(words, index + at, value);
        }
        return taken;
      };
    }
    case 'UINT8':
    case 'UINT16':
    case 'UINT32':
    case 'INT8':
    case 'INT16':
    case 'INT32': {
      const [least, most] = INTEGER_RANGES[datatype];
      const integers: IntegerTarget = { data: data as IntegerTarget['data'], offset: 0, least, most };
      return (index, room) => {
        integers.offset = index;
        // What doesn't fit it leaves to the reader of single elements, which says why.
        return cursor.readIntegerRun(run, room, integers);
      };
    }
  }
}

function wordsOf(longs: BigInt64Array | BigUint64Array): Uint32Array {
  return new Uint32Array(longs.buffer, longs.byteOffset, longs.length * 2);
}

/**
 * A whole number of at most 2^53 as the two 32-bit words of a 64-bit integer (two's complement, little-endian),
 * which spares making a BigInt an element.
 */
function writeWords(words: Uint32Array, index: number, value: number): void {
  const high = Math.floor(value / 2 ** 32);
  words[index * 2] = value - high * 2 ** 32;
  words[index * 2 + 1] = high;
}

/** One 64-bit integer, exact over the whole range. */
function readLong(cursor: JsonCursor, target: DataTarget, index: number): bigint {
  startNumber(cursor, target, index, 'a whole number');
  const [least, most] = target.datatype === 'INT64' ? LONG_RANGES.INT64 : LONG_RANGES.UINT64;
  if (!cursor.isInteger) {
    const value = cursor.numberValue();
    if (!Number.isSafeInteger(value)) badNumber(target, index, cursor.numberText(), 'is not a whole number');
    const integer = BigInt(value);
    if (integer < least || integer > most) badRange(target, index, value);
    return integer;
  }
  // 20 digits hold 2^64; more are out of range, and are not turned into a BigInt, which takes more than linear time.
  if (cursor.digits > 20) badRange(target, index, cursor.numberText());
  const integer = BigInt(cursor.numberText());
  if (integer < least || integer > most) badRange(target, index, cursor.numberText());
  return integer;
}

function readFloat(cursor: JsonCursor, target: DataTarget, index: number): number {
  const byte = cursor.peek();
  if ((byte >= ZERO && byte <= NINE) || byte === MINUS) {
    if (byte === MINUS && cursor.acceptLiteral('-Infinity')) return Number.NEGATIVE_INFINITY;
    cursor.scanNumber();
    const value = target.datatype === 'FP32' ? cursor.numberValueFp32() : cursor.numberValue();
    if (Number.isFinite(value) && (target.datatype !== 'FP16' || Number.isFinite(Math.f16round(value)))) {
      return value;
    }
    return badRange(target, index, cursor.numberText());
  }
  if (cursor.acceptLiteral('NaN')) return Number.NaN;
  if (cursor.acceptLiteral('Infinity')) return Number.POSITIVE_INFINITY;
  const start = cursor.position;
  if (byte === QUOTE) {
    const text = cursor.readString();
    if (text === 'NaN') return Number.NaN;
    if (text === 'Infinity') return Number.POSITIVE_INFINITY;
    if (text === '-Infinity') return Number.NEGATIVE_INFINITY;
    cursor.position = start;
  }
  return wrongElement(cursor, target, index, 'a number');
}

function readBool(cursor: JsonCursor, target: DataTarget, index: number): 0 | 1 {
  const byte = cursor.peek();
  if (cursor.acceptLiteral('true')) return 1;
  if (cursor.acceptLiteral('false')) return 0;
  if (byte === MINUS || (byte >= ZERO && byte <= NINE)) {
    cursor.scanNumber();
    const value = cursor.numberValue();
    if (value === 0 || value === 1) return value === 0 ? 0 : 1;
    badNumber(target, index, cursor.numberText(), 'is not a BOOL: true, false, 0 or 1');
  }
  return wrongElement(cursor, target, index, 'true, false, 0 or 1');
}

function startNumber(cursor: JsonCursor, target: DataTarget, index: number, what: string): void {
  const byte = cursor.peek();
  if (byte !== MINUS && !(byte >= ZERO && byte <= NINE)) wrongElement(cursor, target, index, what);
  cursor.scanNumber();
}

/**
 * A string as ONNX Runtime can hold it. A lone surrogate has no UTF-8, and the binding hands strings over as
 * C strings, so a NUL would cut the rest off without an error. Throws `invalid-request` naming the element.
 */
export function checkedText(text: string, tensorName: string, index: number): string {
  if (text.isWellFormed() && !text.includes('\0')) return text;
  throw new PilotlightError(
    'invalid-request',
    `tensor '${shown(tensorName)}': element ${index} has ${
      text.includes('\0') ? 'a NUL character' : 'a lone surrogate'
    }, which a string tensor of ONNX Runtime cannot hold`,
  );
}

function wrongElement(cursor: JsonCursor, target: DataTarget, index: number, expected: string): never {
  throw new PilotlightError(
    'invalid-request',
    `tensor '${shown(target.name)}': element ${index - target.offset}: expected ${expected} (${target.datatype}), got ${cursor.describe()}`,
  );
}

function badNumber(target: DataTarget, index: number, found: string | number, problem: string): never {
  throw new PilotlightError(
    'invalid-request',
    `tensor '${shown(target.name)}': element ${index - target.offset}: ${shown(String(found))} ${problem}`,
  );
}

function badRange(target: DataTarget, index: number, found: string | number): never {
  return badNumber(
    target,
    index,
    found,
    `is out of the range of ${target.datatype} (${rangeOf(target.datatype)})`,
  );
}

function rangeOf(datatype: Datatype): string {
  switch (datatype) {
    case 'INT64':
    case 'UINT64':
      return `${LONG_RANGES[datatype][0]} … ${LONG_RANGES[datatype][1]}`;
    case 'FP16':
      return '±65504; infinity is written Infinity';
    case 'FP32':
      return '±3.4028235e38; infinity is written Infinity';
    case 'FP64':
      return '±1.7976931348623157e308; infinity is written Infinity';
    case 'BOOL':
    case 'BYTES':
      return 'no number';
    case 'UINT8':
    case 'UINT16':
    case 'UINT32':
    case 'INT8':
    case 'INT16':
    case 'INT32':
      return `${INTEGER_RANGES[datatype][0]} … ${INTEGER_RANGES[datatype][1]}`;
  }
}
