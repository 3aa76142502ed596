import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run, succeeds } from './command.ts';
import { ensureDocker } from './docker-engine.ts';
import { ClusterError } from './errors.ts';
import { cacheFolder } from './folders.ts';
import { withLock } from './lock.ts';
import { ensureNodeImage } from './node-image.ts';
import { kill, processesWith } from './processes.ts';
import { type RunInStep, say, step } from './steps.ts';
import { kindSources, tool } from './tools.ts';
import { until } from './wait.ts';

/** As in kind.yaml, or another one, so that several checkouts can each have a cluster on one machine. */
export const CLUSTER_NAME = process.env['E2E_CLUSTER_NAME'] || 'pilotlight';
const CONFIGURATION = join(import.meta.dirname, 'kind.yaml');
/** A network of its own, which goes with the cluster; kind's usual one belongs to all clusters of a machine. */
const NETWORK = `${CLUSTER_NAME}-e2e`;
const OF_KIND = { KIND_EXPERIMENTAL_DOCKER_NETWORK: NETWORK };
const LABEL = `label=io.x-k8s.kind.cluster=${CLUSTER_NAME}`;
/** Written last: a cluster without it was never finished. */
const MARK = ['--namespace', 'kube-system', 'configmap', 'pilotlight-e2e'] as const;
/**
 * What is sent to a Service before a node's kube-proxy knows of it would leave the node, and whoever is behind it
 * might answer. What still has such an address after translation is dropped. The range is kubeadm's own in kind.
 */
const KEEP_SERVICES_INSIDE = ['FORWARD', 'OUTPUT']
  .map((chain) => `iptables -A ${chain} -d 10.96.0.0/16 -j DROP`)
  .join(' && ');
const INOTIFY_INSTANCES = 1_024;
const READY_TIMEOUT_MS = 120_000;
/** A cluster that takes longer than this to come back is made anew sooner. */
const RECOVERY_TIMEOUT_MS = 30_000;

function clusterFolder(): string {
  return CLUSTER_NAME === 'pilotlight' ? cacheFolder('cluster') : cacheFolder(`cluster-${CLUSTER_NAME}`);
}

export function kubeconfigPath(): string {
  return join(clusterFolder(), 'kubeconfig');
}

/**
 * Sees to it that the kind cluster stands: both nodes ready and open to pods, DNS answering. One that stands
 * already, made of the same parts, is left as it is; anything half made or out of date is replaced.
 *
 * @throws ClusterError what the machine lacks, or which step failed and where its log lies
 */
export async function ensureKindCluster(): Promise<void> {
  await withLock('cluster', async () => {
    await ensureDocker();
    const image = await nodeImage();
    const recipe = createHash('sha256')
      .update(await readFile(CONFIGURATION))
      .update(image ?? '')
      .digest('hex')
      .slice(0, 12);
    if ((await nodeContainers()).length > 0) {
      if (await stands(recipe)) {
        say('  · the cluster stands already');
        return;
      }
      await step('Unfinished or outdated cluster removed', removeCluster);
    }
    await create(image);
    await step('Nodes ready, DNS running', (given) => settle(given.run, recipe));
  });
}

/** Removes the cluster with all that belongs to it, as far as it is there. A Docker engine has to run. */
export async function removeCluster(): Promise<void> {
  // A `kind create` whose starter was killed goes on by itself, and would create nodes behind our back.
  for (const pid of await processesWith(`create cluster --name ${CLUSTER_NAME} --config ${CONFIGURATION}`))
    kill(pid);
  const left = await nodeContainers();
  if (left.length > 0) await run('docker', ['rm', '--force', '--volumes', ...left]);
  if (await succeeds('docker', ['network', 'inspect', NETWORK]))
    await run('docker', ['network', 'rm', NETWORK]);
  await rm(clusterFolder(), { recursive: true, force: true });
}

/** The containers that are the cluster's nodes, running or not. */
export async function nodeContainers(): Promise<string[]> {
  const said = await run('docker', ['ps', '--all', '--filter', LABEL, '--format', '{{.Names}}']);
  return said.split('\n').filter((name) => name !== '');
}

/**
 * Which image the nodes run: E2E_NODE_IMAGE where it is set (`build` for our own), else kind's default where it is
 * here or can be pulled, else our own.
 *
 * @returns undefined for kind's default
 */
