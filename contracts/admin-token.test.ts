import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  ADMIN_TOKEN_LEEWAY_MS,
  ADMIN_TOKEN_LIFETIME_MS,
  AdminTokenError,
  AdminTokenVerifier,
  adminAudience,
  readAdminPublicKey,
  signAdminToken,
  verifyAdminToken,
  writeAdminPublicKey,
} from './admin-token.ts';

const { privateKey, publicKey } = generateKeyPairSync('ed25519');
const stranger = generateKeyPairSync('ed25519');
const AUDIENCE = adminAudience('demo', 'pool-abc12');
const NOW_MS = 1_790_000_000_123;
const ISSUED_MS = Math.floor(NOW_MS / 1000) * 1000;

const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
function signed(header: unknown, claims: unknown, key: KeyObject = privateKey): string {
  const text = `${part(header)}.${part(claims)}`;
  return `${text}.${sign(null, Buffer.from(text), key).toString('base64url')}`;
}
const HEADER = { alg: 'EdDSA', typ: 'JWT' };
const IAT = ISSUED_MS / 1000;
const CLAIMS = { aud: AUDIENCE, iat: IAT, exp: IAT + 600 };
const check = (token: string, nowMs = NOW_MS) => verifyAdminToken(token, publicKey, AUDIENCE, nowMs);

const name = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$/);
const timeMs = fc.integer({ min: 0, max: 8e12 });

test('a token is good for its pod as long as it lasts, whatever pod and time', () => {
  fc.assert(
    fc.property(
      name,
      name,
      timeMs,
      fc.double({ min: 0, max: 1, noNaN: true }),
      (namespace, pod, atMs, share) => {
        const audience = adminAudience(namespace, pod);
        const token = signAdminToken(privateKey, audience, atMs);
        const usedAtMs = atMs + share * ADMIN_TOKEN_LIFETIME_MS;
        const times = verifyAdminToken(token, publicKey, audience, usedAtMs);
        expect(times.expiresAtMs - times.issuedAtMs).toBe(ADMIN_TOKEN_LIFETIME_MS);
      },
    ),
    { numRuns: 50 },
  );
});

test('the longest names that Kubernetes allows fit', () => {
  const audience = adminAudience('n'.repeat(63), 'p'.repeat(253));
  expect(() =>
    verifyAdminToken(signAdminToken(privateKey, audience, NOW_MS), publicKey, audience, NOW_MS),
  ).not.toThrow();
});

test('a token is of no use at another pod', () => {
  fc.assert(
    fc.property(name, name, name, name, (oneSpace, onePod, otherSpace, otherPod) => {
      const [one, other] = [adminAudience(oneSpace, onePod), adminAudience(otherSpace, otherPod)];
      fc.pre(one !== other);
      const token = signAdminToken(privateKey, one, NOW_MS);
      expect(() => verifyAdminToken(token, publicKey, other, NOW_MS)).toThrow(AdminTokenError);
    }),
    { numRuns: 50 },
  );
});

test('a token with any one character changed, added or taken away is refused', () => {
  const token = signAdminToken(privateKey, AUDIENCE, NOW_MS);
  const at = fc.integer({ min: 0, max: token.length - 1 });
  const character = fc.constantFrom('A', 'Z', 'a', 'z', '0', '9', '-', '_', '.', '=', '+', '/', ' ');
  fc.assert(
    fc.property(at, character, fc.constantFrom('change', 'add', 'take'), (index, letter, how) => {
      const rest = token.slice(how === 'add' ? index : index + 1);
      const changed = token.slice(0, index) + (how === 'take' ? '' : letter) + rest;
      fc.pre(changed !== token);
      expect(() => check(changed)).toThrow(AdminTokenError);
    }),
  );
});

test('whatever comes as a token, it is refused and nothing else is thrown', () => {
  const text = fc.oneof(
    fc.string({ maxLength: 2_000 }),
    fc.tuple(fc.jsonValue(), fc.jsonValue()).map(([header, claims]) => signed(header, claims)),
    fc.jsonValue().map((claims) => signed(HEADER, claims)),
  );
  fc.assert(
    fc.property(text, (token) => {
      expect(() => check(token)).toThrow(AdminTokenError);
    }),
  );
});

