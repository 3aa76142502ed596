import { randomUUID } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { conclude, noReport, runVitest, type VitestResult } from './vitest-run.ts';

/**
 * Runs all tests that need no cluster and ends with one line, `N passed, N failed`. A skipped test counts as missing
 * and is named; a process that a test left behind counts as a failure.
 */
const PROJECTS = ['unit', 'local', 'alone'];
/** In the environment of every process that a test starts, which is how those left behind are found. */
const MARK = 'PILOTLIGHT_TEST_RUN';

/** Processes of this run that still live, with their command lines. */
function leftBehind(mark: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        if (!readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`${MARK}=${mark}`)) return [];
        return [`${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')}`];
      } catch {
        return [];
      }
    });
}

const mark = randomUUID();
const folder = mkdtempSync(join(tmpdir(), 'pilotlight-tests-'));
const results: VitestResult[] = [];
for (const project of PROJECTS) {
  const result = await runVitest({ project, folder, env: { [MARK]: mark, PILOTLIGHT_LOG_LEVEL: 'silent' } });
  results.push(result ?? noReport(project));
}
const left = process.platform === 'linux' ? leftBehind(mark) : [];
rmSync(folder, { recursive: true, force: true });
const failures = left.map((line) => `a process was left behind: ${line}`);
process.exitCode = conclude([...results, { passed: 0, failed: left.length, failures, skipped: [] }]);
