import { TextDecoder } from 'node:util';
import { PilotlightError } from '../../../contracts/errors.ts';

/** Where something stands in a text, both from 1; a column is a UTF-16 unit. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

export type Token =
  | { readonly kind: 'identifier'; readonly text: string; readonly at: Position }
  | { readonly kind: 'integer'; readonly value: bigint; readonly at: Position }
  | { readonly kind: 'float'; readonly value: number; readonly at: Position }
  /** One literal, its escapes replaced. */
  | { readonly kind: 'string'; readonly value: string; readonly at: Position }
  | { readonly kind: 'symbol'; readonly text: string; readonly at: Position }
  | { readonly kind: 'end'; readonly at: Position };

const BLANK = /(?:[ \t\r\n\v\f]|#[^\n]*)*/y;
const IDENTIFIER = /[A-Za-z_][A-Za-z0-9_]*/y;
/** A float, or an integer in decimal, hex or octal; what follows it must not be a letter or a digit. */
const NUMBER =
  /(?:0[xX][0-9A-Fa-f]+|(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d+)?[fF]?|\d+[eE][+-]?\d+[fF]?|\d+[fF]|\d+)(?![A-Za-z0-9_.])/y;
const SYMBOLS = '{}<>[]:;,-';
const SIMPLE_ESCAPES: Readonly<Record<string, number>> = {
  a: 7,
  b: 8,
  f: 12,
  n: 10,
  r: 13,
  t: 9,
  v: 11,
  '\\': 92,
  "'": 39,
  '"': 34,
  '?': 63,
};
const OCTAL = /[0-7]{1,3}/y;
const HEX = /[0-9A-Fa-f]{1,2}/y;
const CODE_POINT = { u: /[0-9A-Fa-f]{4}/y, U: /[0-9A-Fa-f]{8}/y };

/** The error of a text that can't be read, with where. */
export function textError(at: Position, message: string): PilotlightError {
  return new PilotlightError('model-layout', `line ${at.line}, column ${at.column}: ${message}`);
}

/**
 * The tokens of a text in protobuf's text format, one at a time.
 * Language: https://protobuf.dev/reference/protobuf/textformat-spec/
 */
export class TextLexer {
  readonly #text: string;
  #offset = 0;
  #line = 1;
  #lineStart = 0;

  constructor(text: string) {
    this.#text = text;
  }

  /** @throws PilotlightError `model-layout` with line and column */
  next(): Token {
    this.#advance(this.#match(BLANK) ?? '');
    const at = this.#here();
    const character = this.#text[this.#offset];
    if (character === undefined) return { kind: 'end', at };
    if (character === '"' || character === "'") return { kind: 'string', value: this.#string(at), at };
    const identifier = this.#match(IDENTIFIER);
    if (identifier !== undefined) {
      this.#offset += identifier.length;
      return { kind: 'identifier', text: identifier, at };
    }
    if (/[0-9]/.test(character) || (character === '.' && /[0-9]/.test(this.#text[this.#offset + 1] ?? ''))) {
      return this.#number(at);
    }
    if (SYMBOLS.includes(character)) {
      this.#offset += 1;
      return { kind: 'symbol', text: character, at };
    }
    throw textError(at, `unexpected character ${JSON.stringify(character)}`);
  }

  #number(at: Position): Token {
    const text = this.#match(NUMBER);
    if (text === undefined) throw textError(at, 'this is no number that the text format knows');
    this.#offset += text.length;
    if (/^0[xX]/.test(text)) return { kind: 'integer', value: BigInt(text.toLowerCase()), at };
    if (!/^\d+$/.test(text)) return { kind: 'float', value: Number(text.replace(/[fF]$/, '')), at };
    if (!/^0\d/.test(text)) return { kind: 'integer', value: BigInt(text), at };
    if (!/^[0-7]+$/.test(text)) throw textError(at, `${text} begins like an octal number and is none`);
    return { kind: 'integer', value: BigInt(`0o${text.slice(1)}`), at };
  }

  #string(at: Position): string {
    const quote = this.#text[this.#offset];
    this.#offset += 1;
    const bytes: Buffer[] = [];
    let plainFrom = this.#offset;
    for (;;) {
      const character = this.#text[this.#offset];
      if (character === undefined || character === '\n') {
        throw textError(at, `this string has no closing ${quote}`);
      }
      if (character !== quote && character !== '\\') {
        this.#offset += 1;
        continue;
      }
      bytes.push(Buffer.from(this.#text.slice(plainFrom, this.#offset)));
      if (character === quote) break;
      bytes.push(this.#escape());
      plainFrom = this.#offset;
    }
    this.#offset += 1;
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(bytes));
    } catch (cause) {
      throw new PilotlightError('model-layout', textError(at, 'this string is not UTF-8').message, { cause });
    }
  }

  /** From the backslash on. */
  #escape(): Buffer {
    const at = this.#here();
    this.#offset += 1;
    const octal = this.#match(OCTAL);
    if (octal !== undefined) {
      this.#offset += octal.length;
      const byte = Number.parseInt(octal, 8);
      if (byte > 255) throw textError(at, `\\${octal} is more than one byte`);
      return Buffer.from([byte]);
    }
    const letter = this.#text[this.#offset] ?? '';
    this.#offset += 1;
    const simple = Object.hasOwn(SIMPLE_ESCAPES, letter) ? SIMPLE_ESCAPES[letter] : undefined;
    if (simple !== undefined) return Buffer.from([simple]);
    if (letter === 'x' || letter === 'X') {
      const hex = this.#match(HEX);
      if (hex === undefined) throw textError(at, `\\${letter} wants one or two hex digits`);
      this.#offset += hex.length;
      return Buffer.from(hex.padStart(2, '0'), 'hex');
    }
    if (letter === 'u' || letter === 'U') {
      const hex = this.#match(CODE_POINT[letter]);
      const code = hex === undefined ? Number.NaN : Number.parseInt(hex, 16);
      if (!(code <= 0x10ffff) || (code >= 0xd800 && code <= 0xdfff)) {
        throw textError(at, `\\${letter} wants ${letter === 'u' ? 4 : 8} hex digits of one character`);
      }
      this.#offset += hex?.length ?? 0;
      return Buffer.from(String.fromCodePoint(code));
    }
    throw textError(at, `\\${letter} is no escape that the text format knows`);
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#offset;
    return pattern.exec(this.#text)?.[0];
  }

  /** Over text that may hold line breaks. */
  #advance(text: string): void {
    for (let index = text.indexOf('\n'); index !== -1; index = text.indexOf('\n', index + 1)) {
      this.#line += 1;
      this.#lineStart = this.#offset + index + 1;
    }
    this.#offset += text.length;
  }

  #here(): Position {
    return { line: this.#line, column: this.#offset - this.#lineStart + 1 };
  }
}
