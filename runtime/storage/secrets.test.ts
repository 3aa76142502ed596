import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Secrets } from './secrets.ts';

const secret = fc
  .string({ minLength: 6, maxLength: 40 })
  .filter((text) => text.trim() === text && !text.includes('*'));

test('no secret that was added is left in a text, plain or percent-encoded, one within another or alone', () => {
  fc.assert(
    fc.property(fc.array(secret, { minLength: 1, maxLength: 4 }), fc.string(), (values, around) => {
      const secrets = new Secrets();
      for (const value of values) secrets.add(value);
      const text = values.flatMap((value) => [around, value, encodeURIComponent(value)]).join('*');
      const hidden = secrets.hide(text);
      for (const value of values) {
        expect(hidden).not.toContain(value);
        expect(hidden).not.toContain(encodeURIComponent(value));
      }
    }),
  );
});

test('what is no secret, or too short to be one, stays as it is', () => {
  const secrets = new Secrets();
  secrets.add(undefined);
  secrets.add('');
  secrets.add('abc');
  secrets.add('planted-secret');
  expect(secrets.hide('abc s3://bucket/abc')).toBe('abc s3://bucket/abc');
});

test('an error keeps its class and loses its secrets, with those of its causes and of its stack', () => {
  const secrets = new Secrets();
  secrets.add('planted-secret');
  const cause = new Error('the server said planted-secret');
  const error = new RangeError('refused: planted-secret', { cause });
  expect(secrets.hideIn(error)).toBe(error);
  expect(error.message).toBe('refused: ***');
  expect(cause.message).toBe('the server said ***');
  expect(`${error.stack} ${cause.stack}`).not.toContain('planted');
  const circle: Error = new Error('planted-secret');
  circle.cause = circle;
  expect((secrets.hideIn(circle) as Error).message).toBe('***');
  expect(secrets.hideIn('planted-secret')).toBe('planted-secret');
});
