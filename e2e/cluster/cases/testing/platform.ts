import { randomBytes } from 'node:crypto';
import type { V1Pod } from '@kubernetes/client-node';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';
import { kubeconfigAccess } from '../../../../controller/adapters/kube/api/kube-access.ts';
import { createKubeClient, type KubeClient } from '../../../../controller/adapters/kube/api/kube-client.ts';
import { objectPath, RESOURCES, type ResourceKind } from '../../../../controller/adapters/kube/api/paths.ts';
import type { KubeObject, Wire } from '../../../../controller/adapters/kube/api/wire.ts';
import { LABELS } from '../../../../controller/adapters/kube/core/labels.ts';
import { isTerminating } from '../../../../controller/adapters/kube/core/pod-state.ts';
import type { InferenceServiceStatus } from '../../../../crds/status.ts';
import { markIn } from '../../../local/testing/marked-model.ts';
import { ClientPod } from '../../client/client-pod.ts';
import type { ClientAnswer, ClientRequest, LoadRequest, LoadResult } from '../../client/messages.ts';
import { type Cluster, connectCluster } from '../../cluster.ts';
import { dump, dumpFolder } from '../../dump.ts';
import { documents, RELEASE_NAMESPACE } from '../../install.ts';
import { until } from '../../wait.ts';

export type Pod = Wire<V1Pod>;
export type ServiceObject = KubeObject & { readonly status?: InferenceServiceStatus };

/** Longest wait for anything that a case waits for, unless it says otherwise. */
const DEADLINE_MS = 60_000;
/** More than a controller puts off the labels of a pod that has just begun to serve. */
const LABELS_LATE_MS = 400;

/** After an outage of the API server kube-proxy backs off for up to a minute. */
const ADDRESS_DEADLINE_MS = 120_000;

/** A load that goes on until it is ended. */
export interface RunningLoad {
  state(): Promise<LoadResult>;
  /** Resolves once what was under way has been answered. */
  end(): Promise<LoadResult>;
}

/**
 * An installed platform and a namespace of this file's own. Registers its hooks itself: the namespace is made before
 * the first test and deleted after the last, and of a test that fails the state of the cluster is written down.
 *
 * @param name of the namespace, which a random suffix is added to
 */
export function onPlatform(name: string): PlatformCase {
  const one = new PlatformCase(name);
  beforeAll(() => one.open());
  afterEach(async ({ task }) => {
    if (task.result?.state !== 'fail') return;
    const folder = dumpFolder(
      `${name}-${task.name
        .toLowerCase()
        .replaceAll(/[^a-z0-9]+/g, '-')
        .slice(0, 60)}`,
    );
    await dump(one.cluster, folder, one.namespace);
    process.stderr.write(`the state of the cluster is in ${folder}\n`);
  });
  afterAll(() => one.close());
  return one;
}

export class PlatformCase {
  readonly namespace: string;
  #cluster: Cluster | undefined;
  #api: KubeClient | undefined;
  #client: ClientPod | undefined;
  #loads = 0;
  /** Begun and not ended: a test that fails leaves one. */
  readonly #running = new Set<string>();

  constructor(name: string) {
    this.namespace = `${name}-${randomBytes(3).toString('hex')}`;
  }

