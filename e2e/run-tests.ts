import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';

/**
 * Runs all tests and ends with one line, `N passed, N failed`. A skipped test counts as missing and is named
 * with its reason; a process that a test left behind counts as a failure.
 */
const PROJECTS = ['unit', 'local', 'alone'];
/** In the environment of every process that a test starts, which is how those left behind are found. */
const MARK = 'PILOTLIGHT_TEST_RUN';

const reportSchema = z.object({
  numPassedTests: z.number(),
  numFailedTests: z.number(),
  numPendingTests: z.number(),
  numTodoTests: z.number(),
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      message: z.string().optional(),
      assertionResults: z.array(z.object({ fullName: z.string(), status: z.string() })),
    }),
  ),
});
type Report = z.infer<typeof reportSchema>;

const print = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

async function runProject(project: string, mark: string, folder: string): Promise<Report | undefined> {
  const outputFile = join(folder, `${project}.json`);
  const vitest = join(import.meta.dirname, '../node_modules/vitest/vitest.mjs');
  const child = spawn(
    process.execPath,
    [
      vitest,
      'run',
      '--project',
      project,
      '--reporter=default',
      '--reporter=json',
      `--outputFile=${outputFile}`,
    ],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, [MARK]: mark, PILOTLIGHT_LOG_LEVEL: 'silent' },
    },
  );
  await once(child, 'exit');
  try {
    return reportSchema.parse(JSON.parse(readFileSync(outputFile, 'utf8')));
  } catch {
    return undefined;
  }
}

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
let passed = 0;
let failed = 0;
const skipped: string[] = [];
for (const project of PROJECTS) {
  const report = await runProject(project, mark, folder);
  if (report === undefined) {
    print(`the tests of project ${project} gave no report`);
    failed += 1;
    continue;
  }
  passed += report.numPassedTests;
  failed += report.numFailedTests;
  for (const file of report.testResults) {
    // A file that breaks before its first test has no failed test to count.
    if (file.status === 'failed' && !file.assertionResults.some(({ status }) => status === 'failed'))
      failed += 1;
    for (const { fullName, status } of file.assertionResults) {
      if (['pending', 'skipped', 'todo', 'disabled'].includes(status)) skipped.push(fullName);
    }
  }
}
const left = process.platform === 'linux' ? leftBehind(mark) : [];
for (const line of left) print(`left behind: ${line}`);
failed += left.length;
for (const name of skipped) print(`skipped: ${name}`);
rmSync(folder, { recursive: true, force: true });
print(`${passed} passed, ${failed} failed${skipped.length === 0 ? '' : `, ${skipped.length} skipped`}`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
