import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { kubeconfigAccess, loadKubeAccess, serviceAccountAccess } from './kube-access.ts';
import { createKubeClient } from './kube-client.ts';

/** An API server over TLS that tells who calls it. */
let server: Server;
let folder: string;
let url: string;
let accepted: string;

const file = (name: string): string => join(folder, name);
const env = (): Record<string, string> => ({
  KUBERNETES_SERVICE_HOST: '127.0.0.1',
  KUBERNETES_SERVICE_PORT: new URL(url).port,
});

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pilotlight-access-'));
  const request = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '1',
  ];
  for (const [name, altName] of [
    ['ca', 'IP:127.0.0.1'],
    ['client', 'DNS:someone'],
  ] as const) {
    const out = ['-keyout', file(`${name}.key`), '-out', file(`${name}.crt`), '-subj', `/CN=${name}`];
    execFileSync('openssl', [...request, ...out, '-addext', `subjectAltName=${altName}`], {
      stdio: 'ignore',
    });
  }
  const tls = {
    key: readFileSync(file('ca.key')),
    cert: readFileSync(file('ca.crt')),
    ca: readFileSync(file('client.crt')),
    requestCert: true,
    rejectUnauthorized: false,
  };
  server = createServer(tls, (incoming, response) => {
    const { authorization = 'nobody' } = incoming.headers;
    const certificate = (incoming.socket as TLSSocket).getPeerCertificate();
    const subject = certificate.subject?.CN;
    if (authorization !== accepted && subject === undefined) response.writeHead(401);
    response.end(subject === undefined ? authorization : `certificate of ${String(subject)}`);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true });
});

beforeEach(() => {
  accepted = 'Bearer first';
  writeFileSync(file('token'), 'first\n');
  writeFileSync(file('namespace'), 'team');
});

async function whoAmI(access: Parameters<typeof createKubeClient>[0]['access']): Promise<string> {
  const client = createKubeClient({ access, version: '0' });
  try {
    return await client.raw('/whoami');
  } finally {
    await client.close();
  }
}

function kubeconfig(user: object): string {
  const path = file('kubeconfig');
  writeFileSync(
    path,
    JSON.stringify({
      'current-context': 'here',
      contexts: [{ name: 'here', context: { cluster: 'test', user: 'me', namespace: 'team' } }],
      clusters: [{ name: 'test', cluster: { server: url, 'certificate-authority': file('ca.crt') } }],
      users: [{ name: 'me', user }],
    }),
  );
  return path;
}

test("a pod's ServiceAccount is read from its folder, checked by its CA", async () => {
  const access = serviceAccountAccess(env(), folder);
  expect(access).toMatchObject({ server: url, namespace: 'team' });
  expect(await whoAmI(access)).toBe('Bearer first');
});

test('a token that has been replaced is taken up as soon as the old one is refused', async () => {
  const access = serviceAccountAccess(env(), folder);
  expect(await whoAmI(access)).toBe('Bearer first');
  writeFileSync(file('token'), 'second');
  accepted = 'Bearer second';
  expect(await whoAmI(access)).toBe('Bearer second');
});

test('a server with a certificate of somebody else is not talked to', async () => {
  const access = { ...serviceAccountAccess(env(), folder), tls: { ca: readFileSync(file('client.crt')) } };
  await expect(whoAmI(access)).rejects.toMatchObject({ code: 'unavailable' });
});

test('a pod without its variables is told what is missing', () => {
  expect(() => serviceAccountAccess({}, folder)).toThrow('expected KUBERNETES_SERVICE_HOST');
});

test('a kubeconfig with a token, a token file that changes, or a client certificate', async () => {
  const token = await kubeconfigAccess(kubeconfig({ token: 'first' }));
  expect(token).toMatchObject({ server: url, namespace: 'team' });
  expect(await whoAmI(token)).toBe('Bearer first');
  const certificate = { 'client-certificate': file('client.crt'), 'client-key': file('client.key') };
  expect(await whoAmI(await kubeconfigAccess(kubeconfig(certificate)))).toBe('certificate of client');
  const changing = await kubeconfigAccess(kubeconfig({ token: 'first' }));
  expect(await whoAmI(changing)).toBe('Bearer first');
  kubeconfig({ token: 'second' });
  accepted = 'Bearer second';
  expect(await whoAmI(changing)).toBe('Bearer second');
});

test('a kubeconfig with a command that gives the token', async () => {
  const credential = { apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential' };
  const said = JSON.stringify({ ...credential, status: { token: 'first' } });
  const exec = { apiVersion: credential.apiVersion, command: 'echo', args: [said], interactiveMode: 'Never' };
  expect(await whoAmI(await kubeconfigAccess(kubeconfig({ exec })))).toBe('Bearer first');
});

test('no access at all is explained', async () => {
  await expect(loadKubeAccess(file('nowhere'))).rejects.toThrow('nowhere');
});

test('in a pod the client library, which takes 80 MB, is not loaded; for a kubeconfig it is', () => {
  const loaded = (access: string): string[] => {
    const script = `
      import { registerHooks } from 'node:module';
      const loaded = [];
      registerHooks({ load: (url, context, next) => (loaded.push(url), next(url, context)) });
      const { kubeconfigAccess, serviceAccountAccess } =
        await import('${join(import.meta.dirname, 'kube-access.ts')}');
      const { createKubeClient } = await import('${join(import.meta.dirname, 'kube-client.ts')}');
      createKubeClient({ access: ${access}, version: '0' });
      process.stdout.write(JSON.stringify(loaded));`;
    const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
    });
    return (JSON.parse(output) as string[]).filter((module) => module.includes('@kubernetes/client-node'));
  };
  expect(loaded(`serviceAccountAccess(${JSON.stringify(env())}, '${folder}')`)).toEqual([]);
  expect(loaded(`await kubeconfigAccess('${kubeconfig({ token: 'first' })}')`)).not.toEqual([]);
});
