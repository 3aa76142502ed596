import type { KubeAccess } from './kube-client.ts';

/**
 * Access by a kubeconfig file where one is named (argument, else KUBECONFIG), else by the pod's ServiceAccount,
 * else by `~/.kube/config`.
 */
export declare function loadKubeAccess(kubeconfigPath?: string): Promise<KubeAccess>;
