import type { V1Lease } from '@kubernetes/client-node';
import { objectPath, RESOURCES } from '../../../../controller/adapters/kube/api/paths.ts';
import type { Wire } from '../../../../controller/adapters/kube/api/wire.ts';
import { LABELS } from '../../../../controller/adapters/kube/core/labels.ts';
import { isTerminating } from '../../../../controller/adapters/kube/core/pod-state.ts';
import { RELEASE_NAMESPACE } from '../../install.ts';
import type { PlatformCase, Pod } from './platform.ts';

type Lease = Wire<V1Lease>;
type Component = 'controller' | 'activator';

const LEASE = { ...RESOURCES.leases, namespace: RELEASE_NAMESPACE, name: 'pilotlight-controller' };

/** Pods of one of the platform's own programs. */
export async function platformPods(on: PlatformCase, component: Component): Promise<readonly Pod[]> {
  const labelSelector = `${LABELS.component}=${component},${LABELS.appName}=pilotlight`;
  const pods = await on.api.list<Pod>(objectPath({ ...RESOURCES.pods, namespace: RELEASE_NAMESPACE }), {
    labelSelector,
  });
  return pods.items.filter((pod) => !isTerminating(pod));
}

/** The pod of the controller that holds the Lease, and how often it has changed hands. */
export async function leader(on: PlatformCase): Promise<{ pod: Pod; epoch: number } | undefined> {
  const lease = await on.api.get<Lease>(objectPath(LEASE));
  const holder = lease?.spec?.holderIdentity?.split('_')[0];
  const pod = (await platformPods(on, 'controller')).find(({ metadata }) => metadata?.name === holder);
  return pod && { pod, epoch: lease?.spec?.leaseTransitions ?? 0 };
}

/** Waits until a controller leads, after others have been through this test. */
export function waitForLeader(on: PlatformCase, after = -1): Promise<{ pod: Pod; epoch: number }> {
  return on.until('a controller leads', async () => {
    const now = await leader(on);
    return now !== undefined && now.epoch > after && now;
  });
}

/** Sends a signal to the process of a pod's only container, past Kubernetes, as a crash or a hang would come. */
export async function signal(
  on: PlatformCase,
  pod: Pod,
  name: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT',
): Promise<void> {
  const id = pod.status?.containerStatuses?.[0]?.containerID?.replace('containerd://', '');
  const node = pod.spec?.nodeName;
  if (id === undefined || node === undefined) throw new Error(`the pod ${pod.metadata?.name} does not run`);
  await on.cluster.execOnNode(node, ['ctr', '--namespace', 'k8s.io', 'task', 'kill', '--signal', name, id]);
}

/** All of the platform is as it was installed: for the end of a test that took something away. */
export async function waitForPlatform(on: PlatformCase): Promise<void> {
  for (const component of ['controller', 'activator'] as const) {
    await on.until(
      `two ${component}s are ready`,
      async () => {
        const pods = await platformPods(on, component);
        const ready = pods.filter((pod) =>
          pod.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True'),
        );
        return pods.length === 2 && ready.length === 2;
      },
      120_000,
    );
  }
  await waitForLeader(on);
}

/**
 * Kubernetes places pods again. Its scheduler backs off while there is no API server, and has been seen to need 90 s
 * after two outages in a row: that is not the time of the test that comes next.
 */
export async function waitForScheduler(on: PlatformCase): Promise<void> {
  const path = objectPath({ ...RESOURCES.pods, namespace: on.namespace, name: 'to-be-placed' });
  const allowed = { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } };
  await on.apply({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'to-be-placed' },
    spec: {
      securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
      // It need not run: there is no such image, and nobody is asked for it.
      containers: [{ name: 'none', image: 'none', imagePullPolicy: 'Never', securityContext: allowed }],
    },
  });
  await on.until(
    'a pod is placed',
    async () => (await on.api.get<Pod>(path))?.spec?.nodeName !== undefined,
    180_000,
  );
  await on.kubectl('delete', 'pod', 'to-be-placed', '--grace-period=0', '--force');
}
