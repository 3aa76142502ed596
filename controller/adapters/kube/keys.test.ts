import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  ADMIN_TOKEN_LIFETIME_MS,
  readAdminPublicKey,
  verifyAdminToken,
} from '../../../contracts/admin-token.ts';
import { KeysError, readKeys } from './keys.ts';

let folder: string;
const write = (name: string, text: string | Buffer): void => writeFileSync(join(folder, name), text);
const pem = (key: { export(options: { format: 'pem'; type: 'pkcs8' }): string | Buffer }) =>
  key.export({ format: 'pem', type: 'pkcs8' });

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keys-'));
  write('admin.key', pem(generateKeyPairSync('ed25519').privateKey));
  write('token-secret', 'secret\n');
  for (const name of ['tls.crt', 'tls.key', 'ca.crt']) write(name, name);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('the public key that runtimes get fits the tokens that they are shown', () => {
  let nowMs = 1_790_000_000_000;
  const keys = readKeys(folder, () => nowMs);
  expect(keys).toMatchObject({ tokenSecret: 'secret', controlCa: 'ca.crt' });
  const publicKey = readAdminPublicKey(keys.adminPublicKey);
  const token = keys.adminTokens('demo', 'pool-1');
  const first = token();
  expect(() => verifyAdminToken(first, publicKey, 'demo/pool-1', nowMs)).not.toThrow();
  expect(() => verifyAdminToken(first, publicKey, 'demo/pool-2', nowMs)).toThrow();
  nowMs += ADMIN_TOKEN_LIFETIME_MS / 2 - 1;
  expect(token()).toBe(first);
  nowMs += 1;
  expect(token()).not.toBe(first);
});

test('a clock that is set back gives a token that begins now, not in the future', () => {
  let nowMs = 1_790_000_000_000;
  const keys = readKeys(folder, () => nowMs);
  const token = keys.adminTokens('demo', 'pool-1');
  token();
  nowMs -= 3_600_000;
  const publicKey = readAdminPublicKey(keys.adminPublicKey);
  expect(() => verifyAdminToken(token(), publicKey, 'demo/pool-1', nowMs)).not.toThrow();
});

test.each(['admin.key', 'token-secret', 'tls.crt', 'tls.key', 'ca.crt'])('without %s it says so', (name) => {
  rmSync(join(folder, name));
  expect(() => readKeys(folder)).toThrow(KeysError);
  expect(() => readKeys(folder)).toThrow(name);
  write(name, ' \n');
  expect(() => readKeys(folder)).toThrow(`${name}: expected some text`);
});

test('a key of another kind is named', () => {
  write('admin.key', pem(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey));
  expect(() => readKeys(folder)).toThrow('expected an Ed25519 private key, got one of type ec');
  write('admin.key', 'nonsense');
  expect(() => readKeys(folder)).toThrow('PKCS8 PEM');
});
