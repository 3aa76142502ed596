import { PilotlightError } from '../../contracts/errors.ts';

interface Cause {
  cause?: unknown;
}

/** The URI is not one of ours: malformed, or it tries to leave its folder. */
export class InvalidModelUriError extends PilotlightError {
  override readonly name = 'InvalidModelUriError';
  constructor(message: string, options: Cause = {}) {
    super('invalid-uri', message, options);
  }
}

/** Known and legitimate, but not built yet (a scheme, an archive, a compressed answer). */
export class UnsupportedModelError extends PilotlightError {
  override readonly name = 'UnsupportedModelError';
  constructor(message: string, options: Cause = {}) {
    super('unsupported', message, options);
  }
}

/** The store answers, and there is nothing of that name. */
export class ModelNotFoundError extends PilotlightError {
  override readonly name = 'ModelNotFoundError';
  constructor(message: string, options: Cause = {}) {
    super('model-not-found', message, options);
  }
}

/** The store, or the file system, refuses to show the model to these credentials. */
export class ModelForbiddenError extends PilotlightError {
  override readonly name = 'ModelForbiddenError';
  constructor(message: string, options: Cause = {}) {
    super('model-forbidden', message, options);
  }
}

/**
 * No answer, or none that can be used: name unknown, connection refused, TLS, time-out, 5xx after all retries.
 * `retryable` says whether the same request may well succeed a moment later.
 */
export class ModelUnreachableError extends PilotlightError {
  override readonly name = 'ModelUnreachableError';
  readonly retryable: boolean;
  constructor(message: string, options: Cause & { retryable?: boolean; retryAfterSeconds?: number } = {}) {
    super('model-unreachable', message, options);
    this.retryable = options.retryable ?? true;
  }
}

/** The bytes are something else: HTML, a Git LFS pointer, a pickle, or an ONNX file cut short. */
export class ModelNotOnnxError extends PilotlightError {
  override readonly name = 'ModelNotOnnxError';
  constructor(message: string, options: Cause = {}) {
    super('model-not-onnx', message, options);
  }
}

/** Larger than the limit, known before or found while fetching. */
export class ModelTooLargeError extends PilotlightError {
  override readonly name = 'ModelTooLargeError';
  constructor(message: string, options: Cause = {}) {
    super('model-too-large', message, options);
  }
}

/** The bytes do not have the SHA-256 that was asked for. */
export class ModelDigestMismatchError extends PilotlightError {
  override readonly name = 'ModelDigestMismatchError';
  constructor(message: string, options: Cause = {}) {
    super('model-digest-mismatch', message, options);
  }
}

/** The folder does not say which file is the model, or the model names files outside its folder. */
export class ModelLayoutError extends PilotlightError {
  override readonly name = 'ModelLayoutError';
  constructor(message: string, options: Cause = {}) {
    super('model-layout', message, options);
  }
}

/** The object at the source is not (or no longer) the one that was resolved. */
export class ModelChangedError extends PilotlightError {
  override readonly name = 'ModelChangedError';
  constructor(message: string, options: Cause = {}) {
    super('model-changed', message, options);
  }
}

/** No room for the model: the disk is full, or the cache's bound is smaller than the model. */
export class CacheFullError extends PilotlightError {
  override readonly name = 'CacheFullError';
  constructor(message: string, options: Cause = {}) {
    super('cache-full', message, options);
  }
}

/** The cache folder is missing and cannot be made, is no folder, or refuses to be written. */
export class CacheNotWritableError extends PilotlightError {
  override readonly name = 'CacheNotWritableError';
  constructor(message: string, options: Cause = {}) {
    super('cache-not-writable', message, options);
  }
}

/** `code` of a Node system error (`ENOENT`, `ECONNRESET`, …), or undefined. */
export function systemCode(thrown: unknown): string | undefined {
  if (typeof thrown !== 'object' || thrown === null || !('code' in thrown)) return undefined;
  return typeof thrown.code === 'string' ? thrown.code : undefined;
}
