import { existsSync, readdirSync } from 'node:fs';
import { readdir, readFile, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { run, succeeds } from './command.ts';
import { ownEngine } from './docker-engine.ts';
import { restoreFirewall } from './firewall.ts';
import { commandLine, kill, processesWith } from './processes.ts';
import { say, step } from './steps.ts';
import { until } from './wait.ts';

const STOP_TIMEOUT_MS = 30_000;

/** Whether there is anything of an engine that we started: running, killed, or containers of an earlier one. */
export function ownEngineLeftAnything(): boolean {
  if (existsSync(ownEngine.runFolder)) return true;
  const containers = join(ownEngine.dataFolder(), 'containers');
  return existsSync(containers) && readdirSync(containers).length > 0;
}

/**
 * Ends the Docker engine that we started, with its processes, mounts, bridge and packet filter rules. Images stay
 * on disk for the next time. An engine of somebody else, or one that still runs somebody's containers, stays.
 */
export async function stopOwnEngine(): Promise<void> {
  if (!existsSync(ownEngine.runFolder)) return;
  const pid = await runningPid();
  if (pid !== undefined) {
    const others = (await run('docker', ['ps', '--format', '{{.Names}}'])).trim();
    if (others !== '') {
      say(`  · the Docker engine stays, other containers run in it: ${others.replaceAll('\n', ', ')}`);
      return;
    }
  }
  await step('Docker engine ended', async ({ note }) => {
    if (pid !== undefined) await end(pid);
    for (const left of await processesOfEngine()) {
      note(`ending ${left}`);
      kill(left);
    }
    await until('the processes of the engine are gone', STOP_TIMEOUT_MS, async () => {
      return (await processesOfEngine()).length === 0;
    });
    for (const mount of (await mountsOfEngine()).toReversed()) {
      note(`unmounting ${mount}`);
      await run('umount', ['--lazy', mount]);
    }
    const bridges = await bridgesOfEngine();
    for (const bridge of bridges) await succeeds('ip', ['link', 'delete', bridge]);
    await restoreFirewall(ownEngine.firewallFile, bridges);
    await removeEmptyFolders(['/run/docker', '/run/containerd']);
    await removeEmptyFolders(await cgroupsOfEngine());
    await rm(ownEngine.socket, { force: true });
    await rm(ownEngine.runFolder, { recursive: true, force: true });
  });
}

async function runningPid(): Promise<number | undefined> {
  const text = await readFile(ownEngine.pidFile, 'utf8').catch(() => '');
  const pid = Number.parseInt(text, 10);
  return Number.isInteger(pid) && (await commandLine(pid)).includes('dockerd') ? pid : undefined;
}

async function end(pid: number): Promise<void> {
  process.kill(pid, 'SIGTERM');
  const gone = async (): Promise<boolean> => !(await commandLine(pid)).includes('dockerd');
  await until('dockerd ends', STOP_TIMEOUT_MS, gone).catch(async () => {
    kill(pid);
    await until('dockerd ends when killed', STOP_TIMEOUT_MS, gone);
  });
}

/** Its containerd, the shims and the proxies of published ports: all carry the engine's folder in their arguments. */
function processesOfEngine(): Promise<number[]> {
  return processesWith(ownEngine.runFolder);
}

/** In the order they were mounted. */
async function mountsOfEngine(): Promise<string[]> {
  const folders = [ownEngine.runFolder, ownEngine.dataFolder()];
  const table = await readFile('/proc/self/mountinfo', 'utf8');
  return table
    .split('\n')
    .map((line) => line.split(' ')[4] ?? '')
    .filter((path) => folders.some((folder) => path === folder || path.startsWith(`${folder}/`)));
}

/** Those of its networks, which it names after their ids and knows by heart; it leaves them up when it ends. */
async function bridgesOfEngine(): Promise<string[]> {
  const known = await readFile(join(ownEngine.dataFolder(), 'network/files/local-kv.db'), 'latin1').catch(
    () => '',
  );
  const devices = await readdir('/sys/class/net');
  const isOfEngine = (name: string): boolean => {
    const id = /^br-([0-9a-f]{12})$/.exec(name)?.[1];
    return name === 'docker0' || (id !== undefined && known.includes(id));
  };
  return devices.filter(isOfEngine);
}

/** The parents of its containers' control groups: one in each hierarchy (v1), or one in all (v2). */
async function cgroupsOfEngine(): Promise<string[]> {
  const root = '/sys/fs/cgroup';
  const hierarchies = await readdir(root).catch(() => []);
  return [root, ...hierarchies.map((name) => join(root, name))]
    .map((folder) => join(folder, 'docker'))
    .filter((folder) => existsSync(folder));
}

/** Removes folders that hold nothing but folders; one that is in use stays. */
async function removeEmptyFolders(folders: readonly string[]): Promise<void> {
  for (const folder of folders) {
    const inside = await readdir(folder, { withFileTypes: true }).catch(() => []);
    await removeEmptyFolders(
      inside.filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name)),
    );
    await rmdir(folder).catch(() => undefined);
  }
}
