/** A call to the API that was refused, as far as this needs it; a KubeError is one. */
export interface ApiRefusal {
  /** HTTP status; absent where there was no answer. */
  readonly status: number | undefined;
  /** Kubernetes' own word, such as `Forbidden`. */
  readonly reason: string | undefined;
  readonly message: string;
}

/** Why a pod could not be created, in a word for a condition, and whether waiting may help. */
export interface CreateRefusal {
  readonly code: string;
  readonly message: string;
  /** False: the same pod will be refused again until somebody changes the manifest or the cluster's rules. */
  readonly isPassing: boolean;
}

/** The code where nothing can be created because the namespace is being deleted. */
export const NAMESPACE_TERMINATING = 'NamespaceTerminating';

/** Admission tells its cases apart in the text of a 403 alone. */
const FORBIDDEN: readonly [pattern: RegExp, code: string, isPassing: boolean][] = [
  [/exceeded quota/i, 'ExceededQuota', true],
  // Quotas want each pod to say its amounts; a LimitRange or the manifest can.
  [/failed quota/i, 'FailedQuota', false],
  [/is being terminated|is terminating/i, NAMESPACE_TERMINATING, false],
  [/violates PodSecurity/i, 'PodSecurity', false],
  [/(maximum|minimum) .*usage per|limit to request ratio/i, 'LimitRange', false],
  [/no PriorityClass with name/i, 'PriorityClassNotFound', false],
  [/error looking up service account|serviceaccount .* not found/i, 'ServiceAccountNotFound', true],
  [/unable to validate against any security context constraint/i, 'SecurityContextConstraint', false],
  [/User ".*" cannot/i, 'Forbidden', false],
];

/** The cause of a pod's refused creation, in Kubernetes' own words. */
export function createRefusal(error: ApiRefusal): CreateRefusal {
  const { status, message } = error;
  if (status === 403) {
    for (const [pattern, code, isPassing] of FORBIDDEN) {
      if (pattern.test(message)) return { code, message, isPassing };
    }
    return { code: error.reason ?? 'Forbidden', message, isPassing: false };
  }
  if (status === 400 || status === 422) return { code: error.reason ?? 'Invalid', message, isPassing: false };
  if (status === 404) return { code: 'NamespaceNotFound', message, isPassing: false };
  return { code: error.reason ?? 'FailedCreate', message, isPassing: true };
}
