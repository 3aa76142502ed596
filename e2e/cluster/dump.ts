import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Cluster } from './cluster.ts';
import { run } from './command.ts';
import { cacheFolder } from './folders.ts';
import { RELEASE_NAMESPACE } from './install.ts';

const OURS =
  'inferenceservices,standbypools,controllerrevisions,pods,services,endpointslices,leases,poddisruptionbudgets';
const LOG_LINES = '--tail=20000';
const KUBELET_LOG = ['journalctl', '--unit', 'kubelet', '--no-pager', '--lines', '5000'];

/** Where what is known of failed cases goes, one folder for each. */
export function dumpFolder(...inside: string[]): string {
  return cacheFolder('logs', 'e2e', ...inside);
}

/**
 * Writes down how the cluster is: objects and events of the platform's namespace and of a case's, nodes, and the
 * logs of all of their containers, of ended ones as well.
 */
export async function dump(cluster: Cluster, folder: string, namespace: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const save = async (file: string, ...command: string[]): Promise<string> => {
    const text = await cluster.kubectl(command).catch(String);
    await writeFile(join(folder, file), text);
    return text;
  };
  await save('nodes.yaml', 'get', 'nodes', '--output', 'yaml');
  // A case may be held up by what another one has left behind.
  await save('all-pods.yaml', 'get', 'pods', '--all-namespaces', '--output', 'yaml');
  await save('all-events.txt', 'get', 'events', '--all-namespaces', '--sort-by', '.lastTimestamp');
  const nodes = await cluster.kubectl(['get', 'nodes', '--output', 'name']).catch(() => '');
  for (const node of nodes.split('\n').flatMap((name) => name.split('/')[1] ?? [])) {
    // kind's nodes are containers; of other clusters' nodes nothing can be had.
    const kubelet = await run('docker', ['exec', node, ...KUBELET_LOG]).catch(String);
    await writeFile(join(folder, `kubelet-${node}.log`), kubelet);
  }
  for (const one of [RELEASE_NAMESPACE, namespace]) {
    const where = ['--namespace', one];
    await save(`${one}.txt`, 'get', `${OURS},events`, ...where, '--output', 'wide');
    await save(`${one}.yaml`, 'get', OURS, ...where, '--output', 'yaml');
    await save(`${one}-events.txt`, 'get', 'events', ...where, '--sort-by', '.metadata.creationTimestamp');
    const pods = await cluster.kubectl(['get', 'pods', ...where, '--output', 'name']).catch(() => '');
    for (const pod of pods.split('\n').filter((name) => name !== '')) {
      const file = `${one}-${pod.replace('pod/', '')}`;
      await save(`${file}.log`, 'logs', pod, ...where, '--all-containers', '--timestamps', LOG_LINES);
      const restarts = await cluster
        .kubectl(['get', pod, ...where, '--output', 'jsonpath={.status.containerStatuses[*].restartCount}'])
        .catch(() => '0');
      if (/[1-9]/.test(restarts))
        await save(`${file}-before.log`, 'logs', pod, ...where, '--previous', '--timestamps', LOG_LINES);
    }
  }
}
