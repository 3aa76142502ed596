import type { V1Container, V1PodSpec, V1ResourceRequirements } from '@kubernetes/client-node';
import { claimMountPath } from '../../../../crds/claims.ts';
import type {
  CLUSTER_ONLY_POD_FIELDS,
  EnvFromSource,
  EnvVar,
  Resources,
} from '../../../../crds/pod-fields.ts';
import { formatQuantity } from '../../../../crds/quantities.ts';
import type { PoolCache, StandbyPoolSpec } from '../../../../crds/standby-pool.ts';
import type { Wire } from '../api/wire.ts';
import type { PodContext } from './settings.ts';

/** The parts that all pods of the controller are put together from. */

export type Container = Wire<V1Container>;
export type PodSpec = Wire<V1PodSpec>;

/** Port of the runtime for requests, and of a user's container that names none. */
export const SERVING_PORT = 8080;
export const ADMIN_PORT = 8081;
const RUNTIME_CONTAINER = 'runtime';

/** The pod fields of a service's predictor, which a pool's spec has just the same. */
export type PodFields = Pick<
  StandbyPoolSpec,
  'serviceAccountName' | (typeof CLUSTER_ONLY_POD_FIELDS)[number]
>;

/** Volumes as a manifest names them, and the claim that a model lies in. */
interface MountedVolumes {
  readonly volumes?: PodFields['volumes'] | undefined;
  readonly claim?: string | undefined;
}

/** User of our image, and of everything that runs from it; also the group of its volumes. */
const RUNTIME_USER = 65_532;

const RESTRICTED_POD = { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } };
const RESTRICTED_CONTAINER = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
};

/** Pod fields that go into the pod as they are. */
const CARRIED = [
  'serviceAccountName',
  'nodeSelector',
  'affinity',
  'tolerations',
  'dnsConfig',
  'hostAliases',
  'readinessGates',
  'overhead',
  'dnsPolicy',
  'priorityClassName',
  'preemptionPolicy',
  'runtimeClassName',
  'schedulerName',
] as const satisfies readonly (keyof PodFields)[];

export interface PodSpecInput {
  readonly fields: PodFields;
  readonly container: Container;
  /** Ours, beside the volumes of the manifest. */
  readonly volumes: readonly Wire<NonNullable<V1PodSpec['volumes']>[number]>[];
  /** Whether the container is of our image, whose user is known. */
  readonly isRuntime: boolean;
  readonly gracePeriodSeconds: number;
  /** Labels that the pod's spread constraints count, where they don't say it themselves. */
  readonly spreadOver: Readonly<Record<string, string>>;
  /** Ours, beside those of the manifest. */
  readonly spread?: readonly Record<string, unknown>[];
}

/**
 * The spec of a pod of which a person may have written parts: those stand, and what they leave open is such that
 * the pod is admitted to a namespace of Pod Security level "restricted".
 */
export function podSpec(input: PodSpecInput, { settings }: PodContext): PodSpec {
  const { fields, container } = input;
  const carried: Record<string, unknown> = {};
  for (const name of CARRIED) if (fields[name] !== undefined) carried[name] = fields[name];
  const spread = [...spreadConstraints(fields, input.spreadOver), ...(input.spread ?? [])];
  const pullSecrets = pullSecretsOf(fields, settings.imagePullSecrets);
  const volumes = [...input.volumes, ...(fields.volumes ?? [])];
  const graceSeconds = fields.terminationGracePeriodSeconds ?? input.gracePeriodSeconds;
  const spec = {
    ...carried,
    restartPolicy: 'Never',
    // Process 1 of a namespace of its own never gets a signal that it has no handler for: SIGTERM would be lost while
    // Node starts, first or after a recycle, and the pod would live on for its whole grace period.
    ...(input.isRuntime && { shareProcessNamespace: true }),
    containers: [input.isRuntime ? withDrain(container, graceSeconds) : container],
    automountServiceAccountToken:
      fields.automountServiceAccountToken ?? fields.serviceAccountName !== undefined,
    // A variable for each port of each Service of the namespace: slow with hundreds, and nobody's wish.
    enableServiceLinks: fields.enableServiceLinks ?? false,
    terminationGracePeriodSeconds: graceSeconds,
    securityContext: {
      ...RESTRICTED_POD,
      ...(input.isRuntime && {
        runAsUser: RUNTIME_USER,
        runAsGroup: RUNTIME_USER,
        fsGroup: RUNTIME_USER,
        fsGroupChangePolicy: 'OnRootMismatch',
      }),
      ...fields.securityContext,
    },
    ...(volumes.length > 0 && { volumes }),
    ...(spread.length > 0 && { topologySpreadConstraints: spread }),
    ...(pullSecrets.length > 0 && { imagePullSecrets: pullSecrets.map((name) => ({ name })) }),
  };
  // What the manifest says of volumes, affinity and the like is the API server's to check.
  return spec as unknown as PodSpec;
}

