import type { ColdStart } from '../../contracts/cold-start.ts';
import { isErrorCode } from '../../contracts/errors.ts';
import type { Condition, InferenceServiceStatus } from '../../crds/schema.ts';
import type { StoredRevision } from '../ports.ts';
import { isProved, lastRolledOut, type Revisions, type Traffic, targetOf } from './revisions.ts';
import type { StartTrouble } from './start-trouble.ts';
import { taggedUrl, tagsOf } from './tags.ts';

type ModelState = NonNullable<
  NonNullable<InferenceServiceStatus['modelStatus']>['states']
>['activeModelState'];
type ModelStatus = NonNullable<InferenceServiceStatus['modelStatus']>;

/** Replicas of one revision, by where they are. */
export interface ReplicaCounts {
  readonly wanted: number;
  readonly ready: number;
  readonly starting: number;
  readonly draining: number;
}

export interface StatusInput {
  readonly generation: number;
  readonly url: string;
  readonly initialScale: number;
  readonly hasTags: boolean;
  readonly stopped: string | undefined;
  /** Problems of a manifest that was refused while the one before serves on. */
  readonly invalid: readonly string[] | undefined;
  readonly revisions: Revisions;
  readonly traffic: Traffic;
  readonly counts: (revision: string) => ReplicaCounts;
  readonly trouble: (revision: string) => StartTrouble | undefined;
  /** What the start of a replica waits for, in the platform's words; undefined while all goes as it should. */
  readonly waitsFor: (revision: string) => { readonly code: string; readonly message: string } | undefined;
  /** Fields that keep a standby from taking the target; empty: it fits. Undefined: standbys don't apply. */
  readonly misfits: readonly string[] | undefined;
  readonly warnings: readonly string[];
  readonly scaling:
    | { reason: string; path: 'proxied' | 'direct'; atMs: number; inPanic: boolean }
    | undefined;
  readonly lastColdStart: ColdStart | undefined;
  /** The platform itself has failed at something for this service, in words; tried again. */
  readonly platformProblem: string | undefined;
}

/**
 * The status of a service as KServe shows it. A service at zero replicas is Ready, its model's state Standby.
 *
 * @param previous The status before: conditions that say the same keep their transition times.
 */
export function serviceStatus(
  input: StatusInput,
  previous: InferenceServiceStatus | undefined,
  nowMs: number,
): InferenceServiceStatus {
  const total = totalCounts(input);
  const modelStatus = modelStatusOf(input);
  return {
    observedGeneration: input.generation,
    url: input.url,
    address: { url: input.url },
    components: { predictor: predictorOf(input) },
    conditions: withTimes(conditionsOf(input, modelStatus), previous?.conditions ?? [], nowMs),
    modelStatus,
    replicas: {
      desired: total.wanted,
      ready: total.ready,
      starting: total.starting,
      draining: total.draining,
    },
    ...(input.scaling && {
      scaling: {
        reason: input.scaling.reason,
        mode: input.scaling.inPanic ? 'panic' : 'stable',
        path: input.scaling.path,
        lastDecisionTime: timestamp(input.scaling.atMs),
      },
    }),
    ...(input.lastColdStart && {
      lastColdStart: {
        durationMs: Math.round(input.lastColdStart.totalMs),
        time: timestamp(input.lastColdStart.atMs),
        phases: Object.fromEntries(
          Object.entries(input.lastColdStart.phasesMs).map(([phase, ms]) => [
            phase,
            Math.round(ms * 10) / 10,
          ]),
        ),
      },
    }),
  };
}

function totalCounts(input: Pick<StatusInput, 'revisions' | 'counts'>): ReplicaCounts {
  const total = { wanted: 0, ready: 0, starting: 0, draining: 0 };
  for (const { name } of input.revisions) {
    const counts = input.counts(name);
    total.wanted += counts.wanted;
    total.ready += counts.ready;
    total.starting += counts.starting;
    total.draining += counts.draining;
  }
  return total;
}

/** What a revision's model is doing, in KServe's words. */
function modelState(revision: StoredRevision, input: StatusInput): ModelState {
  const counts = input.counts(revision.name);
  if (counts.ready > 0) return 'Loaded';
  if (counts.starting > 0) return 'Loading';
  if (input.trouble(revision.name)?.isFailed === true || revision.failure !== undefined)
    return 'FailedToLoad';
  return isProved(revision, input.initialScale) || input.stopped !== undefined ? 'Standby' : 'Pending';
}

