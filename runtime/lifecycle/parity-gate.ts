import type { ParityOrder } from '../../contracts/admin.ts';
import { PilotlightError } from '../../contracts/errors.ts';
import type { CompareResult } from '../../contracts/model-tools.ts';
import { isFloat, judge, percent, toleranceOf } from '../../contracts/parity-verdict.ts';
import { decodeInferRequest } from '../core/oip-json.ts';
import { type Comparable, compareSessions, type Sample } from '../engine/compare-sessions.ts';
import { anonymousBytes, doesNotFit, fittingInstances } from '../engine/memory-fit.ts';
import { openSession } from '../engine/open-session.ts';
import type { ProcessLimits } from '../engine/process-limits.ts';
import type { OpenedModel } from '../storage/open-model.ts';
import { redactUri } from '../storage/uri.ts';
import { companionText } from '../transform/companion-text.ts';
import type { LoadOrder } from './load-order.ts';
import { storageLimits } from './model-source.ts';

export interface ParityGateContext {
  readonly order: LoadOrder;
  readonly companions: OpenedModel['companions'];
  readonly cacheDir: string;
  readonly cacheMaxBytes: number | undefined;
  readonly limits: ProcessLimits;
  readonly signal: AbortSignal;
}

/**
 * Lets a model through that answers what another one answers, within what the service allows. Both are in memory
 * meanwhile, each with a session of its own; of the other one nothing is kept but its files in the cache.
 *
 * @returns a sentence on how far they are apart.
 * @throws PilotlightError `model-parity` beyond the tolerance; what keeps the other model from being had or run
 */
export async function passParityGate(
  candidate: Comparable,
  parity: ParityOrder,
  context: ParityGateContext,
): Promise<string> {
  const { companions, signal } = context;
  const samples =
    parity.samples === undefined
      ? []
      : samplesIn(await companionText(parity.samples, companions, signal), parity.samples.path);
  const original = await openOriginal(parity.against, context);
  try {
    refuseWhatDoesNotFit(original, context.limits);
    const session = await openSession(original, 1);
    try {
      return verdictOn(await compareSessions(session, candidate, { samples, signal }), parity);
    } finally {
      await session.instance.retire();
    }
  } finally {
    await original.release();
  }
}

async function openOriginal(
  uri: string,
  { order, cacheDir, cacheMaxBytes, signal }: ParityGateContext,
): Promise<OpenedModel> {
  const { openModel } = await import('../storage/open-model.ts');
  return openModel({
    uri,
    cacheDir,
    signal,
    // Nobody else's store is shown them.
    ...(order.access !== undefined && isSameStore(uri, order.uri) && { credentials: order.access }),
    limits: storageLimits(order, cacheMaxBytes),
  });
}

function isSameStore(left: string, right: string): boolean {
  if (!URL.canParse(left) || !URL.canParse(right)) return false;
  const [one, other] = [new URL(left), new URL(right)];
  // Of s3: and gs: the host is a bucket; an access is to the store that has them all.
  return one.protocol === other.protocol && (/^(s3|gs):$/.test(one.protocol) || one.host === other.host);
}

function refuseWhatDoesNotFit({ sizeBytes }: OpenedModel, { memoryBytes: limitBytes }: ProcessLimits): void {
  const need = { sizeBytes, mapped: false, instances: 1, residentBytes: anonymousBytes(), limitBytes };
  if (fittingInstances(need) === 0) throw doesNotFit(need);
}

/** A request of the protocol in each line, or one in the whole file. */
function samplesIn(text: string, path: string): Sample[] {
  const lines = /\.jsonl$/i.test(path) ? text.split('\n') : [text];
  return lines.flatMap((line, index) => {
    if (line.trim() === '') return [];
    const name = lines.length === 1 ? path : `${path}, line ${index + 1}`;
    return [{ name, read: async () => decodeInferRequest(Buffer.from(line)).inputs }];
  });
}

function verdictOn(result: CompareResult, { against, tolerance, agreement }: ParityOrder): string {
  const { isWithin, reasons } = judge(result, toleranceOf(tolerance, agreement));
  const on = `${result.samples} ${result.isGenerated ? 'made-up inputs' : 'samples'}`;
  if (!isWithin) {
    throw new PilotlightError(
      'model-parity',
      `the model is further from ${redactUri(against)} than spec.predictor.model.parity allows, on ${on}: ${reasons.join('; ')}`,
    );
  }
  return `compared with ${redactUri(against)} on ${on}: ${result.outputs.map(summary).join('; ')}`;
}

function summary(output: CompareResult['outputs'][number]): string {
  const { name, maxRelative, meanRelative, agreement } = output;
  const parts = [
    ...(isFloat(output)
      ? [`largest error ${percent(maxRelative)} of the largest value, mean ${percent(meanRelative)}`]
      : []),
    ...(agreement === undefined ? [] : [`${agreement.agreeing} of ${agreement.of} agree`]),
  ];
  return `${name}: ${parts.join(', ')}`;
}
