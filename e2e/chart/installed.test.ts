import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Cluster, connectCluster } from '../cluster/cluster.ts';
import { CHART, helm, type Values, withValuesFile } from './testing/helm.ts';

/**
 * What only a cluster shows: values that pass its API server, and keys that outlive an upgrade. No pod is started:
 * the namespace is of this test alone and no node fits.
 */

const namespace = `chart-${randomBytes(4).toString('hex')}`;
const ALONE: Values = {
  // Those of the cluster belong to whoever installed Pilotlight there.
  crds: { install: false },
  rbac: { userRoles: false },
  controller: { nodeSelector: { 'example.com/none': 'none' } },
  activator: { nodeSelector: { 'example.com/none': 'none' } },
};
let cluster: Cluster;

beforeAll(async () => {
  cluster = await connectCluster();
  await cluster.kubectl(['create', 'namespace', namespace]);
  const level = 'pod-security.kubernetes.io/warn=restricted';
  await cluster.kubectl(['label', 'namespace', namespace, level]);
});

afterAll(async () => {
  if (cluster === undefined) return;
  await release(['uninstall', 'pilotlight', '--ignore-not-found']);
  await cluster.kubectl(['delete', 'namespace', namespace, '--wait=false']);
});

async function release(helmArguments: readonly string[]): Promise<string> {
  const target = ['--namespace', namespace, '--kubeconfig', cluster.kubeconfigPath];
  const { code, stdout, stderr } = await helm([...helmArguments, ...target]);
  expect(code, stderr).toBe(0);
  return `${stdout}${stderr}`;
}

function upgrade(values: Values, ...flags: string[]): Promise<string> {
  return withValuesFile({ ...ALONE, ...values }, (file) =>
    release(['upgrade', '--install', 'pilotlight', CHART, '--values', file, ...flags]),
  );
}

async function data(kind: 'secret' | 'configmap', name: string): Promise<Record<string, string>> {
  const text = await cluster.kubectl(['get', kind, name, '--namespace', namespace, '--output', 'json']);
  return (JSON.parse(text) as { data: Record<string, string> }).data;
}

test('installed, the first three commands are said, and no pod falls short of restricted Pod Security', async () => {
  const said = await upgrade({ domain: 'models.example.com' });
  expect(said).toContain('kubectl apply -n default -f -');
  expect(said).toContain('kubectl get isvc -n default hello');
  expect(said).toContain('curl http://hello.default.models.example.com/v2/models/hello');
  expect(said).not.toContain('would violate PodSecurity');
});

test('keys and certificate outlive upgrades, and what is missing is made anew', async () => {
  await upgrade({});
  const [keys, authority] = [
    await data('secret', 'pilotlight-keys'),
    await data('configmap', 'pilotlight-ca'),
  ];
  await upgrade({ logLevel: 'debug' });
  expect(await data('secret', 'pilotlight-keys')).toEqual(keys);
  expect(await data('configmap', 'pilotlight-ca')).toEqual(authority);

  // Away to a certificate of one's own and back: another one is made, the other keys stay.
  await upgrade({ tls: { existingSecret: 'ours' } });
  const { 'admin.key': admin, 'token-secret': token } = keys;
  expect(await data('secret', 'pilotlight-keys')).toEqual({ 'admin.key': admin, 'token-secret': token });
  await upgrade({});
  const anew = await data('secret', 'pilotlight-keys');
  expect(anew).toMatchObject({ 'admin.key': admin, 'token-secret': token });
  expect(anew['tls.crt']).not.toBe(keys['tls.crt']);
  const { 'ca.crt': handedOut = '' } = await data('configmap', 'pilotlight-ca');
  expect(Buffer.from(anew['ca.crt'] ?? '', 'base64').toString()).toBe(handedOut);
});

test('the API server takes what the chart makes of every kind of value', async () => {
  await upgrade(
    {
      namespaces: [namespace],
      directMode: 'auto',
      images: { pullSecrets: ['registry'], control: { digest: `sha256:${'0123456789abcdef'.repeat(4)}` } },
      networkPolicies: {
        enabled: true,
        metricsFrom: [{ namespaceSelector: {} }],
        controllerFrom: [{ ipBlock: { cidr: '10.0.0.0/8' } }],
      },
      controller: {
        ...(ALONE['controller'] as object),
        tolerations: [{ key: 'control', operator: 'Exists', effect: 'NoSchedule' }],
        affinity: { podAntiAffinity: {} },
        podAnnotations: { note: 'yes' },
      },
    },
    '--dry-run=server',
  );
});

test('the entrance for an Ingress is taken by the API server', async () => {
  const file = `${CHART}/../../examples/kubernetes/ingress.yaml`;
  const text = await cluster.kubectl(['create', '--dry-run=client', '--output', 'json', '--filename', file]);
  const ingress = JSON.parse(text) as { metadata: { namespace: string } };
  ingress.metadata.namespace = namespace;
  await cluster.kubectl(['apply', '--dry-run=server', '--filename', '-'], JSON.stringify(ingress));
});
