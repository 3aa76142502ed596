import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PilotlightError } from '../../../contracts/errors.ts';
import { printTextFormat } from './testing-print.ts';
import { parseTextFormat, type TextMessage, type TextValue } from './text-format.ts';

/** Fields and values without their places. */
function plain(message: TextMessage): unknown[] {
  return message.fields.map(({ name, value }) => [name, plainValue(value)]);
}

function plainValue(value: TextValue): unknown {
  return value.kind === 'message' ? plain(value) : { [value.kind]: value.value };
}

type TextScalar = Readonly<Record<string, string | number | bigint>>;

const parsed = (text: string): unknown[] => plain(parseTextFormat(text));

describe('the text format of protobuf', () => {
  test('takes messages with and without colon, in braces and angles, lists, comments and separators', () => {
    expect(
      parsed(`
        name: "resnet" # the model
        input [ { name: 'x'; dims: [ 3, -1 ] }, < dims: 4 > ]
        output: { name: "y", },
        empty: []
        kind: KIND_CPU;
      `),
    ).toEqual([
      ['name', { string: 'resnet' }],
      [
        'input',
        [
          ['name', { string: 'x' }],
          ['dims', { integer: 3n }],
          ['dims', { integer: -1n }],
        ],
      ],
      ['input', [['dims', { integer: 4n }]]],
      ['output', [['name', { string: 'y' }]]],
      ['kind', { identifier: 'KIND_CPU' }],
    ]);
  });

  test.each<[string, TextScalar]>([
    ['0x1F', { integer: 31n }],
    ['017', { integer: 15n }],
    ['0', { integer: 0n }],
    ['- 7', { integer: -7n }],
    ['9223372036854775807', { integer: 9223372036854775807n }],
    ['1.5', { float: 1.5 }],
    ['.5', { float: 0.5 }],
    ['2.', { float: 2 }],
    ['1e-3', { float: 0.001 }],
    ['3f', { float: 3 }],
    ['1.5F', { float: 1.5 }],
    ['-inf', { float: Number.NEGATIVE_INFINITY }],
    ['nan', { identifier: 'nan' }],
    ['"a" \'b\'\n "c"', { string: 'abc' }],
    [String.raw`"\n\t\"\\\101\x42\u00e9\U0001F600"`, { string: '\n\t"\\ABé😀' }],
    [String.raw`"\303\251"`, { string: 'é' }],
  ])('%s is one value', (text, value) => {
    expect(parsed(`x: ${text}`)).toEqual([['x', value]]);
  });

  test.each([
    ['name "x"', "line 1, column 6: expected ':' or '{' after 'name', got a string"],
    ['a: 1\nb {\n  c: 2', "line 3, column 7: expected the name of a field, or '}', got the end of the text"],
    ['a: "x', 'line 1, column 4: this string has no closing "'],
    ['a: [1, 2', "line 1, column 9: expected ',' or ']' in the list of 'a', got the end of the text"],
    ['a [1]', "line 1, column 3: expected ':' between 'a' and a list of values"],
    ['a: 089', 'line 1, column 4: 089 begins like an octal number and is none'],
    ['a: 12x', 'line 1, column 4: this is no number'],
    [String.raw`a: "\q"`, String.raw`line 1, column 5: \q is no escape`],
    [String.raw`a: "\377"`, 'line 1, column 4: this string is not UTF-8'],
    ['a: 1 }', "line 1, column 6: expected the name of a field, got '}'"],
    ['[x.y]: 1', "line 1, column 1: expected the name of a field, got '['"],
    ['{"name": "x"}', "line 1, column 1: expected the name of a field, got '{'"],
    ['# one\n\n  a: ?', 'line 3, column 6: unexpected character "?"'],
    ['a: -b', "line 1, column 5: expected a number after '-', got 'b'"],
  ])('%j is refused with its place', (text, message) => {
    expect(() => parseTextFormat(text)).toThrow(expect.objectContaining({ code: 'model-layout' }));
    expect(() => parseTextFormat(text)).toThrow(message);
  });

  test('depth is bounded', () => {
    expect(() => parseTextFormat('a{'.repeat(100_000))).toThrow('nested more than 64 deep');
  });
});

const at = { line: 1, column: 1 };
const name = fc.stringMatching(/^[A-Za-z_][A-Za-z0-9_]{0,8}$/);
const scalar: fc.Arbitrary<TextValue> = fc.oneof(
  fc
    .string({ unit: 'binary' })
    .map((value) => ({ kind: 'string' as const, value: value.toWellFormed(), at })),
  fc
    .bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n })
    .map((value) => ({ kind: 'integer' as const, value, at })),
  fc
    .double({ noNaN: true })
    .filter((value) => value !== Number.POSITIVE_INFINITY)
    .map((value) => ({ kind: 'float' as const, value, at })),
  name.map((value) => ({ kind: 'identifier' as const, value, at })),
);
const { message } = fc.letrec<{ message: TextMessage; value: TextValue }>((tie) => ({
  value: fc.oneof({ depthSize: 'small', withCrossShrink: true }, scalar, tie('message')),
  message: fc
    .array(
      fc.record({ name: fc.oneof(fc.constant('again'), name), value: tie('value'), at: fc.constant(at) }),
      {
        maxLength: 6,
      },
    )
    .map((fields) => ({ kind: 'message' as const, fields, at })),
}));

test('whatever is printed, however it is spelt, is parsed as what it was', () => {
  fc.assert(
    fc.property(message, fc.array(fc.nat(1_000), { minLength: 1, maxLength: 60 }), (original, choices) => {
      let turn = 0;
      const text = printTextFormat(original, (options) => (choices[turn++ % choices.length] ?? 0) % options);
      expect(parsed(text)).toEqual(plain(original));
    }),
    { numRuns: 500 },
  );
});

test('any text is parsed or refused with a place, and nothing else happens', () => {
  const token = fc.constantFrom(
    'a',
    ':',
    '{',
    '}',
    '[',
    ']',
    '<',
    '>',
    ',',
    ';',
    '-',
    '1',
    '0x',
    '.5f',
    '"',
    "'",
    '\\',
    '#',
    '\n',
    ' ',
  );
  const text = fc.oneof(
    fc.string(),
    fc.array(token, { maxLength: 40 }).map((parts) => parts.join('')),
  );
  fc.assert(
    fc.property(text, (any) => {
      try {
        parseTextFormat(any);
      } catch (error) {
        expect(error).toBeInstanceOf(PilotlightError);
        expect((error as PilotlightError).message).toMatch(/^line \d+, column \d+: /);
      }
    }),
    { numRuns: 1_000 },
  );
});
