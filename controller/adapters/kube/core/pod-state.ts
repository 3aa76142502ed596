import type { V1ContainerStateTerminated, V1ContainerStatus, V1Node } from '@kubernetes/client-node';
import type { RuntimeState } from '../../../../contracts/admin.ts';
import { parseQuantity } from '../../../../crds/quantities.ts';
import type { ObservedReplica } from '../../../ports.ts';
import type { Wire } from '../api/wire.ts';
import type { Pod } from './kube-types.ts';
import { LABELS, originOf } from './labels.ts';
import { SERVING_PORT } from './pod-spec.ts';

/** What a pod and its runtime say of a replica; ids, times and the cache are the shell's to add. */
export type SeenReplica = Pick<
  ObservedReplica,
  | 'origin'
  | 'state'
  | 'claim'
  | 'startedFor'
  | 'pool'
  | 'address'
  | 'capacity'
  | 'memoryRequestBytes'
  | 'failure'
  | 'waitsForNode'
>;

/**
 * The node of a pod: `cordoned` takes no new pods (a drain mostly follows), `not-ready` hasn't been heard of lately,
 * `lost` is gone, or so long silent that Kubernetes evicts its pods.
 */
export type NodeState = 'ready' | 'cordoned' | 'not-ready' | 'lost';

/** Kubernetes' taints for a node that it has given up on; its pods are deleted after their toleration seconds. */
const LOST_TAINTS = new Set(['node.kubernetes.io/unreachable', 'node.cloudprovider.kubernetes.io/shutdown']);

/** @param node Undefined for one that doesn't exist. */
export function nodeState(node: Wire<V1Node> | undefined): NodeState {
  if (node === undefined || node.metadata?.deletionTimestamp !== undefined) return 'lost';
  const taints = node.spec?.taints ?? [];
  if (taints.some(({ key, effect }) => LOST_TAINTS.has(key) && effect === 'NoExecute')) return 'lost';
  const ready = node.status?.conditions?.find(({ type }) => type === 'Ready');
  if (ready?.status !== 'True') return 'not-ready';
  return node.spec?.unschedulable === true ? 'cordoned' : 'ready';
}

/**
 * A pod as a replica. What the runtime itself says counts for more than the kubelet's probes, which are older; for
 * a user's container the probes are all there is.
 *
 * `failure` carries Kubernetes' own reason as its code (`Unschedulable`, `ImagePullBackOff`, `OOMKilled` …): with
 * state `failed` it has ended for good, with `starting` it is what the start waits for.
 */
export function observePod(
  pod: Pod,
  runtime: RuntimeState | undefined,
  node: NodeState = 'ready',
): SeenReplica {
  const { namespace = '', labels = {}, ownerReferences = [] } = pod.metadata ?? {};
  const origin = originOf(labels) ?? 'container';
  const poolName = labels[LABELS.pool];
  const revision = labels[LABELS.revision];
  const owner = ownerReferences.find(({ controller }) => controller === true);
  const address = addressOf(pod);
  const state = stateOf(pod, origin, runtime, node);
  const failure = failureOf(pod, state, runtime, node);
  const { claim } = runtime ?? {};
  const memoryRequestBytes = memoryRequestOf(pod);
  return {
    origin,
    state,
    ...(origin === 'standby' && poolName !== undefined && { pool: `${namespace}/${poolName}` }),
    ...(origin !== 'standby' &&
      owner !== undefined &&
      revision !== undefined && { startedFor: { serviceUid: owner.uid, revision } }),
    ...(claim !== undefined && {
      claim: {
        claimId: claim.claimId,
        epoch: claim.epoch,
        serviceUid: claim.serviceUid,
        revision: claim.revision,
      },
    }),
    ...(claim?.capacity !== undefined && { capacity: claim.capacity }),
    ...(address !== undefined && { address }),
    ...(memoryRequestBytes > 0 && { memoryRequestBytes }),
    ...(failure !== undefined && { failure }),
    ...(state === 'starting' && failure !== undefined && waitsForNode(pod) && { waitsForNode: true }),
  };
}

