import type {
  ExecutionOrder,
  LabelsOrder,
  ModelIdentity,
  ParityOrder,
  SpecialiseRequest,
  TransformOrder,
} from '../../contracts/admin.ts';
import type { ImageInput } from '../../contracts/image-input.ts';
import type { StorageAccess } from '../../contracts/storage-access.ts';

/** What to load and how, whoever asks: a claim, or the command line of a runtime on its own. */
export interface LoadOrder {
  name: string;
  uri: string;
  identity?: ModelIdentity | undefined;
  sha256?: string | undefined;
  access?: StorageAccess | undefined;
  /** Code of the service's own, which the operator allows. */
  transform?: TransformOrder | undefined;
  image?: ImageInput | undefined;
  labels?: LabelsOrder | undefined;
  /** What it is to answer like. */
  parity?: ParityOrder | undefined;
  instances?: number | undefined;
  threadsPerInstance?: number | undefined;
  /** The CPU when absent. */
  execution?: ExecutionOrder | undefined;
  containerConcurrency?: number | undefined;
  /** Absent: nobody asked for batches or for none. */
  batching?: { maxBatchSize: number; maxLatencyMs: number } | undefined;
  requestTimeoutMs: number;
  startTimeoutMs: number;
  /** `request`: a request waits and is the warm-up; `run`: run the model once on made-up input first. */
  warmUp: 'request' | 'run';
}

/** The part of a claim that says what to load. */
export function orderOf({ model, serving, startTimeoutMs, warmUp }: SpecialiseRequest): LoadOrder {
  return { ...model, ...serving, startTimeoutMs, warmUp };
}

/** Phases in which a load can hang, in the words of `COLD_START_PHASES`, with what is going on then. */
export type LoadPhase = 'fetched' | 'created' | 'warmed' | 'parity' | 'module';

const DOING: Readonly<Record<LoadPhase, string>> = {
  fetched: 'while its files were being fetched',
  created: 'while ONNX Runtime created the session',
  warmed: 'during the warm-up run',
  parity: 'while it was compared with the model that it is to answer like',
  module: 'while what stands around the model was loaded: its transform module, the reader of images',
};

/** What went on when the time to start was over, for a message. */
export function doing(phase: LoadPhase): string {
  return `${DOING[phase]} (phase '${phase}')`;
}
