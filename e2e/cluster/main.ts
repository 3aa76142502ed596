import { clusterOrigin, connectCluster } from './cluster.ts';
import { succeeds } from './command.ts';
import { ensureDocker } from './docker-engine.ts';
import { ownEngineLeftAnything, stopOwnEngine } from './docker-engine-stop.ts';
import { ensureKindCluster, kubeconfigPath, removeCluster } from './kind.ts';
import { withLock } from './lock.ts';
import { program, say, step } from './steps.ts';

/** `up` creates the cluster of the end-to-end tests, `down` removes it and everything that came with it. */
export async function clusterUp(): Promise<string> {
  if (clusterOrigin() === 'current') {
    const { nodes, kubeconfigPath: path } = await connectCluster();
    say(`The cluster of ${path} answers: ${nodes.join(', ')}. Nothing to create.`);
    return `export KUBECONFIG=${path}`;
  }
  const startedMs = performance.now();
  say('Creating the cluster');
  await ensureKindCluster();
  say(`The cluster stands (${((performance.now() - startedMs) / 1000).toFixed(1)} s).`);
  return `export KUBECONFIG=${kubeconfigPath()}`;
}

/** E2E_KEEP_ENGINE=1 leaves a Docker engine that we started running, for what else uses it. */
export async function clusterDown(): Promise<undefined> {
  if (clusterOrigin() === 'current') {
    say('The cluster that KUBECONFIG points at is not ours to remove.');
    return;
  }
  await withLock('cluster', async () => {
    const answers = await succeeds('docker', ['version', '--format', '{{.Server.Version}}']);
    // Only an engine knows how to take apart what an engine that was killed has left.
    if (!answers && !ownEngineLeftAnything()) {
      say('There is no cluster.');
      return;
    }
    await ensureDocker();
    await step('Cluster removed', removeCluster);
    if (process.env['E2E_KEEP_ENGINE'] !== '1') await stopOwnEngine();
  });
}

if (import.meta.main) {
  const command = process.argv[2];
  if (command === 'up') await program(clusterUp);
  else if (command === 'down') await program(clusterDown);
  else {
    say('usage: node e2e/cluster/main.ts up|down');
    process.exitCode = 2;
  }
}
