import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { freePort } from '../../../process/free-port.ts';
import { commandsOf, KUBERNETES_SECTION } from '../../local/testing/readme.ts';
import { run } from '../command.ts';
import { tool } from '../tools.ts';
import { onPlatform } from './testing/platform.ts';

const ROOT = join(import.meta.dirname, '../../..');
const on = onPlatform('readme');
let forward: ChildProcess | undefined;

afterAll(async () => {
  if (forward !== undefined && forward.exitCode === null) {
    forward.kill('SIGTERM');
    await once(forward, 'exit');
  }
  await on.cluster.kubectl(['delete', 'isvc', 'ocr', '--namespace', 'default', '--ignore-not-found']);
});

test("the README's five commands lead from nothing to the text in an image", async () => {
  const commands = commandsOf(
    readFileSync(join(ROOT, 'README.md'), 'utf8'),
    (title) => title === KUBERNETES_SECTION,
  );
  expect(commands).toHaveLength(5);
  const [first, ...others] = commands;
  // Has been done: it is what this test runs on.
  expect(first).toBe('eval "$(make -s platform)"');
  const programs = await mkdtemp(join(tmpdir(), 'pilotlight-readme-'));
  await symlink(await tool('kubectl'), join(programs, 'kubectl'));
  const env = { KUBECONFIG: on.cluster.kubeconfigPath, PATH: `${programs}:${process.env['PATH']}` };
  const port = await freePort('127.0.0.1');
  let said = '';
  try {
    for (const written of others) {
      const command = written.replace('8080:80', `${port}:80`).replace('localhost:8080', `localhost:${port}`);
      if (command.endsWith('&')) {
        forward = spawn('bash', ['-c', `exec ${command.slice(0, -1)}`], {
          cwd: ROOT,
          env: { ...process.env, ...env },
        });
        await on.until('the port is forwarded', () =>
          fetch(`http://127.0.0.1:${port}/`).then(
            () => true,
            () => false,
          ),
        );
        continue;
      }
      said += await run('bash', ['-c', command], { cwd: ROOT, env });
    }
  } finally {
    await rm(programs, { recursive: true });
  }
  expect(said).toContain('inferenceservice.serving.pilotlight.dev/ocr created');
  expect(said).toContain('Keep the pilot light on');
});