/** The revision that most of the traffic goes to. */
function activeOf(input: StatusInput): StoredRevision | undefined {
  let active: StoredRevision | undefined;
  for (const revision of input.revisions) {
    const share = input.traffic.get(revision.name) ?? 0;
    if (share > 0 && share > (active === undefined ? 0 : (input.traffic.get(active.name) ?? 0)))
      active = revision;
  }
  return active;
}

function modelStatusOf(input: StatusInput): ModelStatus {
  const target = targetOf(input.revisions);
  if (target === undefined) {
    return {
      transitionStatus: input.invalid === undefined ? 'InProgress' : 'InvalidSpec',
      ...failureInfo(input),
    };
  }
  const active = activeOf(input) ?? target;
  const targetState = modelState(target, input);
  const counts = input.counts(target.name);
  const failed = input.trouble(target.name)?.failures ?? 0;
  return {
    transitionStatus: transitionOf(input, target, targetState),
    states: { activeModelState: modelState(active, input), targetModelState: targetState },
    ...failureInfo(input),
    copies: { totalCopies: counts.ready, failedCopies: failed },
  };
}

function transitionOf(
  input: StatusInput,
  target: StoredRevision,
  state: ModelState,
): ModelStatus['transitionStatus'] {
  if (input.invalid !== undefined) return 'InvalidSpec';
  if (state === 'FailedToLoad') return 'BlockedByFailedLoad';
  return isProved(target, input.initialScale) || input.stopped !== undefined ? 'UpToDate' : 'InProgress';
}

function failureInfo(input: StatusInput): Pick<ModelStatus, 'lastFailureInfo'> {
  if (input.invalid !== undefined) {
    return { lastFailureInfo: { reason: 'InvalidPredictorSpec', message: input.invalid.join('\n') } };
  }
  const target = targetOf(input.revisions);
  if (target === undefined) return {};
  const trouble = input.trouble(target.name);
  const failure = trouble
    ? { code: trouble.code, message: trouble.message, atMs: trouble.lastAtMs }
    : target.failure;
  if (failure === undefined) return {};
  const isRuntime = failure.code === 'replica-failed' || failure.code === 'internal';
  return {
    lastFailureInfo: {
      reason: isRuntime ? 'RuntimeUnhealthy' : 'ModelLoadFailed',
      message: `${failure.code}: ${failure.message}`,
      modelRevisionName: target.name,
      time: timestamp(failure.atMs),
    },
  };
}

function conditionsOf(input: StatusInput, model: ModelStatus): Condition[] {
  const predictor = predictorCondition(input, model);
  const ingress: Condition = { type: 'IngressReady', status: 'True' };
  const ready: Condition = { ...predictor, type: 'Ready' };
  const conditions = [ready, predictor, ingress];
  const limited = scalingLimited(input);
  if (limited !== undefined) conditions.push(limited);
  if (input.misfits !== undefined) conditions.push(standbyFit(input.misfits));
  if (input.invalid !== undefined) {
    const message = input.invalid.join('\n');
    conditions.push({ type: 'SpecValid', status: 'False', reason: 'InvalidSpec', message });
  }
  if (input.warnings.length > 0) {
    const message = input.warnings.join('\n');
    conditions.push({
      type: 'Warnings',
      status: 'True',
      severity: 'Warning',
      reason: 'WithoutEffect',
      message,
    });
  }
  if (input.stopped !== undefined) {
    conditions.push({
      type: 'Stopped',
      status: 'True',
      severity: 'Info',
      reason: 'Stopped',
      message: input.stopped,
    });
  }
  return conditions;
}

function predictorCondition(input: StatusInput, model: ModelStatus): Condition {
  const type = 'PredictorReady';
  if (input.stopped !== undefined) {
    return { type, status: 'False', reason: 'Stopped', message: input.stopped };
  }
  const target = targetOf(input.revisions);
  if (target === undefined) {
    const message = input.invalid?.join('\n') ?? 'the revisions are being read';
    return {
      type,
      status: input.invalid === undefined ? 'Unknown' : 'False',
      reason: 'InvalidSpec',
      message,
    };
  }
  if (input.platformProblem !== undefined) {
    return { type, status: 'False', reason: 'PlatformError', message: input.platformProblem };
  }
  if (model.states?.targetModelState === 'FailedToLoad') {
    const serving = activeOf(input);
    const who = serving === undefined || serving === target ? '' : `; ${serving.name} goes on serving`;
    const why = model.lastFailureInfo?.message ?? 'it failed to load';
    const reason = platformReason(input.trouble(target.name)) ?? 'RevisionFailed';
    return { type, status: 'False', reason, message: `${target.name}: ${why}${who}` };
  }
  const waits = isWithoutReplica(input, target.name) ? input.waitsFor(target.name) : undefined;
  if (waits !== undefined) {
    return { type, status: 'False', reason: waits.code, message: `${target.name}: ${waits.message}` };
  }
  if (!isProved(target, input.initialScale)) {
    return { type, status: 'Unknown', reason: 'Deploying', message: `${target.name} is being loaded` };
  }
  return { type, status: 'True' };
}