  async open(): Promise<void> {
    this.#cluster = await connectCluster();
    const access = await kubeconfigAccess(this.#cluster.kubeconfigPath);
    this.#api = createKubeClient({ access, version: '0.0.0-e2e', fieldManager: 'e2e' });
    this.#client = new ClientPod(this.#api);
    const controller = { ...DEPLOYMENTS, namespace: RELEASE_NAMESPACE, name: 'pilotlight-controller' };
    if ((await this.#api.get(objectPath(controller))) === undefined)
      throw new Error(`expected Pilotlight in ${RELEASE_NAMESPACE}: \`make e2e KEEP=1\` installs it`);
    await this.createNamespace(this.namespace);
  }

  async close(): Promise<void> {
    // What it has to say no longer matters; a client pod that is gone has ended them.
    await Promise.allSettled([...this.#running].map((name) => this.client.end(name)));
    await this.#cluster?.kubectl([
      'delete',
      'namespace',
      this.namespace,
      '--wait=false',
      '--ignore-not-found',
    ]);
    await this.#api?.close();
  }

  get cluster(): Cluster {
    return opened(this.#cluster);
  }

  /** The API server as the cases ask it, which is quicker than a kubectl for each look. */
  get api(): KubeClient {
    return opened(this.#api);
  }

  get client(): ClientPod {
    return opened(this.#client);
  }

  /** kubectl in the namespace of the case. */
  kubectl(...kubectlArguments: string[]): Promise<string> {
    return this.cluster.kubectl(['--namespace', this.namespace, ...kubectlArguments]);
  }

  /** `kubectl apply` of these objects, as a user does it. @returns what kubectl said. */
  apply(...objects: object[]): Promise<string> {
    return this.cluster.kubectl(
      ['--namespace', this.namespace, 'apply', '--filename', '-'],
      documents(objects),
    );
  }

  /** A namespace in which no pod runs that falls short of restricted Pod Security. */
  async createNamespace(namespace: string): Promise<void> {
    const labels = { 'pod-security.kubernetes.io/enforce': 'restricted' };
    await this.api.create(objectPath(RESOURCES.namespaces), { metadata: { name: namespace, labels } });
    // Pods cannot be created in a namespace before it has its account.
    const account = { ...RESOURCES.serviceAccounts, namespace, name: 'default' };
    await this.until('the namespace has its account', () => this.api.get(objectPath(account)));
  }

  until<Found>(
    what: string,
    look: () => Promise<Found | undefined | false>,
    deadlineMs = DEADLINE_MS,
  ): Promise<Found> {
    return until(what, deadlineMs, look, 50);
  }

  async get<Type extends KubeObject>(resource: ResourceKind, name: string): Promise<Type | undefined> {
    return this.api.get<Type>(objectPath({ ...resource, namespace: this.namespace, name }));
  }

  async list<Type extends KubeObject>(
    resource: ResourceKind,
    labelSelector?: string,
  ): Promise<readonly Type[]> {
    const path = objectPath({ ...resource, namespace: this.namespace });
    return (await this.api.list<Type>(path, { labelSelector })).items;
  }

  async service(name: string): Promise<ServiceObject> {
    const found = await this.get<ServiceObject>(RESOURCES.inferenceServices, name);
    if (found === undefined) throw new Error(`there is no service ${name}`);
    return found;
  }

  /** Pods that serve a service, or will; without a name all pods of the namespace that are not ending. */
  async pods(service?: string): Promise<readonly Pod[]> {
    const selector = service === undefined ? undefined : `${LABELS.service}=${service}`;
    return (await this.list<Pod>(RESOURCES.pods, selector)).filter((pod) => !isTerminating(pod));
  }

  /** A pod that serves a service. It wears the service's labels only from shortly after the answer on. */
  servingPod(service: string): Promise<Pod> {
    return this.until(`a pod of ${service}`, async () => (await this.pods(service))[0]);
  }

  /** Resolves when an Event of this reason is told of a service. */
  async waitForEvent(service: string, reason: string): Promise<void> {
    await this.until(`${reason} is told of ${service}`, async () => {
      const selector = `involvedObject.name=${service},reason=${reason}`;
      const found = await this.kubectl('get', 'events', '--field-selector', selector, '--output', 'name');
      return found.trim() !== '';
    });
  }

  waitForService(
    name: string,
    what: string,
    holds: (service: ServiceObject) => boolean,
    deadlineMs = DEADLINE_MS,
  ): Promise<ServiceObject> {
    return this.until(
      `${name} ${what}`,
      async () => {
        const service = await this.service(name);
        return holds(service) && service;
      },
      deadlineMs,
    ).catch(async (error: unknown) => {
      const now = await this.service(name).catch(() => undefined);
      throw new Error(`${String(error)}; its status: ${JSON.stringify(now?.status)}`);
    });
  }

  /**
   * Its newest spec has been taken up and is in order, and its address leads somewhere: kube-proxy brings what
   * changed to the nodes once a second.
   */
  async waitForReady(name: string, deadlineMs = DEADLINE_MS): Promise<ServiceObject> {
    const service = await this.waitForService(name, 'is ready', isReady, deadlineMs);
    await this.until(
      `the address of ${name} leads somewhere`,
      () => this.client.reaches(this.url(name, '/')),
      ADDRESS_DEADLINE_MS,
    );
    return service;
  }

  /** No pod is the service's any more. */
  async waitForZero(name: string, deadlineMs = DEADLINE_MS): Promise<void> {
    await this.#untilLasting(
      `${name} has no pod`,
      async () => (await this.pods(name)).length === 0,
      deadlineMs,
    );
  }

  /**
   * Waits for what pods' labels say: for so long after a start's answer they say what was before it, so that it has to
   * stay as it is for longer than that.
   */
  #untilLasting(what: string, look: () => Promise<boolean>, deadlineMs = DEADLINE_MS): Promise<true> {
    let sinceMs = Number.POSITIVE_INFINITY;
    return this.until(
      what,
      async () => {
        if (!(await look())) sinceMs = Number.POSITIVE_INFINITY;
        else sinceMs = Math.min(sinceMs, performance.now());
        return performance.now() - sinceMs > LABELS_LATE_MS;
      },
      deadlineMs,
    );
  }

  /** A standby of the namespace waits, so that a cold start needs no new pod. */
  async waitForStandby(count = 1): Promise<void> {
    await this.#untilLasting(`${count} standby pods wait`, async () => {
      const pods = await this.pods();
      return pods.filter(isWaitingStandby).length >= count;
    });
  }

  /** One request from inside the cluster to the service's own address. */
  call(service: string, path: string, request: Partial<ClientRequest> = {}): Promise<ClientAnswer> {
    return this.client.call({ url: this.url(service, path), ...request });
  }

  url(service: string, path: string, namespace = this.namespace): string {
    return `http://${service}.${namespace}.svc.cluster.local${path}`;
  }

  /** An inference request. */
  infer(service: string, body: unknown, model = service): Promise<ClientAnswer> {
    return this.client.call(this.inference(service, body, model));
  }

  inference(service: string, body: unknown, model = service): ClientRequest {
    const bodyBase64 = Buffer.from(JSON.stringify(body)).toString('base64');
    return { url: this.url(service, `/v2/models/${model}/infer`), bodyBase64 };
  }

  async load(load: LoadRequest): Promise<RunningLoad> {
    this.#loads += 1;
    const name = `${this.namespace}-${this.#loads}`;
    await this.client.begin(name, load);
    this.#running.add(name);
    return {
      state: () => this.client.state(name),
      end: () => {
        this.#running.delete(name);
        return this.client.end(name);
      },
    };
  }
}

const DEPLOYMENTS: ResourceKind = { group: 'apps', version: 'v1', plural: 'deployments' };

function opened<Type>(what: Type | undefined): Type {
  if (what === undefined)
    throw new Error('the case is not open yet: its hooks open it before the first test');
  return what;
}

export function condition(
  service: ServiceObject,
  type: string,
): { status?: string; reason?: string; message?: string } {
  return service.status?.conditions?.find((one) => one.type === type) ?? {};
}

export function isReady(service: ServiceObject): boolean {
  return (
    service.status?.observedGeneration === service.metadata?.generation &&
    condition(service, 'Ready').status === 'True'
  );
}

export function isWaitingStandby(pod: Pod): boolean {
  const { labels = {} } = pod.metadata ?? {};
  return (
    labels[LABELS.pool] !== undefined &&
    labels[LABELS.service] === undefined &&
    pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true
  );
}

export function text(answer: ClientAnswer): string {
  return Buffer.from(answer.bodyBase64, 'base64').toString('utf8');
}

/** The body of an answer that has to be a good one. */
export function json(answer: ClientAnswer): unknown {
  expect(answer.status, `${answer.error ?? ''}${text(answer)}`).toBe(200);
  return JSON.parse(text(answer));
}

/** The mark in the answer of a marked model, which has to be a good one. */
export function mark(answer: ClientAnswer): number {
  return markIn(JSON.stringify(json(answer)));
}
