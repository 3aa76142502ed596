import type { V1PodTemplateSpec } from '@kubernetes/client-node';
import { ofKind, type RenderedObject, selects, templateOf } from './rendered.ts';

/** Everything that is wrong with rendered objects whatever the values are, each as a sentence. */
export function findings(objects: readonly RenderedObject[], namespaces: readonly string[]): string[] {
  const templates = ofKind(objects, 'Deployment').map((deployment) => ({
    name: deployment.metadata.name,
    template: templateOf(deployment),
  }));
  return [
    ...structure(objects, namespaces),
    ...templates.flatMap(({ name, template }) => [
      ...security(name, template),
      ...images(name, template),
      ...mounts(name, template),
    ]),
    ...selectors(objects, templates),
    ...references(objects, templates),
  ];
}

interface NamedTemplate {
  name: string;
  template: V1PodTemplateSpec;
}

/** Kinds without a namespace, of those that the chart may render. */
const CLUSTER_KINDS = new Set(['ClusterRole', 'ClusterRoleBinding', 'CustomResourceDefinition']);

function structure(objects: readonly RenderedObject[], namespaces: readonly string[]): string[] {
  const seen = new Set<string>();
  return objects.flatMap((object) => {
    const { apiVersion, kind, metadata } = object;
    const id = `${kind} ${metadata?.namespace ?? ''}/${metadata?.name}`;
    const wrong: string[] = [];
    if (typeof apiVersion !== 'string' || typeof kind !== 'string')
      wrong.push(`${id}: no apiVersion or kind`);
    if (typeof metadata?.name !== 'string') wrong.push(`${id}: no name`);
    if (seen.has(id)) wrong.push(`${id}: twice`);
    seen.add(id);
    if (CLUSTER_KINDS.has(kind) !== (metadata?.namespace === undefined))
      wrong.push(`${id}: a namespace where there is none, or none where there must be`);
    if (metadata?.namespace !== undefined && !namespaces.includes(metadata.namespace))
      wrong.push(`${id}: in another namespace than ${namespaces.join(', ')}`);
    const labels = metadata?.labels ?? {};
    for (const label of ['name', 'instance', 'version', 'managed-by']) {
      if (labels[`app.kubernetes.io/${label}`] === undefined) wrong.push(`${id}: no label for its ${label}`);
    }
    const texts = { ...labels, ...metadata?.annotations };
    for (const [name, value] of Object.entries(texts)) {
      if (typeof value !== 'string') wrong.push(`${id}: ${name} is no text`);
    }
    return wrong;
  });
}

/** What the Pod Security level "restricted" asks for, and a read-only root on top. */
function security(name: string, { spec }: V1PodTemplateSpec): string[] {
  const wrong: string[] = [];
  const pod = spec?.securityContext;
  if (pod?.runAsNonRoot !== true) wrong.push(`${name}: may run as root`);
  if (pod?.seccompProfile?.type !== 'RuntimeDefault') wrong.push(`${name}: no seccomp profile`);
  if (spec?.hostNetwork || spec?.hostPID || spec?.hostIPC)
    wrong.push(`${name}: shares the host's namespaces`);
  for (const volume of spec?.volumes ?? []) {
    if (volume.hostPath !== undefined) wrong.push(`${name}: mounts a path of the host`);
  }
  for (const container of spec?.containers ?? []) {
    const context = container.securityContext;
    if (context?.allowPrivilegeEscalation !== false) wrong.push(`${name}: may escalate privileges`);
    if (context?.readOnlyRootFilesystem !== true) wrong.push(`${name}: writable root`);
    if (context?.capabilities?.drop?.join() !== 'ALL') wrong.push(`${name}: keeps capabilities`);
    if (context?.privileged === true) wrong.push(`${name}: privileged`);
    if (container.resources?.requests?.['memory'] === undefined) wrong.push(`${name}: requests no memory`);
    if (container.resources?.limits?.['cpu'] !== undefined) wrong.push(`${name}: has a CPU limit`);
    for (const probe of [container.startupProbe, container.livenessProbe, container.readinessProbe]) {
      const port = probe?.httpGet?.port;
      const isNamed = container.ports?.some((one) => one.name === port) === true;
      if (!isNamed) wrong.push(`${name}: a probe is missing, or its port ${String(port)} has no such name`);
    }
  }
  return wrong;
}

/** Registry and name, then a tag of a fixed version or a digest. */
const FIXED_IMAGE = /^[^\s:@]+(?::\d+)?[^\s:@]*(?::(?!latest$)[\w][\w.-]*|@sha256:[0-9a-f]{64})$/;

