import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, open, readFile, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { run, succeeds } from './command.ts';
import { ensurePrograms, findProgram, isRoot } from './debian.ts';
import { ClusterError } from './errors.ts';
import { rememberFirewall } from './firewall.ts';
import { cacheFolder } from './folders.ts';
import { withLock } from './lock.ts';
import { commandLine } from './processes.ts';
import { program, say, step } from './steps.ts';
import { until } from './wait.ts';

/** Where the engine that we start listens: the usual place, so that every Docker client finds it. */
const OWN_SOCKET = '/var/run/docker.sock';
const OWN_HOST = `unix://${OWN_SOCKET}`;
const START_TIMEOUT_MS = 60_000;
const DYING_TIMEOUT_MS = 2_000;
const ANSWER_TIMEOUT_MS = 10_000;
/** The bit of CAP_SYS_RESOURCE in a capability mask (capabilities(7)). */
const CAP_SYS_RESOURCE = 24n;
const RUNC_WRAPPER = 'runc-without-sys-resource';

export interface DockerEngine {
  /** As in DOCKER_HOST. */
  readonly host: string;
}

/** The files of the engine that we start ourselves. */
export const ownEngine = {
  dataFolder: () => cacheFolder('docker'),
  /** Short, since Unix sockets in it may have 107 characters at most. */
  runFolder: '/run/pilotlight-docker',
  pidFile: '/run/pilotlight-docker/dockerd.pid',
  /** What the packet filter was like before. */
  firewallFile: '/run/pilotlight-docker/firewall.json',
  socket: OWN_SOCKET,
  logFile: () => cacheFolder('logs', 'dockerd.log'),
} as const;

/**
 * Sees to it that a Docker engine answers: the one that is there, or one that this starts with Debian's docker.io
 * (installed where missing, about 20 s; started in about 1 s). Can be called at any time and by many processes at
 * once. The engine stays when this process ends; `make cluster-down` ends it.
 *
 * @throws ClusterError E2E_NEEDS_DOCKER where DOCKER_HOST names an engine that does not answer, E2E_NEEDS_ROOT or
 * E2E_NEEDS_DEBIAN where one would have to be installed or started and that cannot be done
 */
export async function ensureDocker(): Promise<DockerEngine> {
  const running = await answeringEngine();
  if (running !== undefined) return running;
  const named = process.env['DOCKER_HOST'];
  if (named !== undefined && named !== '' && named !== OWN_HOST) {
    throw new ClusterError(
      'E2E_NEEDS_DOCKER',
      `DOCKER_HOST is ${named}, and no engine answers there: start it, or unset DOCKER_HOST to have one started here`,
    );
  }
  if (process.platform !== 'linux') {
    throw new ClusterError(
      'E2E_NEEDS_DOCKER',
      'no Docker engine answers: start one (Docker Desktop, Colima, …)',
    );
  }
  await ensurePrograms(
    {
      docker: 'docker.io',
      dockerd: 'docker.io',
      runc: 'runc',
      containerd: 'containerd',
      iptables: 'iptables',
      jq: 'jq',
    },
    'a Docker engine',
  );
  return withLock('docker-engine', async () => (await answeringEngine()) ?? (await startEngine()));
}

async function answeringEngine(): Promise<DockerEngine | undefined> {
  if (
    !(await succeeds('docker', ['version', '--format', '{{.Server.Version}}'], {
      timeoutMs: ANSWER_TIMEOUT_MS,
    }))
  )
    return undefined;
  const named = process.env['DOCKER_HOST'];
  if (named !== undefined && named !== '') return { host: named };
  const host = await run('docker', ['context', 'inspect', '--format', '{{.Endpoints.docker.Host}}']);
  return { host: host.trim() };
}

