import type { VersionPolicy } from './model-config.ts';

/** Of the versions that there are, those that a policy allows, highest first. */
export function allowedVersions(policy: VersionPolicy, versions: readonly string[]): string[] {
  const sorted = versions.toSorted((a, b) => Number(b) - Number(a) || a.length - b.length);
  switch (policy.kind) {
    case 'all':
      return sorted;
    case 'latest':
      return sorted.slice(0, policy.count);
    case 'specific':
      return sorted.filter((version) => policy.versions.includes(Number(version)));
  }
}

/** For a message. */
export function shownPolicy(policy: VersionPolicy): string {
  switch (policy.kind) {
    case 'all':
      return 'all';
    case 'latest':
      return `the latest ${policy.count}`;
    case 'specific':
      return `versions ${policy.versions.join(', ')} alone`;
  }
}
