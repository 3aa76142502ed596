import type {
  V1ClusterRole,
  V1ConfigMap,
  V1CustomResourceDefinition,
  V1Deployment,
  V1NetworkPolicy,
  V1PodDisruptionBudget,
  V1PodTemplateSpec,
  V1Role,
  V1RoleBinding,
  V1Secret,
  V1Service,
  V1ServiceAccount,
} from '@kubernetes/client-node';
import { parseAllDocuments } from 'yaml';

/** What every rendered object has. */
export interface RenderedObject {
  apiVersion: string;
  kind: string;
  metadata: {
    name: string;
    namespace?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
  };
  spec?: unknown;
}

/** Of a kind of the Prometheus Operator, as far as we use it. */
export interface PodMonitorSpec {
  selector: {
    matchLabels: Record<string, string>;
    matchExpressions?: { key: string; operator: 'In'; values: string[] }[];
  };
  namespaceSelector?: { any?: boolean; matchNames?: string[] };
  podTargetLabels?: string[];
  podMetricsEndpoints: { port: string; path: string; interval: string; honorLabels: boolean }[];
}

interface RenderedRule {
  alert?: string;
  record?: string;
  expr: string;
  annotations?: Record<string, string>;
}

interface Kinds {
  ClusterRole: V1ClusterRole;
  ConfigMap: V1ConfigMap;
  CustomResourceDefinition: V1CustomResourceDefinition;
  Deployment: V1Deployment;
  NetworkPolicy: V1NetworkPolicy;
  PodDisruptionBudget: V1PodDisruptionBudget;
  Role: V1Role;
  RoleBinding: V1RoleBinding;
  ClusterRoleBinding: V1RoleBinding;
  Secret: V1Secret;
  Service: V1Service;
  ServiceAccount: V1ServiceAccount;
  PodMonitor: { spec: PodMonitorSpec };
  PrometheusRule: { spec: { groups: { name: string; rules: RenderedRule[] }[] } };
}

/** A rendered object of one kind: its metadata are always there. */
export type Rendered<Kind extends keyof Kinds> = RenderedObject & Omit<Kinds[Kind], 'metadata'>;

/** The objects in what `helm template` prints. @throws Error for YAML that is not, a key given twice included. */
export function objectsIn(manifests: string): RenderedObject[] {
  return parseAllDocuments(manifests).flatMap((document) => {
    if ('errors' in document && document.errors[0] !== undefined) throw document.errors[0];
    const object: unknown = document.toJS();
    return object === null || object === undefined ? [] : [object as RenderedObject];
  });
}

export function ofKind<Kind extends keyof Kinds>(
  objects: readonly RenderedObject[],
  kind: Kind,
): Rendered<Kind>[] {
  return objects.filter((object) => object.kind === kind) as Rendered<Kind>[];
}

/** @throws Error where there is none. */
export function named<Kind extends keyof Kinds>(
  objects: readonly RenderedObject[],
  kind: Kind,
  name: string,
): Rendered<Kind> {
  const found = ofKind(objects, kind).find(({ metadata }) => metadata.name === name);
  if (found !== undefined) return found;
  throw new Error(`expected a ${kind} named ${name}, got ${namesOf(objects).join(', ')}`);
}

/** `Kind namespace/name` of each, sorted. */
export function namesOf(objects: readonly RenderedObject[]): string[] {
  return objects
    .map(({ kind, metadata: { namespace, name } }) =>
      [kind, namespace === undefined ? name : `${namespace}/${name}`].join(' '),
    )
    .sort();
}

/** The pod template of a Deployment. @throws Error where it has none. */
export function templateOf(deployment: Rendered<'Deployment'>): V1PodTemplateSpec {
  const template = deployment.spec?.template;
  if (template === undefined) throw new Error(`${deployment.metadata.name} has no pod template`);
  return template;
}

/** Whether `labels` has all of `wanted`, and `wanted` is not empty: an empty selector selects everything. */
export function selects(
  wanted: Readonly<Record<string, string>> | undefined,
  labels: Readonly<Record<string, string>> | undefined,
): boolean {
  const pairs = Object.entries(wanted ?? {});
  return pairs.length > 0 && pairs.every(([name, value]) => labels?.[name] === value);
}
