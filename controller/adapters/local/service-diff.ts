import { canonicalJson } from '../../../crds/schema.ts';
import type { PlatformEvent, ResolvedService } from '../../ports.ts';

/** A valid InferenceService in a file of the folder, with what it refers to resolved. */
export interface ScannedService extends Omit<ResolvedService, 'uid' | 'generation'> {
  file: string;
  line: number;
}

/** What is wrong with a document; its name where that could still be read. */
export interface ScannedProblem {
  file: string;
  namespace?: string;
  name?: string;
  /** Each with file and line, as a person reads it. */
  messages: readonly string[];
}

export interface Scan {
  services: readonly ScannedService[];
  problems: readonly ScannedProblem[];
}

/** A service that was applied before: its identity, and what tells whether it changed. */
export interface KnownService {
  uid: string;
  generation: number;
  /** What was applied last: it stands while its manifest is broken, over a restart of the controller too. */
  applied: ScannedService;
  /** Problems that were told last; empty while its manifest is good. */
  problems: readonly string[];
}

export interface Known {
  services: ReadonlyMap<string, KnownService>;
  /** Problems of manifests that were never good, so that they are told once. */
  strangers: ReadonlyMap<string, readonly string[]>;
}

export const NOTHING_KNOWN: Known = { services: new Map(), strangers: new Map() };

const keyOf = ({ namespace, name }: { namespace: string; name: string }): string => `${namespace}/${name}`;
const canonicalText = ({ service, env, access }: ScannedService): string =>
  canonicalJson({ service, env, access: access ?? null });

/**
 * What a fresh scan of the folder changes. A service keeps its uid as long as some file names it; its
 * generation grows with each change. A file that can't be read any more deletes nothing: what it held serves
 * on and is told to be invalid. Of two services with one name the first one counts, or the one that was
 * there before.
 */
export function diffServices(
  { services: known, strangers }: Known,
  scan: Scan,
  newUid: () => string,
): { known: Known; events: PlatformEvent[] } {
  const next = new Map<string, KnownService>();
  const events: PlatformEvent[] = [];
  const problems = problemsByKey(known, scan);

  for (const [key, candidates] of groupByKey(scan.services)) {
    const before = known.get(key);
    const chosen = candidates.find(({ file }) => file === before?.applied.file) ?? candidates[0];
    if (chosen === undefined) continue;
    for (const other of candidates) {
      if (other === chosen) continue;
      const message = `${other.file}:${other.line}: a second InferenceService "${key}"; the one in ${chosen.file}:${chosen.line} counts: rename or remove one`;
      problems.set(key, [...(problems.get(key) ?? []), message]);
    }
    const own = problems.get(key) ?? [];
    const changed = before === undefined || canonicalText(before.applied) !== canonicalText(chosen);
    const healed = before !== undefined && before.problems.length > 0 && own.length === 0;
    const service: KnownService = {
      uid: before?.uid ?? newUid(),
      generation: (before?.generation ?? 0) + (changed ? 1 : 0),
      applied: chosen,
      problems: own,
    };
    next.set(key, service);
    if (changed || healed) events.push({ type: 'service-applied', service: resolved(service) });
  }

  for (const [key, before] of known) {
    if (next.has(key)) continue;
    const own = problems.get(key);
    if (own === undefined) events.push({ type: 'service-deleted', uid: before.uid });
    else next.set(key, { ...before, problems: own });
  }

  const nextStrangers = new Map([...problems].filter(([key]) => !next.has(key)));
  for (const [key, messages] of problems) {
    const before = known.get(key)?.problems ?? strangers.get(key) ?? [];
    if (!sameTexts(before, messages)) events.push(invalid(key, messages));
  }
  for (const key of strangers.keys()) {
    if (!nextStrangers.has(key) && !next.has(key)) events.push(invalid(key, []));
  }
  return { known: { services: next, strangers: nextStrangers }, events };
}

function invalid(key: string, problems: readonly string[]): PlatformEvent {
  const [namespace = '', name = ''] = key.split('/');
  return { type: 'service-invalid', namespace, name, problems };
}

/** All known services and what is wrong with their manifests, for a controller that has just started. */
export function tellAll({ services }: Known): PlatformEvent[] {
  return [...services.values()].flatMap((service): PlatformEvent[] => {
    const applied: PlatformEvent = { type: 'service-applied', service: resolved(service) };
    if (service.problems.length === 0) return [applied];
    return [applied, invalid(keyOf(service.applied.service.metadata), service.problems)];
  });
}

function resolved({ uid, generation, applied }: KnownService): ResolvedService {
  const { file: _file, line: _line, ...rest } = applied;
  return { ...rest, uid, generation };
}

/** Problems by service: those that name one, and those of a whole file for every service that it held. */
function problemsByKey(known: Known['services'], scan: Scan): Map<string, readonly string[]> {
  const byKey = new Map<string, readonly string[]>();
  const add = (key: string, messages: readonly string[]): void => {
    byKey.set(key, [...(byKey.get(key) ?? []), ...messages]);
  };
  const present = new Set(scan.services.map(({ service }) => keyOf(service.metadata)));
  for (const { file, namespace, name, messages } of scan.problems) {
    if (namespace !== undefined && name !== undefined) {
      add(keyOf({ namespace, name }), messages);
      continue;
    }
    for (const [key, before] of known)
      if (before.applied.file === file && !present.has(key)) add(key, messages);
  }
  return byKey;
}

function groupByKey(services: readonly ScannedService[]): Map<string, ScannedService[]> {
  const groups = new Map<string, ScannedService[]>();
  for (const scanned of services) {
    const key = keyOf(scanned.service.metadata);
    groups.set(key, [...(groups.get(key) ?? []), scanned]);
  }
  return groups;
}

function sameTexts(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((text, index) => text === right[index]);
}