/** A replica is wanted and started, and none serves. */
function isWithoutReplica(input: StatusInput, revision: string): boolean {
  const { ready, starting } = input.counts(revision);
  return ready === 0 && starting > 0;
}

/** The platform's own word for a failure, such as Kubernetes' `ExceededQuota`; undefined for codes of ours. */
function platformReason(trouble: StartTrouble | undefined): string | undefined {
  return trouble === undefined || isErrorCode(trouble.code) ? undefined : trouble.code;
}

/** It serves, and can't have as many replicas as it wants: named as HorizontalPodAutoscaler names it. */
function scalingLimited(input: StatusInput): Condition | undefined {
  for (const { name } of input.revisions) {
    const { ready, wanted } = input.counts(name);
    if (ready === 0 || ready >= wanted) continue;
    const trouble = input.trouble(name);
    const why = input.waitsFor(name) ?? (trouble !== undefined && trouble.failures > 0 ? trouble : undefined);
    if (why === undefined) continue;
    const message = `${name}: ${ready} of ${wanted} replicas: ${why.message}`;
    return { type: 'ScalingLimited', status: 'True', severity: 'Warning', reason: why.code, message };
  }
  return undefined;
}

function standbyFit(misfits: readonly string[]): Condition {
  const type = 'StandbyFit';
  if (misfits.length === 0) return { type, status: 'True', severity: 'Info' };
  const message = `each replica is started for this service alone, which takes longer than a standby, because of ${misfits.join(', ')}`;
  return { type, status: 'False', severity: 'Info', reason: 'FieldsDiffer', message };
}

function predictorOf(input: StatusInput) {
  const target = targetOf(input.revisions);
  const latestReady = input.revisions.filter((revision) => isProved(revision, input.initialScale)).at(-1);
  const rolledOut = lastRolledOut(input.revisions);
  const before = lastRolledOut(input.revisions.filter((revision) => revision !== rolledOut));
  return {
    url: input.url,
    ...(target && { latestCreatedRevision: target.name }),
    ...(latestReady && { latestReadyRevision: latestReady.name }),
    ...(rolledOut && { latestRolledoutRevision: rolledOut.name }),
    ...(before && { previousRolledoutRevision: before.name }),
    traffic: trafficOf(input, target?.name),
  };
}

/** Those with traffic, then what has none and can be called by its tag; a further tag of one is a further line. */
function trafficOf(input: StatusInput, target: string | undefined) {
  const tags = tagsOf(input.revisions, input.hasTags);
  const line = (revisionName: string, percent: number, tag: string | undefined) => {
    const url = tag === undefined ? undefined : taggedUrl(tag, input.url);
    const latestRevision = revisionName === target;
    return {
      revisionName,
      percent,
      latestRevision,
      ...(tag !== undefined && url !== undefined && { tag, url }),
    };
  };
  const further = [...tags].flatMap(([name, [, ...others]]) => others.map((tag) => line(name, 0, tag)));
  const idle = [...tags].filter(([name]) => !input.traffic.has(name));
  return [
    ...[...input.traffic].map(([name, percent]) => line(name, percent, tags.get(name)?.[0])),
    ...idle.map(([name, [tag]]) => line(name, 0, tag)),
    ...further,
  ];
}

/** Each condition with the time since when it has had its present status, to the second as Kubernetes has it. */
function withTimes(conditions: Condition[], previous: readonly Condition[], nowMs: number): Condition[] {
  return conditions.map((condition) => {
    const before = previous.find(({ type }) => type === condition.type);
    const isSame = before?.status === condition.status && before.lastTransitionTime !== undefined;
    return {
      ...condition,
      lastTransitionTime: isSame ? (before.lastTransitionTime ?? '') : timestamp(nowMs),
    };
  });
}

function timestamp(epochMs: number): string {
  return `${new Date(epochMs).toISOString().slice(0, 19)}Z`;
}
