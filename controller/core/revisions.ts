import type { ModelIdentity } from '../../contracts/admin.ts';
import type { ResolvedService, StoredRevision } from '../ports.ts';

/**
 * The revisions of one service: an immutable list in rising order of `number`; the last one is what the
 * manifest asks for (the target). A manifest that returns to an earlier spec gets that revision back under a
 * new number, as StatefulSet does with its ControllerRevisions: its name, replicas and cached model stay of
 * use. (KServe and Knative make another revision of the same content.)
 */
export type Revisions = readonly StoredRevision[];

/** Revisions that are kept for a way back, the target included. */
export const MAX_REVISIONS = 10;

export interface SpecChange {
  revisions: Revisions;
  change: 'none' | 'created' | 'reused';
}

/** The revision that the manifest asks for. */
export function targetOf(revisions: Revisions): StoredRevision | undefined {
  return revisions.at(-1);
}

export function findRevision(revisions: Revisions, name: string): StoredRevision | undefined {
  return revisions.find((revision) => revision.name === name);
}

/**
 * Takes in a manifest. The target's `resolved` is renewed even when its digest is the same, because settings
 * that make no revision and credentials may have changed.
 */
export function applySpec(
  revisions: Revisions,
  spec: { specHash: string; resolved: ResolvedService },
  nowMs: number,
): SpecChange {
  const target = targetOf(revisions);
  if (target?.specHash === spec.specHash) {
    return { revisions: replace(revisions, { ...target, resolved: spec.resolved }), change: 'none' };
  }
  const number = (target?.number ?? 0) + 1;
  const earlier = revisions.find((revision) => revision.specHash === spec.specHash);
  if (earlier !== undefined) {
    const { failure: _forgiven, ...kept } = earlier;
    const again = { ...kept, number, resolved: spec.resolved };
    return { revisions: [...revisions.filter((revision) => revision !== earlier), again], change: 'reused' };
  }
  const created: StoredRevision = {
    number,
    name: revisionName(spec.resolved.service.metadata.name, number),
    specHash: spec.specHash,
    resolved: spec.resolved,
    everReady: false,
    createdAtMs: nowMs,
  };
  return { revisions: [...revisions, created], change: 'created' };
}

/** `ocr` and 3 → `ocr-00003`, as Knative numbers them. */
function revisionName(service: string, number: number): string {
  return `${service}-${String(number).padStart(5, '0')}`;
}

/** A replica of it became ready: it loads, and earlier failures are history. */
export function markReady(
  revisions: Revisions,
  name: string,
  identity: ModelIdentity | undefined,
): Revisions {
  const revision = findRevision(revisions, name);
  if (revision === undefined) return revisions;
  const isKnown = identity === undefined || JSON.stringify(identity) === JSON.stringify(revision.identity);
  if (revision.everReady && revision.failure === undefined && isKnown) return revisions;
  const { failure: _past, ...kept } = revision;
  return replace(revisions, { ...kept, everReady: true, ...(identity !== undefined && { identity }) });
}

/**
 * Forgets what the model's URI was resolved to: somebody has put another model in its place, and a revision of
 * which no replica serves takes the one that is there.
 */
export function forgetIdentity(revisions: Revisions, name: string): Revisions {
  const revision = findRevision(revisions, name);
  if (revision?.identity === undefined) return revisions;
  const { identity: _past, ...kept } = revision;
  return replace(revisions, kept);
}

export function markFailed(
  revisions: Revisions,
  name: string,
  failure: { code: string; message: string; atMs: number },
): Revisions {
  const revision = findRevision(revisions, name);
  return revision === undefined ? revisions : replace(revisions, { ...revision, failure });
}

/** Notes which revision has all of the traffic, when that is news and the revision is good for it. */
export function markRolledOut(
  revisions: Revisions,
  traffic: Traffic,
  initialScale: number,
  nowMs: number,
): Revisions {
  const whole = revisions.find((revision) => traffic.get(revision.name) === 100);
  if (whole === undefined || whole === lastRolledOut(revisions)) return revisions;
  if (!isProved(whole, initialScale)) return revisions;
  const lastMs = lastRolledOut(revisions)?.rolledOutAtMs ?? 0;
  return replace(revisions, { ...whole, rolledOutAtMs: Math.max(nowMs, lastMs + 1) });
}

/** Share of the traffic by revision's name; those that are absent have none. The shares add up to 100. */
export type Traffic = ReadonlyMap<string, number>;

/**
 * Who gets new requests. A revision that was never proved to load gets none while another one can serve: the
 * old one goes on until the new one is ready, and stays when that fails. `initialScale: 0` says that it needs
 * no proof, so such a one gets its traffic until it fails, and the traffic then returns.
 *
 * With a canary the latest proved revision gets its percentage and the one that last had all traffic the rest.
 */
export function assignTraffic(
  revisions: Revisions,
  rollout: { canaryPercent: number | undefined; initialScale: number },
): Traffic {
  const target = targetOf(revisions);
  if (target === undefined) return new Map();
  const proved = revisions.filter((revision) => isProved(revision, rollout.initialScale));
  const latest = proved.at(-1);
  if (latest === undefined) return new Map([[target.name, 100]]);
  const rolledOut = lastRolledOut(proved);
  const { canaryPercent = 100 } = rollout;
  if (latest !== target && (rolledOut === latest || canaryPercent === 100)) {
    // The target is not proved. What had all of the traffic keeps it; a canary that was never promoted doesn't
    // become more than that because the manifest has moved on.
    return new Map([[(rolledOut ?? latest).name, 100]]);
  }
  // `canaryTrafficPercent` on a revision that was rolled out already is KServe's way to go back.
  const stable = lastRolledOut(proved.filter((revision) => revision !== latest));
  if (canaryPercent === 100 || stable === undefined) return new Map([[latest.name, 100]]);
  return new Map([
    [latest.name, canaryPercent],
    [stable.name, 100 - canaryPercent],
  ]);
}

/** Whether it may get traffic: it has loaded once, or was said to need no proof and hasn't failed. */
export function isProved(revision: StoredRevision, initialScale: number): boolean {
  return revision.everReady || (initialScale === 0 && revision.failure === undefined);
}

/** The revision that had all of the traffic last. */
export function lastRolledOut(revisions: Revisions): StoredRevision | undefined {
  let last: StoredRevision | undefined;
  for (const revision of revisions) {
    if ((revision.rolledOutAtMs ?? 0) > (last?.rolledOutAtMs ?? 0)) last = revision;
  }
  return last;
}

/** Drops the oldest revisions beyond `MAX_REVISIONS`, never the target, the last one rolled out, or one in use. */
export function trimRevisions(revisions: Revisions, inUse: ReadonlySet<string>): Revisions {
  let surplus = revisions.length - MAX_REVISIONS;
  if (surplus <= 0) return revisions;
  const target = targetOf(revisions);
  const rolledOut = lastRolledOut(revisions);
  return revisions.filter((revision) => {
    const isNeeded = revision === target || revision === rolledOut || inUse.has(revision.name);
    if (isNeeded || surplus <= 0) return true;
    surplus--;
    return false;
  });
}

function replace(revisions: Revisions, changed: StoredRevision): Revisions {
  return revisions.map((revision) => (revision.name === changed.name ? changed : revision));
}
