import { PilotlightError } from '../../../../contracts/errors.ts';
import { claimOf } from '../../../../crds/claims.ts';
import { canonicalJson } from '../../../../crds/revision-spec.ts';
import type { StandbyPoolSpec } from '../../../../crds/standby-pool.ts';
import type { ReplicaTemplate } from '../../../ports.ts';
import type { OwnerReference } from '../api/wire.ts';
import { hashText } from './hash.ts';
import type { Pod } from './kube-types.ts';
import { ANNOTATIONS, LABELS, MANAGED_BY, type Named, ownedByPool, ownedByService } from './labels.ts';
import {
  type Container,
  containerSecurity,
  declaredEnv,
  type PodSpec,
  podSpec,
  resourcesOf,
  runtimeContainer,
  runtimeVolumes,
  SERVING_PORT,
} from './pod-spec.ts';
import { cacheProblem } from './pool-status.ts';
import type { PodContext } from './settings.ts';

/**
 * The pods that the controller writes. They are to be created by POST, never applied: two creates of one name are
 * to collide. The functions are pure, so the same input always makes the same pod.
 */

/** A StandbyPool object as far as its pods depend on it. */
export interface PoolObject extends Named {
  readonly namespace: string;
  readonly spec: StandbyPoolSpec;
}

/** What is left beside the request timeout to end in order. */
const GRACE_BEYOND_REQUEST_SECONDS = 10;
const MIN_GRACE_SECONDS = 30;
/** Node autoscalers wait no longer than this by default, so more would be a promise that is not kept. */
const MAX_GRACE_SECONDS = 600;

/**
 * A standby of a pool: our runtime without a model.
 *
 * @param podName As `poolPodName` makes it.
 * @throws PilotlightError `unsupported` when the pool's cache is one that the operator doesn't allow.
 */
export function standbyPod(pool: PoolObject, context: PodContext, podName: string): Pod {
  const { spec } = pool;
  const problem = cacheProblem(spec, context.settings);
  if (problem !== undefined)
    throw new PilotlightError('unsupported', `StandbyPool "${pool.name}": ${problem}`);
  return podObject({
    namespace: pool.namespace,
    name: podName,
    owner: ownedByPool(pool),
    labels: { ...spec.labels, ...ourLabels('standby'), [LABELS.pool]: pool.name },
    annotations: { ...spec.annotations, [ANNOTATIONS.template]: poolTemplate(pool, context) },
    spec: standbySpec(pool, context),
  });
}

function standbySpec({ name, spec }: Pick<PoolObject, 'name' | 'spec'>, context: PodContext): PodSpec {
  return podSpec(
    {
      fields: spec,
      container: runtimeContainer(spec, context, spec),
      volumes: runtimeVolumes(spec.cache, context, spec),
      isRuntime: true,
      // Whose requests it will be serving is not known yet; a runtime that has drained ends at once anyway.
      gracePeriodSeconds: MAX_GRACE_SECONDS,
      spreadOver: { [LABELS.pool]: name },
      spread: spec.perNode === undefined ? [] : [atMostPerNode(spec.perNode, name)],
    },
    context,
  );
}

/**
 * At most `count` blank pods of the pool on one node. The scheduler keeps `skew = pods on the node − the least on
 * any node` within `maxSkew`, and takes the least for 0 while there are fewer nodes than `minDomains`: with more
 * domains demanded than a cluster can have nodes, the skew is the count itself.
 */
function atMostPerNode(count: number, pool: string): Record<string, unknown> {
  return {
    maxSkew: count,
    minDomains: 1_000_000,
    topologyKey: 'kubernetes.io/hostname',
    whenUnsatisfiable: 'DoNotSchedule',
    labelSelector: {
      matchLabels: { [LABELS.pool]: pool },
      matchExpressions: [{ key: LABELS.service, operator: 'DoesNotExist' }],
    },
  };
}

/**
 * Digest of all that a pool's pods are made from, so that a pod can be told that was made from something else: of
 * another runtime image, other resources, other certificates. Size and name of the pod have no part in it.
 */
function poolTemplate(pool: Pick<PoolObject, 'name' | 'spec'>, context: PodContext): string {
  const { labels = {}, annotations = {} } = pool.spec;
  return hashText(canonicalJson({ labels, annotations, spec: standbySpec(pool, context) }));
}

/** Whether a pool's pod is as the pool would make it today; one that isn't is replaced once it is blank. */
export function isCurrent(pod: Pod, pool: Pick<PoolObject, 'name' | 'spec'>, context: PodContext): boolean {
  return pod.metadata?.annotations?.[ANNOTATIONS.template] === poolTemplate(pool, context);
}

/**
 * A replica of its own, for a revision that no standby fits: our runtime with the settings of the service, or the
 * user's own container.
 *
 * @param podName As `replicaPodName` makes it.
 */
