import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { followLifeline, holdLifeline } from './lifeline.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lifeline-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const moduleUrl = new URL('./lifeline.ts', import.meta.url).href;

function spawnHolder(path: string): ChildProcess {
  const program = `import { holdLifeline } from ${JSON.stringify(moduleUrl)};
    await holdLifeline(${JSON.stringify(path)}); console.log('held'); setInterval(() => {}, 1000);`;
  return spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

test('a follower learns at once that the holder was killed with SIGKILL', async () => {
  const path = join(folder, 'line');
  const holder = spawnHolder(path);
  await once(holder.stdout ?? holder, 'data');
  const lost = new Promise<void>((resolve) => followLifeline(path, 0, resolve));
  holder.kill('SIGKILL');
  await lost;
});

test('a follower lives on when a new holder takes the path within the grace time', async () => {
  const path = join(folder, 'line');
  const first = await holdLifeline(path);
  let lost = false;
  const letGo = followLifeline(path, 10_000, () => {
    lost = true;
  });
  await first.close();
  const second = await holdLifeline(path);
  expect(lost).toBe(false);
  letGo();
  await second.close();
});

test('a socket file left behind by a killed holder is replaced, a living one is not', async () => {
  const path = join(folder, 'line');
  const holder = spawnHolder(path);
  await once(holder.stdout ?? holder, 'data');
  await expect(holdLifeline(path)).rejects.toMatchObject({ code: 'EADDRINUSE' });
  holder.kill('SIGKILL');
  await once(holder, 'exit');
  const second = await holdLifeline(path);
  await second.close();
});

test('a follower of a path that nobody holds learns so', async () => {
  await new Promise<void>((resolve) => followLifeline(join(folder, 'nobody'), 0, resolve));
});
