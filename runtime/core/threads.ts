import { PilotlightError } from '../../contracts/errors.ts';

/** How a model's inference is spread: worker threads with a session each, and ONNX Runtime's threads in each session. */
export interface ThreadPlan {
  readonly instances: number;
  /** ONNX Runtime's `intraOpNumThreads`, the calling thread among them. */
  readonly threadsPerInstance: number;
}

/** More than any machine has; an instance also costs a worker and a session. */
const MAX_THREADS = 1024;

/**
 * The instances and threads for a CPU limit; what the operator chose stands, the rest follows.
 *
 * By default one instance with a thread for each whole CPU: the lowest latency of a single request, and the weights
 * in memory once. A limit of 1.5 gives one thread, not two: two threads spend a 150 ms quota in 75 ms and then both
 * wait until the 100 ms period ends. Below one CPU it is one thread, throttled.
 * With n instances the CPUs are shared: 8 CPUs and 3 instances make 2 threads each.
 * Throws `invalid-request` for a number that is not whole or not between 1 and 1024.
 */
export function planThreads(
  cpus: number,
  chosen: { readonly instances?: number | undefined; readonly threadsPerInstance?: number | undefined } = {},
): ThreadPlan {
  const whole = Math.max(1, Math.floor(cpus));
  const instances = checked('instances', chosen.instances) ?? 1;
  const threadsPerInstance =
    checked('threadsPerInstance', chosen.threadsPerInstance) ?? Math.max(1, Math.floor(whole / instances));
  return { instances, threadsPerInstance };
}

function checked(name: string, value: number | undefined): number | undefined {
  if (value === undefined || (Number.isInteger(value) && value >= 1 && value <= MAX_THREADS)) return value;
  throw new PilotlightError(
    'invalid-request',
    `${name} must be a whole number from 1 to ${MAX_THREADS}, got ${value}`,
  );
}
