import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { run, succeeds } from './command.ts';
import { ensurePrograms } from './debian.ts';
import { debootstrap, ensureDebootstrap } from './debootstrap.ts';
import { ensureDocker } from './docker-engine.ts';
import { cacheFolder } from './folders.ts';
import { withLock } from './lock.ts';
import { program, type Step, say, step } from './steps.ts';
import { KUBERNETES_VERSION, kindSources, type ToolName, tool, toolDigest } from './tools.ts';

const SCRIPTS = join(import.meta.dirname, 'node');
const REPOSITORY = 'pilotlight.dev/kind-node';
const LOADER = 'pilotlight-node-image-loader';
/** What the image of kind's makers holds as well (systemd, containerd, what kubelet and kube-proxy call). */
const PACKAGES = [
  'systemd',
  'systemd-sysv',
  'dbus',
  'iproute2',
  'iptables',
  'nftables',
  'conntrack',
  'ipset',
].concat(
  ['ethtool', 'socat', 'mount', 'kmod', 'procps', 'hostname', 'util-linux', 'curl', 'jq', 'ca-certificates'],
  ['containerd', 'runc', 'containernetworking-plugins'],
);
const PARTS: readonly ToolName[] = ['kubernetes', 'coredns', 'etcd', 'pause', 'kind'];
/** As in the Dockerfile of kind's base image; without the arguments that the loader was called with. */
const IMAGE_SETTINGS = [
  'ENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]',
  'CMD []',
  'ENV container=docker',
];
/** systemd ends on this one. `docker commit` has no setting for it and takes it from the container. */
const STOP_SIGNAL = 'SIGRTMIN+3';

/** The images that kubeadm asks for, by the folder of their files; kubeadm fixes the names and tags. */
const COMPONENTS = {
  kubernetes: [
    ...['kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kube-proxy'].map(
      (part) => `registry.k8s.io/${part}:${KUBERNETES_VERSION}`,
    ),
    `pilotlight.dev/kubernetes:${KUBERNETES_VERSION}`,
  ],
  etcd: ['registry.k8s.io/etcd:3.6.5-0'],
  coredns: ['registry.k8s.io/coredns/coredns:v1.12.1'],
  // kubeadm asks for the one, containerd's configuration for the other.
  pause: ['registry.k8s.io/pause:3.10.1', 'registry.k8s.io/pause:3.10'],
} as const;

/**
 * Sees to it that the Docker engine holds a node image for kind that is built here, from Debian packages and Go
 * modules: for machines that cannot pull `kindest/node`. Built once, kept by the engine, and built again when
 * anything that it is made of changes.
 *
 * @returns the image's name
 * @throws ClusterError E2E_NEEDS_ROOT, E2E_NEEDS_DEBIAN, E2E_NEEDS_GO or E2E_STEP_FAILED
 */
export async function ensureNodeImage(): Promise<string> {
  await ensureDocker();
  const image = `${REPOSITORY}:${KUBERNETES_VERSION}-${recipeDigest()}`;
  await withLock('node-image', async () => {
    if (!(await succeeds('docker', ['image', 'inspect', image]))) await buildNodeImage(image);
  });
  return image;
}

function recipeDigest(): string {
  const hash = createHash('sha256').update(JSON.stringify([process.arch, PACKAGES, COMPONENTS]));
  for (const part of PARTS) hash.update(toolDigest(part));
  const sources = readdirSync(SCRIPTS).map((file) => join(SCRIPTS, file));
  for (const file of [...sources.sort(), import.meta.filename]) hash.update(readFileSync(file));
  return hash.digest('hex').slice(0, 12);
}

async function buildNodeImage(image: string): Promise<void> {
  await ensureDebootstrap('a node image');
  await ensurePrograms({ jq: 'jq' }, 'a node image');
  say(`  · building the node image ${image}: once, about 10 minutes from nothing`);
  const folder = cacheFolder('build', `node-image-${process.pid}`);
  const root = join(folder, 'root');
  await mkdir(cacheFolder('build'), { recursive: true });
  await removeLeftovers();
  try {
    await mkdir(folder);
    // Downloads wait for the network while the compiler keeps the cores busy.
    const [programs] = await Promise.all([
      buildPrograms(),
      step('Debian for the nodes', (given) => debootstrap(given.run, root, PACKAGES), 'a minute or two'),
    ]);
    await step('Node image', (given) => assemble(image, folder, root, programs, given), 'about a minute');
    await removeOlder(image);
  } finally {
    await removeLeftovers();
  }
}

