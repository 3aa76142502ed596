import { type ColdStart, coldStartSchema } from '../../contracts/cold-start.ts';
import { API_PATHS, listOf } from '../../contracts/console.ts';
import { RESOURCES } from '../../controller/adapters/kube/api/paths.ts';
import type { KubeObject } from '../../controller/adapters/kube/api/wire.ts';
import { LABELS } from '../../controller/adapters/kube/core/labels.ts';
import { PlatformCase, type Pod } from '../../e2e/cluster/cases/testing/platform.ts';
import { CLIENT_NAMESPACE } from '../../e2e/cluster/client/client-pod.ts';
import { connectCluster } from '../../e2e/cluster/cluster.ts';
import { documents, install, RELEASE_NAMESPACE } from '../../e2e/cluster/install.ts';
import { clusterDown, clusterUp } from '../../e2e/cluster/main.ts';
import { programImage } from '../../e2e/cluster/program-image.ts';
import { insist, installKnative, KNATIVE_SERVICE_LABEL } from './knative.ts';

const REPLICA = { requests: { cpu: '50m', memory: '256Mi' }, limits: { memory: '2Gi' } };
const CONTROL = { requests: { cpu: '50m', memory: '128Mi' }, limits: { memory: '1Gi' } };
/**
 * One process of each kind, as Knative has by its manifests: two activators against one would be no comparison.
 * Resources and log as the chart has them: the cases' are smaller, and their log costs time on the way of a request.
 */
const VALUES = {
  logLevel: 'info',
  directMode: 'auto',
  controller: { replicas: 1, resources: CONTROL },
  activator: { replicas: 1, resources: CONTROL },
  runtime: { resources: REPLICA },
  // The benchmark has a pool of its own.
  defaultPool: { size: 0, resources: REPLICA },
};
const LOAD_POD = 'load';
/** A pod of Knative ends 30 s after it was told to, or later. */
const CLEAR_TIMEOUT_MS = 180_000;

/** Both platforms on one cluster, a namespace on each, and the pods that call them. */
export class BenchCluster extends PlatformCase {
  /** Where the services of Knative are. */
  readonly knativeNamespace = `${this.namespace}-knative`;
  #helloImage = '';

  /** A cluster (the one that stands, or a new one), Pilotlight of this checkout, and Knative. */
  static async start(): Promise<BenchCluster> {
    await clusterUp();
    const cluster = await connectCluster();
    await install(cluster, VALUES);
    await installKnative(cluster);
    const bench = new BenchCluster('bench');
    await bench.open();
    return bench;
  }

  override async open(): Promise<void> {
    await super.open();
    this.#helloImage = await this.cluster.loadImage(await programImage('hello'));
    await this.cluster.kubectl(['create', 'namespace', this.knativeNamespace]);
    const image = await this.cluster.loadImage(await programImage('pause', 'bombardier'));
    await this.cluster.kubectl(['apply', '--filename', '-'], documents([loadPod(image)]));
    const pod = ['pod', LOAD_POD, '--namespace', CLIENT_NAMESPACE, '--timeout=60s'];
    await this.cluster.kubectl(['wait', '--for=condition=Ready', ...pod]);
  }

  /** KEEP=1 leaves the cluster, with both platforms on it. */
  override async close(): Promise<void> {
    if (process.env['KEEP'] !== '1') {
      await super.close();
      await clusterDown();
      return;
    }
    await this.cluster.kubectl(['delete', 'namespace', this.knativeNamespace, '--wait=false']);
    await super.close();
  }

  /** A small server that starts at once, for both platforms. */
  get helloImage(): string {
    return this.#helloImage;
  }

  async applyKnative(...services: object[]): Promise<void> {
    const where = ['--namespace', this.knativeNamespace];
    await insist('Knative takes services', () =>
      this.cluster.kubectl(['apply', ...where, '--filename', '-'], documents(services)),
    );
  }

  /** Takes all services of both platforms away, so that the next part of the benchmark has the cluster to itself. */
  async clear(): Promise<void> {
    const flags = ['--all', '--ignore-not-found'];
    await this.kubectl('delete', 'inferenceservices.serving.pilotlight.dev', ...flags);
    const where = ['--namespace', this.knativeNamespace];
    await this.cluster.kubectl(['delete', 'services.serving.knative.dev', ...where, ...flags]);
    await this.until(
      'no pod of a service is left',
      async () =>
        (await this.list(RESOURCES.pods, LABELS.service)).length + (await this.knativePods()).length === 0,
      CLEAR_TIMEOUT_MS,
    );
  }

  /** Pods of a Knative service, or of all; the terminating ones too. */
  async knativePods(service?: string): Promise<readonly Pod[]> {
    const selector = service === undefined ? KNATIVE_SERVICE_LABEL : `${KNATIVE_SERVICE_LABEL}=${service}`;
    const path = `/api/v1/namespaces/${this.knativeNamespace}/pods`;
    return (await this.api.list<Pod>(path, { labelSelector: selector })).items;
  }

  /** The revisions of Knative's services. */
  async revisions(): Promise<readonly RevisionObject[]> {
    const path = `/apis/serving.knative.dev/v1/namespaces/${this.knativeNamespace}/revisions`;
    return (await this.api.list<RevisionObject>(path)).items;
  }

  /** The controller's records of the cold starts of a service, asked through the API server. */
  async coldStarts(service: string): Promise<readonly ColdStart[]> {
    const proxy = `/api/v1/namespaces/${RELEASE_NAMESPACE}/services/https:pilotlight-controller:8443/proxy`;
    const query = new URLSearchParams({ namespace: this.namespace, service });
    const text = await this.api.raw(`${proxy}${API_PATHS.coldStarts}?${query.toString()}`);
    return listOf(coldStartSchema).parse(JSON.parse(text)).items;
  }

  /** How long each recycled replica took to be a standby again, as the controller has logged it, in ms. */
  async recyclesMs(): Promise<number[]> {
    const controller = ['deployment/pilotlight-controller', '--namespace', RELEASE_NAMESPACE];
    const log = await this.cluster.kubectl(['logs', ...controller, '--tail=-1']);
    return log.split('\n').flatMap((line) => {
      if (!line.includes('is a standby again')) return [];
      const { elapsedMs } = JSON.parse(line) as { elapsedMs?: unknown };
      return typeof elapsedMs === 'number' ? [elapsedMs] : [];
    });
  }

  /** Runs a program in the pod of the load generator. @returns what it wrote to standard output. */
  async inLoadPod(...command: string[]): Promise<string> {
    return this.cluster.kubectl(['exec', '--namespace', CLIENT_NAMESPACE, LOAD_POD, '--', ...command]);
  }
}

interface RevisionObject extends KubeObject {
  readonly status?: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

export const isPodReady = (pod: Pod): boolean =>
  pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true;

function loadPod(image: string): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: LOAD_POD, namespace: CLIENT_NAMESPACE },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [{ name: 'load', image, resources: { requests: { cpu: '10m', memory: '32Mi' } } }],
    },
  };
}