test.each([
  ['an algorithm of none', signed({ alg: 'none' }, CLAIMS)],
  ['another algorithm', signed({ alg: 'HS256', typ: 'JWT' }, CLAIMS)],
  ['a header that asks for more', signed({ ...HEADER, crit: ['b64'], b64: false }, CLAIMS)],
  ['a key of the token itself', signed({ ...HEADER, jwk: publicKey.export({ format: 'jwk' }) }, CLAIMS)],
  ['the signature of a stranger', signed(HEADER, CLAIMS, stranger.privateKey)],
  ['no signature', `${part(HEADER)}.${part(CLAIMS)}.`],
  ['two parts', `${part(HEADER)}.${part(CLAIMS)}`],
  ['four parts', `${signed(HEADER, CLAIMS)}.`],
  ['several audiences', signed(HEADER, { ...CLAIMS, aud: [AUDIENCE] })],
  ['no audience', signed(HEADER, { iat: IAT, exp: IAT + 600 })],
  ['no end', signed(HEADER, { aud: AUDIENCE, iat: IAT })],
  ['no beginning', signed(HEADER, { aud: AUDIENCE, exp: IAT + 600 })],
  ['an end before its beginning', signed(HEADER, { ...CLAIMS, exp: IAT - 1 })],
  ['an end that is far away', signed(HEADER, { ...CLAIMS, exp: IAT + 601 })],
  ['a time with fractions', signed(HEADER, { ...CLAIMS, exp: IAT + 0.5 })],
  ['a time as text', signed(HEADER, { ...CLAIMS, exp: String(IAT + 600) })],
  ['a claim of megabytes', signed(HEADER, { ...CLAIMS, more: 'x'.repeat(1_000_000) })],
  ['padding', `${signed(HEADER, CLAIMS)}==`],
  ['nothing', ''],
])('a token with %s is refused', (_what, token) => {
  expect(() => check(token)).toThrow(AdminTokenError);
});

test('clocks may differ by the leeway and no more, also for a token that was seen before', () => {
  const token = signAdminToken(privateKey, AUDIENCE, NOW_MS);
  const verifier = new AdminTokenVerifier(publicKey, AUDIENCE);
  verifier.verify(token, NOW_MS);
  const edges = [
    { nowMs: ISSUED_MS - ADMIN_TOKEN_LEEWAY_MS - 1, isGood: false },
    { nowMs: ISSUED_MS - ADMIN_TOKEN_LEEWAY_MS, isGood: true },
    { nowMs: ISSUED_MS + ADMIN_TOKEN_LIFETIME_MS + ADMIN_TOKEN_LEEWAY_MS - 1, isGood: true },
    { nowMs: ISSUED_MS + ADMIN_TOKEN_LIFETIME_MS + ADMIN_TOKEN_LEEWAY_MS, isGood: false },
  ];
  for (const { nowMs, isGood } of edges) {
    for (const use of [() => check(token, nowMs), () => verifier.verify(token, nowMs)]) {
      if (isGood) expect(use).not.toThrow();
      else expect(use).toThrow(AdminTokenError);
    }
  }
});

test('what is remembered is bounded, and only good tokens are', () => {
  const verifier = new AdminTokenVerifier(publicKey, AUDIENCE);
  expect(() => verifier.verify(signed(HEADER, CLAIMS, stranger.privateKey), NOW_MS)).toThrow();
  expect(verifier.knownCount).toBe(0);
  for (let second = 0; second < 50; second++) {
    verifier.verify(signAdminToken(privateKey, AUDIENCE, NOW_MS - second * 1000), NOW_MS);
  }
  expect(verifier.knownCount).toBe(16);
});

test('a token that comes again costs a twentieth of the first time at most', () => {
  const verifier = new AdminTokenVerifier(publicKey, AUDIENCE);
  const token = signAdminToken(privateKey, AUDIENCE, NOW_MS);
  const timeOf = (use: () => void, times: number): number => {
    const fromMs = performance.now();
    for (let time = 0; time < times; time++) use();
    return (performance.now() - fromMs) / times;
  };
  timeOf(() => check(token), 50);
  timeOf(() => verifier.verify(token, NOW_MS), 1_000);
  expect(timeOf(() => verifier.verify(token, NOW_MS), 20_000)).toBeLessThan(
    timeOf(() => check(token), 200) / 20,
  );
});

test('the public key goes through an environment variable and comes back; other keys are refused', () => {
  const text = writeAdminPublicKey(publicKey);
  expect(text).toMatch(/^[A-Za-z0-9+/]+=*$/);
  expect(readAdminPublicKey(text).equals(publicKey)).toBe(true);
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
  expect(() => readAdminPublicKey(writeAdminPublicKey(other))).toThrow('expected an Ed25519 public key');
  expect(() => readAdminPublicKey('nonsense')).toThrow(AdminTokenError);
});
