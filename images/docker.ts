import { spawn } from 'node:child_process';
import { createGzip } from 'node:zlib';
import { run, succeeds } from '../e2e/cluster/command.ts';

export interface DockerBuild {
  /** Folder with the Dockerfile and what it copies. */
  readonly context: string;
  readonly tag: string;
  readonly target?: string;
  readonly buildArguments?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly noCache?: boolean;
}

/** @throws ClusterError E2E_COMMAND_FAILED with the end of what docker said. */
export async function dockerBuild(build: DockerBuild): Promise<void> {
  const options = [
    ...Object.entries(build.buildArguments ?? {}).flatMap(([name, value]) => [
      '--build-arg',
      `${name}=${value}`,
    ]),
    ...Object.entries(build.labels ?? {}).flatMap(([name, value]) => ['--label', `${name}=${value}`]),
    ...(build.target === undefined ? [] : ['--target', build.target]),
    ...(build.noCache === true ? ['--no-cache'] : []),
  ];
  // The network of the machine: a bridge of the engine may lead nowhere where there is a proxy on this machine.
  await run('docker', ['build', '--network', 'host', '--tag', build.tag, ...options, build.context], {
    // An image of one platform and nothing beside it, whatever builder there is.
    env: { BUILDX_NO_DEFAULT_ATTESTATIONS: '1' },
  });
}

export function hasImage(name: string): Promise<boolean> {
  return succeeds('docker', ['image', 'inspect', name]);
}

/** A Go template on an image, trimmed. @throws ClusterError when there is no such image. */
export async function inspectImage(name: string, format: string): Promise<string> {
  return (await run('docker', ['image', 'inspect', '--format', format, name])).trim();
}

/** What a registry would hold of an image: its layers packed by gzip, at the level that docker uses. */
export async function compressedBytes(image: string): Promise<number> {
  const save = spawn('docker', ['save', image], { stdio: ['ignore', 'pipe', 'inherit'] });
  let sizeBytes = 0;
  for await (const piece of save.stdout.pipe(createGzip())) sizeBytes += (piece as Buffer).length;
  if (sizeBytes < 1_000) throw new Error(`docker save ${image} gave nothing`);
  return sizeBytes;
}
