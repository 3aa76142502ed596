import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { modelManifest } from './testing/manifests.ts';
import { ModelFolder, markedModelBytes, markIn, zeros } from './testing/marked-model.ts';
import { ModelStore } from './testing/model-store.ts';
import { TestPlatform } from './testing/platform.ts';
import { processesMarked } from './testing/processes.ts';
import { waitFor } from './testing/wait-for.ts';

const ROOT = join(import.meta.dirname, '../..');
const AT_ZERO = { scaling: { initialScale: 0 }, predictor: { maxReplicas: 1 } };
const models = new ModelFolder();
const folders: string[] = [];
let store: ModelStore;

beforeAll(async () => {
  store = await ModelStore.open();
  store.set('remote.onnx', { kind: 'bytes', bytes: markedModelBytes(9) });
});

afterAll(async () => {
  await store.close();
  models.remove();
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'pilotlight-'));
  folders.push(folder);
  return folder;
}

/** Runs `serve` where it is expected to give up. */
async function failedServe(args: readonly string[]): Promise<{ code: number | null; text: string }> {
  const child = spawn(process.execPath, [join(ROOT, 'cli/main.ts'), 'serve', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, text };
}

const mountable = (() => {
  const folder = mkdtempSync(join(tmpdir(), 'pilotlight-'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder]).status === 0;
  if (mounted) spawnSync('umount', [folder]);
  rmSync(folder, { recursive: true });
  return mounted;
})();

describe.concurrent('folders and ports that are not as they should be', () => {
  it('a port in use: a message that says which, and exit code 1', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as AddressInfo;
    for (const flag of ['--port', '--api-port']) {
      const other = flag === '--port' ? '--api-port' : '--port';
      const { code, text } = await failedServe([newFolder(), flag, String(port), other, '0']);
      expect(code, text).toBe(1);
      expect(text).toMatch(/in use|EADDRINUSE/);
      expect(text).toContain(String(port));
    }
    taken.close();
  });

  it('a folder that is not there, or a file where the cache should be: a message and exit code 1', async () => {
    const dir = newFolder();
    const absent = await failedServe([join(dir, 'nowhere'), '--port', '0', '--api-port', '0']);
    expect(absent.code).toBe(1);
    expect(absent.text).toContain('is no folder');
    writeFileSync(join(dir, 'cache'), '');
    const file = await failedServe([
      dir,
      '--port',
      '0',
      '--api-port',
      '0',
      '--cache-dir',
      join(dir, 'cache'),
    ]);
    expect(file.code).toBe(1);
    expect(file.text).toContain('--cache-dir');
  });

  it('a folder that another process serves is refused; killed -9, nothing is left and it can be served again', async () => {
    const first = await TestPlatform.start({
      manifests: { 'a.json': modelManifest('a', models.write(1), AT_ZERO) },
    });
    const second = await failedServe([
      first.dir,
      '--port',
      '0',
      '--api-port',
      '0',
      '--cache-dir',
      first.cacheDir,
    ]);
    expect(second.code, second.text).toBe(1);
    expect(second.text).toContain('is served already');
    expect((await first.infer('a', zeros())).status).toBe(200);
    expect(first.processes().length).toBeGreaterThan(3);
    await first.end('SIGKILL', 5_000);
    const again = await TestPlatform.startOn(first.dir, first.cacheDir);
    try {
      const answer = await again.infer('a', zeros());
      expect(markIn(await answer.text())).toBe(1);
      expect((await again.revisions('a')).map(({ number }) => number)).toEqual([1]);
    } finally {
      await again.stop();
    }
  });

  it('manifests renamed away and back: services serve on, and changes count again', async () => {
    const dir = newFolder();
    writeFileSync(join(dir, 'a.json'), modelManifest('a', models.write(2), AT_ZERO));
    const platform = await TestPlatform.startOn(dir, newFolder(), { args: ['--state-dir', newFolder()] });
    try {
      renameSync(dir, `${dir}-away`);
      await waitFor('the loss is told', () =>
        platform.log.some((line) => line.includes('manifest folder could not be read')),
      );
      const answer = await platform.infer('a', zeros());
      expect(markIn(await answer.text())).toBe(2);
      // Another folder in its place is what an editor or a checkout may leave: it counts as it is.
      mkdirSync(dir);
      writeFileSync(join(dir, 'a.json'), modelManifest('a', `${models.path}/marked-2.onnx`, AT_ZERO));
      writeFileSync(join(dir, 'b.json'), modelManifest('b', models.write(3), AT_ZERO));
      await platform.waitForService('b', 'is known', ({ state }) => state === 'Standby');
      expect((await platform.service('a')).generation).toBe(1);
      const other = await platform.infer('b', zeros());
      expect(markIn(await other.text())).toBe(3);
    } finally {
      await platform.stop();
      rmSync(`${dir}-away`, { recursive: true, force: true });
    }
  });

  it('a cache folder that can’t be written: the caller and the status are told, and a good one heals', async () => {
    const platform = await TestPlatform.start({
      manifests: { 'a.json': modelManifest('a', store.url('remote.onnx'), AT_ZERO) },
    });
    try {
      await platform.waitForStandbys(1);
      // Who is root may write everywhere, but not into a file.
      rmSync(platform.cacheDir, { recursive: true, force: true });
      writeFileSync(platform.cacheDir, '');
      const answer = await platform.infer('a', zeros());
      const text = await answer.text();
      expect(answer.status, text).toBe(503);
      expect(text).toContain('cache-not-writable');
      const service = await platform.waitForService('a', 'has failed', ({ state }) => state === 'Failed');
      expect(service.message).toContain('cache-not-writable');
      rmSync(platform.cacheDir);
      mkdirSync(platform.cacheDir);
      const healed = await waitFor('it heals', async () => {
        const again = await platform.infer('a', zeros());
        return again.status === 200 && again;
      });
      expect(markIn(await healed.text())).toBe(9);
    } finally {
      await platform.stop();
    }
  });

  it.skipIf(!mountable)('a cache folder that is full: the caller and the status are told', async () => {
    const cacheDir = newFolder();
    expect(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', cacheDir]).status).toBe(0);
    try {
      const big = Buffer.concat([markedModelBytes(1), Buffer.alloc(300_000)]);
      store.set('big.onnx', { kind: 'bytes', bytes: big });
      const dir = newFolder();
      writeFileSync(join(dir, 'a.json'), modelManifest('a', store.url('big.onnx'), AT_ZERO));
      const platform = await TestPlatform.startOn(dir, cacheDir);
      try {
        const answer = await platform.infer('a', zeros());
        const text = await answer.text();
        expect(answer.status, text).toBe(503);
        expect(text).toContain('cache-full');
        const service = await platform.waitForService('a', 'has failed', ({ state }) => state === 'Failed');
        expect(service.message).toContain('cache-full');
      } finally {
        await platform.end('SIGTERM');
      }
    } finally {
      spawnSync('umount', [cacheDir]);
    }
  });

  it('a controller on its own that is killed -9: the next one adopts its runtimes, without one they end', async () => {
    const MARK = 'PILOTLIGHT_TEST_CONTROLLER';
    const mark = crypto.randomUUID();
    const flags = [
      '--dir',
      newFolder(),
      '--state-dir',
      newFolder(),
      '--cache-dir',
      newFolder(),
      '--api-port',
      '0',
    ];
    const start = async () => {
      const child = spawn(process.execPath, [join(ROOT, 'controller/main.ts'), ...flags], {
        stdio: ['ignore', 'pipe', 'ignore'],
        env: { ...process.env, PILOTLIGHT_ACTIVATOR_TOKEN: 'a secret of the test', [MARK]: mark },
      });
      await once(createInterface({ input: child.stdout }), 'line');
      return child;
    };
    const runtimes = () =>
      processesMarked(MARK, mark).filter(({ command }) => command.includes('runtime/main.ts'));
    const first = await start();
    const [runtime] = await waitFor('a standby runs', () => runtimes().length === 1 && runtimes());
    first.kill('SIGKILL');
    await once(first, 'exit');
    const second = await start();
    expect(runtimes().map(({ pid }) => pid)).toEqual([runtime?.pid]);
    second.kill('SIGKILL');
    await once(second, 'exit');
    await waitFor('no runtime is left', () => processesMarked(MARK, mark).length === 0, 20_000);
  });
});
