import { mkdtempSync, rmSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connectCluster } from './cluster/cluster.ts';
import { dumpFolder } from './cluster/dump.ts';
import { install } from './cluster/install.ts';
import { withLock } from './cluster/lock.ts';
import { clusterDown, clusterUp } from './cluster/main.ts';
import { program, say } from './cluster/steps.ts';
import { conclude, noReport, runVitest } from './vitest-run.ts';

/**
 * `make e2e`: a cluster, the images, the chart, the cases, and the cluster away again. Ends with one line,
 * `N passed, N failed`. KEEP=1 leaves the cluster, with the platform on it, for the next run; ONLY=<words> runs the
 * files whose names hold one of them.
 */
async function main(): Promise<undefined> {
  const isKept = process.env['KEEP'] === '1';
  const only = (process.env['ONLY'] ?? '').split(/[ ,]+/).filter((word) => word !== '');
  const folder = mkdtempSync(join(tmpdir(), 'pilotlight-e2e-'));
  await rm(dumpFolder(), { recursive: true, force: true });
  try {
    await clusterUp();
    await install(await connectCluster());
    const result = await runVitest({ project: 'cluster', folder, only });
    if (result !== undefined && result.failed > 0) say(`What is known of the failed cases: ${dumpFolder()}`);
    process.exitCode = conclude([result ?? noReport('cluster')]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
    if (isKept) say('The cluster is kept: `make cluster-down` removes it.');
    else await clusterDown();
  }
  return undefined;
}

// One run at a time on a machine: cases have deadlines, and two runs would take each other's cores.
await program(() => withLock('e2e', main));
