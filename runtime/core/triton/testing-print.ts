import type { TextMessage, TextValue } from './text-format.ts';

/** Choices of spelling, by number: a printed text means the same whatever they are. */
export type Spelling = (options: number) => number;

/** A message in protobuf's text format, spelt in one of the many ways that mean the same. For tests. */
export function printTextFormat(message: TextMessage, spelling: Spelling): string {
  const blanks = ['', ' ', '\n', '\t# a comment { [ "\n', '\r\n  '];
  const blank = (): string => blanks[spelling(blanks.length)] ?? '';
  const some = (): string => blank() || ' ';
  const parts: string[] = [];
  const { fields } = message;
  for (let index = 0; index < fields.length; index++) {
    const field = fields[index];
    if (field === undefined) continue;
    const run = [field.value];
    // A run of fields of one name may be a list.
    while (fields[index + 1]?.name === field.name && spelling(2) === 0) {
      index += 1;
      const next = fields[index];
      if (next !== undefined) run.push(next.value);
    }
    const isList = run.length > 1 || spelling(3) === 0;
    const texts = run.map((value) => printValue(value, spelling, blank));
    const needsColon = run.some(({ kind }) => kind !== 'message');
    const colon = needsColon || spelling(2) === 0 ? `${blank()}:` : '';
    const value = isList ? `[${blank()}${texts.join(`${blank()},${blank()}`)}${blank()}]` : (texts[0] ?? '');
    const end = [some(), `${blank()},`, `${blank()};`][spelling(3)] ?? ' ';
    parts.push(`${blank()}${field.name}${colon}${blank()}${value}${end}`);
  }
  return parts.join('') + blank();
}

function printValue(value: TextValue, spelling: Spelling, blank: () => string): string {
  switch (value.kind) {
    case 'message': {
      const [open, close] = spelling(2) === 0 ? ['{', '}'] : ['<', '>'];
      return `${open}${printTextFormat(value, spelling)}${close}`;
    }
    case 'identifier':
      return value.value;
    case 'integer': {
      const magnitude = value.value < 0n ? -value.value : value.value;
      const digits =
        [magnitude.toString(), `0x${magnitude.toString(16)}`, `0${magnitude.toString(8)}`][spelling(3)] ?? '';
      return `${value.value < 0n ? `-${blank()}` : ''}${digits}`;
    }
    case 'float': {
      if (Number.isNaN(value.value)) return '-nan';
      if (!Number.isFinite(value.value)) return '-inf';
      const magnitude = Math.abs(value.value).toString();
      const digits = /[.e]/.test(magnitude) ? magnitude : `${magnitude}.`;
      return `${Object.is(value.value, Math.abs(value.value)) ? '' : '-'}${digits}${spelling(2) === 0 ? 'f' : ''}`;
    }
    case 'string':
      return printString(value.value, spelling, blank);
  }
}

function printString(text: string, spelling: Spelling, blank: () => string): string {
  const characters = Array.from(text);
  const cut = spelling(characters.length + 1);
  const pieces = spelling(2) === 0 ? [characters] : [characters.slice(0, cut), characters.slice(cut)];
  return pieces.map((piece) => literal(piece, spelling)).join(blank());
}

function literal(characters: readonly string[], spelling: Spelling): string {
  const quote = spelling(2) === 0 ? '"' : "'";
  const body = characters.map((character) => {
    const bytes = [...Buffer.from(character)];
    const octal = bytes.map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('');
    const hex = bytes.map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('');
    const code = `\\U${(character.codePointAt(0) ?? 0).toString(16).padStart(8, '0')}`;
    const needsEscape = character === quote || character === '\\' || character === '\n';
    return [needsEscape ? octal : character, octal, hex, code][spelling(4)] ?? octal;
  });
  return `${quote}${body.join('')}${quote}`;
}
