import { execFileSync } from 'node:child_process';
import { availableParallelism, totalmem } from 'node:os';
import { expect, test } from 'vitest';
import { processLimits } from './process-limits.ts';

test('this process has CPUs, no more than Node could run on, and no more memory than the machine', () => {
  const { cpus, memoryBytes } = processLimits();
  expect(cpus).toBeGreaterThan(0);
  expect(memoryBytes).toBeGreaterThan(1e6);
  expect(memoryBytes).toBeLessThanOrEqual(totalmem());
});

/** Part of util-linux; elsewhere affinity cannot be set from outside. */
const SET_AFFINITY = 'taskset';

test.runIf(process.platform === 'linux')('a process bound to one CPU has at most one', () => {
  const module = JSON.stringify(new URL('process-limits.ts', import.meta.url).href);
  const script = `import { processLimits } from ${module}; console.log(processLimits().cpus);`;
  const output = execFileSync(
    SET_AFFINITY,
    ['-c', '0', process.execPath, '--input-type=module', '-e', script],
    {
      encoding: 'utf8',
    },
  );
  expect(Number(output)).toBeGreaterThan(0);
  expect(Number(output)).toBeLessThanOrEqual(1);
});

test('without /proc it is what Node reports', () => {
  expect(processLimits(() => undefined)).toEqual({ cpus: availableParallelism(), memoryBytes: totalmem() });
});

test('the files of the control group are read where the kernel says they are', () => {
  const files: Record<string, string> = {
    '/proc/self/cgroup': '0::/box\n',
    '/proc/self/mountinfo': '30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n',
    '/proc/self/status': 'Cpus_allowed_list:\t0-7\n',
    '/sys/fs/cgroup/box/cpu.max': '300000 100000\n',
    '/sys/fs/cgroup/memory.max': '100000000\n',
  };
  expect(processLimits((path) => files[path])).toEqual({ cpus: 3, memoryBytes: 1e8 });
});
