import { afterEach, expect, test } from 'vitest';
import { objectPath, RESOURCES } from '../../../controller/adapters/kube/api/paths.ts';
import { zeros } from '../../local/testing/marked-model.ts';
import { RELEASE_NAMESPACE } from '../install.ts';
import { waitForPlatform } from './testing/controllers.ts';
import { onPlatform, type Pod } from './testing/platform.ts';
import { markedService } from './testing/services.ts';
import { ledTo } from './testing/slices.ts';

const on = onPlatform('activators');

afterEach(() => waitForPlatform(on));

async function activator(name: string): Promise<Pod> {
  const pod = await on.api.get<Pod>(objectPath({ ...RESOURCES.pods, namespace: RELEASE_NAMESPACE, name }));
  if (pod === undefined) throw new Error(`there is no pod ${name}`);
  return pod;
}

/** SIGKILL to a pod's process. @returns the time of it, which a command that takes a second to come there is not. */
async function kill(pod: Pod): Promise<number> {
  const node = pod.spec?.nodeName ?? '';
  const id = pod.status?.containerStatuses?.[0]?.containerID?.replace('containerd://', '') ?? '';
  const tasks = await on.cluster.execOnNode(node, ['ctr', '--namespace', 'k8s.io', 'task', 'list']);
  const pid = tasks
    .split('\n')
    .find((line) => line.startsWith(id))
    ?.split(/\s+/)[1];
  if (pid === undefined) throw new Error(`no process of ${pod.metadata?.name} runs`);
  return Number(await on.cluster.execOnNode(node, ['sh', '-c', `date +%s%3N; kill -9 ${pid}`]));
}

test('a service leads to two activators on different nodes', { timeout: 180_000 }, async () => {
  // A case before this one may have emptied a node; Kubernetes moves nobody back by itself.
  const deployment = ['deployment/pilotlight-activator', '--namespace', RELEASE_NAMESPACE];
  await on.cluster.kubectl(['rollout', 'restart', ...deployment]);
  await on.cluster.kubectl(['rollout', 'status', ...deployment, '--timeout=120s']);
  await on.apply(markedService('spread', 14));
  await on.waitForReady('spread');
  const { pods, isProxied } = await ledTo(on, 'spread');
  expect(isProxied).toBe(true);
  expect(pods).toHaveLength(2);
  const nodes = await Promise.all(pods.map(async (name) => (await activator(name)).spec?.nodeName));
  expect(new Set(nodes).size).toBe(2);
});

test('two activators in front of one replica that takes one request at a time answer every request', async () => {
  const predictor = { containerConcurrency: 1, maxReplicas: 1 };
  await on.apply(markedService('narrow', 15, { predictor }));
  await on.waitForReady('narrow');
  const targets = [on.inference('narrow', zeros(200))];
  const load = await on.load({ targets, connections: 40, withoutKeepAlive: true });
  await on.until('two thousand are answered', async () => (await load.state()).answered >= 2_000);
  const { failures, answered, sent } = await load.end();
  expect(failures).toEqual([]);
  expect(answered).toBe(sent);
});

test('an activator that is killed is out of the slices of a busy service within a second, and costs what it had', async () => {
  const connections = 8;
  await on.apply(markedService('busy', 16, { predictor: { minReplicas: 1 } }));
  await on.waitForReady('busy');
  const load = await on.load({ targets: [on.inference('busy', zeros())], connections, pauseMs: 20 });
  await on.until('it is busy', async () => (await load.state()).answered > 200);
  const { pods } = await ledTo(on, 'busy');
  expect(pods).toHaveLength(2);
  const [victim = ''] = pods;
  const pod = await activator(victim);
  const [killedAtMs, outAtMs] = await Promise.all([
    kill(pod),
    on.until('the slices are without it', async () => {
      const { pods: now } = await ledTo(on, 'busy');
      return !now.includes(victim) && Date.now();
    }),
  ]);
  await on.until('its next process is back in the slices', async () =>
    (await ledTo(on, 'busy')).pods.includes(victim),
  );
  const { failures, answered } = await load.end();
  expect(outAtMs - killedAtMs).toBeLessThan(1_000);
  // What was under way on it is lost, one request of each connection at most. A new connection may still be led to
  // it until kube-proxy has been told, and is refused before anything is sent.
  const cutOff = failures.filter(({ text }) => !text.includes('ECONNREFUSED'));
  expect(cutOff.length).toBeLessThanOrEqual(connections);
  expect(failures.filter(({ atMs }) => atMs - killedAtMs > 2_000)).toEqual([]);
  expect(answered).toBeGreaterThan(200);
});
