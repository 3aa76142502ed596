import type { ModelIdentity, S3Access } from '../../contracts/admin.ts';
import { UnsupportedModelError } from './errors.ts';
import type { FetchProgress, StorageLimits } from './storage-types.ts';

export interface StorageCredentials {
  s3?: S3Access;
  /** Sent to the URI's own origin only, never to where it redirects. */
  httpHeaders?: Record<string, string>;
}

export interface OpenModelOptions {
  /** `file:`, `http(s):` or `s3:`; turn a plain path into one with `uriFromArgument`. */
  uri: string;
  /** An existing or creatable folder, shared by any number of processes. Not used for `file:`. */
  cacheDir: string;
  credentials?: StorageCredentials;
  /** Of the `.onnx` file, in hex; the same as `#sha256=…` in the URI. */
  sha256?: string;
  /** Pins a numeric version folder. */
  version?: string;
  /** What the URI was resolved to before: a cached start then asks nobody, and other content is refused. */
  identity?: ModelIdentity;
  limits?: Partial<StorageLimits>;
  signal?: AbortSignal;
  onProgress?: (progress: FetchProgress) => void;
}

export interface OpenedModel {
  /** Absolute path of the `.onnx` file; its external data lies beside it as it expects. */
  modelPath: string;
  /** Absolute paths of all files, the model first. */
  files: string[];
  sizeBytes: number;
  /** `files[0]` is the `.onnx` file. */
  identity: ModelIdentity;
  /** True when no byte was fetched for this call. */
  fromCache: boolean;
  fetchMs: number;
  /** Ends the lease that keeps the files from being evicted. Idempotent. */
  release(): Promise<void>;
}

/**
 * Brings a model to this machine's disk and says where it lies.
 *
 * @throws PilotlightError with code invalid-uri, unsupported, model-not-found, model-forbidden,
 *   model-unreachable, model-not-onnx, model-too-large, model-digest-mismatch, model-layout, model-changed,
 *   cache-full or cache-not-writable; the signal's reason when it is aborted.
 */
export async function openModel(options: OpenModelOptions): Promise<OpenedModel> {
  throw new UnsupportedModelError(`cannot open ${options.uri} yet`);
}
