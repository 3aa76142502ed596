import { randomBytes } from 'node:crypto';
import { afterEach, expect, test } from 'vitest';
import { RESOURCES } from '../../../controller/adapters/kube/api/paths.ts';
import { zeros } from '../../local/testing/marked-model.ts';
import { run } from '../command.ts';
import { CHART, RELEASE_NAMESPACE } from '../install.ts';
import { tool } from '../tools.ts';
import { waitForLeader, waitForPlatform } from './testing/controllers.ts';
import { isReady, mark, onPlatform } from './testing/platform.ts';
import { markedService } from './testing/services.ts';

const on = onPlatform('upgrade');
const ONE = { predictor: { maxReplicas: 1, containerConcurrency: 4 } };

afterEach(() => waitForPlatform(on));

async function helm(...helmArguments: string[]): Promise<string> {
  const where = ['--namespace', RELEASE_NAMESPACE, '--kubeconfig', on.cluster.kubeconfigPath];
  return run(await tool('helm'), [...helmArguments, ...where]);
}

async function rolledOut(): Promise<void> {
  for (const name of ['controller', 'activator']) {
    const deployment = `deployment/pilotlight-${name}`;
    const flags = ['--namespace', RELEASE_NAMESPACE, '--timeout=180s'];
    await on.cluster.kubectl(['rollout', 'status', deployment, ...flags]);
  }
}

test('an upgrade replaces controllers and activators under load, and not one request fails', {
  timeout: 300_000,
}, async () => {
  await on.apply(markedService('kept', 1, ONE), markedService('woken', 2, ONE));
  await on.waitForReady('kept');
  await on.waitForReady('woken');
  expect(mark(await on.infer('kept', zeros()))).toBe(1);
  const target = on.inference('kept', zeros());
  const held = await on.load({ targets: [target], connections: 3, pauseMs: 10 });
  const anew = await on.load({ targets: [target], connections: 1, pauseMs: 50, withoutKeepAlive: true });
  const { epoch } = await waitForLeader(on);
  // Every pod of the platform is another one after it, as with new images.
  const changed = randomBytes(4).toString('hex');
  const values = ['controller', 'activator'].flatMap((name) => [
    '--set-string',
    `${name}.podAnnotations.e2e=${changed}`,
  ]);
  await helm('upgrade', 'pilotlight', CHART, '--reuse-values', ...values);
  const cold = on.infer('woken', zeros());
  await rolledOut();
  expect(mark(await cold)).toBe(2);
  await waitForLeader(on, epoch);
  const { answered } = await held.state();
  await on.until('requests go on', async () => (await held.state()).answered > answered + 100);
  for (const load of [held, anew]) {
    const { failures, bodies } = await load.end();
    expect(failures).toEqual([]);
    expect(Object.keys(bodies[0] ?? {})).toHaveLength(1);
  }
});

test('uninstalled, what users made stays; installed again, it serves as before', {
  timeout: 300_000,
}, async () => {
  await on.apply(markedService('survivor', 3, ONE));
  await on.waitForReady('survivor');
  expect(mark(await on.infer('survivor', zeros()))).toBe(3);
  const values = await helm('get', 'values', 'pilotlight', '--output', 'json');
  await helm('uninstall', 'pilotlight', '--wait');
  const left = await on.service('survivor');
  expect(isReady(left)).toBe(true);
  expect(await on.list(RESOURCES.controllerRevisions)).not.toEqual([]);
  await run(
    await tool('helm'),
    [
      'install',
      'pilotlight',
      CHART,
      '--values',
      '-',
      '--namespace',
      RELEASE_NAMESPACE,
      '--kubeconfig',
      on.cluster.kubeconfigPath,
    ],
    { input: values },
  );
  await rolledOut();
  await waitForLeader(on);
  await on.waitForReady('survivor');
  expect(mark(await on.infer('survivor', zeros()))).toBe(3);
  expect((await on.service('survivor')).metadata?.uid).toBe(left.metadata?.uid);
});
