import { hashText } from './hash.ts';

/** Longest name of a pod: it is a host name and a label's value too. */
const MAX_LABEL_LENGTH = 63;
const MAX_SLOT = 9_999;
const MAX_INCARNATION = 99_999;

/** Where a replica of its own stands: its number among the replicas of its revision, and which try it is. */
export interface ReplicaPlace {
  /** From 0 on. */
  readonly slot: number;
  /** From 1 on; grows each time the slot gets another pod. */
  readonly incarnation: number;
}

/**
 * `<revision>-<slot>-<incarnation>`: the same name for the same incarnation of the same slot, whoever makes it, so
 * that a create that was tried twice collides (409 AlreadyExists) instead of doubling the replica.
 */
export function replicaPodName(revision: string, { slot, incarnation }: ReplicaPlace): string {
  const suffix = `-${slot}-${incarnation}`;
  if (revision.length + suffix.length <= MAX_LABEL_LENGTH) return revision + suffix;
  // 45 characters of name and a revision beyond 99999: cut, and told from others by a digest.
  const digest = hashText(revision).slice(0, 8);
  const kept = revision.slice(0, MAX_LABEL_LENGTH - suffix.length - digest.length - 1).replace(/-+$/, '');
  return `${kept}-${digest}${suffix}`;
}

/** The place of a replica's pod, from its name; undefined for a name that we don't give. */
export function placeOf(podName: string): ReplicaPlace | undefined {
  const match = /-(0|[1-9][0-9]{0,3})-([1-9][0-9]{0,4})$/.exec(podName);
  return match === null ? undefined : { slot: Number(match[1]), incarnation: Number(match[2]) };
}

/**
 * Where the next replica of a revision goes: the lowest slot that no pod holds, one incarnation after the highest
 * that was ever seen there. Two controllers that have seen the same pods choose the same place.
 *
 * @param pods All pods of the revision that exist, and those that are known to have existed.
 */
export function nextPlace(pods: Iterable<{ name: string; holdsSlot: boolean }>): ReplicaPlace {
  const held = new Set<number>();
  const highest = new Map<number, number>();
  for (const { name, holdsSlot } of pods) {
    const place = placeOf(name);
    if (place === undefined) continue;
    if (holdsSlot) held.add(place.slot);
    highest.set(place.slot, Math.max(highest.get(place.slot) ?? 0, place.incarnation));
  }
  let slot = 0;
  while (held.has(slot) && slot < MAX_SLOT) slot++;
  const last = highest.get(slot) ?? 0;
  return { slot, incarnation: last >= MAX_INCARNATION ? 1 : last + 1 };
}

/** As Kubernetes' own random names: no vowels, so no words, and no characters that are taken for one another. */
const ALPHABET = 'bcdfghjklmnpqrstvwxz2456789';

/**
 * `<pool>-<five characters>`, one of 14 million.
 *
 * @param random Numbers from 0 to below 1.
 */
export function poolPodName(pool: string, random: () => number): string {
  let suffix = '';
  for (let n = 0; n < 5; n++) suffix += ALPHABET[Math.floor(random() * ALPHABET.length)] ?? 'b';
  return `${pool}-${suffix}`;
}
