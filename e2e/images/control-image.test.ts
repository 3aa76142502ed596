import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Wait } from 'testcontainers';
import { beforeAll, expect, test } from 'vitest';
import { buildImages } from '../../images/build.ts';
import { inspectImage } from '../../images/docker.ts';
import { builtImages, RestrictedContainer } from './containers.ts';

const run = promisify(execFile);
let images: { control: string; runtime: string };

beforeAll(async () => {
  images = await builtImages();
});

test('two builds that take nothing from each other have the same layers', async () => {
  const layers: string[] = [];
  for (const tag of ['first-of-two', 'second-of-two']) {
    const built = await buildImages({ repository: 'pilotlight', tag, noCache: true });
    const names = built.map(({ name }) => name);
    layers.push((await Promise.all(names.map((name) => inspectImage(name, '{{.RootFS.Layers}}')))).join());
    await run('docker', ['image', 'rm', ...names]);
  }
  expect(layers[0]).toContain('sha256:');
  expect(layers[1]).toBe(layers[0]);
});

test('the images say what they are and run as nobody', async () => {
  for (const image of Object.values(images)) {
    const { User, Labels, Entrypoint } = JSON.parse(await inspectImage(image, '{{json .Config}}')) as {
      User: string;
      Labels: Record<string, string>;
      Entrypoint: string[];
    };
    expect(User).toBe('65532:65532');
    expect(Entrypoint[0]).toBe('/usr/local/bin/node');
    const said = ['title', 'description', 'licenses', 'version', 'revision', 'created', 'source'].map(
      (label) => `org.opencontainers.image.${label}`,
    );
    expect(Object.keys(Labels)).toEqual(expect.arrayContaining(said));
    expect(Labels['org.opencontainers.image.licenses']).toBe('Apache-2.0');
  }
});

test('a program that is none is refused with the names of those that are', async () => {
  const refused = run('docker', ['run', '--rm', images.control, 'gateway']);
  await expect(refused).rejects.toMatchObject({
    code: 2,
    stderr: "pilotlight: expected controller or activator, got 'gateway'\n",
  });
});

test('a controller that is in no pod says what it misses', async () => {
  const started = run('docker', ['run', '--rm', images.control, 'controller', '--kubernetes']);
  await expect(started).rejects.toMatchObject({ stderr: expect.stringContaining('POD_NAME') });
});

test('an activator listens in a restricted container as process 1, its modules compiled, and ends at SIGTERM', async () => {
  const container = await new RestrictedContainer(images.control)
    .withEnvironment({
      PILOTLIGHT_ACTIVATOR_TOKEN: 'a-token-of-the-test',
      NODE_DEBUG_NATIVE: 'COMPILE_CACHE',
    })
    .withCommand(
      ['activator', '--host', '::', '--port', '8080', '--metrics-port', '9090'].concat(
        '--controller',
        'http://127.0.0.1:9',
      ),
    )
    .withExposedPorts(8080, 9090)
    .withWaitStrategy(Wait.forLogMessage('"listening"'))
    .start();
  const health = await fetch(`http://127.0.0.1:${container.getMappedPort(9090)}/healthz`);
  expect(health.status).toBe(200);
  const { stdout: log, stderr } = await run('docker', ['logs', container.getId()], { maxBuffer: 1e8 });
  const modules = [
    ...`${log}${stderr}`.matchAll(/file:\/\/\/app\/\S+ was (accepted|rejected|not initialized)/g),
  ];
  expect(modules.length).toBeGreaterThan(2);
  expect(modules.filter(([, how]) => how !== 'accepted').map(([line]) => line)).toEqual([]);
  await run('docker', ['stop', '--time', '20', container.getId()]);
  const { stdout } = await run('docker', ['inspect', '--format', '{{.State.ExitCode}}', container.getId()]);
  expect(stdout.trim()).toBe('0');
  await container.stop();
});
