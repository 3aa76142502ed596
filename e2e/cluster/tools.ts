import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { run } from './command.ts';
import { findProgram } from './debian.ts';
import { ClusterError } from './errors.ts';
import { cacheFolder } from './folders.ts';
import { withLock } from './lock.ts';
import { program, type RunInStep, step } from './steps.ts';

const BUILD_TIMEOUT_MS = 40 * 60_000;
const MODULES = join(import.meta.dirname, 'go');
/** The Kubernetes of our own node image, and the kubectl of every cluster. */
export const KUBERNETES_VERSION = 'v1.34.4';
const [major, minor] = KUBERNETES_VERSION.slice(1).split('.');
/** Kubernetes knows its own version only from the linker; clients and servers compare theirs. */
const KUBERNETES_STAMP = [
  `gitVersion=${KUBERNETES_VERSION}`,
  `gitMajor=${major}`,
  `gitMinor=${minor}`,
  'gitTreeState=clean',
]
  .map((variable) => `-X k8s.io/component-base/version.${variable}`)
  .join(' ');

interface Recipe {
  /** The folder with the go.mod that pins it. */
  readonly module: string;
  readonly package: string;
  readonly stamp?: string;
  /** From an empty cache on two cores, measured; said while it is built. */
  readonly usually: string;
}

/** What can be built. Each has a module of its own, since their requirements conflict. */
const RECIPES = {
  kind: { module: join(MODULES, 'kind'), package: 'sigs.k8s.io/kind', usually: 'about 10 s' },
  kubernetes: {
    module: join(MODULES, 'kubernetes'),
    package: '.',
    stamp: KUBERNETES_STAMP,
    usually: 'about 5 minutes',
  },
  kubectl: {
    module: join(MODULES, 'kubernetes'),
    package: 'k8s.io/kubernetes/cmd/kubectl',
    stamp: KUBERNETES_STAMP,
    usually: 'about a minute',
  },
  etcd: { module: join(MODULES, 'etcd'), package: 'go.etcd.io/etcd/server/v3', usually: 'about 30 s' },
  coredns: { module: join(MODULES, 'coredns'), package: '.', usually: 'about a minute' },
  pause: { module: join(MODULES, 'pause'), package: '.', usually: 'a second' },
  hello: { module: join(MODULES, 'hello'), package: '.', usually: 'a few seconds' },
  bombardier: {
    module: join(MODULES, 'bombardier'),
    package: 'github.com/codesenberg/bombardier',
    usually: 'a few seconds',
  },
  'knative-activator': knative('activator'),
  'knative-autoscaler': knative('autoscaler'),
  'knative-controller': knative('controller'),
  'knative-webhook': knative('webhook'),
  'knative-queue': knative('queue'),
  helm: { module: join(MODULES, 'helm'), package: 'helm.sh/helm/v3/cmd/helm', usually: 'about a minute' },
  prometheus: {
    module: join(MODULES, 'prometheus'),
    package: 'github.com/prometheus/prometheus/cmd/prometheus',
    usually: 'about 3 minutes',
  },
  promtool: {
    module: join(MODULES, 'prometheus'),
    package: 'github.com/prometheus/prometheus/cmd/promtool',
    usually: 'about 3 minutes',
  },
  'fake-gcs-server': {
    module: join(MODULES, 'fake-gcs-server'),
    package: 'github.com/fsouza/fake-gcs-server',
    usually: 'about a minute',
  },
  versitygw: {
    module: join(import.meta.dirname, '../storage/versitygw'),
    package: 'github.com/versity/versitygw/cmd/versitygw',
    usually: 'about a minute',
  },
} as const satisfies Record<string, Recipe>;

/** Knative Serving, which the benchmark on Kubernetes compares with. */
function knative(command: string): Recipe {
  return {
    module: join(MODULES, 'knative'),
    package: `knative.dev/serving/cmd/${command}`,
    usually: 'about a minute',
  };
}

export type ToolName = keyof typeof RECIPES;

/**
 * Builds a program with Go from a pinned module where that has not been done on this machine, and says where it
 * lies. It is a static binary for this machine's architecture, so it runs in any image as well.
 *
 * @returns the binary's path in the cache folder
 * @throws ClusterError E2E_NEEDS_GO, or E2E_STEP_FAILED with the end of what Go said
 */
export async function tool(name: ToolName): Promise<string> {
  const recipe: Recipe = RECIPES[name];
  const binary = cacheFolder('tools', `${name}-${toolDigest(name)}`);
  if (existsSync(binary)) return binary;
  if (findProgram('go') === undefined) {
    throw new ClusterError(
      'E2E_NEEDS_GO',
      `Go is not installed, and ${name} is built with it: see https://go.dev/dl`,
    );
  }
  await withLock(`tool-${name}`, async () => {
    if (existsSync(binary)) return;
    await step(`${name} built with Go`, (given) => build(recipe, binary, given.run), recipe.usually);
    await removeOlder(name, binary);
  });
  return binary;
}

async function build(recipe: Recipe, binary: string, runInStep: RunInStep): Promise<void> {
  await mkdir(cacheFolder('tools'), { recursive: true });
  const unfinished = `${binary}.unfinished`;
  const linker = `-s -w ${recipe.stamp ?? ''}`.trim();
  await runInStep('go', ['build', '-trimpath', '-ldflags', linker, '-o', unfinished, recipe.package], {
    cwd: recipe.module,
    timeoutMs: BUILD_TIMEOUT_MS,
    env: { CGO_ENABLED: '0', GOFLAGS: '-mod=readonly -buildvcs=false', GOWORK: 'off' },
  });
  await rename(unfinished, binary);
}

/**
 * Where the sources of a Go module lie that one of the tools is built from, in its version for that tool: some hold
 * files that are needed beside the program.
 */
export async function moduleSources(name: ToolName, goModule: string): Promise<string> {
  const said = await run('go', ['mod', 'download', '-json', goModule], { cwd: RECIPES[name].module });
  return z.object({ Dir: z.string() }).parse(JSON.parse(said)).Dir;
}

/** Where kind's own sources lie: the files of its base image are among them. */
export const kindSources = (): Promise<string> => moduleSources('kind', 'sigs.k8s.io/kind');

/** Changes with everything that a tool is made of. */
export function toolDigest(name: ToolName): string {
  const recipe: Recipe = RECIPES[name];
  const hash = createHash('sha256').update(JSON.stringify([process.arch, recipe.package, recipe.stamp]));
  for (const file of readdirSync(recipe.module).sort()) {
    hash.update(`${file}\n`).update(readFileSync(join(recipe.module, file)));
  }
  return hash.digest('hex').slice(0, 12);
}

/** Of each tool one build is kept: they are large, and Go's own cache makes an older one again in seconds. */
async function removeOlder(name: ToolName, kept: string): Promise<void> {
  const own = new RegExp(`^${name}-[0-9a-f]{12}(\\.unfinished)?$`);
  for (const file of await readdir(cacheFolder('tools'))) {
    const path = cacheFolder('tools', file);
    if (own.test(file) && path !== kept) await rm(path, { force: true });
  }
}

if (import.meta.main) {
  await program(async () => {
    const names = process.argv.slice(2).filter((name): name is ToolName => name in RECIPES);
    if (names.length === 0 || names.length !== process.argv.length - 2) {
      throw new Error(`name one or more of: ${Object.keys(RECIPES).join(', ')}`);
    }
    const paths: string[] = [];
    for (const name of names) paths.push(await tool(name));
    return paths.join('\n');
  });
}
