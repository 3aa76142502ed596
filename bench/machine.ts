import { execFileSync } from 'node:child_process';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';
import { join } from 'node:path';
import type { Results } from './report.ts';

const ROOT = join(import.meta.dirname, '..');

/** The machine as it is before the benchmark begins. */
export function describeMachine(): Results['machine'] {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    kernel: release(),
    node: process.version,
    loadBefore: Number((loadavg()[0] ?? 0).toFixed(2)),
  };
}

/** The commit that is measured; results of earlier runs don't count as a change. */
export function describeCommit(): Results['commit'] {
  try {
    const git = (...args: string[]): string =>
      execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
    const dirty = git('status', '--porcelain', '--', '.', ':!bench/results') !== '';
    return { id: git('rev-parse', 'HEAD'), dirty };
  } catch {
    // A copy without its history can be measured too.
    return { id: 'unknown', dirty: true };
  }
}
