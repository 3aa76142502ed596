import { InvalidArgumentError } from 'commander';
import { expect, test } from 'vitest';
import { divisorList, imageSize, namedFile, numberList, positiveCount, positiveSeconds } from './options.ts';
import { timingText } from './present.ts';

test('inputs by name add up, and a path may hold an equals sign', () => {
  const first = namedFile('ids=a=b.npy');
  expect(namedFile('mask=m.npy', first)).toEqual([
    { name: 'ids', path: 'a=b.npy' },
    { name: 'mask', path: 'm.npy' },
  ]);
});

test('numbers may stand alone or one for each channel', () => {
  expect(numberList('0.5')).toEqual([0.5]);
  expect(numberList('0.485,0.456,0.406')).toEqual([0.485, 0.456, 0.406]);
  expect(imageSize('48x320')).toEqual({ height: 48, width: 320 });
  expect(positiveSeconds('1.5')).toBe(1.5);
});

test.each([
  ['a file without a name', () => namedFile('=x.npy')],
  ['a name without a file', () => namedFile('x=')],
  ['a name given twice', () => namedFile('x=b.npy', [{ name: 'x', path: 'a.npy' }])],
  ['a size of nothing', () => imageSize('0x4')],
  ['a size of one number', () => imageSize('224')],
  ['a list with a hole', () => numberList('1,,2')],
  ['a word', () => numberList('half')],
  ['a deviation of 0', () => divisorList('0.5,0,0.5')],
  ['no time', () => positiveSeconds('0')],
  ['a negative count', () => positiveCount('-1')],
])('%s is refused', (_what, parse) => {
  expect(parse).toThrow(InvalidArgumentError);
});

test('the timing of two servers in one header is read as one line', () => {
  expect(timingText('queue;dur=0.000, compute;dur=38.6, start;dur=406')).toBe(
    'queue 0.00 ms, compute 38.6 ms, start 406 ms',
  );
  expect(timingText('cache;desc="hit"')).toBe('cache');
});
