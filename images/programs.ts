import { NODE_FLAGS } from '../process/node-flags.ts';

/** A program of an image, and how its modules are compiled. */
export interface CompiledProgram {
  /** Names below `starts` of what it loads, its threads included. */
  readonly starts: readonly string[];
  /** Packages that its every start asks for by name. What only some services load, sharp say, is not worth the bytes. */
  readonly packages: readonly string[];
  /** Flags that its Node is started with: compiled code is good for the same flags only. */
  readonly flags: readonly string[];
}

/** What an image is made of; the build reads nothing else. */
export interface ImageProgram {
  /** Last part of the image's name, and the folder below `/app`. */
  readonly name: 'control' | 'runtime';
  /** Source of each file that is started by its name, as a path from the root of the repository. */
  readonly starts: Readonly<Record<string, string>>;
  /** Sources that run their `main` though another file imports them. */
  readonly mains: readonly string[];
  /** Packages that stay packages: they are looked up by name at run time, or hold native code. */
  readonly packages: readonly string[];
  /** Packages that are looked up by name at run time, bundled into one file each. */
  readonly bundledPackages: readonly string[];
  readonly compiled: Readonly<Record<string, CompiledProgram>>;
  /** Folders that the program writes to, for who mounts nothing there. */
  readonly writable: readonly string[];
}

export const controlImage: ImageProgram = {
  name: 'control',
  starts: {
    pilotlight: 'images/launch/pilotlight.ts',
    controller: 'images/launch/controller.ts',
    activator: 'images/launch/activator.ts',
  },
  mains: ['controller/cluster.ts', 'activator/main.ts'],
  packages: [],
  bundledPackages: ['pino-pretty'],
  compiled: {
    controller: { starts: ['controller'], packages: [], flags: NODE_FLAGS.controller },
    activator: { starts: ['activator'], packages: [], flags: NODE_FLAGS.activator },
  },
  writable: [],
};

export const runtimeImage: ImageProgram = {
  name: 'runtime',
  starts: {
    main: 'images/launch/runtime.ts',
    worker: 'runtime/engine/worker.ts',
    'compile-child': 'runtime/engine/compile-child.ts',
  },
  mains: [],
  packages: [
    'onnxruntime-node',
    'onnxruntime-common',
    // Reads images, for the services that take them.
    'sharp',
    `@img/sharp-linux-${process.arch}`,
    `@img/sharp-libvips-linux-${process.arch}`,
    '@img/colour',
    'detect-libc',
    'semver',
  ],
  bundledPackages: ['pino-pretty'],
  compiled: {
    runtime: { starts: ['main', 'worker'], packages: ['onnxruntime-node'], flags: NODE_FLAGS.runtime },
  },
  writable: ['cache'],
};

/** Who the programs run as: nobody in particular, and the same number as in other images without root. */
export const USER = { uid: 65_532, gid: 65_532 };
