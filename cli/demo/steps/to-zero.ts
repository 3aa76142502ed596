import { identify } from '../../../process/process-identity.ts';
import { formatMs } from '../../core/units.ts';
import { CommandFailure } from '../../failure.ts';
import { until } from '../platform-api.ts';
import type { DemoContext } from './stage-context.ts';

/** Stable window of 6 s, and the draining of four replicas. */
const LIMIT_MS = 30_000;

/** Nobody calls any more: both services go to zero, and no process holds a model. */
export async function showScaleToZero(context: DemoContext): Promise<void> {
  const { screen, api, servedPids } = context;
  await screen.step('Nobody calls: back to zero');
  const fromMs = performance.now();
  let seen = '';
  const left = await screen.waitFor(
    'a quiet window of 6 s passes',
    until(
      'no replica left',
      LIMIT_MS,
      async () => {
        const [services, replicas] = await Promise.all([api.services(), api.replicas()]);
        seen = [
          ...services.map(({ name, replicas: { ready } }) => `${name} ${ready} ready`),
          ...replicas.map(({ service, state }) => `${service ?? 'no service'} ${state}`),
        ].join(', ');
        const isOver =
          services.every(({ state, replicas: counts }) => state === 'Standby' && counts.ready === 0) &&
          replicas.every(({ state, service }) => state === 'standby' && service === undefined);
        return isOver && replicas.length > 0 ? replicas : undefined;
      },
      () => seen,
    ),
  );
  const elapsedMs = performance.now() - fromMs;
  const standbyPids = new Set(left.flatMap(({ pid }) => (pid === undefined ? [] : [pid])));
  // A process may live on as a standby, which has forgotten the model; any other must be gone.
  const orphans = [...servedPids].filter((pid) => !standbyPids.has(pid) && identify(pid) !== undefined);
  if (orphans.length > 0) {
    throw new CommandFailure(
      `expected no process of a replica, but ${orphans.join(', ')} still run and are no standby`,
    );
  }
  const ended = [...servedPids].filter((pid) => !standbyPids.has(pid)).length;
  const recycled = servedPids.size - ended;
  await screen.line(
    `no replica after ${formatMs(elapsedMs)}  ${screen.style.dim(`of ${servedPids.size} process${servedPids.size === 1 ? '' : 'es'} that held a model ${ended} ended, ${recycled} became a standby again`)}`,
  );
}
