import { z } from 'zod';
import { type ErrorCode, isErrorCode } from './errors.ts';

/**
 * What the command line and the runtime's tool process (`runtime/tools/main.ts`) say to each other: one job, as a line
 * of JSON on its standard input, and lines of JSON on its standard output, the last one `done` or `failed`. The process
 * ends when its standard input does. A job runs in a process of its own, since ONNX Runtime gives memory back only with it.
 */

const uri = z.string().min(1);
/** Where fetched models and their forms are kept; that of a runtime on its own when absent. */
const cacheDir = z.string().min(1).optional();

const compileJobSchema = z.object({
  tool: z.literal('compile'),
  uri,
  /** Where the form goes, the model with it; beside the model when absent. */
  to: uri.optional(),
  cacheDir,
});
export type CompileToolJob = z.infer<typeof compileJobSchema>;

/** Inputs of one run, as they lie on the disk. */
const storedSampleSchema = z.discriminatedUnion('kind', [
  /** A request of the Open Inference Protocol, in JSON. */
  z.object({ kind: z.literal('request'), name: z.string(), path: z.string() }),
  z.object({
    kind: z.literal('tensors'),
    name: z.string(),
    tensors: z.array(
      z.object({
        /** The model's only one when absent. */
        input: z.string().optional(),
        path: z.string(),
        datatype: z.string(),
        shape: z.array(z.number().int().nonnegative()),
        /** Where in the file the elements begin: row-major, little-endian. */
        offset: z.number().int().nonnegative(),
      }),
    ),
  }),
]);
export type StoredSample = z.infer<typeof storedSampleSchema>;

const compareJobSchema = z.object({
  tool: z.literal('compare'),
  original: uri,
  candidate: uri,
  /** None: inputs are made up from the signature. */
  samples: z.array(storedSampleSchema).max(10_000),
  cacheDir,
});
export type CompareToolJob = z.infer<typeof compareJobSchema>;

const scratch = z.string().min(1);

/** One start of a model, as a standby has it: ONNX Runtime is loaded, the model is not. */
const measureStartJobSchema = z.object({
  tool: z.literal('measure-start'),
  uri,
  cacheDir: scratch,
  /** Has the files fall out of the page cache before, where the system can do that. */
  dropsPages: z.boolean(),
});
export type MeasureStartJob = z.infer<typeof measureStartJobSchema>;

/** Makes the form that a model is best served from, and tells what there is to measure. */
const settleJobSchema = z.object({ tool: z.literal('settle'), uri, cacheDir: scratch });
export type SettleJob = z.infer<typeof settleJobSchema>;

/** A model under load, each instance as busy as it can be. */
const measureLoadJobSchema = z.object({
  tool: z.literal('measure-load'),
  uri,
  cacheDir: scratch,
  threads: z.number().int().positive(),
  instances: z.number().int().positive(),
  batches: z.array(z.number().int().positive()).min(1),
  /** For each batch size. */
  milliseconds: z.number().positive(),
});
export type MeasureLoadJob = z.infer<typeof measureLoadJobSchema>;

export const toolJobSchema = z.discriminatedUnion('tool', [
  compileJobSchema,
  compareJobSchema,
  measureStartJobSchema,
  settleJobSchema,
  measureLoadJobSchema,
]);
export type ToolJob = z.infer<typeof toolJobSchema>;

/** What has become of a compile job. */
export const compileResultSchema = z.discriminatedUnion('outcome', [
  z.object({
    outcome: z.literal('compiled'),
    /** False when a form of the same key was there already. */
    isNew: z.boolean(),
    kind: z.enum(['optimised', 'prepacked']),
    /** Without credentials: the folder of the form. */
    place: z.string(),
    /** Of the original `.onnx` file. */
    sha256: z.string(),
    sizeBytes: z.number(),
    originalBytes: z.number(),
    onnxRuntime: z.string(),
    cpu: z.string(),
    /** Whether the model itself was written as well. */
    copiedOriginal: z.boolean(),
    elapsedMs: z.number(),
  }),
  /** It starts in milliseconds as it is. */
  z.object({ outcome: z.literal('not-needed'), reason: z.string() }),
]);
export type CompileResult = z.infer<typeof compileResultSchema>;

const outputParitySchema = z.object({
  name: z.string(),
  datatype: z.string(),
  elements: z.number(),
  maxAbsolute: z.number(),
  meanAbsolute: z.number(),
  /** To the largest value of the original's output in the same sample. */
  maxRelative: z.number(),
  meanRelative: z.number(),
  /** Elements that are infinite or no number in one of the two models only. */
  nonFinite: z.number(),
  /** Rows whose largest value stands at the same place; of outputs that are no floats, equal elements. */
  agreement: z.object({ agreeing: z.number(), of: z.number() }).optional(),
  /** Of the largest error. */
  worstSample: z.string(),
});
export type OutputParity = z.infer<typeof outputParitySchema>;

export const compareResultSchema = z.object({
  samples: z.number(),
  isGenerated: z.boolean(),
  outputs: z.array(outputParitySchema),
});
export type CompareResult = z.infer<typeof compareResultSchema>;

export const startMeasureSchema = z.object({
  /** Resolving, fetching and finding the form. */
  openedMs: z.number(),
  createMs: z.number(),
  firstRunMs: z.number(),
  totalMs: z.number(),
  /** Bytes that had to come from the disk. */
  coldBytes: z.number(),
  /** What it was started from. */
  kind: z.string(),
});
export type StartMeasure = z.infer<typeof startMeasureSchema>;

export const settledModelSchema = z.object({
  kind: z.string(),
  sizeBytes: z.number(),
  /** Whether the first dimension of every input and output can be chosen: requests may be put together. */
  takesBatches: z.boolean(),
  /** What this machine lets a process use. */
  cpus: z.number(),
  memoryBytes: z.number(),
});
export type SettledModel = z.infer<typeof settledModelSchema>;

export const loadMeasureSchema = z.object({
  rows: z.array(
    z.object({
      batch: z.number(),
      runs: z.number(),
      p50Ms: z.number(),
      p95Ms: z.number(),
      /** Items, a batch of eight being eight of them. */
      itemsPerSecond: z.number(),
    }),
  ),
  /** Memory of the process that is no page of a file, at its end. */
  anonymousBytes: z.number(),
  /** Of the files that its sessions map. */
  mappedBytes: z.number(),
});
export type LoadMeasure = z.infer<typeof loadMeasureSchema>;

const errorCodeSchema = z.custom<ErrorCode>(isErrorCode, 'expected an error code');

export const toolLineSchema = z.discriminatedUnion('line', [
  /** What is being done now; `share` from 0 to 1 where it is known. */
  z.object({ line: z.literal('progress'), text: z.string(), share: z.number().optional() }),
  /** Something that the result does not say and whoever asked should know. */
  z.object({ line: z.literal('note'), text: z.string() }),
  z.object({ line: z.literal('done'), result: z.unknown() }),
  z.object({ line: z.literal('failed'), code: errorCodeSchema, message: z.string() }),
]);
export type ToolLine = z.infer<typeof toolLineSchema>;
