import type { ImageInput } from '../../contracts/image-input.ts';
import type { InputMetadata } from '../../vision/image-plan.ts';
import type { Tensor } from '../core/tensor.ts';

/** Formats that a request may be; told by the first bytes as well, so that no other reader sees them. */
export type ImageFormat = 'jpeg' | 'png';

/** What becomes of an image. */
export interface ImageTask {
  input: InputMetadata;
  image: ImageInput;
}

export interface ToImageThread {
  id: number;
  bytes: Uint8Array;
  format: ImageFormat;
  task: ImageTask;
}

export type FromImageThread =
  | { kind: 'started' }
  | { kind: 'read'; id: number; tensor: Tensor }
  | { kind: 'refused'; id: number; code: 'invalid-request' | 'body-too-large'; message: string };