async function nodeImage(): Promise<string | undefined> {
  const asked = process.env['E2E_NODE_IMAGE'];
  if (asked !== undefined && asked !== '' && asked !== 'build') return asked;
  if (asked !== 'build' && (await publicImageIsHere())) return undefined;
  return ensureNodeImage();
}

async function publicImageIsHere(): Promise<boolean> {
  const source = await readFile(join(await kindSources(), 'pkg/apis/config/defaults/image.go'), 'utf8');
  const image = /const Image = "([^"]+)"/.exec(source)?.[1];
  if (image === undefined) return false;
  if (await succeeds('docker', ['image', 'inspect', image])) return true;
  const registryAnswers = await fetch('https://registry-1.docker.io/v2/', {
    signal: AbortSignal.timeout(5_000),
  }).then(
    ({ status }) => status === 200 || status === 401,
    () => false,
  );
  if (!registryAnswers) {
    say('  · no way to the public node image (registry-1.docker.io): using one that is built here');
    return false;
  }
  return step('Node image pulled', (given) => given.run('docker', ['pull', image]), 'about a gigabyte').then(
    () => true,
    (error: unknown) => {
      say(`  · ${String(error)}`);
      return false;
    },
  );
}

/**
 * Whether the cluster is finished, made of the same parts, and well. What the API server has on record can be from
 * before an engine was killed, so this asks the kubelets themselves and waits for a sign of life of the controllers.
 */
async function stands(recipe: string): Promise<boolean> {
  if (!existsSync(kubeconfigPath())) return false;
  const running = await run('docker', ['ps', '--filter', LABEL, '--quiet']);
  if (running.trim() === '') return false;
  const kubectl = await tool('kubectl');
  const ask = (...question: string[]): Promise<string | undefined> =>
    run(kubectl, ['--kubeconfig', kubeconfigPath(), '--request-timeout=5s', ...question]).catch(
      () => undefined,
    );
  const controllersRenewed = (): Promise<string | undefined> =>
    ask(
      'get',
      'lease',
      '--namespace',
      'kube-system',
      'kube-controller-manager',
      '--output',
      'jsonpath={.spec.renewTime}',
    );
  try {
    const mark = await until('the API server answers', RECOVERY_TIMEOUT_MS, () =>
      ask('get', ...MARK, '--ignore-not-found', '--output', 'jsonpath={.data.recipe}'),
    );
    if (mark !== recipe) return false;
    const renewed = await controllersRenewed();
    await until('the nodes answer', RECOVERY_TIMEOUT_MS, async () => {
      const nodes = await nodeContainers();
      const answers = await Promise.all(
        nodes.map((node) => ask('get', '--raw', `/api/v1/nodes/${node}/proxy/healthz`)),
      );
      return answers.every((answer) => answer === 'ok');
    });
    await until('the controllers work', RECOVERY_TIMEOUT_MS, async () => {
      const now = await controllersRenewed();
      return now !== undefined && now !== renewed;
    });
    await ask('wait', '--for=condition=Ready', 'nodes', '--all', `--timeout=${RECOVERY_TIMEOUT_MS / 1000}s`);
    return true;
  } catch (error) {
    if (error instanceof ClusterError && error.code === 'E2E_NOT_IN_TIME') return false;
    throw error;
  }
}

/** A cluster of two nodes takes some 40 inotify instances; Linux gives a user 128 unless told otherwise. */
async function allowInotify(): Promise<void> {
  const setting = '/proc/sys/fs/inotify/max_user_instances';
  const now = Number(await readFile(setting, 'utf8').catch(() => String(INOTIFY_INSTANCES)));
  if (now >= INOTIFY_INSTANCES) return;
  await writeFile(setting, String(INOTIFY_INSTANCES)).catch((error: unknown) =>
    say(`  · ${setting} is ${now} and can't be raised: a second cluster may not start (${String(error)})`),
  );
}

