import { randomUUID } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { conclude, runVitest, type VitestResult } from './vitest-run.ts';

/**
 * Runs all tests that need no cluster and ends with one line, `N passed, N failed`. A skipped test counts as missing
 * and is named; a process that a test left behind counts as a failure.
 */
const PROJECTS = ['unit', 'local', 'alone'];
/** In the environment of every process that a test starts, which is how those left behind are found. */
const MARK = 'PILOTLIGHT_TEST_RUN';

const print = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

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
  if (result === undefined) print(`the tests of project ${project} gave no report`);
  results.push(result ?? { passed: 0, failed: 1, skipped: [] });
}
const left = process.platform === 'linux' ? leftBehind(mark) : [];
for (const line of left) print(`left behind: ${line}`);
rmSync(folder, { recursive: true, force: true });
process.exitCode = conclude([...results, { passed: 0, failed: left.length, skipped: [] }]);
