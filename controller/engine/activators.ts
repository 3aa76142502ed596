import type { DemandReport } from '../../contracts/demand.ts';
import { hearCarrier, settleCarriers } from '../core/carriers.ts';
import type { EngineContext, ServiceEntry } from './engine-context.ts';
import { publishRoute } from './publish.ts';

/** An activator as it names itself. */
export interface ActivatorName {
  readonly activator: string;
  readonly pod: string | undefined;
}

/** How often silence is judged while it may mean something. */
const JUDGE_EVERY_MS = 50;
/** A judgement that comes later than this was kept by this process itself: what has been heard meanwhile comes first. */
const MAX_LATE_MS = 100;

/** An activator holds a stream of routes, until the returned function is called. */
export function activatorConnected(context: EngineContext, { activator, pod }: ActivatorName): () => void {
  context.roster.connected(activator, pod, context.clock.nowMs());
  judge(context);
  return () => {
    context.roster.disconnected(activator, context.clock.nowMs());
    judgeLater(context);
  };
}

/** Takes in who carries which service, and that the activator lives. Told apart from what is wanted of replicas. */
export function activatorReported(context: EngineContext, report: DemandReport): void {
  const nowMs = context.clock.nowMs();
  const requestsOf = new Map<ServiceEntry, number>();
  let isBusy = false;
  for (const { serviceUid, queued, inFlight } of report.revisions) {
    const entry = context.services.get(serviceUid);
    const requests = queued + inFlight;
    if (requests > 0) isBusy = true;
    if (entry !== undefined) requestsOf.set(entry, (requestsOf.get(entry) ?? 0) + requests);
  }
  const wasLost = context.roster.isLost(report.activator);
  context.roster.heard(report.activator, isBusy, nowMs);
  for (const [entry, requests] of requestsOf) {
    const before = entry.carriage.carriers;
    entry.carriage = hearCarrier(entry.carriage, report.activator, requests, nowMs);
    if (entry.carriage.carriers !== before) publishRoute(context, entry);
  }
  if (wasLost) judge(context);
  else if (isBusy) judgeLater(context);
}

/** Deals the capacity of a service anew where its load has moved between activators. */
export function settleCarriage(context: EngineContext, entry: ServiceEntry): void {
  const { clock, roster } = context;
  entry.carriage = settleCarriers(entry.carriage, (activator) => roster.isLost(activator), clock.nowMs());
}

function judge(context: EngineContext): void {
  const { roster, clock, logger, platform } = context;
  if (!roster.judge(clock.nowMs())) return;
  const pods = roster.lostPods;
  logger.info({ pods: [...pods] }, 'activators that do not answer');
  // A service at rest has no caller that would wait.
  platform.network?.avoidActivators(pods, (uid) => context.services.get(uid)?.isQuiet === false);
  for (const entry of context.services.values()) {
    const before = entry.carriage.carriers;
    settleCarriage(context, entry);
    if (entry.carriage.carriers !== before) publishRoute(context, entry);
  }
}

function judgeLater(context: EngineContext): void {
  if (context.judging !== undefined || context.isStopped) return;
  const dueMs = context.clock.nowMs() + JUDGE_EVERY_MS;
  context.judging = context.clock.after(JUDGE_EVERY_MS, () => {
    context.judging = undefined;
    if (context.isStopped) return;
    if (context.clock.nowMs() - dueMs <= MAX_LATE_MS) judge(context);
    if (context.roster.isInDoubt) judgeLater(context);
  });
}