/** What the pod keeps from others on its node, whether it uses it or not; sidecars included. */
function memoryRequestOf(pod: Pod): number {
  return (pod.spec?.containers ?? []).reduce((sum, { resources }) => {
    const request = parseQuantity(resources?.requests?.['memory'] ?? 0);
    return request.ok ? sum + request.value : sum;
  }, 0);
}

function stateOf(
  pod: Pod,
  origin: ObservedReplica['origin'],
  runtime: RuntimeState | undefined,
  node: NodeState,
): ObservedReplica['state'] {
  const { phase } = pod.status ?? {};
  if (phase === 'Failed' || phase === 'Succeeded' || node === 'lost') return 'failed';
  if (isTerminating(pod) || node !== 'ready') return 'draining';
  if (phase !== 'Running') return 'starting';
  if (origin === 'container') return isReady(pod) ? 'ready' : 'starting';
  return runtime?.state ?? 'starting';
}

/**
 * Whether the pod counts as one of its revision: one that is on its way out, has ended, or is on a node that can't
 * be heard of doesn't, and another may take its place.
 */
export function holdsSlot(pod: Pod, node: NodeState = 'ready'): boolean {
  const { phase } = pod.status ?? {};
  if (phase === 'Failed' || phase === 'Succeeded' || isTerminating(pod)) return false;
  return node === 'ready' || node === 'cordoned';
}

export function isTerminating(pod: Pod): boolean {
  return pod.metadata?.deletionTimestamp !== undefined;
}

function isReady(pod: Pod): boolean {
  return conditionOf(pod, 'Ready')?.status === 'True';
}

function conditionOf(pod: Pod, type: string) {
  return pod.status?.conditions?.find((condition) => condition.type === type);
}

/** `host:port` of the serving port, once the pod has an address. */
function addressOf(pod: Pod): string | undefined {
  const ip = pod.status?.podIP;
  if (ip === undefined || ip === '') return undefined;
  const port = pod.spec?.containers[0]?.ports?.[0]?.containerPort ?? SERVING_PORT;
  return `${ip.includes(':') ? `[${ip}]` : ip}:${port}`;
}

type Failure = NonNullable<ObservedReplica['failure']>;

function failureOf(
  pod: Pod,
  state: ObservedReplica['state'],
  runtime: RuntimeState | undefined,
  node: NodeState,
): Failure | undefined {
  if (state === 'failed') return endOf(pod) ?? runtimeFailure(runtime) ?? nodeFailure(pod, node);
  if (state === 'draining') return nodeFailure(pod, node);
  if (state === 'starting') return waitingFor(pod);
  return undefined;
}

function runtimeFailure(runtime: RuntimeState | undefined): Failure | undefined {
  return runtime?.failure === undefined ? undefined : { ...runtime.failure };
}

function nodeFailure(pod: Pod, node: NodeState): Failure | undefined {
  const name = pod.spec?.nodeName ?? '';
  switch (node) {
    case 'lost':
      return { code: 'NodeLost', message: `node "${name}" is gone or unreachable` };
    case 'not-ready':
      return { code: 'NodeNotReady', message: `node "${name}" is not ready` };
    case 'cordoned':
      return { code: 'NodeCordoned', message: `node "${name}" is cordoned and takes no new pods` };
    case 'ready':
      return undefined;
  }
}

