import { type Position, TextLexer, type Token, textError } from './text-lexer.ts';

/** A message: its fields in the order in which they stand; a list is its field once for each element. */
export interface TextMessage {
  readonly kind: 'message';
  readonly fields: readonly TextField[];
  readonly at: Position;
}

export interface TextField {
  readonly name: string;
  readonly value: TextValue;
  readonly at: Position;
}

export type TextValue =
  | TextMessage
  | { readonly kind: 'string'; readonly value: string; readonly at: Position }
  | { readonly kind: 'integer'; readonly value: bigint; readonly at: Position }
  | { readonly kind: 'float'; readonly value: number; readonly at: Position }
  /** The name of an enum's value, true or false, inf or nan: what it means only the field's type tells. */
  | { readonly kind: 'identifier'; readonly value: string; readonly at: Position };

/** Deeper than any configuration; the parser descends by recursion. */
const MAX_DEPTH = 64;

const NOT_FINITE: Readonly<Record<string, number>> = {
  inf: Number.NEGATIVE_INFINITY,
  infinity: Number.NEGATIVE_INFINITY,
  nan: Number.NaN,
};

/**
 * Parses a text in protobuf's text format without knowing its types. Names of extensions and of `Any` (in brackets)
 * are refused: no field of ours is one.
 *
 * @throws PilotlightError `model-layout` with line and column
 */
export function parseTextFormat(text: string): TextMessage {
  const parser = new TextParser(text.replace(/^\uFEFF/, ''));
  return parser.whole();
}

class TextParser {
  readonly #lexer: TextLexer;
  #token: Token;

  constructor(text: string) {
    this.#lexer = new TextLexer(text);
    this.#token = this.#lexer.next();
  }

  whole(): TextMessage {
    const fields = this.#fields(undefined, 0);
    return { kind: 'message', fields, at: { line: 1, column: 1 } };
  }

  /** @param close symbol that ends the message; undefined: the end of the text. */
  #fields(close: string | undefined, depth: number): TextField[] {
    const fields: TextField[] = [];
    for (;;) {
      const { at } = this.#token;
      if (close === undefined ? this.#token.kind === 'end' : this.#accept(close)) return fields;
      if (this.#token.kind !== 'identifier') {
        const expected = close === undefined ? 'the name of a field' : `the name of a field, or '${close}'`;
        throw textError(at, `expected ${expected}, got ${shownToken(this.#token)}`);
      }
      const name = this.#token.text;
      this.#step();
      for (const value of this.#valuesOf(name, depth)) fields.push({ name, value, at });
      if (!this.#accept(',')) this.#accept(';');
    }
  }

  #valuesOf(name: string, depth: number): TextValue[] {
    const hasColon = this.#accept(':');
    if (!hasColon && !this.#isAt('{') && !this.#isAt('<') && !this.#isAt('[')) {
      throw textError(this.#token.at, `expected ':' or '{' after '${name}', got ${shownToken(this.#token)}`);
    }
    const listAt = this.#token.at;
    if (!this.#accept('[')) return [this.#value(depth)];
    const values: TextValue[] = [];
    if (this.#accept(']')) return values;
    do {
      const value = this.#value(depth);
      if (!hasColon && value.kind !== 'message') {
        throw textError(listAt, `expected ':' between '${name}' and a list of values`);
      }
      values.push(value);
    } while (this.#accept(','));
    if (!this.#accept(']')) {
      throw textError(
        this.#token.at,
        `expected ',' or ']' in the list of '${name}', got ${shownToken(this.#token)}`,
      );
    }
    return values;
  }

  #value(depth: number): TextValue {
    const token = this.#token;
    const { at } = token;
    const close = this.#accept('{') ? '}' : this.#accept('<') ? '>' : undefined;
    if (close !== undefined) {
      if (depth >= MAX_DEPTH) throw textError(at, `messages are nested more than ${MAX_DEPTH} deep`);
      return { kind: 'message', fields: this.#fields(close, depth + 1), at };
    }
    if (this.#accept('-')) return this.#negative(at);
    switch (token.kind) {
      case 'string':
        return this.#strings(at);
      case 'integer':
      case 'float':
        this.#step();
        return token;
      case 'identifier':
        this.#step();
        return { kind: 'identifier', value: token.text, at };
      case 'symbol':
      case 'end':
        throw textError(at, `expected a value, got ${shownToken(token)}`);
    }
  }

  /** Literals that follow each other are one string. */
  #strings(at: Position): TextValue {
    let value = '';
    while (this.#token.kind === 'string') {
      value += this.#token.value;
      this.#step();
    }
    return { kind: 'string', value, at };
  }

  #negative(at: Position): TextValue {
    const token = this.#token;
    if (token.kind === 'integer') {
      this.#step();
      return { kind: 'integer', value: -token.value, at };
    }
    if (token.kind === 'float') {
      this.#step();
      return { kind: 'float', value: -token.value, at };
    }
    const name = token.kind === 'identifier' ? token.text.toLowerCase() : '';
    const value = Object.hasOwn(NOT_FINITE, name) ? NOT_FINITE[name] : undefined;
    if (value === undefined)
      throw textError(token.at, `expected a number after '-', got ${shownToken(token)}`);
    this.#step();
    return { kind: 'float', value, at };
  }

  #isAt(symbol: string): boolean {
    return this.#token.kind === 'symbol' && this.#token.text === symbol;
  }

  #accept(symbol: string): boolean {
    if (!this.#isAt(symbol)) return false;
    this.#step();
    return true;
  }

  #step(): void {
    this.#token = this.#lexer.next();
  }
}

function shownToken(token: Token): string {
  switch (token.kind) {
    case 'end':
      return 'the end of the text';
    case 'identifier':
    case 'symbol':
      return `'${token.text}'`;
    case 'string':
      return 'a string';
    case 'integer':
    case 'float':
      return `the number ${token.value}`;
  }
}
