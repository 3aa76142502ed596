import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { identify, stillRuns } from './process-identity.ts';

test('a process is itself until it ends', async () => {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
  await once(child, 'spawn');
  const identity = identify(child.pid ?? -1);
  expect(identity).toBeDefined();
  if (identity === undefined) return;
  expect(stillRuns(identity)).toBe(true);
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(stillRuns(identity)).toBe(false);
});

test('another process with the same pid is not taken for it', () => {
  const self = identify(process.pid);
  expect(self).toBeDefined();
  expect(stillRuns({ pid: process.pid, startTimeTicks: (self?.startTimeTicks ?? 0) - 1 })).toBe(
    self?.startTimeTicks === undefined,
  );
});