/** Between the end of a drain and the kubelet's SIGKILL: for the last stats and an orderly exit. */
const AFTER_DRAIN_SECONDS = 5;

/** A runtime that gets SIGTERM finishes what is under way for as long as its pod may take. */
function withDrain(container: Container, graceSeconds: number): Container {
  const drainMs = Math.max(0, graceSeconds - AFTER_DRAIN_SECONDS) * 1_000;
  return { ...container, args: [...(container.args ?? []), '--drain-ms', String(drainMs)] };
}

/** A constraint that says not what it counts counts nothing; here it counts pods of the same service or pool. */
function spreadConstraints(
  fields: PodFields,
  spreadOver: Readonly<Record<string, string>>,
): Record<string, unknown>[] {
  return (fields.topologySpreadConstraints ?? []).map((constraint) => ({
    labelSelector: { matchLabels: spreadOver },
    ...constraint,
  }));
}

function pullSecretsOf(fields: PodFields, ofPlatform: readonly string[]): string[] {
  const own = (fields.imagePullSecrets ?? []).flatMap(({ name }) => (typeof name === 'string' ? [name] : []));
  return [...new Set([...own, ...ofPlatform])];
}

const CACHE_VOLUME = 'pilotlight-cache';
/** Of a claim that a model lies in. */
const CLAIM_VOLUME = 'pilotlight-claim';
const TMP_VOLUME = 'pilotlight-tmp';
const CACHE_PATH = '/cache';

/** Volumes of a pod of our runtime; that of a model's claim only where the manifest has not got it already. */
export function runtimeVolumes(
  cache: PoolCache,
  { settings }: PodContext,
  fields: MountedVolumes,
): PodSpecInput['volumes'] {
  const { claim } = fields;
  const isNew = claim !== undefined && !claimsOf(fields).includes(claim);
  return [
    { name: TMP_VOLUME, emptyDir: {} },
    { name: CACHE_VOLUME, ...cacheSource(cache, settings.cacheSizeLimitBytes) },
    ...(isNew ? [{ name: CLAIM_VOLUME, persistentVolumeClaim: { claimName: claim, readOnly: true } }] : []),
  ];
}

/** Claims among the volumes of a manifest, each of which the runtime has mounted, read-only. */
export function claimsOf(fields: MountedVolumes): string[] {
  return claimVolumes(fields).map(({ claim }) => claim);
}

function claimVolumes({ volumes }: MountedVolumes): { name: string; claim: string }[] {
  return (volumes ?? []).flatMap(({ name, persistentVolumeClaim }) => {
    const claim = (persistentVolumeClaim as { claimName?: unknown } | undefined)?.claimName;
    return typeof name === 'string' && typeof claim === 'string' ? [{ name, claim }] : [];
  });
}

function claimMounts(fields: MountedVolumes) {
  const mounts = claimVolumes(fields);
  const { claim } = fields;
  if (claim !== undefined && !mounts.some((mount) => mount.claim === claim))
    mounts.push({ name: CLAIM_VOLUME, claim });
  const byClaim = new Map(mounts.map((mount) => [mount.claim, mount.name]));
  return [...byClaim].map(([mounted, name]) => ({
    name,
    mountPath: claimMountPath(mounted),
    readOnly: true,
  }));
}

function cacheSource(cache: PoolCache, defaultLimitBytes: number) {
  switch (cache.kind) {
    case 'emptyDir':
      return { emptyDir: { sizeLimit: formatQuantity(cache.sizeLimitBytes ?? defaultLimitBytes) } };
    case 'hostPath':
      // Not created when it is missing: what the kubelet creates belongs to root, and the runtime can't write it.
      return { hostPath: { path: cache.path, type: 'Directory' } };
    case 'persistentVolumeClaim':
      return { persistentVolumeClaim: { claimName: cache.claimName } };
  }
}

/** Variables that the controller sets itself, whatever a manifest says. */
const OWN_VARIABLES = new Set([
  'PILOTLIGHT_ADMIN_PUBLIC_KEY',
  'PILOTLIGHT_ADMIN_TOKEN',
  'PILOTLIGHT_POD_NAME',
  'PILOTLIGHT_POD_NAMESPACE',
  'PILOTLIGHT_CONTROL_CA',
]);

