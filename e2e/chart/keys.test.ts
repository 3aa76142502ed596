import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readKeys } from '../../controller/adapters/kube/keys.ts';
import { NAMESPACE, render, type Values } from './testing/helm.ts';
import { named, ofKind, templateOf } from './testing/rendered.ts';

const YEAR_MS = 365 * 24 * 3_600_000;

async function secretOf(values: Values): Promise<Record<string, string>> {
  const { data = {} } = named(await render(values), 'Secret', 'pilotlight-keys');
  return Object.fromEntries(
    Object.entries(data).map(([name, encoded]) => [name, Buffer.from(encoded, 'base64').toString()]),
  );
}

/** Which keys of which Secret the controller's keys folder is made of. */
async function sourcesOf(values: Values): Promise<Record<string, string>> {
  const { spec } = templateOf(named(await render(values), 'Deployment', 'pilotlight-controller'));
  const sources = spec?.volumes?.find(({ name }) => name === 'keys')?.projected?.sources ?? [];
  return Object.fromEntries(
    sources.flatMap(({ secret }) => secret?.items?.map(({ path }) => [path, secret.name ?? '']) ?? []),
  );
}

test('the controller can read the keys that the chart makes', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'pilotlight-keys-'));
  try {
    const files = await secretOf({});
    expect(Object.keys(files).sort()).toEqual(['admin.key', 'ca.crt', 'tls.crt', 'tls.key', 'token-secret']);
    for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
    expect(readKeys(folder).tokenSecret).toMatch(/^[A-Za-z0-9]{43}$/);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test('the certificate is for every name that the controller is called by, for ten years, signed by the authority that is handed out', async () => {
  const objects = await render({ clusterDomain: 'corp.internal' });
  const { data = {} } = named(objects, 'Secret', 'pilotlight-keys');
  const text = (name: string) => Buffer.from(data[name] ?? '', 'base64').toString();
  const authority = new X509Certificate(named(objects, 'ConfigMap', 'pilotlight-ca').data?.['ca.crt'] ?? '');
  const certificate = new X509Certificate(text('tls.crt'));
  for (const host of [
    'pilotlight-controller',
    `pilotlight-controller.${NAMESPACE}`,
    `pilotlight-controller.${NAMESPACE}.svc`,
    `pilotlight-controller.${NAMESPACE}.svc.corp.internal`,
  ]) {
    expect(certificate.checkHost(host), host).toBe(host);
  }
  expect(certificate.checkHost('kubernetes.default.svc')).toBeUndefined();
  expect(certificate.verify(authority.publicKey)).toBe(true);
  expect(certificate.checkPrivateKey(createPrivateKey(text('tls.key')))).toBe(true);
  expect(authority.ca).toBe(true);
  expect(authority.fingerprint256).toBe(new X509Certificate(text('ca.crt')).fingerprint256);
  expect(certificate.validToDate.getTime() - Date.now()).toBeGreaterThan(9.9 * YEAR_MS);
});

test('two installations have nothing in common', async () => {
  const [one, other] = [await secretOf({}), await secretOf({})];
  for (const name of Object.keys(one)) expect(one[name], name).not.toBe(other[name]);
});

test('with a certificate of their own the chart makes none and takes theirs', async () => {
  const values = { tls: { existingSecret: 'ours' } };
  expect(Object.keys(await secretOf(values)).sort()).toEqual(['admin.key', 'token-secret']);
  expect(await sourcesOf(values)).toEqual({
    'admin.key': 'pilotlight-keys',
    'token-secret': 'pilotlight-keys',
    'tls.crt': 'ours',
    'tls.key': 'ours',
    'ca.crt': 'ours',
  });
});

test('with keys of their own no Secret is made, so that every rendering is the same', async () => {
  const values = { keys: { existingSecret: 'ours' } };
  const objects = await render(values);
  expect(ofKind(objects, 'Secret')).toEqual([]);
  expect(new Set(Object.values(await sourcesOf(values)))).toEqual(new Set(['ours']));
  expect(objects).toEqual(await render(values));
});

test('keys and certificate may come from two Secrets', async () => {
  const values = { keys: { existingSecret: 'keys' }, tls: { existingSecret: 'certificate' } };
  expect(ofKind(await render(values), 'Secret')).toEqual([]);
  expect(await sourcesOf(values)).toEqual({
    'admin.key': 'keys',
    'token-secret': 'keys',
    'tls.crt': 'certificate',
    'tls.key': 'certificate',
    'ca.crt': 'certificate',
  });
});
