import { existsSync } from 'node:fs';
import { run } from './command.ts';
import { ClusterError } from './errors.ts';
import { kindNodes, kubeconfigPath, loadIntoKind } from './kind.ts';
import { tool } from './tools.ts';

/** What a case knows of the cluster it runs on. */
export interface Cluster {
  /** `kind`: made by `make cluster`. `current`: whatever KUBECONFIG points at. */
  readonly origin: 'kind' | 'current';
  readonly kubeconfigPath: string;
  /** Names of the nodes, as Kubernetes knows them. */
  readonly nodes: readonly string[];
  /**
   * Calls the real kubectl on this cluster.
   *
   * @param input for `--filename -`
   * @returns what it wrote to standard output
   * @throws ClusterError E2E_COMMAND_FAILED with what it said
   */
  readonly kubectl: (kubectlArguments: readonly string[], input?: string) => Promise<string>;
  /**
   * Makes an image usable in pods: a name that the Docker engine knows, or the path of an archive. On a cluster
   * that is not ours nothing is pushed: the image has to be in E2E_IMAGE_REGISTRY already.
   *
   * @returns the name to use in a pod; for an archive on kind the path, since the names are those inside it
   * @throws ClusterError E2E_NO_IMAGE_REGISTRY
   */
  readonly loadImage: (nameOrArchive: string) => Promise<string>;
  /**
   * Runs a command as root on a node.
   *
   * @throws ClusterError E2E_NO_NODE_ACCESS where the nodes are not ours
   */
  readonly execOnNode: (node: string, command: readonly string[], input?: string) => Promise<string>;
}

/**
 * The cluster that the cases run on, by E2E_CLUSTER: the kind cluster (`kind`, and where it is not set), or
 * `current`.
 *
 * @throws ClusterError E2E_NO_CLUSTER where there is none
 */
export async function connectCluster(): Promise<Cluster> {
  const origin = clusterOrigin();
  const program = await tool('kubectl');
  return origin === 'kind' ? kindCluster(program) : currentCluster(program);
}

/** @throws ClusterError E2E_NO_CLUSTER for an E2E_CLUSTER that means nothing */
export function clusterOrigin(): Cluster['origin'] {
  const asked = process.env['E2E_CLUSTER'];
  if (asked === undefined || asked === '' || asked === 'kind') return 'kind';
  if (asked === 'current') return 'current';
  throw new ClusterError('E2E_NO_CLUSTER', `E2E_CLUSTER is "${asked}": expected "kind" or "current"`);
}

async function kindCluster(program: string): Promise<Cluster> {
  return {
    origin: 'kind',
    kubeconfigPath: kubeconfigPath(),
    nodes: await kindNodes(),
    kubectl: (kubectlArguments, input = '') =>
      run(program, ['--kubeconfig', kubeconfigPath(), ...kubectlArguments], { input }),
    loadImage: async (image) => {
      await loadIntoKind(image);
      return image;
    },
    // The nodes are containers of the same names.
    execOnNode: (node, command, input = '') =>
      run('docker', ['exec', '--interactive', node, ...command], { input }),
  };
}

async function currentCluster(program: string): Promise<Cluster> {
  const kubeconfig = process.env['KUBECONFIG'];
  if (kubeconfig === undefined || !existsSync(kubeconfig)) {
    throw new ClusterError(
      'E2E_NO_CLUSTER',
      `E2E_CLUSTER=current takes the cluster of one file, but KUBECONFIG is ${kubeconfig ?? 'not set'}: set it to the path of one`,
    );
  }
  const kubectl = (kubectlArguments: readonly string[], input = ''): Promise<string> =>
    run(program, ['--kubeconfig', kubeconfig, ...kubectlArguments], { input });
  const names = await kubectl(['get', 'nodes', '--output', 'jsonpath={.items[*].metadata.name}']);
  return {
    origin: 'current',
    kubeconfigPath: kubeconfig,
    nodes: names.split(' '),
    kubectl,
    loadImage: async (image) => imageInRegistry(image, process.env['E2E_IMAGE_REGISTRY']),
    execOnNode: async (node) => {
      throw new ClusterError(
        'E2E_NO_NODE_ACCESS',
        `commands cannot be run on ${node}: that takes the kind cluster of \`make cluster\``,
      );
    },
  };
}

/**
 * The name under which an image lies in a registry: the same, below the registry's prefix.
 *
 * @example imageInRegistry('pilotlight/runtime:0.1.0', 'ghcr.io/us') // 'ghcr.io/us/pilotlight/runtime:0.1.0'
 * @throws ClusterError E2E_NO_IMAGE_REGISTRY
 */
export function imageInRegistry(image: string, registry: string | undefined): string {
  if (registry === undefined || registry === '') {
    throw new ClusterError(
      'E2E_NO_IMAGE_REGISTRY',
      `the cluster that KUBECONFIG points at has to pull ${image}: push it to a registry that its nodes can reach, as <registry>/${image}, and set E2E_IMAGE_REGISTRY=<registry>`,
    );
  }
  return `${registry.replace(/\/+$/, '')}/${image}`;
}