async function startEngine(): Promise<DockerEngine> {
  const dockerd = findProgram('dockerd');
  if (!isRoot() || dockerd === undefined) {
    throw new ClusterError(
      'E2E_NEEDS_ROOT',
      'no Docker engine answers and starting one takes root: start yours, or run this as root',
    );
  }
  return step('Docker engine started', async ({ note }) => {
    await mkdir(ownEngine.runFolder, { recursive: true });
    await mkdir(ownEngine.dataFolder(), { recursive: true });
    await forgetDeadProcesses();
    // An engine that was killed has changed it already.
    if (!existsSync(ownEngine.firewallFile)) await rememberFirewall(ownEngine.firewallFile);
    const folders = ['--data-root', ownEngine.dataFolder(), '--exec-root', ownEngine.runFolder];
    const runtime = (await rootMayRaiseLimits()) ? [] : await runtimeWithoutSysResource();
    const engineArguments = ['--host', OWN_HOST, ...folders, '--pidfile', ownEngine.pidFile].concat(
      ['--log-level', 'warn'],
      runtime,
    );
    note(`${dockerd} ${engineArguments.join(' ')}\nIts log: ${ownEngine.logFile()}`);
    const exit = await spawnEngine(dockerd, engineArguments);
    const running = await until('the Docker engine answers', START_TIMEOUT_MS, async () => {
      if (exit() !== undefined) {
        const log = await readFile(ownEngine.logFile(), 'utf8');
        throw new ClusterError(
          'E2E_NEEDS_DOCKER',
          `dockerd ended with ${exit()}; its log (${ownEngine.logFile()}) ends with:\n${log.slice(-1500)}`,
        );
      }
      return answeringEngine();
    });
    return running;
  });
}

/**
 * Takes away the process id files of an engine that was killed. While its processes are dead but not yet waited
 * for, which in a container can be for good, a new engine would take them for running ones.
 */
async function forgetDeadProcesses(): Promise<void> {
  for (const file of [ownEngine.pidFile, join(ownEngine.runFolder, 'containerd/containerd.pid')]) {
    const text = await readFile(file, 'utf8').catch(() => undefined);
    if (text === undefined) continue;
    const pid = Number.parseInt(text, 10);
    const name = basename(file, '.pid');
    // One that got its signal a moment ago may take another one to be gone.
    const gone = await until(`${name} ${pid} is gone`, DYING_TIMEOUT_MS, async () => {
      return !(await commandLine(pid)).includes(name);
    }).catch(() => false);
    if (gone) await rm(file, { force: true });
  }
}

/** Starts dockerd as a process that outlives this one. Returns how to ask whether it has ended already. */
async function spawnEngine(
  dockerd: string,
  engineArguments: readonly string[],
): Promise<() => number | string | undefined> {
  await mkdir(dirname(ownEngine.logFile()), { recursive: true });
  const log = await open(ownEngine.logFile(), 'w');
  // Little of our own environment: whoever starts the engine is not who it works for.
  const kept = ['HOME', 'http_proxy', 'https_proxy', 'no_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'];
  const env = Object.fromEntries(
    kept.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
  const child = spawn(dockerd, engineArguments, {
    cwd: '/',
    detached: true,
    env: { ...env, PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
    stdio: ['ignore', log.fd, log.fd],
  });
  let ended: number | string | undefined;
  child.once('error', (error) => {
    ended = error.message;
  });
  child.once('exit', (code, signal) => {
    ended = code ?? signal ?? 'unknown';
  });
  child.unref();
  await log.close();
  return () => ended;
}

async function rootMayRaiseLimits(): Promise<boolean> {
  const status = await readFile('/proc/self/status', 'utf8');
  const mask = /^CapBnd:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  return mask === undefined || ((BigInt(`0x${mask}`) >> CAP_SYS_RESOURCE) & 1n) === 1n;
}

async function runtimeWithoutSysResource(): Promise<string[]> {
  // A copy outside the checkout: the engine outlives it.
  const wrapper = cacheFolder('bin', RUNC_WRAPPER);
  await mkdir(dirname(wrapper), { recursive: true });
  await copyFile(join(import.meta.dirname, 'scripts', RUNC_WRAPPER), wrapper);
  await chmod(wrapper, 0o755);
  say('  · root lacks CAP_SYS_RESOURCE here: containers run without it');
  return ['--add-runtime', `${RUNC_WRAPPER}=${wrapper}`, '--default-runtime', RUNC_WRAPPER];
}

if (import.meta.main) await program(async () => (await ensureDocker()).host);
