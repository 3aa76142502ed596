import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CacheLock, isLocked } from './cache-lock.ts';
import { FORGOTTEN_MS, HEARTBEAT_TIMEOUT_MS, isGone, ownMark } from './process-mark.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pilotlight-lock-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const acquire = () => CacheLock.tryAcquire(folder, 'model', Date.now);
const leave = (number: number, mark: unknown) =>
  writeFile(join(folder, `model.${number}`), typeof mark === 'string' ? mark : JSON.stringify(mark));

test('one holds the lock, another gets it after the release', async () => {
  const first = await acquire();
  expect(first).toBeDefined();
  expect(await acquire()).toBeUndefined();
  expect(await CacheLock.tryAcquire(folder, 'other', Date.now)).toBeDefined();
  await first?.release();
  expect(await isLocked(folder, 'model', Date.now())).toBe(false);
  expect(await acquire()).toBeDefined();
});

test('of many who try at once at most one gets it, round after round, with dead owners about', async () => {
  for (let round = 0; round < 20; round += 1) {
    await leave(1, { ...ownMark(), pid: 2 ** 30 });
    const locks = (await Promise.all(Array.from({ length: 30 }, acquire))).filter(
      (lock) => lock !== undefined,
    );
    expect(locks.length).toBeLessThanOrEqual(1);
    let holder = locks[0];
    for (let attempt = 0; holder === undefined && attempt < 100; attempt += 1) holder = await acquire();
    expect(holder).toBeDefined();
    await holder?.release();
    expect(await readdir(folder)).toEqual([]);
  }
});

test('a process killed with the lock in hand does not hold it any longer', async () => {
  const script = `
    import { CacheLock } from ${JSON.stringify(new URL('./cache-lock.ts', import.meta.url).href)};
    const lock = await CacheLock.tryAcquire(${JSON.stringify(folder)}, 'model', Date.now);
    process.stdout.write(lock ? 'held' : 'refused');
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const said = await new Promise<string>((resolve) =>
    child.stdout.once('data', (text) => resolve(String(text))),
  );
  expect(said).toBe('held');
  expect(await acquire()).toBeUndefined();
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
  expect(await acquire()).toBeDefined();
});

test('an owner is gone when its number, its start time or its image says so', () => {
  const self = ownMark();
  expect(isGone(self, 10 ** 9)).toBe(false);
  expect(isGone({ ...self, pid: 2 ** 30 }, 0)).toBe(true);
  // The number was given to another process since.
  expect(isGone({ ...self, pid: process.ppid, startTime: '1' }, 0)).toBe(true);
  // The process has replaced itself: number and start time stay, what it held is forgotten.
  expect(isGone({ ...self, image: 'before' }, 0)).toBe(true);
  // Others cannot see that; they see that nobody touches the file any longer.
  const parent = { ...self, pid: process.ppid, startTime: startTimeOf(process.ppid) };
  expect(isGone(parent, FORGOTTEN_MS - 1)).toBe(false);
  expect(isGone(parent, FORGOTTEN_MS + 1)).toBe(true);
});

test('an owner in another container or on another machine lives as long as its heartbeat is fresh', async () => {
  const foreign = { ...ownMark(), pidNamespace: 'pid:[1]' };
  expect(isGone(foreign, HEARTBEAT_TIMEOUT_MS - 1)).toBe(false);
  expect(isGone(foreign, HEARTBEAT_TIMEOUT_MS + 1)).toBe(true);
  await leave(3, foreign);
  expect(await acquire()).toBeUndefined();
  const old = new Date(Date.now() - HEARTBEAT_TIMEOUT_MS - 1000);
  await utimes(join(folder, 'model.3'), old, old);
  expect(await acquire()).toBeDefined();
  expect(await readdir(folder)).toEqual(['model.4']);
});

test('a mark that is just being written counts as alive until it is old', async () => {
  await leave(1, '');
  expect(await acquire()).toBeUndefined();
  const old = new Date(Date.now() - HEARTBEAT_TIMEOUT_MS - 1000);
  await utimes(join(folder, 'model.1'), old, old);
  expect(await acquire()).toBeDefined();
});

test('worker threads of one process know each other as alive', async () => {
  const lock = await acquire();
  expect(lock).toBeDefined();
  const script = `
    const { parentPort } = require('node:worker_threads');
    import(${JSON.stringify(new URL('./cache-lock.ts', import.meta.url).href)}).then(async ({ CacheLock }) => {
      const lock = await CacheLock.tryAcquire(${JSON.stringify(folder)}, 'model', Date.now);
      parentPort.postMessage(lock === undefined ? 'refused' : 'stolen');
    });`;
  const worker = new Worker(script, { eval: true });
  const said = await new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  await worker.terminate();
  expect(said).toBe('refused');
  await turn();
  await lock?.release();
});

function startTimeOf(pid: number): string {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
}
