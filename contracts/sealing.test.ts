import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createSealingKeys, open, SealingError, seal } from './sealing.ts';

const keys = createSealingKeys();

test('property: what is sealed comes out as it went in, and no two sealed texts are alike', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (text, context) => {
      const [one, two] = [seal(text, keys.publicKey, context), seal(text, keys.publicKey, context)];
      expect(open(one, keys, context)).toBe(Buffer.from(text).toString());
      expect(one).not.toBe(two);
    }),
  );
});

test('property: a text with any bit changed, or cut, is refused', () => {
  const sealed = Buffer.from(seal('{"secret":"a"}', keys.publicKey, 'claim-1'), 'base64url');
  fc.assert(
    fc.property(fc.nat(sealed.length * 8 - 1), (bit) => {
      // X25519 takes no notice of the highest bit of a public key; it is in the derivation all the same.
      const changed = Buffer.from(sealed);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(() => open(changed.toString('base64url'), keys, 'claim-1')).toThrow(SealingError);
      const cut = sealed.subarray(0, bit >> 3).toString('base64url');
      expect(() => open(cut, keys, 'claim-1')).toThrow(SealingError);
    }),
  );
});

test('a text is for one process and one claim', () => {
  const sealed = seal('secret', keys.publicKey, 'claim-1');
  expect(open(sealed, keys, 'claim-1')).toBe('secret');
  expect(() => open(sealed, keys, 'claim-2')).toThrow(SealingError);
  expect(() => open(sealed, createSealingKeys(), 'claim-1')).toThrow(SealingError);
});

test('nothing of the text can be read in what is sent', () => {
  const sealed = Buffer.from(seal('very-secret-key', keys.publicKey, 'claim-1'), 'base64url');
  expect(sealed.includes('very-secret-key')).toBe(false);
});

test('a key that is none is refused in words', () => {
  for (const key of ['', 'AAAA', 'not a key'])
    expect(() => seal('secret', key, 'claim-1')).toThrow('expected an X25519 public key');
});