export function replicaPod(template: ReplicaTemplate, context: PodContext, podName: string): Pod {
  const { spec, service, serviceUid } = template;
  const mounted = { volumes: spec.volumes, claim: claimOf(spec.model?.storageUri)?.claim };
  return podObject({
    namespace: template.namespace,
    name: podName,
    owner: ownedByService({ name: service, uid: serviceUid }),
    labels: {
      ...spec.labels,
      ...ourLabels(template.origin),
      [LABELS.service]: service,
      [LABELS.revision]: template.revision,
    },
    annotations: { ...spec.annotations },
    spec: podSpec(
      {
        fields: spec,
        container:
          spec.model === undefined
            ? userContainer(spec.containers[0], spec.scaling.startTimeoutMs, context)
            : runtimeContainer(spec.model, context, mounted),
        volumes: spec.model === undefined ? [] : runtimeVolumes({ kind: 'emptyDir' }, context, mounted),
        isRuntime: spec.model !== undefined,
        gracePeriodSeconds: gracePeriodSeconds(spec.timeoutMs),
        spreadOver: { [LABELS.service]: service },
      },
      context,
    ),
  });
}

/** Time that a pod has to end: that of its longest request and a bit, from 30 s to 10 min. */
export function gracePeriodSeconds(requestTimeoutMs: number): number {
  const wanted = Math.ceil(requestTimeoutMs / 1_000) + GRACE_BEYOND_REQUEST_SECONDS;
  return Math.min(MAX_GRACE_SECONDS, Math.max(MIN_GRACE_SECONDS, wanted));
}

type UserContainer = NonNullable<ReplicaTemplate['spec']['containers']>[0];

/** Fields of a container that only go into the pod as they are. */
const CARRIED = [
  'workingDir',
  'imagePullPolicy',
  'livenessProbe',
  'lifecycle',
  'volumeMounts',
  'volumeDevices',
  'resizePolicy',
  'terminationMessagePath',
  'terminationMessagePolicy',
] as const satisfies readonly (keyof UserContainer)[];

/**
 * The user's container. It keeps the user and the file system of its image, which only its author knows; that it
 * doesn't run as root is for the image or `securityContext.runAsUser` to see to.
 */
function userContainer(own: UserContainer, startTimeoutMs: number, { settings }: PodContext): Container {
  const carried: Record<string, unknown> = {};
  for (const name of CARRIED) if (own[name] !== undefined) carried[name] = own[name];
  const { containerPort = SERVING_PORT, name: portName = 'http', protocol = 'TCP' } = own.ports[0] ?? {};
  const env = declaredEnv(own.env);
  const readinessProbe: Record<string, unknown> = own.readinessProbe ?? {
    tcpSocket: { port: containerPort },
    periodSeconds: 1,
  };
  const container = {
    ...carried,
    name: own.name ?? 'container',
    image: own.image,
    ...(own.command.length > 0 && { command: own.command }),
    ...(own.args.length > 0 && { args: own.args }),
    ports: [{ name: portName, containerPort, protocol }],
    env: env.some(({ name }) => name === 'PORT')
      ? env
      : [{ name: 'PORT', value: String(containerPort) }, ...env],
    ...(own.envFrom.length > 0 && { envFrom: own.envFrom }),
    resources: resourcesOf(own.resources, settings.runtimeResources),
    securityContext: containerSecurity(own.securityContext),
    // A cold start waits for this one, so it is asked as often as a kubelet asks.
    readinessProbe,
    startupProbe: own.startupProbe ?? startupProbe(readinessProbe, startTimeoutMs),
  };
  // What the manifest says of probes, mounts and the like is the API server's to check.
  return container;
}

/**
 * Ends a container that has not become ready within the start timeout, which begins when its process runs: an image
 * may be pulled and a node be added for as long as that takes. A thing for the kubelet, which sees to it whether or
 * not a controller is there.
 */
function startupProbe(
  readinessProbe: Record<string, unknown>,
  startTimeoutMs: number,
): Record<string, unknown> {
  const { initialDelaySeconds: _delay, successThreshold: _successes, ...asked } = readinessProbe;
  return {
    ...asked,
    periodSeconds: 1,
    failureThreshold: Math.max(1, Math.ceil(startTimeoutMs / 1_000)),
    // It has not served anybody, so there is nothing to be finished.
    terminationGracePeriodSeconds: 1,
  };
}

function ourLabels(origin: 'standby' | 'runtime' | 'container'): Record<string, string> {
  return { [LABELS.managedBy]: MANAGED_BY, [LABELS.component]: 'replica', [LABELS.origin]: origin };
}

function podObject(parts: {
  namespace: string;
  name: string;
  owner: OwnerReference;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  spec: PodSpec;
}): Pod {
  const { namespace, name, owner, labels, annotations, spec } = parts;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      namespace,
      name,
      labels,
      annotations: { [ANNOTATIONS.safeToEvict]: 'true', ...annotations },
      ownerReferences: [owner],
    },
    spec,
  };
}
