import type { V1Service } from '@kubernetes/client-node';
import { afterEach, expect, test } from 'vitest';
import { objectPath, RESOURCES } from '../../../controller/adapters/kube/api/paths.ts';
import type { Wire } from '../../../controller/adapters/kube/api/wire.ts';
import { zeros } from '../../local/testing/marked-model.ts';
import { clusterOrigin } from '../cluster.ts';
import { run } from '../command.ts';
import { platformPods, waitForPlatform, waitForScheduler } from './testing/controllers.ts';
import { mark, onPlatform } from './testing/platform.ts';
import { markedService } from './testing/services.ts';

/** The cluster itself fails: its API server, its database's memory, its DNS, a node. These take nodes that are ours. */

const on = onPlatform('cluster-days');
const isOurs = clusterOrigin() === 'kind';
const OUTAGE_MS = 30_000;
const MANIFEST = '/etc/kubernetes/manifests/kube-apiserver.yaml';
const PUT_ASIDE = '/etc/kubernetes/kube-apiserver.yaml';
const ONE = { predictor: { maxReplicas: 1, containerConcurrency: 4 } };

afterEach(async () => {
  await waitForPlatform(on);
  await waitForScheduler(on);
}, 300_000);

const controlPlane = (): string => {
  const node = on.cluster.nodes.find((name) => name.endsWith('control-plane'));
  if (node === undefined) throw new Error(`expected a control plane among ${on.cluster.nodes.join(', ')}`);
  return node;
};

const worker = (): string => {
  const node = on.cluster.nodes.find((name) => !name.endsWith('control-plane'));
  if (node === undefined) throw new Error(`expected a worker among ${on.cluster.nodes.join(', ')}`);
  return node;
};

const onControlPlane = (...command: string[]): Promise<string> =>
  on.cluster.execOnNode(controlPlane(), command);

test.skipIf(!isOurs)('DNS answers nobody: warm and cached cold requests by address go on', async () => {
  await on.apply(markedService('nameless', 5, ONE));
  await on.waitForReady('nameless');
  expect(mark(await on.infer('nameless', zeros()))).toBe(5);
  await on.waitForZero('nameless');
  await on.waitForStandby();
  const clusterIP = await addressOf('nameless');
  const target = {
    ...on.inference('nameless', zeros()),
    url: `http://${clusterIP}/v2/models/nameless/infer`,
    headers: { host: `nameless.${on.namespace}` },
  };
  const deployment = ['deployment/coredns', '--namespace', 'kube-system'];
  await on.cluster.kubectl(['scale', ...deployment, '--replicas', '0']);
  try {
    await on.until('DNS is away', async () => {
      const pods = await on.api.list(objectPath({ ...RESOURCES.pods, namespace: 'kube-system' }), {
        labelSelector: 'k8s-app=kube-dns',
      });
      return pods.items.length === 0;
    });
    expect(mark(await on.client.call(target))).toBe(5);
    expect(mark(await on.client.call(target))).toBe(5);
  } finally {
    await on.cluster.kubectl(['scale', ...deployment, '--replicas', '1']);
    await on.cluster.kubectl(['rollout', 'status', ...deployment, '--timeout=60s']);
  }
});

test('a node is emptied under load: pods move first, and not one request fails', {
  timeout: 180_000,
}, async () => {
  const predictor = { minReplicas: 2, maxReplicas: 2, containerConcurrency: 4 };
  await on.apply(markedService('moved', 6, { predictor }));
  await on.waitForReady('moved');
  await on.waitForService('moved', 'has two replicas', ({ status }) => status?.replicas?.ready === 2);
  const load = await on.load({ targets: [on.inference('moved', zeros())], connections: 4, pauseMs: 5 });
  const node = worker();
  try {
    const drained = on.cluster.kubectl([
      'drain',
      node,
      '--ignore-daemonsets',
      '--delete-emptydir-data',
      '--timeout=120s',
    ]);
    await drained;
    const pods = await on.pods('moved');
    expect(pods.map(({ spec }) => spec?.nodeName)).not.toContain(node);
    await on.waitForService('moved', 'has two replicas', ({ status }) => status?.replicas?.ready === 2);
    expect(await platformPods(on, 'activator')).not.toHaveLength(0);
  } finally {
    await on.cluster.kubectl(['uncordon', node]);
  }
  const { failures, answered } = await load.end();
  expect(failures).toEqual([]);
  expect(answered).toBeGreaterThan(100);
});

