/** The platform refused to start something: what it said, in its own words. */
export class PlatformRefusal extends Error {
  override readonly name = 'PlatformRefusal';
  /** One word for a condition, such as Kubernetes' `ExceededQuota`. */
  readonly reason: string;
  /** False: it will be refused again until somebody changes the manifest or the platform's rules. */
  readonly isPassing: boolean;

  constructor(reason: string, message: string, options: { isPassing: boolean; cause?: unknown }) {
    super(message, { cause: options.cause });
    this.reason = reason;
    this.isPassing = options.isPassing;
  }
}
