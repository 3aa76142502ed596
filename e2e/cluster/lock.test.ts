import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { withLock } from './lock.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pilotlight-lock-'));
  vi.stubEnv('PILOTLIGHT_CACHE_DIR', folder);
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

test('work under one name is done one at a time, whatever it ends with', async () => {
  let atOnce = 0;
  const work = (fails: boolean) =>
    withLock('test', async () => {
      atOnce++;
      expect(atOnce).toBe(1);
      await new Promise((resolve) => setImmediate(resolve));
      atOnce--;
      if (fails) throw new Error('as it happens');
    }).catch(() => undefined);
  await Promise.all([work(false), work(true), work(false), work(true)]);
});

test('work under different names does not wait for each other', async () => {
  const inner = withLock('one', () => withLock('other', async () => 'both'));
  await expect(inner).resolves.toBe('both');
});

test('a holder that is killed leaves no lock behind', async () => {
  const program = `import { withLock } from ${JSON.stringify(join(import.meta.dirname, 'lock.ts'))};
    setInterval(() => undefined, 1000);
    await withLock('test', async () => { console.log('held'); await new Promise(() => undefined); });`;
  const holder = spawn(process.execPath, ['--input-type=module-typescript', '--eval', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(holder.stdout, 'data');
  let taken = false;
  const waiting = withLock('test', async () => {
    taken = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  expect(taken).toBe(false);
  holder.kill('SIGKILL');
  await waiting;
  expect(taken).toBe(true);
});
