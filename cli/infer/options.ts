import { InvalidArgumentError } from 'commander';

/** Options of `pilotlight infer` as commander hands them over. */
export interface InferFlags {
  input?: NamedFile[];
  output?: string;
  outputName?: string;
  url?: string;
  dir?: string;
  namespace?: string;
  model?: string;
  json?: true;
  timing?: true;
  timeout: number;
  size?: { height: number; width: number };
  mean?: number[];
  std?: number[];
  channels?: 'rgb' | 'bgr';
  decode?: 'ctc';
  dictionary?: string;
  labels?: string;
  top: number;
}

export interface NamedFile {
  readonly name: string;
  readonly path: string;
}

/** `--input name=FILE`, which may come several times. */
export function namedFile(text: string, before: readonly NamedFile[] = []): NamedFile[] {
  const equals = text.indexOf('=');
  if (equals < 1 || equals === text.length - 1) {
    throw new InvalidArgumentError(`expected name=FILE, got "${text}"`);
  }
  const name = text.slice(0, equals);
  if (before.some((file) => file.name === name)) throw new InvalidArgumentError(`"${name}" is given twice`);
  return [...before, { name, path: text.slice(equals + 1) }];
}

/** `48x320`: height, then width. */
export function imageSize(text: string): { height: number; width: number } {
  const [, height, width] = /^([1-9]\d{0,4})x([1-9]\d{0,4})$/i.exec(text) ?? [];
  if (height === undefined || width === undefined) {
    throw new InvalidArgumentError(`expected HEIGHTxWIDTH in pixels, such as 224x224, got "${text}"`);
  }
  return { height: Number(height), width: Number(width) };
}

/** `0.5` or `0.485,0.456,0.406`. */
export function numberList(text: string): number[] {
  const numbers = text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)));
  if (!numbers.every(Number.isFinite)) {
    throw new InvalidArgumentError(`expected a number, or one for each channel with commas, got "${text}"`);
  }
  return numbers;
}

/** Divisors: as above, none of them 0. */
export function divisorList(text: string): number[] {
  const numbers = numberList(text);
  if (numbers.includes(0))
    throw new InvalidArgumentError(`a deviation of 0 can't be divided by, got "${text}"`);
  return numbers;
}

export function positiveSeconds(text: string): number {
  const seconds = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (seconds > 0 && seconds <= 86_400) return seconds;
  throw new InvalidArgumentError(`expected seconds, more than 0, at most 86400, got "${text}"`);
}

export function positiveCount(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  throw new InvalidArgumentError(`expected a whole number of 1 or more, got "${text}"`);
}
