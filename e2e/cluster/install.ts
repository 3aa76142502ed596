import { randomBytes } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildImages } from '../../images/build.ts';
import { inspectImage } from '../../images/docker.ts';
import { CLIENT_NAMESPACE, clientImage, clientManifest } from './client/client-pod.ts';
import type { Cluster } from './cluster.ts';
import { run } from './command.ts';
import { CLUSTER_NAME } from './kind.ts';
import { STORE_NAMESPACE, storeImage, storeManifest } from './object-store.ts';
import { step } from './steps.ts';
import { tool } from './tools.ts';
import { until } from './wait.ts';

/** Where the platform of the cases is installed. */
export const RELEASE_NAMESPACE = 'pilotlight-system';
export const CHART = join(import.meta.dirname, '../../charts/pilotlight');
const READY_TIMEOUT = '--timeout=180s';
/** Longer than an activator may take for what is under way. */
const LEAVING_TIMEOUT_MS = 180_000;
/** One for each cluster of a machine: what one of them no longer needs may be in use by another. */
const BUILD_TAG = CLUSTER_NAME === 'pilotlight' ? 'e2e' : `e2e-${CLUSTER_NAME}`;

/**
 * Puts on the cluster what the cases need: the platform of this checkout by its chart, an S3 server with the cases'
 * models, and a client. What is there already and the same stays.
 *
 * @param values of the chart, over those of the cases, as a file of `helm --values`
 * @returns the names of the images, as pods of the cluster use them
 */
export async function install(cluster: Cluster, values: object = {}): Promise<Images> {
  const images = await step('Images', loadImages.bind(undefined, cluster), 'a minute when nothing is built');
  await step('Object store and client', () => applyHelpers(cluster, images));
  await step('Pilotlight installed', () => installChart(cluster, images, values), 'half a minute');
  return images;
}

export interface Images {
  readonly control: string;
  readonly runtime: string;
  readonly store: string;
  readonly client: string;
}

async function loadImages(cluster: Cluster): Promise<Images> {
  const [control, runtime] = await buildImages({ repository: 'pilotlight', tag: BUILD_TAG });
  if (control === undefined || runtime === undefined) throw new Error('expected two images to be built');
  // Named by their contents, so that pods of other contents are replaced.
  const own = await Promise.all([control.name, runtime.name].map(tagByContents));
  const [controlImage = '', runtimeImage = ''] = own;
  const names = [controlImage, runtimeImage, await storeImage(), await clientImage(controlImage)];
  const loaded: string[] = [];
  for (const name of names) loaded.push(await cluster.loadImage(name));
  const [inControl = '', inRuntime = '', store = '', client = ''] = loaded;
  return { control: inControl, runtime: inRuntime, store, client };
}

async function tagByContents(image: string): Promise<string> {
  const id = (await inspectImage(image, '{{.Id}}')).replace('sha256:', '').slice(0, 12);
  const [repository = ''] = image.split(':');
  const name = `${repository}:${BUILD_TAG}-${id}`;
  await run('docker', ['tag', image, name]);
  // Layers that an older one alone used go with its name.
  const all = await run('docker', ['images', '--format', '{{.Repository}}:{{.Tag}}', repository]);
  const own = new RegExp(`^${repository}:${BUILD_TAG}-[0-9a-f]{12}$`);
  const outdated = all.split('\n').filter((other) => own.test(other) && other !== name);
  if (outdated.length > 0) await run('docker', ['image', 'rm', ...outdated]);
  return name;
}

async function applyHelpers({ kubectl, nodes }: Cluster, images: Images): Promise<void> {
  const controlPlane = nodes.find((node) => node.endsWith('control-plane'));
  const pod = ['pod', 'client', '--namespace', CLIENT_NAMESPACE];
  // A pod's image can be changed, what it was started with can't; a new one takes a second.
  await kubectl(['delete', ...pod, '--ignore-not-found', '--wait']);
  const objects = [
    ...storeManifest(images.store, controlPlane),
    ...clientManifest(images.client, controlPlane),
  ];
  await kubectl(['apply', '--filename', '-'], documents(objects));
  await kubectl(['rollout', 'status', 'deployment/store', '--namespace', STORE_NAMESPACE, READY_TIMEOUT]);
  await kubectl(['wait', '--for=condition=Ready', ...pod, READY_TIMEOUT]);
}

/** Small requests, since two nodes of the cases have the cores of one machine. */
function chartValues(images: Images): object {
  const image = (name: string): { repository: string; tag: string } => {
    const [repository = '', tag = ''] = name.split(/:(?=[^/]*$)/);
    return { repository, tag };
  };
  const small = { requests: { cpu: '10m', memory: '64Mi' }, limits: { memory: '1Gi' } };
  const replica = { requests: { cpu: '10m', memory: '64Mi' }, limits: { memory: '2Gi' } };
  return {
    images: { control: image(images.control), runtime: image(images.runtime) },
    controller: { resources: small },
    activator: { resources: small, service: { type: 'NodePort' } },
    runtime: { resources: replica },
    defaultPool: { resources: replica },
    logLevel: 'debug',
    directMode: 'auto',
  };
}

async function installChart(
  { kubectl, kubeconfigPath }: Cluster,
  images: Images,
  values: object,
): Promise<void> {
  const prefix = join(tmpdir(), `pilotlight-e2e-values-${randomBytes(4).toString('hex')}`);
  const files = [`${prefix}.json`, `${prefix}-over.json`];
  await Promise.all(
    [chartValues(images), values].map((one, index) => writeFile(files[index] ?? '', JSON.stringify(one))),
  );
  const where = ['--namespace', RELEASE_NAMESPACE, '--kubeconfig', kubeconfigPath];
  try {
    const flags = ['--install', '--create-namespace', ...files.flatMap((file) => ['--values', file])];
    await run(await tool('helm'), ['upgrade', 'pilotlight', CHART, ...where, ...flags]);
  } finally {
    await Promise.all(files.map((file) => rm(file, { force: true })));
  }
  for (const name of ['controller', 'activator']) {
    const deployment = `deployment/pilotlight-${name}`;
    await kubectl(['rollout', 'status', deployment, '--namespace', RELEASE_NAMESPACE, READY_TIMEOUT]);
  }
  // While the last of the old ones leave, the lead changes hands and new services are not known everywhere yet.
  const leaving = ['get', 'pods', '--namespace', RELEASE_NAMESPACE, '--output'];
  await until('the pods of the release before are gone', LEAVING_TIMEOUT_MS, async () => {
    const marks = await kubectl([...leaving, 'jsonpath={.items[*].metadata.deletionTimestamp}']);
    return marks.trim() === '';
  });
}

export const documents = (objects: readonly object[]): string =>
  objects.map((object) => JSON.stringify(object)).join('\n---\n');