async function buildPrograms(): Promise<Record<ToolName, string>> {
  const paths: Partial<Record<ToolName, string>> = {};
  const inTurn = async (names: readonly ToolName[]): Promise<void> => {
    for (const name of names) paths[name] = await tool(name);
  };
  // The largest first: its last minute, the linking, leaves a core to the others.
  await Promise.all([inTurn(['kubernetes', 'kubectl']), inTurn(['kind', 'coredns', 'etcd', 'pause'])]);
  return paths as Record<ToolName, string>;
}

async function assemble(
  image: string,
  folder: string,
  root: string,
  programs: Record<ToolName, string>,
  { run: runInStep }: Step,
): Promise<void> {
  const base = join(await kindSources(), 'images/base/files');
  await runInStep(join(SCRIPTS, 'prepare-root.sh'), [root, base, programs.kubernetes, KUBERNETES_VERSION]);

  const archives = join(folder, 'images');
  const component = (name: string): string => join(folder, 'components', name);
  await mkdir(archives, { recursive: true });
  await runInStep(join(SCRIPTS, 'component-root.sh'), [root, component('kubernetes')]);
  await runInStep('install', ['-D', programs.etcd, `${component('etcd')}/usr/local/bin/etcd`]);
  await runInStep('install', ['-D', programs.coredns, `${component('coredns')}/coredns`]);
  await runInStep('install', ['-D', programs.pause, `${component('pause')}/pause`]);
  const names: string[] = [];
  for (const [name, [first, ...others]] of Object.entries(COMPONENTS)) {
    const entrypoint = name === 'coredns' || name === 'pause' ? ['--change', `ENTRYPOINT ["/${name}"]`] : [];
    const settings = ['--change', 'ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin', ...entrypoint];
    const archive = join(folder, `${name}.tar`);
    await runInStep('tar', ['-C', component(name), '--numeric-owner', '-cf', archive, '.']);
    await runInStep('docker', ['import', ...settings, archive, first]);
    for (const other of others) await runInStep('docker', ['tag', first, other]);
    await rm(archive);
    names.push(first, ...others);
  }
  await runInStep('docker', ['save', '--output', join(archives, 'components.tar'), ...names]);
  await runInStep('docker', ['rmi', ...names]);

  // Into the node's containerd, which takes one that runs.
  const settings = IMAGE_SETTINGS.flatMap((setting) => ['--change', setting]);
  const archive = join(folder, 'root.tar');
  await runInStep('tar', ['-C', root, '--numeric-owner', '-cf', archive, '.']);
  await runInStep('docker', ['import', archive, `${LOADER}:base`]);
  const mounts = ['--volume', `${archives}:/archives:ro`, '--volume', `${SCRIPTS}:/scripts:ro`];
  const loader = [
    '--name',
    LOADER,
    '--privileged',
    '--stop-signal',
    STOP_SIGNAL,
    '--network',
    'none',
    ...mounts,
    '--entrypoint',
    '/bin/bash',
  ];
  await runInStep('docker', [
    'run',
    ...loader,
    `${LOADER}:base`,
    '/scripts/load-images.sh',
    '/archives/components.tar',
  ]);
  await runInStep('docker', ['commit', ...settings, LOADER, image]);
}

/** They are large. One that a cluster still runs on stays until that is gone. */
async function removeOlder(kept: string): Promise<void> {
  const said = await run('docker', ['images', '--format', '{{.Repository}}:{{.Tag}}', REPOSITORY]);
  const older = said.split('\n').filter((name) => name !== '' && name !== kept);
  for (const name of older) await succeeds('docker', ['rmi', name]);
}

async function removeLeftovers(): Promise<void> {
  await succeeds('docker', ['rm', '--force', '--volumes', LOADER]);
  await succeeds('docker', ['rmi', '--force', `${LOADER}:base`]);
  for (const left of readdirSync(cacheFolder('build'), { withFileTypes: true })) {
    if (left.name.startsWith('node-image-')) {
      await rm(cacheFolder('build', left.name), { recursive: true, force: true });
    }
  }
}

if (import.meta.main) await program(ensureNodeImage);
