import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const DEMO = join(ROOT, 'cli/demo/main.ts');
/** What is promised, and room for a machine that does other things as well. */
const PROMISED_MS = 60_000;
const LIMIT_MS = 120_000;

let temporary: string;
beforeEach(() => {
  temporary = mkdtempSync(join(tmpdir(), 'pilotlight-demo-test-'));
});
afterEach(() => rmSync(temporary, { recursive: true, force: true }));

/** Node's own cache of compiled code may stay. */
const leftBehind = (): string[] => readdirSync(temporary).filter((name) => name !== 'node-compile-cache');

const start = (...args: string[]) =>
  spawn(process.execPath, [DEMO, ...args], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TMPDIR: temporary },
  });

test('the demo shows every step, checks it, and leaves nothing behind; under a minute', {
  timeout: LIMIT_MS,
}, async () => {
  const fromMs = performance.now();
  const demo = start();
  const [out, err, [code]] = await Promise.all([
    text(demo.stdout),
    text(demo.stderr),
    once(demo, 'exit') as Promise<[number | null]>,
  ]);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  expect(performance.now() - fromMs).toBeLessThan(PROMISED_MS);
  expect(out.match(/“Keep the pilot light on”/g)).toHaveLength(2);
  expect(out.match(/^ +created +\d/gm)).toHaveLength(2);
  expect(out).toMatch(/replicas \d → .*\d after/);
  expect(out).toMatch(/no replica after/);
  expect(out).toMatch(/requests answered, none lost, every text right/);
  // Plain lines in a pipe: no colours, no bars.
  expect(out).not.toContain('\u001B[');
  expect(out).not.toMatch(/[\u2580-\u259F]/);
  expect(leftBehind()).toEqual([]);
});

test('kept up, each command that it prints works, and Ctrl-C ends all of it', {
  timeout: LIMIT_MS,
}, async () => {
  const demo = start('--keep', '--port', '0', '--api-port', '0');
  let out = '';
  demo.stdout.setEncoding('utf8');
  const errors = text(demo.stderr);
  for await (const chunk of demo.stdout as AsyncIterable<string>) {
    out += chunk;
    if (out.includes('manifests to change while it runs')) break;
  }
  const commands = [...out.matchAll(/^ +\$ (.+)$/gm)].map((match) => match[1] ?? '');
  expect(commands.length, `${out}${demo.exitCode === null ? '' : await errors}`).toBe(5);
  const outputs = commands.map((command) => {
    const ran = spawnSync('bash', ['-c', command], { cwd: ROOT, encoding: 'utf8', timeout: 30_000 });
    expect({ command, status: ran.status, stderr: ran.stderr }).toEqual({ command, status: 0, stderr: '' });
    return ran.stdout;
  });
  expect(JSON.parse(outputs[0] ?? '')).toMatchObject({ text: 'Keep the pilot light on' });
  expect(JSON.parse(outputs[1] ?? '')).toMatchObject({ model_name: 'vad', outputs: [{ name: 'output' }] });
  expect(JSON.parse(outputs[2] ?? '')).toMatchObject({ name: 'ocr' });
  expect(outputs[3]).toMatch(/^SERVICE +STATE[\s\S]*\nocr +Ready/);
  expect(outputs[4]).toContain('"outcome":"answered"');
  const exited = once(demo, 'exit') as Promise<[number | null]>;
  demo.kill('SIGINT');
  expect((await exited)[0]).toBe(0);
  expect(leftBehind()).toEqual([]);
});

test('a port that is none is refused, with exit code 2', async () => {
  const demo = start('--port', '70000');
  const [err, [code]] = await Promise.all([
    text(demo.stderr),
    once(demo, 'exit') as Promise<[number | null]>,
  ]);
  expect(err).toContain('expected a port from 0 to 65535, got "70000"');
  expect(code).toBe(2);
});
