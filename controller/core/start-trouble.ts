/**
 * What is known about failed starts of one revision (or of standbys), and when the next one may be tried.
 * Failures that another try won't cure (no such model, not an ONNX file, no permission, …) are told to callers
 * at once and tried again rarely; others are tried again quickly at first.
 */
export interface StartTrouble {
  /** Failures in a row. */
  readonly failures: number;
  /** Replicas that were ready and died, since the last long quiet time. */
  readonly crashes: number;
  readonly code: string;
  readonly message: string;
  readonly lastAtMs: number;
  readonly retryAtMs: number;
  /** Callers get the error, instead of waiting, while nothing is being tried. */
  readonly isFailed: boolean;
}

/** Codes of failures that the passage of a second won't cure. */
const LASTING = new Set([
  'invalid-uri',
  'model-not-found',
  'model-forbidden',
  'model-not-onnx',
  'model-unsupported-operator',
  'model-too-large',
  'model-out-of-memory',
  'model-digest-mismatch',
  'model-layout',
  'model-load-timeout',
  'model-invalid',
  'model-parity',
  'execution-provider-unavailable',
  'transform-invalid',
  'transform-forbidden',
  'cache-full',
  'cache-not-writable',
  'unsupported',
  'invalid-request',
]);

const QUICK_BASE_MS = 500;
const QUICK_MAX_MS = 30_000;
const LASTING_BASE_MS = 10_000;
const LASTING_MAX_MS = 300_000;
/** A request may have a failed model tried again earlier than the back-off says, 5, 10, 20 … 60 s after the last try. */
const ON_REQUEST_BASE_MS = 5_000;
const ON_REQUEST_MAX_MS = 60_000;
/** Failures in a row after which a passing one counts as failed too: tries at 0, 0 and 500 ms. */
const FAILURES_UNTIL_FAILED = 3;
/** A replica that lived this long before it died begins a new count: the same as the kubelet's 10 minutes. */
const CRASH_RESET_MS = 600_000;

export interface StartFailure {
  readonly code: string;
  readonly message: string;
  /** Whether the passage of a second won't cure it; by its code where this isn't said. */
  readonly isLasting?: boolean;
}

export function afterFailedStart(
  before: StartTrouble | undefined,
  failure: StartFailure,
  nowMs: number,
): StartTrouble {
  const failures = (before?.failures ?? 0) + 1;
  const isLasting = failure.isLasting ?? LASTING.has(failure.code);
  const delayMs = isLasting ? lastingDelayMs(failures) : quickDelayMs(failures);
  return {
    failures,
    crashes: before?.crashes ?? 0,
    code: failure.code,
    message: failure.message,
    lastAtMs: nowMs,
    retryAtMs: nowMs + delayMs,
    isFailed: isLasting || failures >= FAILURES_UNTIL_FAILED,
  };
}

/** A ready replica died. The first is replaced at once; in a loop the pauses grow like those of failed starts. */
export function afterCrash(before: StartTrouble | undefined, message: string, nowMs: number): StartTrouble {
  const isOld = before === undefined || nowMs - before.lastAtMs > CRASH_RESET_MS;
  const crashes = (isOld ? 0 : before.crashes) + 1;
  return {
    failures: 0,
    crashes,
    code: 'replica-failed',
    message,
    lastAtMs: nowMs,
    retryAtMs: nowMs + quickDelayMs(crashes),
    isFailed: false,
  };
}

/** A start succeeded: failures are over, crashes stay counted until they are old. */
export function afterReady(before: StartTrouble | undefined, nowMs: number): StartTrouble | undefined {
  if (before === undefined || before.crashes === 0) return undefined;
  if (nowMs - before.lastAtMs > CRASH_RESET_MS) return undefined;
  return { ...before, failures: 0, isFailed: false };
}

/** @param isAsked A request waits. */
export function mayStart(trouble: StartTrouble | undefined, isAsked: boolean, nowMs: number): boolean {
  return trouble === undefined || nowMs >= nextStartMs(trouble, isAsked);
}

/** When the next start may be tried, epoch ms. */
export function nextStartMs(trouble: StartTrouble, isAsked: boolean): number {
  if (!trouble.isFailed || !isAsked) return trouble.retryAtMs;
  const delayMs = Math.min(ON_REQUEST_MAX_MS, ON_REQUEST_BASE_MS * 2 ** Math.min(30, trouble.failures - 1));
  return Math.min(trouble.retryAtMs, trouble.lastAtMs + delayMs);
}

/** 0, 500, 1000, 2000 … 30,000 ms: the first failure may have been the standby's, not the model's. */
function quickDelayMs(failures: number): number {
  return failures <= 1 ? 0 : Math.min(QUICK_MAX_MS, QUICK_BASE_MS * 2 ** Math.min(30, failures - 2));
}

/** 10, 20, 40 … 300 s. */
function lastingDelayMs(failures: number): number {
  return Math.min(LASTING_MAX_MS, LASTING_BASE_MS * 2 ** Math.min(30, failures - 1));
}
