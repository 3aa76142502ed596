import { lastRolledOut, type Revisions, targetOf } from './revisions.ts';

/** A DNS label is no longer. */
const MAX_LABEL_LENGTH = 63;

/**
 * Names by which revisions can be called on their own, by revision: `latest` is the one that the manifest asks for,
 * `prev` the one that had all of the traffic before it, as in KServe, and `r3` the revision with number 3, as long as
 * it is kept.
 */
export type Tags = ReadonlyMap<string, readonly string[]>;

const NO_TAGS: Tags = new Map();

/** @param isOn Whether the service asks for it; without, there are none. */
export function tagsOf(revisions: Revisions, isOn: boolean): Tags {
  const target = targetOf(revisions);
  if (!isOn || target === undefined) return NO_TAGS;
  const previous = lastRolledOut(revisions.filter((revision) => revision !== target));
  return new Map(
    revisions.map((revision) => [
      revision.name,
      [
        ...(revision === target ? ['latest'] : []),
        ...(revision === previous ? ['prev'] : []),
        `r${revision.number}`,
      ],
    ]),
  );
}

/** `ocr.team` and `prev` → `prev-ocr.team`; undefined where that is no host name any more. */
export function taggedHost(tag: string, host: string): string | undefined {
  const tagged = `${tag}-${host}`;
  return (tagged.split('.')[0] ?? '').length > MAX_LABEL_LENGTH ? undefined : tagged;
}

/** Of all hosts of a service, those for some tags. */
export function taggedHosts(tags: readonly string[], hosts: readonly string[]): string[] {
  return tags.flatMap((tag) => hosts.flatMap((host) => taggedHost(tag, host) ?? []));
}

/** The same for the URL in a status. */
export function taggedUrl(tag: string, url: string): string | undefined {
  const host = taggedHost(tag, new URL(url).host);
  return host === undefined ? undefined : `${new URL(url).protocol}//${host}`;
}
