import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { freePort } from '../../process/free-port.ts';
import { commandsOf, KUBERNETES_SECTION } from './testing/readme.ts';
import { waitFor } from './testing/wait-for.ts';

const ROOT = join(import.meta.dirname, '../..');

/** Commands that run elsewhere: these tests are `make test`, the demo has a test of its own. */
const RUN_ELSEWHERE = new Set(['make demo', 'make test', 'make install']);

const background: ChildProcess[] = [];
const temporary = mkdtempSync(join(tmpdir(), 'pilotlight-readme-'));
afterAll(async () => {
  for (const child of background) child.kill('SIGTERM');
  await Promise.all(
    background.map((child) => waitFor('the background command ends', () => child.exitCode !== null)),
  );
  rmSync(temporary, { recursive: true, force: true });
});

function run(command: string): { code: number | null; output: string } {
  const result = spawnSync('bash', ['-c', command], { cwd: ROOT, encoding: 'utf8', timeout: 30_000 });
  return { code: result.status, output: result.stdout + result.stderr };
}

async function answers(url: string): Promise<boolean> {
  return (await fetch(url)).ok;
}

test('every command of the README does what it says', async () => {
  const commands = commandsOf(
    readFileSync(join(ROOT, 'README.md'), 'utf8'),
    (title) => title !== KUBERNETES_SECTION,
  );
  const [port, apiPort, runtimePort] = [
    await freePort('127.0.0.1'),
    await freePort('127.0.0.1'),
    await freePort('127.0.0.1'),
  ];
  const outputs = new Map<string, string>();
  for (const written of commands.filter((command) => !RUN_ELSEWHERE.has(command))) {
    // The ports that the README names may be taken here, and the checkout stays as it is.
    const folders = `--state-dir ${temporary}/state --cache-dir ${temporary}/cache`;
    const command = written
      .replace(' serve examples/ocr', ` serve examples/ocr --port ${port} --api-port ${apiPort} ${folders}`)
      .replace('--dir examples/ocr --decode', `--url http://localhost:${port} --decode`)
      .replace('status --dir examples/ocr', `status --api http://localhost:${apiPort}`)
      .replace('localhost:8080', `localhost:${port}`)
      .replace('localhost:8081', `localhost:${apiPort}`)
      .replace('--port 8090', `--port ${runtimePort} --cache-dir ${temporary}/cache`)
      .replace('localhost:8090', `localhost:${runtimePort}`);
    if (command.endsWith('&')) {
      // exec: the signal at the end reaches the command itself.
      const child = spawn('bash', ['-c', `exec ${command.slice(0, -1)}`], { cwd: ROOT, stdio: 'ignore' });
      background.push(child);
      const url = command.includes(' serve ')
        ? `http://localhost:${port}/v2/models/ocr`
        : `http://localhost:${runtimePort}/v2/health/ready`;
      await waitFor(`${written} answers`, () => answers(url), 20_000);
      continue;
    }
    const { code, output } = run(command);
    expect({ written, code, output: code === 0 ? '' : output }).toEqual({ written, code: 0, output: '' });
    outputs.set(written, output);
  }
  const said = [...outputs.values()].join('\n');
  expect(said).toContain('Keep the pilot light on');
  expect(said).toContain('"name":"ocr"');
  expect(said).toContain('"reasonCode"');
  expect(said).toContain('"phasesMs"');
  expect(said).toContain('"name":"vad"');
});

test('the make targets that the README names exist', () => {
  for (const command of RUN_ELSEWHERE) expect(run(`${command} -n`).code).toBe(0);
});