async function create(image: string | undefined): Promise<void> {
  await allowInotify();
  const kind = await tool('kind');
  await mkdir(clusterFolder(), { recursive: true });
  await step(
    'kind cluster created',
    async (given) => {
      const chosen = image === undefined ? [] : ['--image', image];
      const where = [
        '--name',
        CLUSTER_NAME,
        '--config',
        CONFIGURATION,
        '--kubeconfig',
        kubeconfigPath(),
        '--retain',
      ];
      try {
        await given.run(kind, ['create', 'cluster', ...where, ...chosen], { env: OF_KIND });
      } catch (error) {
        const logs = cacheFolder('logs', 'kind');
        await rm(logs, { recursive: true, force: true });
        await given.run(kind, ['export', 'logs', '--name', CLUSTER_NAME, logs]).catch(() => undefined);
        given.note(`The nodes' own logs: ${logs}`);
        // Whatever stops the removal has probably stopped the creation: that is the error to tell.
        await removeCluster().catch((left: unknown) => given.note(String(left)));
        throw error;
      }
    },
    'about 20 s',
  );
}

async function settle(runInStep: RunInStep, recipe: string): Promise<void> {
  const program = await tool('kubectl');
  const kubectl = (...kubectlArguments: string[]): Promise<string> =>
    runInStep(program, ['--kubeconfig', kubeconfigPath(), ...kubectlArguments]);
  // Two nodes for pods, and little of them taken: one DNS server is enough, and it asks for less.
  await kubectl('taint', 'nodes', '--all', 'node-role.kubernetes.io/control-plane:NoSchedule-').catch(
    async (error: unknown) => {
      const taints = await kubectl('get', 'nodes', '--output', 'jsonpath={.items[*].spec.taints[*].key}');
      if (taints.includes('control-plane')) throw error;
    },
  );
  const resources = { requests: { cpu: '10m', memory: '30Mi' } };
  // Not on the node that cases take away.
  const nodeSelector = { 'node-role.kubernetes.io/control-plane': '' };
  const template = { spec: { nodeSelector, containers: [{ name: 'coredns', resources }] } };
  const patch = JSON.stringify({ spec: { replicas: 1, template } });
  await kubectl('--namespace', 'kube-system', 'patch', 'deployment', 'coredns', '--patch', patch);
  for (const node of await nodeContainers())
    await runInStep('docker', ['exec', node, 'sh', '-c', KEEP_SERVICES_INSIDE]);
  const timeout = `--timeout=${READY_TIMEOUT_MS / 1000}s`;
  await kubectl('wait', '--for=condition=Ready', 'nodes', '--all', timeout);
  await kubectl('--namespace', 'kube-system', 'rollout', 'status', 'deployment/coredns', timeout);
  // Pods cannot be created in a namespace before it has its account.
  await until('the default service account is there', READY_TIMEOUT_MS, async () => {
    const found = await kubectl('get', 'serviceaccount', 'default', '--ignore-not-found', '--output', 'name');
    return found !== '';
  });
  await kubectl('create', ...MARK, `--from-literal=recipe=${recipe}`);
}

/** Puts a Docker image, or an archive of images, on every node; an image that is there already is not sent again. */
export async function loadIntoKind(image: string): Promise<void> {
  const kind = await tool('kind');
  const load = (what: string): Promise<string> =>
    run(kind, ['load', what, image, '--name', CLUSTER_NAME], { env: OF_KIND });
  if (existsSync(image)) {
    await load('image-archive');
    return;
  }
  const id = (await run('docker', ['image', 'inspect', '--format', '{{.Id}}', image])).trim();
  // Of an image that came from an archive containerd does not tell the engine's id, so a file on the node does.
  const file = `/kind/loaded/${createHash('sha256').update(`${image} ${id}`).digest('hex')}`;
  const nodes = await nodeContainers();
  const there = `test -e ${file} && ctr --namespace k8s.io images list --quiet | grep -q '${image}'`;
  const present = await Promise.all(
    nodes.map((node) => succeeds('docker', ['exec', node, 'sh', '-c', there])),
  );
  if (present.every(Boolean)) return;
  await load('docker-image');
  const mark = `mkdir -p /kind/loaded && touch ${file}`;
  await Promise.all(nodes.map((node) => run('docker', ['exec', node, 'sh', '-c', mark])));
}

/** @throws ClusterError E2E_NO_CLUSTER where `make cluster` has not been run */
export async function kindNodes(): Promise<string[]> {
  const nodes = existsSync(kubeconfigPath()) ? await nodeContainers() : [];
  if (nodes.length === 0) {
    throw new ClusterError('E2E_NO_CLUSTER', 'there is no cluster: `make cluster` creates it');
  }
  return nodes;
}
