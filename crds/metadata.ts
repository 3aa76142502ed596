import { z } from 'zod';
import { fields, optional, text, unsupported } from './fields.ts';

/** Names of our kinds: DNS labels that begin with a letter, as Services want them. */
export const NAME_PATTERN = '^[a-z]([-a-z0-9]*[a-z0-9])?$';

const stringMap = z.record(text(317), z.string().max(262_144));
const managed = z.unknown();

/** Metadata as a manifest or the API server gives it; only what is read here appears in the parsed form. */
export function metadataSchema(maxNameLength: number) {
  return fields({
    name: text(maxNameLength).regex(
      new RegExp(NAME_PATTERN),
      'expected lower-case letters, digits and "-", beginning with a letter and not ending with "-"',
    ),
    namespace: text(63)
      .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/, 'expected lower-case letters, digits and "-"')
      .default('default'),
    labels: stringMap.default({}),
    annotations: stringMap.default({}),
    uid: optional(z.string().max(128)),
    generation: optional(z.int()),
    resourceVersion: optional(z.string().max(128)),
    creationTimestamp: optional(z.string().max(64).nullable()),
    deletionTimestamp: optional(z.string().max(64).nullable()),
    deletionGracePeriodSeconds: optional(managed),
    finalizers: optional(z.array(z.string().max(317)).max(100)),
    ownerReferences: optional(managed),
    managedFields: optional(managed),
    selfLink: optional(managed),
    generateName: unsupported('string'),
  }).transform(
    ({
      deletionGracePeriodSeconds: _grace,
      ownerReferences: _owners,
      managedFields: _managed,
      selfLink: _link,
      ...rest
    }) => rest,
  );
}
