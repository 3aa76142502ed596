import { mkdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { clusterOrigin, connectCluster } from './cluster.ts';
import { succeeds } from './command.ts';
import { ensureDocker } from './docker-engine.ts';
import { ownEngineLeftAnything, stopOwnEngine } from './docker-engine-stop.ts';
import { cacheFolder } from './folders.ts';
import { install } from './install.ts';
import { ensureKindCluster, kubeconfigPath, removeCluster } from './kind.ts';
import { withLock } from './lock.ts';
import { program, say, step } from './steps.ts';
import { tool } from './tools.ts';

/**
 * `up` creates the cluster of the end-to-end tests, `platform` installs Pilotlight on it as well, `down` removes it and
 * everything that came with it.
 */
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

/** The cluster with the platform on it, to try it out. @returns what to put into a shell's environment. */
async function platform(): Promise<string> {
  const environment = await clusterUp();
  await install(await connectCluster());
  const programs = cacheFolder('bin');
  await mkdir(programs, { recursive: true });
  for (const name of ['kubectl', 'helm'] as const) {
    const link = join(programs, name);
    await rm(link, { force: true });
    await symlink(await tool(name), link);
  }
  say('Pilotlight is installed. kubectl and helm are there for a shell that takes the following lines in:');
  return `${environment}\nexport PATH=${programs}:$PATH`;
}

if (import.meta.main) {
  const command = process.argv[2];
  if (command === 'up') await program(clusterUp);
  else if (command === 'down') await program(clusterDown);
  else if (command === 'platform') await program(platform);
  else {
    say('usage: node e2e/cluster/main.ts up|platform|down');
    process.exitCode = 2;
  }
}