test.skipIf(!isOurs)(
  'a node is lost: its pods hold no slot, and requests are answered by others',
  { timeout: 300_000 },
  async () => {
    const node = worker();
    await on.apply(markedService('lost', 7, ONE));
    await on.waitForReady('lost');
    // Its pod is to be on the node that goes.
    await on.cluster.kubectl(['cordon', controlPlane()]);
    try {
      await on.until('a standby waits on the worker', async () =>
        (await on.pods()).some(({ spec }) => spec?.nodeName === node),
      );
      expect(mark(await on.infer('lost', zeros()))).toBe(7);
    } finally {
      await on.cluster.kubectl(['uncordon', controlPlane()]);
    }
    await pauseNode(node);
    try {
      const answered = await on.until(
        'the service is answered without the node',
        async () => {
          const answer = await on.client.call({ ...on.inference('lost', zeros()), timeoutMs: 15_000 });
          return answer.status === 200 && answer;
        },
        120_000,
      );
      expect(mark(answered)).toBe(7);
    } finally {
      await resumeNode(node);
    }
    await on.cluster.kubectl(['wait', '--for=condition=Ready', `node/${node}`, '--timeout=120s']);
  },
);

// Last: after an outage kube-proxy looks away for up to a minute, as all clients of Kubernetes' own do.
test.skipIf(!isOurs)(
  'the API server is away for half a minute: warm requests notice nothing, a cold one is answered after it',
  { timeout: 240_000 },
  async () => {
    await on.apply(markedService('steady', 1, ONE), markedService('asleep', 2, ONE));
    await on.waitForReady('steady');
    await on.waitForReady('asleep');
    expect(mark(await on.infer('steady', zeros()))).toBe(1);
    await on.waitForStandby();
    const asleepAt = await addressOf('asleep');
    const warm = await on.load({ targets: [on.inference('steady', zeros())], connections: 4, pauseMs: 10 });
    await onControlPlane('mv', MANIFEST, PUT_ASIDE);
    const healthz = async (): Promise<boolean> =>
      on.api.raw('/readyz', { timeoutMs: 2_000 }).then(
        () => true,
        () => false,
      );
    await on.until('the API server is away', async () => !(await healthz()));
    const awayMs = performance.now();
    // Nobody outside can ask the client meanwhile; this load asks the sleeping service when there is nobody to start it.
    const cold = askFromNode('asleep', asleepAt);
    await on.until('the outage has lasted', async () => performance.now() - awayMs > OUTAGE_MS);
    await onControlPlane('mv', PUT_ASIDE, MANIFEST);
    await on.until('the API server is back', healthz, 90_000);
    expect(await cold).toBe(2);
    const { failures, longestGapMs, answered } = await warm.end();
    expect(failures).toEqual([]);
    expect(answered).toBeGreaterThan(1_000);
    expect(longestGapMs).toBeLessThan(5_000);
  },
);

test.skipIf(!isOurs)(
  'etcd forgets what the controller had seen: it reads all anew, and goes on',
  async () => {
    await on.apply(markedService('listed', 3, ONE));
    await on.waitForReady('listed');
    const pki = '/etc/kubernetes/pki/etcd';
    const files = ['--cacert', `${pki}/ca.crt`, '--cert', `${pki}/server.crt`, '--key', `${pki}/server.key`];
    const { resourceVersion } = await on.api.list(objectPath({ ...RESOURCES.pods, namespace: on.namespace }));
    await onControlPlane(
      'curl',
      '--silent',
      '--show-error',
      ...files,
      'https://127.0.0.1:2379/v3/kv/compaction',
      '--data',
      JSON.stringify({ revision: Number(resourceVersion) }),
    );
    // Its watches end with the API server's process, and can't go on where they were.
    const id = await onControlPlane('sh', '-c', 'pidof kube-apiserver');
    await onControlPlane('kill', '-KILL', ...id.trim().split(' '));
    await on.until('the API server is back', () =>
      on.api.raw('/readyz', { timeoutMs: 2_000 }).then(
        () => true,
        () => false,
      ),
    );
    await on.apply(markedService('listed', 4, ONE));
    await on.waitForReady('listed');
    expect(mark(await on.infer('listed', zeros()))).toBe(4);
  },
);

async function addressOf(service: string): Promise<string> {
  const found = await on.get<Wire<V1Service>>(RESOURCES.services, service);
  return found?.spec?.clusterIP ?? '';
}

/** One request from the node itself, which takes no API server to send. @returns the mark of the answer. */
async function askFromNode(service: string, clusterIP: string): Promise<number> {
  const said = await onControlPlane(
    'curl',
    '--silent',
    '--show-error',
    '--max-time',
    '150',
    '--header',
    `Host: ${service}.${on.namespace}`,
    '--json',
    JSON.stringify(zeros()),
    `http://${clusterIP}/v2/models/${service}/infer`,
  );
  return (JSON.parse(said) as { outputs: [{ data: [number] }] }).outputs[0].data[0];
}

/** A frozen node says nothing any more, not even that. */
async function pauseNode(node: string): Promise<void> {
  await run('docker', ['pause', node]);
}

async function resumeNode(node: string): Promise<void> {
  await run('docker', ['unpause', node]);
}
