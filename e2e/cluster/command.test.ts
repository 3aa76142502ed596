import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { run, succeeds } from './command.ts';
import { step } from './steps.ts';

test('a command gets its input and environment, and hands back what it wrote', async () => {
  const said = await run('sh', ['-c', 'cat; printf "%s" "$WORD"'], { input: 'in, ', env: { WORD: 'out' } });
  expect(said).toBe('in, out');
});

test('a failed command is told with its exit and the end of what it said', async () => {
  const failing = run('sh', ['-c', 'echo why >&2; exit 3']);
  await expect(failing).rejects.toMatchObject({
    code: 'E2E_COMMAND_FAILED',
    message: expect.stringMatching(/ended with 3:\nwhy$/),
  });
});

test('a command that is not there is told by its name', async () => {
  await expect(run('no-such-program', [])).rejects.toMatchObject({
    code: 'E2E_COMMAND_FAILED',
    message: expect.stringContaining('no-such-program'),
  });
  expect(await succeeds('no-such-program', [])).toBe(false);
});

test('a command that takes longer than it may is ended', async () => {
  await expect(run('sleep', ['60'], { timeoutMs: 50 })).rejects.toThrow('SIGKILL');
});

test('a failed step names the file that holds everything its commands said', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'pilotlight-steps-'));
  const before = process.env['PILOTLIGHT_CACHE_DIR'];
  process.env['PILOTLIGHT_CACHE_DIR'] = folder;
  try {
    const failing = step('Something done', ({ run: runInStep }) =>
      runInStep('sh', ['-c', 'echo first; exit 1']),
    );
    const logFile = join(folder, 'logs', 'something-done.log');
    await expect(failing).rejects.toMatchObject({
      code: 'E2E_STEP_FAILED',
      message: expect.stringContaining(logFile),
    });
    expect(readFileSync(logFile, 'utf8')).toBe('$ sh -c echo first; exit 1\nfirst\n');
  } finally {
    if (before === undefined) delete process.env['PILOTLIGHT_CACHE_DIR'];
    else process.env['PILOTLIGHT_CACHE_DIR'] = before;
    rmSync(folder, { recursive: true });
  }
});