const fromPod = (fieldPath: string) => ({ fieldRef: { fieldPath } });

/** The container of our runtime: a standby that waits to be given a model over its admin port. */
export function runtimeContainer(
  declared: { env: readonly EnvVar[]; envFrom: readonly EnvFromSource[]; resources: Resources },
  { settings, trust }: PodContext,
  fields: MountedVolumes,
): Container {
  const live = { httpGet: { path: '/v2/health/live', port: 'http' } };
  return {
    name: RUNTIME_CONTAINER,
    image: settings.runtimeImage,
    ...(settings.imagePullPolicy && { imagePullPolicy: settings.imagePullPolicy }),
    args: [
      ...`--standby --host :: --port ${SERVING_PORT} --admin-port ${ADMIN_PORT} --cache-dir ${CACHE_PATH}`.split(
        ' ',
      ),
      ...(settings.tritonMetrics ? ['--triton-metrics'] : []),
    ],
    ports: [
      { name: 'http', containerPort: SERVING_PORT, protocol: 'TCP' },
      { name: 'admin', containerPort: ADMIN_PORT, protocol: 'TCP' },
    ],
    env: [
      { name: 'PILOTLIGHT_POD_NAME', valueFrom: fromPod('metadata.name') },
      { name: 'PILOTLIGHT_POD_NAMESPACE', valueFrom: fromPod('metadata.namespace') },
      { name: 'PILOTLIGHT_ADMIN_PUBLIC_KEY', value: trust.adminPublicKey },
      { name: 'PILOTLIGHT_CONTROL_CA', value: trust.controlCa },
      ...declaredEnv(declared.env),
    ],
    ...(declared.envFrom.length > 0 && { envFrom: declared.envFrom }),
    resources: resourcesOf(declared.resources, settings.runtimeResources),
    volumeMounts: [
      { name: TMP_VOLUME, mountPath: '/tmp' },
      { name: CACHE_VOLUME, mountPath: CACHE_PATH },
      ...claimMounts(fields),
    ],
    securityContext: { ...RESTRICTED_CONTAINER, readOnlyRootFilesystem: true },
    // The controller asks the runtime itself; these are for people, rollouts of nodes and a process that hangs.
    startupProbe: { ...live, periodSeconds: 1, failureThreshold: 120, timeoutSeconds: 2 },
    readinessProbe: { ...live, periodSeconds: 10, failureThreshold: 3, timeoutSeconds: 5 },
    livenessProbe: { ...live, periodSeconds: 20, failureThreshold: 6, timeoutSeconds: 10 },
  };
}

/** Environment as the manifest declares it, for the kubelet to resolve; without the names that are ours. */
export function declaredEnv(env: readonly EnvVar[]): NonNullable<Container['env']> {
  return env.filter(({ name }) => !OWN_VARIABLES.has(name));
}

/** Restricted settings of a container, under what the manifest says of its own. */
export function containerSecurity(own: Record<string, unknown> | undefined): Record<string, unknown> {
  return { ...RESTRICTED_CONTAINER, ...own };
}

/**
 * Resources as quantities. Where a manifest names none, the operator's defaults stand in: each amount for itself,
 * and a default request never above a limit that was given.
 */
export function effectiveResources(own: Resources, defaults: Resources): Resources {
  const limits = { ...defaults.limits, ...own.limits };
  for (const [name, request] of Object.entries(own.requests)) {
    const limit = limits[name];
    // A default limit below what is asked for would be refused by the API server.
    if (own.limits[name] === undefined && limit !== undefined && limit < request) limits[name] = request;
  }
  const requests = { ...own.requests };
  for (const [name, request] of Object.entries(defaults.requests)) {
    // A limit alone stands for the request as well: that is Kubernetes' rule, and the user's word.
    if (requests[name] === undefined && own.limits[name] === undefined) requests[name] = request;
  }
  return { requests, limits };
}

export function resourcesOf(own: Resources, defaults: Resources): Wire<V1ResourceRequirements> {
  const { requests, limits } = effectiveResources(own, defaults);
  return {
    ...(Object.keys(requests).length > 0 && { requests: quantities(requests) }),
    ...(Object.keys(limits).length > 0 && { limits: quantities(limits) }),
  };
}

function quantities(amounts: Record<string, number>): Record<string, string> {
  return Object.fromEntries(Object.entries(amounts).map(([name, amount]) => [name, formatQuantity(amount)]));
}
