export type ClusterErrorCode =
  | 'E2E_NEEDS_ROOT'
  | 'E2E_NEEDS_DEBIAN'
  | 'E2E_NEEDS_GO'
  | 'E2E_NEEDS_DOCKER'
  | 'E2E_STEP_FAILED'
  | 'E2E_COMMAND_FAILED'
  | 'E2E_NOT_IN_TIME'
  | 'E2E_NO_CLUSTER'
  | 'E2E_NO_NODE_ACCESS'
  | 'E2E_NO_IMAGE_REGISTRY';

/** What the harness cannot do, why, and what would help. The code is stable, the sentence is for people. */
export class ClusterError extends Error {
  readonly code: ClusterErrorCode;

  constructor(code: ClusterErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ClusterError';
    this.code = code;
  }
}
