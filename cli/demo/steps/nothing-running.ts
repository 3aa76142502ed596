import { join } from 'node:path';
import { CommandFailure } from '../../failure.ts';
import { EXAMPLES } from '../paths.ts';
import { until } from '../platform-api.ts';
import type { DemoContext } from './stage-context.ts';

const START_LIMIT_MS = 15_000;

/** Two services are applied; neither has a replica. */
export async function showNothingRunning({ screen, stage, api }: DemoContext): Promise<void> {
  await screen.step('Two services are applied, and nothing is running');
  stage.apply(join(EXAMPLES.ocr, 'ocr.yaml'));
  stage.apply(join(EXAMPLES.vad, 'vad.yaml'));
  let seen = '';
  const services = await screen.waitFor(
    'the platform reads the manifests',
    until(
      'two healthy services without a replica',
      START_LIMIT_MS,
      async () => {
        const found = await api.services();
        seen = found.map(({ name, state, message }) => `${name} ${state} ${message ?? ''}`).join(', ');
        const isHealthy =
          found.length === 2 && found.every(({ state, ready }) => state === 'Standby' && ready);
        return isHealthy ? found : undefined;
      },
      () => seen,
    ),
  );
  for (const { name, state, replicas } of services) {
    await screen.line(`${name}  ${screen.style.dim(`${state}, ${replicas.ready} replicas`)}`);
  }
  const standby = await screen.waitFor(
    'one runtime starts without a model',
    until('a standby runtime', START_LIMIT_MS, async () => {
      const replicas = await api.replicas();
      if (replicas.some(({ service }) => service !== undefined)) {
        throw new CommandFailure('a replica holds a model, but nobody has called');
      }
      return replicas.find(({ state }) => state === 'standby');
    }),
  );
  await screen.line(screen.style.dim(`one standby runtime, without a model: process ${standby.pid ?? '?'}`));
}
