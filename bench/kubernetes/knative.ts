import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { z } from 'zod';
import type { Cluster } from '../../e2e/cluster/cluster.ts';
import { documents } from '../../e2e/cluster/install.ts';
import { programImage } from '../../e2e/cluster/program-image.ts';
import { step } from '../../e2e/cluster/steps.ts';
import { moduleSources } from '../../e2e/cluster/tools.ts';
import { until } from '../../e2e/cluster/wait.ts';
import { type KnativeObject, knativeObjects } from './knative-manifests.ts';

export const KNATIVE_NAMESPACE = 'knative-serving';
/** Its processes, each with a Deployment of the same name. */
export const KNATIVE_COMPONENTS = ['controller', 'autoscaler', 'webhook', 'activator'] as const;
/** On the pods of a Knative service. */
export const KNATIVE_SERVICE_LABEL = 'serving.knative.dev/service';

/** Folders of manifests, by the Go module that they lie in. */
const MANIFESTS = [
  ['knative.dev/serving', 'config/core'],
  ['knative.dev/networking', 'config'],
  ['knative.dev/caching', 'config'],
] as const;
const READY_TIMEOUT = '--timeout=180s';
const READY_TIMEOUT_MS = 180_000;

/**
 * Installs Knative Serving: programs built with Go from the pinned module, manifests from the module itself. There is
 * no ingress: a revision is called by its own Service, which leads to the activator or to its pods.
 */
export async function installKnative(cluster: Cluster): Promise<void> {
  const images = new Map<string, string>();
  for (const command of [...KNATIVE_COMPONENTS, 'queue'] as const) {
    images.set(command, await cluster.loadImage(await programImage(`knative-${command}`)));
  }
  const objects = knativeObjects(await readManifests(), images);
  await step('Knative Serving installed', () => applyKnative(cluster, objects), 'half a minute');
}

/** As the module is pinned, such as `v0.42.2`. */
export async function knativeVersion(): Promise<string> {
  const root = await moduleSources('knative-controller', 'knative.dev/serving');
  return root.slice(root.lastIndexOf('@') + 1);
}

async function readManifests(): Promise<KnativeObject[]> {
  const texts: string[] = [];
  for (const [goModule, folder] of MANIFESTS) {
    const root = join(await moduleSources('knative-controller', goModule), folder);
    const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) =>
      file.endsWith('.yaml'),
    );
    for (const file of files.sort()) texts.push(readFileSync(join(root, file), 'utf8'));
  }
  return texts.flatMap((text) =>
    parseAllDocuments(text).flatMap((document) => {
      const object: unknown = document.toJS();
      return object === null ? [] : [objectSchema.parse(object)];
    }),
  );
}

const objectSchema = z.looseObject({
  kind: z.string(),
  metadata: z.looseObject({ name: z.string(), namespace: z.string().optional() }),
  data: z.record(z.string(), z.string()).optional(),
}) as z.ZodType<KnativeObject>;

async function applyKnative({ kubectl }: Cluster, objects: readonly KnativeObject[]): Promise<void> {
  const isNamespaceOrCrd = ({ kind }: KnativeObject): boolean =>
    kind === 'CustomResourceDefinition' || kind === 'Namespace';
  const first = objects.filter(isNamespaceOrCrd);
  const apply = async (some: readonly KnativeObject[]): Promise<unknown> =>
    kubectl(['apply', '--server-side', '--force-conflicts', '--filename', '-'], documents(some));
  await apply(first);
  const crds = first.filter(({ kind }) => kind === 'CustomResourceDefinition');
  const names = crds.map(({ metadata }) => `crd/${metadata.name}`);
  await kubectl(['wait', '--for=condition=Established', ...names, READY_TIMEOUT]);
  const rest = objects.filter((object) => !isNamespaceOrCrd(object));
  // Where the webhook was installed before, it judges the configuration, and may not answer yet.
  await insist('Knative takes its configuration', () => apply(rest));
  for (const name of KNATIVE_COMPONENTS) {
    const where = ['--namespace', KNATIVE_NAMESPACE, READY_TIMEOUT];
    await kubectl(['rollout', 'status', `deployment/${name}`, ...where]);
  }
}

/**
 * Does it again until it goes through: Knative's webhook takes a moment until its certificate is known.
 * @throws ClusterError E2E_NOT_IN_TIME with what was said last
 */
export async function insist(what: string, action: () => Promise<unknown>): Promise<void> {
  let said: unknown;
  const attempt = async (): Promise<boolean> =>
    action().then(
      () => true,
      (error: unknown) => {
        said = error;
        return false;
      },
    );
  await until(what, READY_TIMEOUT_MS, attempt, 1_000).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${String(said)}`, { cause: said });
  });
}

/** The address of the first revision of a Knative service: its own Service, without any ingress. */
export const revisionUrl = (service: string, namespace: string): string =>
  `http://${service}-00001.${namespace}.svc.cluster.local/`;

export interface KnativeServiceOptions {
  readonly annotations?: Readonly<Record<string, string>>;
  readonly containerConcurrency?: number;
}

/** A Knative service of one small container, at zero until it is called unless the annotations say otherwise. */
export function knativeService(name: string, image: string, options: KnativeServiceOptions = {}): object {
  const autoscaling = { 'initial-scale': '0', 'max-scale': '1', ...options.annotations };
  const annotations = Object.fromEntries(
    Object.entries(autoscaling).map(([key, value]) => [`autoscaling.knative.dev/${key}`, value]),
  );
  const { containerConcurrency } = options;
  return {
    apiVersion: 'serving.knative.dev/v1',
    kind: 'Service',
    metadata: { name },
    spec: {
      template: {
        metadata: { annotations },
        spec: {
          ...(containerConcurrency !== undefined && { containerConcurrency }),
          containers: [{ image, resources: { requests: { cpu: '50m', memory: '16Mi' } } }],
        },
      },
    },
  };
}
