import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ctcClasses, decodeCtc } from './decode-ctc.ts';

const DICTIONARY = 'a\nb\nc\n';
/** blank, a, b, c, space */
const CLASSES = 5;

/** One step for each class, with the given probability for it. */
function output(rows: readonly (readonly number[])[], probability = 0.9) {
  const steps = rows[0]?.length ?? 0;
  const values = new Float32Array(rows.length * steps * CLASSES);
  for (const [row, classes] of rows.entries()) {
    for (const [step, index] of classes.entries())
      values[(row * steps + step) * CLASSES + index] = probability;
  }
  return { name: 'out', datatype: 'FP32', shape: [rows.length, steps, CLASSES], values };
}

test('repetitions are one letter, and a blank between two makes them two', () => {
  expect(decodeCtc(output([[0, 1, 1, 0, 1, 2, 2, 0]]), DICTIONARY)[0]?.text).toBe('aab');
});

test('the class behind the dictionary is the space, and margins are no part of the text', () => {
  expect(decodeCtc(output([[4, 1, 4, 2, 4, 4]]), DICTIONARY)[0]?.text).toBe('a b');
});

test('an image without letters is an empty text of no confidence', () => {
  expect(decodeCtc(output([[0, 0, 4]]), DICTIONARY)).toEqual([{ text: '', confidence: 0 }]);
});

test('each row of a batch is a text of its own, with the mean probability of its letters', () => {
  const [first, second] = decodeCtc(
    output(
      [
        [1, 0],
        [3, 2],
      ],
      0.5,
    ),
    DICTIONARY,
  );
  expect(first).toEqual({ text: 'a', confidence: 0.5 });
  expect(second).toEqual({ text: 'cb', confidence: 0.5 });
});

test('letters of a dictionary may be blanks of other kinds, and lines may end as on Windows', () => {
  expect(ctcClasses('\u3000\r\na\r\n', 3)).toEqual(['', '\u3000', 'a']);
});

test('a dictionary of another model is refused with both numbers', () => {
  expect(() => ctcClasses(DICTIONARY, 9)).toThrow(/3 lines.*4 classes \(or 5 with the space\).*has 9/);
});

test('an output that is no sequence of classes is refused with its shape', () => {
  const flat = { name: 'out', datatype: 'FP32', shape: [1, 5], values: new Float32Array(5) };
  expect(() => decodeCtc(flat, DICTIONARY)).toThrow(/shape \[1, 5\].*\[batch, steps, classes\]/);
});

test('any text comes back from the path that a recogniser would write for it', () => {
  const letter = fc.constantFrom(1, 2, 3);
  fc.assert(
    fc.property(
      fc.array(fc.tuple(letter, fc.integer({ min: 1, max: 3 })), { minLength: 1, maxLength: 20 }),
      (runs) => {
        // A blank before each letter keeps equal neighbours apart.
        const path = runs.flatMap(([index, times]) => [0, ...Array.from({ length: times }, () => index)]);
        const expected = runs.map(([index]) => ['', 'a', 'b', 'c'][index]).join('');
        expect(decodeCtc(output([path]), DICTIONARY)[0]?.text).toBe(expected);
      },
    ),
  );
});