function images(name: string, { spec }: V1PodTemplateSpec): string[] {
  return (spec?.containers ?? []).flatMap(({ image }) =>
    FIXED_IMAGE.test(image ?? '') ? [] : [`${name}: image ${image} is not of a fixed version`],
  );
}

function mounts(name: string, { spec }: V1PodTemplateSpec): string[] {
  const volumes = (spec?.volumes ?? []).map((volume) => volume.name);
  const mounted = (spec?.containers ?? []).flatMap(({ volumeMounts }) => volumeMounts ?? []);
  return [
    ...mounted
      .filter((mount) => !volumes.includes(mount.name))
      .map((mount) => `${name}: mounts ${mount.name}, which is no volume`),
    ...volumes
      .filter((volume) => !mounted.some((mount) => mount.name === volume))
      .map((volume) => `${name}: volume ${volume} is not mounted`),
  ];
}

/** Selectors that select no pods of the chart, or pods of two components, and ports that nobody names. */
function selectors(objects: readonly RenderedObject[], templates: readonly NamedTemplate[]): string[] {
  const selectedBy = (what: string, selector: Readonly<Record<string, string>> | undefined): string[] => {
    const names = templates
      .filter(({ template }) => selects(selector, template.metadata?.labels))
      .map(({ name }) => name);
    return names.length === 1 && names[0] === what
      ? []
      : [`${what} selects ${names.join(', ') || 'nothing'}`];
  };
  const services = ofKind(objects, 'Service').flatMap(({ metadata, spec }) => {
    const container = templates.find(({ name }) => name === metadata.name)?.template.spec?.containers[0];
    const portless = (spec?.ports ?? [])
      .filter(({ targetPort }) => !container?.ports?.some(({ name }) => name === targetPort))
      .map(({ targetPort }) => `${metadata.name}: no port of the pod is named ${String(targetPort)}`);
    return [...selectedBy(metadata.name, spec?.selector), ...portless];
  });
  return [
    ...services,
    ...ofKind(objects, 'Deployment').flatMap(({ metadata, spec }) =>
      selectedBy(metadata.name, spec?.selector.matchLabels),
    ),
    ...ofKind(objects, 'PodDisruptionBudget').flatMap(({ metadata, spec }) =>
      selectedBy(metadata.name, spec?.selector?.matchLabels),
    ),
    ...templates.flatMap(({ name, template }) =>
      (template.spec?.topologySpreadConstraints ?? []).flatMap(({ labelSelector }) =>
        selectedBy(name, labelSelector?.matchLabels),
      ),
    ),
    ...ofKind(objects, 'NetworkPolicy')
      .filter(({ metadata }) => metadata.name !== 'pilotlight-replica')
      .flatMap(({ metadata, spec }) => selectedBy(metadata.name, spec?.podSelector?.matchLabels)),
  ];
}

/** Names of other objects that nothing of the chart answers to. */
function references(objects: readonly RenderedObject[], templates: readonly NamedTemplate[]): string[] {
  const exists = (kind: string, name: string | undefined): boolean =>
    objects.some((object) => object.kind === kind && object.metadata.name === name);
  const accounts = templates
    .filter(({ template }) => !exists('ServiceAccount', template.spec?.serviceAccountName))
    .map(({ name, template }) => `${name}: no ServiceAccount ${template.spec?.serviceAccountName}`);
  const configMaps = templates.flatMap(({ name, template }) =>
    (template.spec?.volumes ?? [])
      .flatMap(({ configMap, projected }) => [
        configMap?.name,
        ...(projected?.sources ?? []).map((source) => source.configMap?.name),
      ])
      .filter((wanted) => wanted !== undefined && !exists('ConfigMap', wanted))
      .map((wanted) => `${name}: no ConfigMap ${wanted}`),
  );
  const bindings = (['RoleBinding', 'ClusterRoleBinding'] as const).flatMap((kind) =>
    ofKind(objects, kind).flatMap(({ metadata, roleRef, subjects }) => [
      ...(objects.some(
        (role) =>
          role.kind === roleRef.kind &&
          role.metadata.name === roleRef.name &&
          role.metadata.namespace === metadata.namespace,
      )
        ? []
        : [`${kind} ${metadata.name}: no ${roleRef.kind} ${roleRef.name}`]),
      ...(subjects ?? [])
        .filter(({ name }) => !exists('ServiceAccount', name))
        .map(({ name }) => `${kind} ${metadata.name}: no ServiceAccount ${name}`),
    ]),
  );
  return [...accounts, ...configMaps, ...bindings];
}
