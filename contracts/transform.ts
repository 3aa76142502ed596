import type { Datatype, NumbersByDatatype } from './datatypes.ts';

/**
 * What a service's own `transform.mjs` gets and gives: `import type … from 'pilotlight/transform'`.
 *
 * @example
 * export function preprocess({ body }) {
 *   const { lengths } = JSON.parse(new TextDecoder().decode(body));
 *   return { inputs: [{ name: 'x', datatype: 'FP32', shape: [1, lengths.length], data: lengths }] };
 * }
 */

/** Elements of a tensor in row-major order. BOOL holds 0 and 1; BYTES is a string for each element. */
export interface TransformDataByDatatype extends NumbersByDatatype {
  BOOL: Uint8Array;
  FP16: Float16Array;
  BYTES: string[];
}

/** A tensor as the hooks get it. */
export type TransformTensor = {
  [Type in Datatype]: {
    readonly name: string;
    readonly datatype: Type;
    readonly shape: readonly number[];
    readonly data: TransformDataByDatatype[Type];
  };
}[Datatype];

/** A tensor as a hook may give it: a plain array does as well as a typed one. */
export type GivenTensor = {
  [Type in Datatype]: {
    readonly name: string;
    readonly datatype: Type;
    readonly shape: readonly number[];
    readonly data: TransformDataByDatatype[Type] | readonly (number | bigint | boolean | string)[];
  };
}[Datatype];

export type TransformParameters = Readonly<Record<string, string | number | bigint | boolean>>;

/** A request before the model. */
export interface TransformRequest {
  readonly model: { readonly name: string; readonly version: string };
  readonly protocol: 'v2' | 'v1' | 'grpc';
  /** The caller's own, echoed in the answer. */
  readonly id: string | undefined;
  readonly parameters: TransformParameters;
  /** As the caller sent them, not yet compared with the model; empty where there is a `body`. */
  readonly inputs: readonly TransformTensor[];
  /** Names of outputs that the caller asks for; empty means all. */
  readonly outputs: readonly string[];
  /**
   * The body as it came, decompressed: of V1 requests, and of V2 requests with another content type than JSON or
   * binary tensors, or with one that the module lists in `rawContentTypes`.
   */
  readonly body: Uint8Array | undefined;
  /** Lower case, without parameters, such as `text/plain`. */
  readonly contentType: string | undefined;
  /** Headers in lower case, without credentials. */
  readonly headers: Readonly<Record<string, string>>;
}

/** What `preprocess` gives. */
export interface Preprocessed {
  /** The model's inputs. */
  readonly inputs: readonly GivenTensor[];
  /** Handed to `postprocess` as it is; anything that `structuredClone` takes. */
  readonly state?: unknown;
}

/** A model's answer before it goes out. */
export interface TransformResponse {
  readonly model: { readonly name: string; readonly version: string };
  readonly protocol: 'v2' | 'v1' | 'grpc';
  readonly id: string | undefined;
  /** Of the request. */
  readonly parameters: TransformParameters;
  /** All outputs of the model. */
  readonly outputs: readonly TransformTensor[];
  /** What `preprocess` gave. */
  readonly state: unknown;
  /** Of the request. */
  readonly contentType: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
}

/** What `postprocess` gives: tensors, which are answered in the caller's protocol, or a body of its own (not over gRPC). */
export type Postprocessed =
  | {
      readonly outputs: readonly GivenTensor[];
      /** Added to the parameters of the answer (V2 over REST). */
      readonly parameters?: TransformParameters;
    }
  | {
      /** Text and bytes go out as they are, anything else as JSON. */
      readonly body: unknown;
      /** `application/json`, `text/plain` or `application/octet-stream` when absent, by the kind of body. */
      readonly contentType?: string;
      /** 200 when absent. */
      readonly status?: number;
    };

/**
 * An error of a hook with `status` from 400 to 499 is the caller's: it is answered with this status, its message and
 * code `transform-refused`. Any other one is answered 500 `transform-failed`.
 */
export type Preprocess = (request: TransformRequest) => Preprocessed | Promise<Preprocessed>;
export type Postprocess = (response: TransformResponse) => Postprocessed | Promise<Postprocessed>;

/** What a module exports: one hook at least. */
export interface TransformModule {
  readonly preprocess?: Preprocess;
  readonly postprocess?: Postprocess;
  /** Content types, such as `application/json`, whose bodies `preprocess` gets as they are. */
  readonly rawContentTypes?: readonly string[];
}
