import { relative } from 'node:path';
import type { ColdStart } from '../../../contracts/cold-start.ts';
import { formatBytes, formatMs } from '../../core/units.ts';
import { phaseCoverage, waterfallLines } from '../../core/waterfall.ts';
import { CommandFailure } from '../../failure.ts';
import { IMAGE } from '../paths.ts';
import { until } from '../platform-api.ts';
import { type DemoContext, noteServingPids } from './stage-context.ts';

const RECORD_LIMIT_MS = 5_000;
/** The phases add up to the whole within this share of it. */
const COVERAGE_TOLERANCE = 0.05;
/** Below this a share says nothing: two clocks are read a few times. */
const COVERAGE_TOLERANCE_MS = 5;

/** An image goes to a service that has no replica: the answer comes, and where its time went. */
export async function showColdStart(context: DemoContext, title: string): Promise<ColdStart> {
  const { screen, api, reader } = context;
  await screen.step(title);
  const before = (await api.coldStarts('ocr')).length;
  const service = await api.service('ocr');
  if (service === undefined || service.replicas.ready > 0) {
    throw new CommandFailure(
      `expected ocr without a replica, found ${service?.replicas.ready ?? 'no service'}`,
    );
  }
  await screen.line(
    screen.style.dim(`${relative(process.cwd(), IMAGE)} as a tensor of ${formatBytes(reader.sizeBytes)} →`),
  );
  const reading = await screen.waitFor('ocr starts for it', reader.read());
  context.answered++;
  const start = await until('the record of the cold start', RECORD_LIMIT_MS, async () => {
    const starts = await api.coldStarts('ocr');
    return starts.length > before && starts[0]?.outcome === 'answered' ? starts[0] : undefined;
  });
  await noteServingPids(context);
  for (const line of waterfallLines(start, screen.style, screen.draws)) await screen.line(line);
  const cache = start.cached ? 'model in the cache' : 'model fetched';
  const via = start.via === 'standby' ? 'a standby took the model' : 'a new process';
  await screen.line(
    `${'answered in'.padEnd(11)} ${screen.style.bold(formatMs(reading.durationMs))} ${screen.style.dim(`from nothing, as the caller measures it (${via}, ${cache})`)}`,
  );
  checkPhases(start, reading.durationMs);
  await screen.step('The text in the image');
  await screen.line(
    `${screen.style.green(`“${reading.text}”`)}  ${screen.style.dim(`confidence ${reading.confidence.toFixed(2)}`)}`,
  );
  return start;
}

/** The record has to explain the time that the caller waited: phases that leave a hole would explain nothing. */
function checkPhases(start: ColdStart, callerMs: number): void {
  const coverage = phaseCoverage(start);
  const missingMs = Math.abs(1 - coverage) * start.totalMs;
  if (Math.abs(1 - coverage) > COVERAGE_TOLERANCE && missingMs > COVERAGE_TOLERANCE_MS) {
    throw new CommandFailure(
      `the phases add up to ${(coverage * 100).toFixed(0)} % of the cold start; expected 95 to 105 %`,
    );
  }
  if (start.totalMs > callerMs + COVERAGE_TOLERANCE_MS) {
    throw new CommandFailure(
      `the cold start is said to have taken ${formatMs(start.totalMs)}, but the caller waited ${formatMs(callerMs)}`,
    );
  }
}