/** Why a pod has ended, in Kubernetes' words. */
function endOf(pod: Pod): Failure | undefined {
  const { phase, reason, message } = pod.status ?? {};
  if (phase !== 'Failed' && phase !== 'Succeeded') return undefined;
  // Evicted, Preempting, NodeShutdown, DeadlineExceeded, UnexpectedAdmissionError …: the pod's own reason.
  if (reason !== undefined && reason !== '') return { code: reason, message: message ?? reason };
  const disruption = conditionOf(pod, 'DisruptionTarget');
  if (disruption?.status === 'True' && disruption.reason !== undefined)
    return { code: disruption.reason, message: disruption.message ?? disruption.reason };
  for (const { name, state, started } of statusesOf(pod)) {
    const ended = state?.terminated;
    if (ended === undefined) continue;
    const code = ended.reason ?? 'Error';
    const how =
      ended.signal === undefined || ended.signal === 0
        ? `exit code ${ended.exitCode}`
        : `signal ${ended.signal}`;
    if (isStartupProbeOver(pod, name, started, ended)) {
      const why = `container "${name}" was not ready within its start timeout: its startup probe did not succeed (${how})`;
      return { code: 'StartupProbeFailed', message: why };
    }
    const said = ended.message === undefined || ended.message === '' ? '' : `: ${ended.message.trim()}`;
    return {
      code,
      message: `container "${name}" ended with ${how}${code === 'Error' || code === 'Completed' ? '' : ` (${code})`}${said}`,
    };
  }
  return { code: phase, message: `the pod has ended (${phase})` };
}

/** Exit codes of a process that the kubelet ended: in its own good order, by SIGTERM, by SIGKILL. */
const ENDED_ON_DEMAND = new Set([0, 137, 143]);
/** The API server keeps times to the second. */
const TIME_ROUNDING_MS = 1_000;

/**
 * Whether the kubelet has ended a container because its startup probe didn't succeed, which no status says: such a
 * container never counted as started, was ended on demand, and not before the probe had failed as often as it may.
 */
function isStartupProbeOver(
  pod: Pod,
  name: string,
  started: boolean | undefined,
  ended: Wire<V1ContainerStateTerminated>,
): boolean {
  const { startupProbe } = pod.spec?.containers.find((one) => one.name === name) ?? {};
  if (startupProbe === undefined || started === true || originOf(pod.metadata?.labels) !== 'container')
    return false;
  const isOrdinary = ended.reason === undefined || ended.reason === 'Error' || ended.reason === 'Completed';
  if (!isOrdinary || !ENDED_ON_DEMAND.has(ended.exitCode)) return false;
  // Kubernetes' own defaults. The first try comes at once, so 3 tries 10 s apart have failed after 20 s.
  const { initialDelaySeconds = 0, periodSeconds = 10, failureThreshold = 3 } = startupProbe;
  const leastMs = (initialDelaySeconds + (failureThreshold - 1) * periodSeconds) * 1_000 - TIME_ROUNDING_MS;
  return Date.parse(ended.finishedAt ?? '') - Date.parse(ended.startedAt ?? '') >= leastMs;
}

/** Waiting reasons of a start that goes as it should. */
const ORDINARY = new Set(['ContainerCreating', 'PodInitializing']);

/** What keeps a pod from starting, in Kubernetes' words; undefined while all goes as it should. */
function waitingFor(pod: Pod): Failure | undefined {
  const scheduled = conditionOf(pod, 'PodScheduled');
  if (scheduled?.status === 'False') {
    // Unschedulable, SchedulingGated, SchedulerError.
    const code = scheduled.reason ?? 'Unschedulable';
    return { code, message: scheduled.message ?? 'no node takes the pod' };
  }
  for (const { name, state } of statusesOf(pod)) {
    const waiting = state?.waiting;
    if (waiting?.reason === undefined || ORDINARY.has(waiting.reason)) continue;
    return {
      code: waiting.reason,
      message: waiting.message ?? `container "${name}" waits: ${waiting.reason}`,
    };
  }
  return undefined;
}

/** Whether a start waits for a node, which an autoscaler may be adding. */
export function waitsForNode(pod: Pod): boolean {
  return pod.spec?.nodeName === undefined && pod.status?.phase !== 'Failed' && !isTerminating(pod);
}

function statusesOf(pod: Pod): readonly Wire<V1ContainerStatus>[] {
  return [...(pod.status?.initContainerStatuses ?? []), ...(pod.status?.containerStatuses ?? [])];
}
